"""Lifting from true 2D keypoints to 3D: the paper's Table 2 (PAPER.md 1.6 and 5.2).

    python -m experiments.table2 --data DATA [--train DATA,...] [--setting quick|full] [--weights lite]

DATA is a folder of records, a file of `pipelines.poses`, or a folder in RHD's layout of which only the
annotation file has to be there; no picture is read but masks.  Five networks are trained on the training
split, unless the cache has them, and compared with the nearest neighbour on the evaluation split, one hand an
image as in the paper.  Of the keypoints' noise, pixels are those of a crop of 256 around the hand.  In 3D,
root and scale are the true ones.  `quick` is 3,200 steps of 16 hands for each network, `full` 6,000 of 64;
a run that was interrupted goes on where it was.
"""

import argparse
import sys
import time

import numpy as np

from experiments import lifting_runs, plots, results, side_by_side
from experiments.annotations import WHICH, load_hands
from hand3d import manifest, metrics
from hand3d.networks.lifting import VARIANTS
from hand3d.skeleton import SIDES

NOISE = (0.0, 2.5, 5.0, 10.0)  # pixels of the crop
NEAREST = "nearest neighbour"
NAMES = {
    "direct": "direct",
    "bottleneck": "bottleneck",
    "local": "local",
    "local_w_xyz_loss": "local, xyz loss",
    "proposed": "proposed",
}
BANK = {"quick": 41_258, "full": 200_000}  # known hands; RHD's training set has 41,258
BATCH = 256
ROLES = ("poseprior", "viewpoint", "hand_fit")  # networks of a weight set that are measured here
MEDIAN, MEAN = "epe_median_mm/root_scale", "epe_mm/root_scale"
TRUE, CODE = "auc_20_50mm/root_scale", "auc_21_50mm/root_scale"
COLUMNS = [
    results.column("noise_px", "noise, px"),
    results.column(MEDIAN, "EPE median, mm"),
    results.column(MEAN, "EPE mean, mm"),
    results.column(TRUE, "AUC 20-50 mm", 3),
    results.column(CODE, "AUC 21-50 mm (as released)", 3),
    results.column("relative_percent", "median, relative to proposed, %"),
    results.column("training_s", "training, s", 0),
]


def crops_of(poses, noise, seed=0, crop_size=256):
    """Keypoints in a crop around each hand with normal noise: (uv_crop (N, 21, 2) pixels, inside (N, 21)).

    noise: standard deviation in pixels of the crop; the same draw for every level, scaled.
    """
    from hand3d.views import Views

    seen = Views(map_size=8, crop_size=crop_size)(poses["xyz"], poses["side"], poses["visible"])
    uv, inside = (np.array(seen[key]) for key in ("uv_crop", "confidence"))
    drawn = np.random.default_rng(seed).normal(size=uv.shape).astype(np.float32)
    return uv + noise * drawn, inside


def lift(network, uv_crop, inside, side, crop_size=256):
    """xyz_relative (N, 21, 3) that a lifting network says of keypoints in crops."""
    import keras

    from hand3d import scoremaps
    from hand3d.tracing import traced

    run, size, made = traced(network), network.inputs[0].shape[1], []
    for start in range(0, len(side), BATCH):
        part = slice(start, start + BATCH)
        maps = scoremaps.encode(uv_crop[part], inside[part], size, crop_size)
        one_hot = np.eye(len(SIDES), dtype=np.float32)[side[part]]
        made.append(run(keras.ops.convert_to_numpy(maps), one_hot)["xyz_relative"])
    return np.concatenate(made)


