"""What data sets are worth: PoseNet and HandSegNet of `lite` trained alike on each, scored on photographs.

    python -m experiments.value --data first=RECORDS second=RECORDS --photos PHOTOS --run RUN

Each RECORDS is a folder of records with masks, both splits.  PHOTOS holds images/ and truth.npz, labels that
no training sees: names (N,), uv (N, 21, 2) pixels, xyz (N, 21, 3) millimetres, side (N,) "left" or "right".
The networks start from scratch, with one seed and one recipe for all sets; trainings run side by side and
go on where they were.  Each network is measured with the others of the shipped set, and with the other
new one of its own data set.  Lifting is the shipped set's in all rows.  Every photograph shows a hand, so
none is left out for its score: the least score of the shipped set is that of its own networks.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import time

import numpy as np

from experiments import results, run_folder, side_by_side
from hand3d import manifest, metrics
from hand3d.estimator import HandPoseEstimator
from hand3d.skeleton import INDEX, ROOT
from pipelines.records import read_info

PROGRAMS = {"posenet": "experiments.posenet", "handsegnet": "experiments.handsegnet"}
# smaller pictures and batches than the shipped networks', for two cores without a graphics card
SETTINGS = {
    "posenet": ("stages=1", "crop_size=96", "cut=128", "roll=0.4", "roll_any=0.1", "side_weight=0.5"),
    "handsegnet": ("crop_size=128", "cut=192"),
}
COMMON = (
    *("batch=32", "epoch_steps=100", "warmup=200", "ema=0.99", "clip=1", "validation=256"),
    *("optimizer=adamw", "learning_rate=1e-3"),  # as when README's numbers were measured
)
CHAINS = {"PoseNet": ("posenet",), "HandSegNet": ("handsegnet",), "both": tuple(PROGRAMS)}
DRAWS = 10_000
UV, XYZ = "auc_0_30px", "auc_20_50mm/scale"
COLUMNS = [
    results.column("hands_found", "found", 3),
    results.column("side_right", "side right", 3),
    results.column(UV, "2D AUC 0-30 px", 3),
    results.column(XYZ, "3D AUC 20-50 mm", 3),
    results.column("epe_pooled_median_px", "2D median, px"),
]
FINGERS = [keypoint for keypoint in range(len(INDEX)) if keypoint != ROOT]  # what a root is differs


def trainings(sets, identities, arguments):
    """{name: (program, arguments)} of `side_by_side.train`, and {(set, role): run folder}.

    identities: {set: hash of its training split}.
    """
    made, runs = {}, {}
    for role, program in PROGRAMS.items():
        for name, folder in sets.items():
            steps = getattr(arguments, f"{role}_steps")
            settings = (*SETTINGS[role], *COMMON, f"steps={steps}", f"seed={arguments.seed}")
            run, options = side_by_side.options_of(
                *(arguments.run, f"{role}-{name}", folder, identities[name], settings, arguments.backgrounds)
            )
            made[f"{role} on {name}"], runs[name, role] = (program, options), run
    return made, runs


def exchanged(base, runs, folder):
    """A `manifest.WeightSet` in `folder`: the networks of `base`, but those of {role: run folder}.

    What was learnt for PoseNet of `base` alone is left out: the hand model's fit, the choice among peaks, and
    the calibration.
    """
    os.makedirs(folder, exist_ok=True)
    networks, graph = {}, dict(base.entry["graph"])
    for role, entry in manifest.network_entries(base).items():
        if role == "hand_fit":
            continue
        networks[role], origin = entry, base.folder
        if role in runs:
            origin = os.path.join(runs[role], "weights")
            (found,) = manifest.read_manifest(origin)["sets"].values()
            networks[role] = found["networks"][role]
            key = {"posenet": "crop_size", "handsegnet": "segment_size"}[role]
            graph[key] = run_folder.read_json(os.path.join(runs[role], run_folder.RECIPE))["crop_size"]
        for part in networks[role].get("shards", [networks[role]]):
            target = os.path.join(folder, part["file"])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(os.path.join(origin, part["file"]), target)
    graph = {key: value for key, value in graph.items() if key not in ("calibration", "candidates")}
    entry = base.entry | {"networks": networks, "graph": graph | {"peaks": 1}}
    return dataclasses.replace(base, name=os.path.basename(folder), folder=folder, entry=entry)


def read_labels(photos):
    """(paths, dict of uv, xyz, side) of labelled photographs; ValueError naming what is wrong."""
    path = os.path.join(photos, "truth.npz")
    with np.load(path) as file:
        missing = sorted({"names", "uv", "xyz", "side"} - set(file))
        if missing:
            raise ValueError(f"{path}: lacks {', '.join(missing)}")
        labels = {key: file[key] for key in ("names", "uv", "xyz", "side")}
    count = len(labels["names"])
    for key, shape in (("uv", (count, len(INDEX), 2)), ("xyz", (count, len(INDEX), 3)), ("side", (count,))):
        if labels[key].shape != shape or not count:
            raise ValueError(f"{path}: {key} is {labels[key].shape}, expected {shape}, N at least 1")
    return [os.path.join(photos, "images", str(name)) for name in labels.pop("names")], labels


def score(weight_set, paths, labels):
    """The best hand of each photograph against its labels; a hand not found is an error.

    Returns {column: value}, and {UV or XYZ: (N,) the area under the curve of each photograph}.
    """
    predictions = HandPoseEstimator(weight_set, min_score=0, max_hands=1).predict(paths)
    found = np.array([bool(prediction.hands) for prediction in predictions])
    hands = [prediction.hands[0] if prediction.hands else None for prediction in predictions]
    uv = np.stack([hand.keypoints_uv if hand else np.zeros((len(INDEX), 2)) for hand in hands])
    xyz = np.stack([hand.keypoints_xyz if hand else np.zeros((len(INDEX), 3)) for hand in hands])
    right = [hand.side == side for hand, side in zip(hands, labels["side"], strict=True) if hand]
    moved = metrics.align(xyz, labels["xyz"], "scale", root=INDEX["middle_mcp"])
    flat = metrics.keypoint_errors(uv, labels["uv"], found)[:, FINGERS]
    deep = metrics.keypoint_errors(moved, labels["xyz"], found)[:, FINGERS]
    values = metrics.summary_2d(flat) | metrics.summary_3d(deep, "scale")
    values["side_right"] = np.mean(right) if right else None
    areas = {
        UV: np.array([metrics.summary_2d(each[None])[UV] for each in flat]),
        XYZ: np.array([metrics.summary_3d(each[None], "scale")[XYZ] for each in deep]),
    }
    return {column["key"]: values[column["key"]] for column in COLUMNS}, areas


def gain(areas, others, seed):
    """The mean of areas - others, (N,) each, of the same photographs, and its 95 % interval: three floats.

    The interval is that of the percentiles of `DRAWS` draws of N photographs.
    """
    gains = np.asarray(areas) - others
    drawn = np.random.default_rng(seed).choice(gains, (DRAWS, len(gains))).mean(1)
    return (float(gains.mean()), *(float(each) for each in np.percentile(drawn, (2.5, 97.5))))


def gains(chain, areas, seed):
    """A sentence for each data set after the first; areas: {set: {UV or XYZ: (N,)}}."""
    first, *rest = areas
    for name in rest:
        said = []
        for column in COLUMNS:
            if column["key"] in (UV, XYZ):
                each = gain(areas[name][column["key"]], areas[first][column["key"]], seed)
                said.append("{} {:+.3f} ({:+.3f} to {:+.3f})".format(column["title"], *each))
        yield f"{chain}, {name} beyond {first}, with 95 % intervals over photographs: {', '.join(said)}."


def value(arguments):
    """The result of the command line's arguments, and its figures."""
    start, sets = time.time(), dict(one.split("=", 1) for one in arguments.data)
    paths, labels = read_labels(arguments.photos)
    base = manifest.find(arguments.weights)
    samples = {
        name: results.data_identity(folder, "training", read_info(folder)["splits"]["training"]["samples"])
        for name, folder in sets.items()
    }
    made, runs = trainings(sets, {name: one["sha256"] for name, one in samples.items()}, arguments)
    side_by_side.train(made, arguments.jobs)
    rows, notes = [], []
    for chain, roles in CHAINS.items():
        areas = {}
        for name in sets:
            folder = os.path.join(arguments.run, "sets", f"{name}-{chain}")
            weight_set = exchanged(base, {role: runs[name, role] for role in roles}, folder)
            values, areas[name] = score(weight_set, paths, labels)
            rows.append(results.row(f"{chain}, {name}", values))
        notes += gains(chain, areas, arguments.seed)
    result = results.make(
        "value",
        "What data sets are worth: networks trained alike, on photographs",
        COLUMNS,
        rows,
        data={"name": "photographs", "split": "labels", "samples": len(paths), "sha256": _hash(arguments)},
        seed=arguments.seed,
        options={"sets": samples, "settings": {key: list(value) for key, value in SETTINGS.items()}}
        | {"common": list(COMMON), "steps": {role: getattr(arguments, f"{role}_steps") for role in PROGRAMS}},
        notes=[
            "PoseNet, HandSegNet: that network alone is of the data set, the others are those of "
            f"{base.name} without the hand model; both: both are.",
            *notes,
        ],
        seconds=time.time() - start,
    )
    return result, {}


