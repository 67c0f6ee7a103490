"""What PoseNet's confidence is worth: the probability that a keypoint is right, and that it shows.

    python -m experiments.calibrate --data RECORDS --weights NAME|DIR [--plot FILE.png] [--dry-run]

Runs the whole chain on the evaluation split; two minutes for 750 pictures on two idle cores.  On every other
picture it measures two rising curves over the confidence: the share of keypoints within 10 pixels of the
label in a picture of 320, and the share that are visible.  On the pictures between it measures how well they
hold: the expected calibration error over ten bins, and the accuracy of the flag "visible".  The curves go
into the manifest's "graph" as "calibration", which `hand3d.graph` applies; the measurements into "scores".
"""

import argparse
import json
import os
import sys

import numpy as np

from experiments.found_hands import found_hands
from hand3d import manifest
from hand3d.files import write_atomic
from hand3d.set_options import set_options

WITHIN = 10.0  # pixels of a picture of 320
POINTS, BINS = 12, 10
FEWEST = 500  # keypoints that a curve can be measured on


def rising_curve(confidence, right, points=POINTS):
    """Isotonic regression of a yes or no on a confidence, in `points` groups of equal size.

    confidence: (N,) 0..1.  right: (N,) bool.  Returns list of [confidence, share], both rising, at least two.
    """
    order = np.argsort(confidence, kind="stable")
    groups = []
    for part in np.array_split(order, points):
        groups.append([confidence[part].mean(), right[part].mean(), len(part)])
        # pool neighbours until the shares rise
        while len(groups) > 1 and groups[-2][1] >= groups[-1][1]:
            x, y, n = groups.pop()
            last = groups[-1]
            total = last[2] + n
            groups[-1] = [(last[0] * last[2] + x * n) / total, (last[1] * last[2] + y * n) / total, total]
    curve = []
    for x, y, _ in groups:
        if not curve or x > curve[-1][0] + 1e-4:
            curve.append([round(float(x), 4), round(float(y), 4)])
    if len(curve) < 2:  # the confidence tells nothing
        share = curve[0][1]
        curve = [[0.0, share], [1.0, share]]
    return curve


def apply_curve(curve, confidence):
    """Values (...) of a curve, as `hand3d.layers.Curve` gives them."""
    return np.interp(confidence, *np.transpose(curve))


def reliability(predicted, right, bins=BINS):
    """(bins, 3): mean prediction, share that is right, and count in bins of equal width; NaN where empty."""
    which = np.minimum((predicted * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        mine = which == number
        means = (predicted[mine].mean(), right[mine].mean()) if mine.any() else (np.nan, np.nan)
        rows.append([*means, mine.sum()])
    return np.array(rows)


def calibration_error(predicted, right):
    """Expected calibration error: the gaps of `reliability`, weighted by the counts."""
    rows = reliability(predicted, right)
    return float(np.nansum(np.abs(rows[:, 0] - rows[:, 1]) * rows[:, 2]) / len(predicted))


def calibrate(found, min_score):
    """Curves and how well they hold.

    found: of `found_hands`.  min_score: hands below it are not handed out, so they do not count.
    Returns (calibration, scores, held): dicts of curves and of numbers, and the predictions and outcomes
    that the numbers are of.  ValueError for too few hands.
    """
    shown = found["score"] >= min_score
    fit = shown & (found["image"] % 2 == 0)
    check = shown & (found["image"] % 2 == 1)
    fewest = min(fit.sum(), check.sum()) * found["confidence"].shape[1]
    if fewest < FEWEST:
        raise ValueError(f"{fewest} keypoints of hands that are found; {FEWEST} needed: take more pictures")
    outcomes = {"within_10_px": found["error"] <= WITHIN, "visible": found["visible"]}
    calibration, scores, held = {}, {"hands": [int(fit.sum()), int(check.sum())]}, {}
    for name, outcome in outcomes.items():
        raw = found["confidence"][check].ravel().astype(np.float64)
        calibration[name] = rising_curve(
            found["confidence"][fit].ravel().astype(np.float64), outcome[fit].ravel()
        )
        predicted, right = apply_curve(calibration[name], raw), outcome[check].ravel()
        held[name] = predicted, right
        scores[f"{name}/share"] = float(right.mean())
        scores[f"{name}/ece"] = calibration_error(predicted, right)
        scores[f"{name}/ece_uncalibrated"] = calibration_error(raw, right)
    # at a half almost everything would be called visible: the flag marks those likelier than the average
    start = round(float(outcomes["visible"][fit].mean()), 4)
    calibration["visible_from"] = start
    said, shows = held["visible"][0] >= start, held["visible"][1]
    scores["visible/accuracy"] = float((said == shows).mean())
    scores["visible/balanced_accuracy"] = float((said[shows].mean() + (~said)[~shows].mean()) / 2)
    scores["visible/recall"] = float(said[shows].mean())
    scores["visible/hidden_recall"] = float((~said)[~shows].mean())
    return calibration, {key: v if key == "hands" else round(v, 4) for key, v in scores.items()}, held


def plot(held):
    """PNG file, as bytes: predicted against measured shares."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(held), 4.4), dpi=110)
    FigureCanvasAgg(figure)
    for axes, (name, (predicted, right)) in zip(
        np.ravel(figure.subplots(1, len(held))), held.items(), strict=True
    ):
        rows = reliability(predicted, right)
        axes.bar((np.arange(BINS) + 0.5) / BINS, rows[:, 2] / rows[:, 2].sum(), 0.9 / BINS, color="#d8e3ee")
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
        axes.plot(rows[:, 0], rows[:, 1], marker="o", color="#0b5394")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted", ylabel="measured; bars: share of keypoints")
        axes.set_title(
            f"{name.replace('_', ' ')}: error {calibration_error(predicted, right):.3f}", fontsize=10
        )
    figure.tight_layout()
    output = io.BytesIO()
    figure.savefig(output, format="png")
    return output.getvalue()


def store(weight_set, calibration, scores, data):
    """Puts curves and scores into the set's manifest, which is replaced whole."""
    sets = manifest.read_manifest(weight_set.folder)["sets"]
    entry = sets[weight_set.name]
    entry["graph"] = entry.get("graph", {}) | {"calibration": calibration}
    entry["scores"] = entry.get("scores", {}) | {"calibration": {"data": data} | scores}
    manifest.write_manifest(weight_set.folder, sets)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of records with an evaluation split")
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--limit", type=int, help="pictures")
    parser.add_argument("--plot", help="PNG file for the reliability plot")
    parser.add_argument("--dry-run", action="store_true", help="leave the manifest as it is")
    arguments = parser.parse_args(argv)
    if arguments.limit is not None and arguments.limit < 2:
        parser.error(f"--limit must be at least 2, got {arguments.limit}")
    try:
        weight_set = manifest.find(arguments.weights)
        found = found_hands(weight_set, arguments.data, limit=arguments.limit)
        calibration, scores, held = calibrate(found, set_options(weight_set).min_score)
        print(json.dumps(scores, indent=1))
        if arguments.plot:
            write_atomic(arguments.plot, plot(held))
        if not arguments.dry_run:
            store(weight_set, calibration, scores, os.path.basename(os.path.abspath(arguments.data)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
