"""HandSegNet: how well the mask fits, and whether the crop that comes of it holds the hand.

    python -m experiments.segmentation --data RECORDS [--weights lite]

IoU, precision and recall are those of the pixels of both hands, at the size that the network sees.  Box IoU
and crops are those of the object that was picked, against the hand that it overlaps most, of images in which
a hand was found.  The paper has no such table.
"""

import sys

import numpy as np

from experiments import plots, results, tables

PARTS = ("mask", "chain")
COLUMNS = [
    results.column("images", "images", 0),
    results.column("iou", "IoU, mean of images", 3),
    results.column("iou_pooled", "IoU, all pixels", 3),
    results.column("precision", "precision", 3),
    results.column("recall", "recall", 3),
    results.column("found", "hands found", 3),
    results.column("box_iou", "box IoU", 3),
    results.column("crop_visible", "crops with all visible keypoints", 3),
    results.column("crop_all", "crops with all keypoints", 3),
]


def table(found, arguments):
    """Keyword arguments of `results.make` from a `measure.Measured`."""
    masks, values, missing = found.masks, {"images": found.images}, {}
    pixels = ("iou", "iou_pooled", "precision", "recall")
    if masks.counts:
        precision, recall = masks.precision_recall()
        scores = (masks.ious().mean(), masks.iou_pooled(), precision, recall)
        values |= dict(zip(pixels, scores, strict=True))
        missing |= {"precision": "no pixel was taken for a hand", "recall": "no hand is in the masks"}
    else:
        missing |= dict.fromkeys(pixels, "the data set has no masks")
    boxes = [row for row in found.boxes if row is not None]
    parts = ("box_iou", "crop_visible", "crop_all")
    if found.boxes:
        values["found"] = len(boxes) / len(found.boxes)
    else:
        missing["found"] = tables.NO_HAND
    if boxes:
        values |= dict(zip(parts, np.mean(np.array(boxes, np.float64), axis=0), strict=True))
    else:
        missing |= dict.fromkeys(parts, tables.NOTHING_FOUND if found.boxes else tables.NO_HAND)
    return {
        "experiment": "segmentation",
        "title": "Hand segmentation",
        "columns": COLUMNS,
        "rows": [results.row("HandSegNet", values, missing)],
        "curves": _histogram(masks),
        "notes": ["Box IoU and crops: of images in which a hand was found."],
    }


def _histogram(masks):
    """Share of images whose IoU is at least so much."""
    if not masks.counts:
        return []
    levels = np.linspace(0, 1, 51)
    shares = (masks.ious()[:, None] >= levels).mean(0)
    return [results.curve("images", levels, shares, kind="iou")]


def figures(result):
    """{name: Figure}: the share of images over the IoU."""
    if not result["curves"]:
        return {}
    return {
        "iou": plots.lines(result["curves"], "IoU", "share of images with at least that IoU", marker=None)
    }


def main(argv=None):
    return tables.run([sys.modules[__name__]], __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