def _hash(arguments):
    return manifest.file_sha256(os.path.join(arguments.photos, "truth.npz"))


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=RECORDS")
    parser.add_argument("--photos", required=True, help="folder with images/ and truth.npz")
    parser.add_argument("--run", required=True, help="folder of the trainings; unfinished ones go on")
    parser.add_argument("--weights", default="lite", help="a weight set to put the networks into")
    parser.add_argument("--backgrounds", help="folder with photographs, for all sets")
    parser.add_argument("--posenet-steps", type=int, default=2400, help="of 32 hands (%(default)s)")
    parser.add_argument("--handsegnet-steps", type=int, default=1200, help="of 32 pictures (%(default)s)")
    side_by_side.add_argument(parser)
    parser.add_argument("--seed", type=int, default=0)
    results.add_arguments(parser)
    arguments = parser.parse_args(argv)
    names = [one.partition("=")[0] for one in arguments.data if one.partition("=")[2]]
    if len(names) < len(arguments.data) or len(set(names)) < len(names) or "" in names:
        parser.error(f"--data {' '.join(arguments.data)}: NAME=RECORDS expected, each name once")
    if any("/" in name for name in names):
        parser.error(f"--data: names without / expected, got {', '.join(names)}")
    return arguments


def main(argv=None):
    return results.write(value, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