def make_bank(poses, count, seed=0):
    """A `Bank` of `count` hands in the views that the networks are trained in, without noise."""
    from experiments import recipes
    from experiments.lifting import RECIPES
    from experiments.nearest import Bank
    from hand3d import geometry
    from hand3d.views import Views

    recipe = recipes.change(RECIPES["best"], list(lifting_runs.VIEWS))
    options = recipes.pick(recipe, "any_view turn roll off_axis proportions")
    views = Views(map_size=8, noise=0.0, gross=0.0, seed=seed, **options)
    chosen = np.random.default_rng(seed).permutation(len(poses["side"]))
    chosen = np.resize(chosen, count)
    parts = []
    for start in range(0, count, 4096):
        hands = {key: value[chosen[start : start + 4096]] for key, value in poses.items()}
        seen = views(hands["xyz"], hands["side"], hands["visible"], training=True)
        relative, _ = geometry.normalise(seen["xyz_camera"])
        xyz = np.array(seen["xyz_camera"])
        parts.append((xyz[..., :2] / xyz[..., 2:], np.array(relative), np.array(seen["side"])))
    return Bank(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def errors_of(xyz_relative, poses):
    """Errors (N, 21) in mm with the true root and scale."""
    truth = 1000 * poses["xyz"].astype(np.float64)
    return metrics.keypoint_errors(metrics.align(xyz_relative, truth, "root_scale"), truth)


def compare(lifters, poses, seed=0):
    """All methods at all levels of noise: (rows as of `results.row`, {name: errors without noise}).

    lifters: {name: (function of uv_crop, inside, side -> xyz_relative, seconds of training or None)}.
    """
    scores, exact = {}, {}
    for noise in NOISE:
        uv, inside = crops_of(poses, noise, seed)
        for name, (function, _) in lifters.items():
            errors = errors_of(function(uv, inside, poses["side"]), poses)
            exact.setdefault(name, errors)
            scores[noise, name] = metrics.summary_3d(errors, "root_scale")
    rows = []
    for (noise, name), score in scores.items():
        best = scores.get((noise, NAMES["proposed"]), {}).get(MEDIAN, np.nan)
        values = {key: score[key] for key in (MEDIAN, MEAN, TRUE, CODE)}
        values |= {"noise_px": noise, "relative_percent": 100 * (score[MEDIAN] / best - 1)}
        values["training_s"] = lifters[name][1]
        missing = {"training_s": "nothing trained here", "relative_percent": "proposed is not in this table"}
        rows.append(results.row(row_name(name, noise), values, missing))
    return rows, exact


def row_name(name, noise):
    return f"{name}, {noise:g} px"


def noise_curve(name, rows):
    """The median error of a method over the noise, from the rows of `compare`."""
    values = {row["name"]: row["values"][MEDIAN] for row in rows}
    return results.curve(name, NOISE, [values[row_name(name, noise)] for noise in NOISE], kind="noise")


def table2(arguments):
    """The result of the command line's arguments, and its figures."""
    start = time.time()
    sources = arguments.train.split(",") if arguments.train else [arguments.data]
    training = load_hands(sources, "training", "all")
    poses = load_hands(arguments.data, "evaluation", arguments.hands)
    print(f"{len(training['side'])} hands to train on, {len(poses['side'])} to evaluate", flush=True)
    identity = results.data_identity(sources, "training", len(training["side"]))
    folder = lifting_runs.prepare(
        arguments.cache, arguments.setting, {"training": training, "evaluation": poses}, identity["sha256"]
    )
    lifters, weights = {}, None
    variants = [name for name in reversed(VARIANTS) if name in arguments.variants]  # the longest first
    settings = lifting_runs.SETTINGS[arguments.setting]
    lifting_runs.train(folder, variants, settings, arguments.seed, arguments.jobs)
    for variant in variants:
        network, seconds = lifting_runs.trained(folder, variant, arguments.seed)
        lifters[NAMES[variant]] = (_bound(network), seconds)
    bank = make_bank(training, BANK[arguments.setting], arguments.seed)
    lifters[NEAREST] = (lambda uv, inside, side: bank.lift(uv, side), None)
    if arguments.weights != "none":
        weights = results.weights_identity(arguments.weights, ROLES)
        shipped = _bound(lifting_runs.shipped(arguments.weights))
        lifters[f"weights {weights['name']}"] = (shipped, None)
        if fit := lifting_runs.hand_fit(manifest.find(arguments.weights)):
            lifters[f"weights {weights['name']}, hand model"] = (_fitted(fit, shipped), None)
    rows, exact = compare(lifters, poses, arguments.seed)
    curves = [plots.pck_curve(name, errors) for name, errors in exact.items()]
    curves += [noise_curve(name, rows) for name in lifters]
    result = results.make(
        "table2",
        f"Lifting from true 2D keypoints (Table 2, {arguments.setting})",
        COLUMNS,
        rows,
        data=results.data_identity(arguments.data, "evaluation", len(poses["side"])),
        weights=weights,
        seed=arguments.seed,
        options={"setting": arguments.setting, "hands": arguments.hands, "bank": len(bank)}
        | {"training": identity, "recipe": list(lifting_runs.SETTINGS[arguments.setting])},
        curves=curves,
        notes=[
            "Noise: standard deviation in pixels of a crop of 256 around the hand; root and scale are true."
        ],
        seconds=time.time() - start,
    )
    return result, figures(result)


def figures(result):
    """{name: Figure}: error against noise, and PCK without noise."""
    lines = [one for one in result["curves"] if one.get("kind") == "noise"]
    pck = [one for one in result["curves"] if one.get("kind") == "pck"]
    return {
        "noise": plots.lines(lines, "noise of the 2D keypoints, pixels of 256", "median error, mm"),
        "pck": plots.pck(pck, "error, mm", "without noise"),
    }


def _bound(network):
    return lambda uv, inside, side: lift(network, uv, inside, side)


def _fitted(fit, lifter, crop_size=256):
    """What the network `hand_fit` makes of the keypoints and of the answer of a lifter."""
    from hand3d.networks.hand_fit import fit_keypoints

    def lifted(uv, inside, side):
        own = fit.get_layer("hand_model").crop_size
        uv_own = ((uv + 0.5) * (own / crop_size) - 0.5).astype(np.float32)
        one_hot = np.eye(len(SIDES), dtype=np.float32)[side]
        return np.array(fit_keypoints(fit, uv_own, inside, lifter(uv, inside, side), one_hot)[1])

    return lifted


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="what to evaluate on, and to train on without --train")
    parser.add_argument("--train", help="comma-separated sources to train on instead")
    parser.add_argument("--setting", choices=sorted(BANK), default="quick")
    parser.add_argument(
        "--hands", choices=WHICH, default="dominant", help="evaluate one hand an image, or all"
    )
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated, all by default")
    parser.add_argument("--weights", default="lite", help="a weight set to compare with; none for none")
    parser.add_argument("--cache", default=lifting_runs.CACHE, help="folder of the trained networks")
    side_by_side.add_argument(parser)
    parser.add_argument("--seed", type=int, default=0)
    results.add_arguments(parser)
    arguments = parser.parse_args(argv)
    arguments.variants = [name for name in arguments.variants.split(",") if name]
    unknown = sorted(set(arguments.variants) - set(VARIANTS))
    if unknown:
        parser.error(f"--variants: {', '.join(unknown)} unknown; there are {', '.join(VARIANTS)}")
    return arguments


def main(argv=None):
    return results.write(table2, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
