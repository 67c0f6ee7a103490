"""What exporting costs: size, time and accuracy of each format and precision beside the Keras graph.

    python -m experiments.exports --data RECORDS [--models runs/exports] [--limit 300] [--only onnx-int8 ...]

Exports the weight set in every format that is installed (`hand3d export`, int8 calibrated on pictures of the
training split), runs each on the same pictures of the evaluation split, and times them in turns on one of
them, so that other work on the machine changes the ratios little.  Models and their errors are kept in
--models: the same command goes on after an interruption.  Errors are those of the best hand of a picture
against the labelled hand whose box it overlaps most; pixels of a picture of 320, true root and scale.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

from experiments import results
from experiments.measure import box_iou
from experiments.truth import Errors, Truth
from hand3d import manifest
from hand3d.estimator import HandPoseEstimator
from hand3d.export import formats
from hand3d.exported import ExportedEstimator
from hand3d.files import write_atomic
from hand3d.measuring import in_turns, timer
from hand3d.skeleton import SIDES
from hand3d.tracing import traced

KERAS = "keras-float32"
NAMES = [
    f"{to}-{precision}"
    for to in ("tflite", "onnx", "openvino")
    for precision in formats.ALL_PRECISIONS
    if precision in formats.PRECISIONS[to]
]
COLUMNS = [
    results.column("mib", "MiB"),
    results.column("ms", "ms, one image"),
    results.column("by_keras", "ms, by Keras float32", 2),
    results.column("found", "found", 3),
    results.column("px", "EPE median, px", 2),
    results.column("px_lost", "lost, px", 2),
    results.column("mm", "EPE median, mm", 2),
    results.column("mm_lost", "lost, mm", 2),
    results.column("moved_px", "moved, median px", 3),
]
NOTES = [
    "ms: median, one image of 320 pixels, array to arrays, two threads; its ratio to the Keras graph is the "
    "median over rounds in which all took turns.",
    "moved: how far a keypoint lies from where the Keras graph has it, in pictures where both found a hand.",
]


def pictures(directory, limit):
    """Yields (pixels (H, W, 3) uint8, `Truth` of it alone) of the evaluation split."""
    from pipelines.records import decode_pictures, read_records

    data = read_records(directory, "evaluation").take(limit).map(decode_pictures)
    for batch in data.batch(1).as_numpy_iterator():
        yield batch["image"][0], Truth(batch)


def measure(estimator, directory, limit):
    """Errors of an estimator that takes arrays: dict of scores, and the keypoints of every picture."""
    errors, keypoints = Errors(), []
    for number, (pixels, truth) in enumerate(pictures(directory, limit)):
        hands = estimator(pixels)
        keypoints.append(hands[0].keypoints_uv.tolist() if hands else None)
        counted = np.flatnonzero(truth.counts[0])
        if len(counted) and hands:
            hand = hands[0]
            overlaps = [box_iou(_filled(hand.box, pixels.shape), truth.pixels[0, k]) for k in counted]
            place = counted[int(np.argmax(overlaps))]
            errors.add(truth, 0, place, hand.keypoints_uv, hand.keypoints_xyz, SIDES.index(hand.side))
        elif len(counted):
            errors.add(truth, 0, int(np.argmax(truth.box[0] * truth.counts[0])))
        print(f"{number + 1} pictures", end="\r", file=sys.stderr, flush=True)
    flat, solid = errors.summary_2d(), errors.summary_3d()
    scores = {
        "found": flat["hands_found"],
        "px": flat["epe_median_px"],
        "mm": solid["epe_median_mm/root_scale"],
    }
    return {"scores": scores, "keypoints": keypoints}


def kept(path, key, make):
    """What make() gives, from a JSON file if it was made with the same key."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if found["key"] == key:
            return found
    except (OSError, ValueError, KeyError):
        pass
    found = {"key": key} | make()
    write_atomic(path, json.dumps(found).encode())
    return found


