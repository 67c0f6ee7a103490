"""The whole chain from image to 3D (PAPER.md 5.2 and figure 9).

    python -m experiments.table3 --data RECORDS [--weights lite]

Alignments, in the rows: "root and scale" takes the true scale bone and root, as the paper does; "Procrustes"
also the best rotation.  Errors are those of visible keypoints of hands that were found; in PCK curves and
areas a hand that was not found counts as wrong.  The plot has the published curves of PSO, ICPPSO, CHPR and
the paper on STB behind ours: they are of other data unless --data is STB.
"""

import sys

import numpy as np

from experiments import plots, published, results, tables
from hand3d import metrics

PARTS = ("chain",)
ALIGNMENTS = {"root_scale": "root and scale", "procrustes": "Procrustes"}
SCORES = ("epe_median_mm", "epe_mm", "auc_20_50mm", "auc_21_50mm", "auc_0_50mm")
COLUMNS = [
    results.column("hands", "hands", 0),
    results.column("hands_found", "found", 3),
    results.column("epe_median_mm", "EPE median, mm", 2),
    results.column("epe_mm", "EPE mean, mm", 2),
    results.column("auc_20_50mm", "AUC 20-50 mm", 3),
    results.column("auc_21_50mm", "AUC 21-50 mm (as released)", 3),
    results.column("auc_0_50mm", "AUC 0-50 mm", 3),
]


def table(found, arguments):
    """Keyword arguments of `results.make` from a `measure.Measured`."""
    rows, curves, errors = [], [], found.chain
    known = np.array(errors.in_3d, bool)
    for alignment, title in ALIGNMENTS.items():
        name = f"whole chain, {title}"
        if not known.any():
            reason = tables.NO_3D if errors.px else tables.NO_HAND
            rows.append(results.absent_row(name, COLUMNS, reason))
            continue
        mm, counted = errors.errors_mm(alignment)
        rows.append(_row(name, mm, counted, alignment))
        curves.append(plots.pck_curve(f"ours, {title}", mm, counted))
        curves[-1]["auc"] = rows[-1]["values"]["auc_20_50mm"]
    return {
        "experiment": "table3",
        "title": "The whole chain in 3D",
        "columns": COLUMNS,
        "rows": rows,
        "curves": curves,
        "notes": [
            "EPE of visible keypoints of the hands found; hands not found are errors in the AUC.  AUC 21-50 "
            "mm is what the released code prints as 20-50 (the last 12 of 20 thresholds over 0-50)."
        ],
    }


def _row(name, mm, counted, alignment):
    scores = metrics.summary_3d(mm, alignment, counted)
    values = {key: scores[f"{key}/{alignment}"] for key in SCORES}
    values |= {"hands": int(counted.any(1).sum()), "hands_found": scores["hands_found"]}
    return results.row(name, values, tables.NOTHING_FOUND)


def figures(result):
    """{name: Figure}: ours over the published curves."""
    if not result["curves"]:
        return {}
    others = [one | {"name": f"{one['name']}, STB"} for one in published.stb_curves()]
    figure = plots.pck(
        result["curves"] + others, "error, mm", f"ours: {result['data']['name']}; AUC 20-50 mm"
    )
    return {"pck": figure}


def main(argv=None):
    return tables.run([sys.modules[__name__]], __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
