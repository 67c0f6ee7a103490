"""2D keypoints: the paper's Table 1 (PAPER.md 5.1 and 5.2).

    python -m experiments.table1 --data RECORDS [--weights lite]
        [--hands dominant --frame 240x320 --root wrist]

GT crop: crops around the true pixels of each hand; Net crop: the whole chain, where HandSegNet finds the
hand.  Errors are those of visible keypoints, and of the hands that were found; in the area under the PCK
curve a hand that was not found counts as wrong.  The paper's protocol is --hands dominant --frame 240x320
with the palm; its printed numbers compare the predicted palm with the labelled wrist (--root wrist, fact T4).
Of Dexter+Object only the fingertips are labelled, so only they count.
"""

import sys

import numpy as np

from experiments import plots, results, tables
from hand3d import metrics
from hand3d.skeleton import KEYPOINT_NAMES, ROOT

PARTS = ("gt_crop", "chain")
MOST = 30.0  # pixels, of the PCK curve
ROWS = {"GT crop": "crop", "Net crop": "chain"}
COLUMNS = [
    results.column("hands", "hands", 0),
    results.column("hands_found", "found", 3),
    results.column("epe_median_px", "EPE median, px", 2),
    results.column("epe_px", "EPE mean, px", 2),
    results.column("auc_0_30px", "AUC 0-30 px", 3),
    results.column("side_right", "side right", 3),
]
KEYS = [one["key"] for one in COLUMNS]
OCCLUDED = "occluded keypoints"


def table(found, arguments):
    """Keyword arguments of `results.make` from a `measure.Measured`."""
    rows, curves = [], []
    for name, part in ROWS.items():
        errors = getattr(found, part)
        if not errors.px:
            rows.append(results.absent_row(name, COLUMNS, tables.NO_HAND))
            continue
        px, visible = errors.errors_px(arguments.frame, arguments.root)
        side = {"side_right": errors.side_right()}
        rows.append(_row(name, px, visible, side))
        hidden = np.array(errors.present) & ~visible
        rows.append(_row(f"{name}, {OCCLUDED}", px, hidden, {}))
        curves.append(plots.pck_curve(name, px, visible, MOST) | {"auc": rows[-2]["values"]["auc_0_30px"]})
        rows += [
            _row(f"{name}, {_name(k, arguments.root)}", px[:, [k]], visible[:, [k]], {})
            for k in range(len(KEYPOINT_NAMES))
        ]
    return {
        "experiment": "table1",
        "title": "2D keypoints (Table 1" + (", against the wrist)" if arguments.root == "wrist" else ")"),
        "columns": COLUMNS,
        "rows": rows,
        "curves": curves,
        "notes": [
            f"Visible keypoints, {_frame(arguments.frame)}, against the labelled {arguments.root}; "
            "EPE of the hands found, hands not found are errors in the AUC."
        ],
    }


def _row(name, px, valid, more):
    if not valid.any():
        return results.absent_row(name, COLUMNS, "no such keypoint is labelled")
    scores = metrics.summary_2d(px, valid) | {"hands": int(valid.any(1).sum())} | more
    reason = None if np.isfinite(px[valid]).any() else tables.NOTHING_FOUND
    return results.row(name, {key: scores[key] for key in KEYS if key in scores}, reason)


def _name(keypoint, root):
    return root if keypoint == ROOT else KEYPOINT_NAMES[keypoint].replace("_", " ")


def _frame(frame):
    return {"320": "pixels of 320", "240x320": "pixels of 240 x 320", "native": "the pictures' pixels"}[frame]


def figures(result):
    """{name: Figure}: the PCK curves, and the median error of each keypoint."""
    drawn = {"pck": plots.pck(result["curves"], "error, pixels", "2D keypoints")} if result["curves"] else {}
    parts = [
        row for row in result["rows"] if row["name"].startswith("GT crop, ") and OCCLUDED not in row["name"]
    ]
    if parts:
        names = [row["name"].removeprefix("GT crop, ") for row in parts]
        medians = [row["values"]["epe_median_px"] for row in parts]
        drawn["keypoints"] = plots.bars(names, medians, "median error in GT crops, pixels")
    return drawn


def main(argv=None):
    return tables.run([sys.modules[__name__]], __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