def exported(name, arguments, identity):
    """Folder of the exported model, which `hand3d export` makes if need be; ValueError where it fails."""
    to, precision = name.split("-")
    folder = os.path.join(arguments.models, f"{name}-{identity[:8]}")
    if os.path.exists(folder):
        return folder
    command = [sys.executable, "-m", "hand3d", "export", "--to", to, "--precision", precision]
    command += ["--weights", arguments.weights, "--out", folder]
    command += ["--calibrate", arguments.data] if precision == "int8" else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ValueError(lines[-1] if lines else f"exit status {done.returncode}")
    return folder


def make(arguments):
    """(result, {}) as `experiments.results.write` takes it."""
    os.makedirs(arguments.models, exist_ok=True)
    data = results.data_identity(arguments.data, "evaluation", arguments.limit)
    weights = results.weights_identity(arguments.weights)
    key = [data["sha256"], arguments.limit, weights["sha256"]]
    keras = HandPoseEstimator(manifest.find(arguments.weights))
    first, _ = next(pictures(arguments.data, 1))
    canvas = keras.fit(first)[0][None].astype(np.float32)
    graph = traced(keras.model)
    programs = {KERAS: timer(lambda: graph(canvas, keras.given_side(1)))}
    path = os.path.join(arguments.models, KERAS + ".json")
    found = {KERAS: kept(path, key, lambda: measure(keras, arguments.data, arguments.limit))}
    sizes, missing = {}, {}
    for name in arguments.only or NAMES:
        print(name, file=sys.stderr)
        try:
            folder = exported(name, arguments, weights["sha256"])
            model = ExportedEstimator(folder, threads=2)
            path = os.path.join(arguments.models, name + ".json")
            score = lambda model=model: measure(model, arguments.data, arguments.limit)  # noqa: E731
            found[name] = kept(path, key, score)
        except ValueError as error:
            missing[name] = str(error)
            continue
        files = (os.path.join(folder, file) for file in os.listdir(folder) if file.startswith("model."))
        sizes[name] = sum(map(os.path.getsize, files)) / 2**20
        programs[name] = timer(lambda model=model: model.run(canvas))
    taken = in_turns(programs, arguments.rounds, KERAS)
    rows = [results.row(name, _values(name, found, taken, sizes), "not stored apart") for name in programs]
    rows += [results.absent_row(name, COLUMNS, reason) for name, reason in missing.items()]
    result = results.make(
        "exports",
        "Exported models",
        COLUMNS,
        rows,
        data=data,
        weights=weights,
        notes=NOTES,
        options={"limit": arguments.limit, "rounds": arguments.rounds},
    )
    return result, {}


def _values(name, found, taken, sizes):
    scores, base = found[name]["scores"], found[KERAS]["scores"]
    moved = [
        np.linalg.norm(np.subtract(one, other), axis=-1)
        for one, other in zip(found[name]["keypoints"], found[KERAS]["keypoints"], strict=True)
        if one and other
    ]
    return {
        **scores,
        "mib": sizes.get(name),
        "ms": taken[name]["median"],
        "by_keras": taken[name]["ratio"],
        "px_lost": scores["px"] - base["px"],
        "mm_lost": scores["mm"] - base["mm"],
        "moved_px": float(np.median(moved)) if moved else None,
    }


def _filled(box, shape):
    """(4,) -> (H, W) bool."""
    left, top, right, bottom = np.round(box).astype(int)
    area = np.zeros(shape[:2], bool)
    area[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
    return area


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of records with both splits")
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--models", default=os.path.join("runs", "exports"), help="folder to keep models in")
    parser.add_argument("--limit", type=int, default=300, help="pictures (%(default)s)")
    parser.add_argument("--rounds", type=int, default=30, help="of timing (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="some of the models")
    results.add_arguments(parser)
    arguments = parser.parse_args(argv)
    if min(arguments.limit, arguments.rounds) < 1:
        parser.error("--limit and --rounds must be at least 1")
    return results.write(make, arguments)


if __name__ == "__main__":
    sys.exit(main())
