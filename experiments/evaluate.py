"""Scores of a weight set on the evaluation split of rendered records (paper section 5; PAPER.md 5.1).

    python -m experiments.evaluate --data RECORDS --weights lite [--limit 200] [--out scores.json]

The parts, their keys as in `hand3d.metrics`; pixels are those of a picture of 320 a side:
- handsegnet: the mask of both hands, at the size that the network sees;
- posenet_gt_crop: crops around the true pixels of each hand, otherwise as `hand3d.graph` cuts them, of hands
  that are 30 pixels or more in size and show 9 keypoints or more; 2D errors of visible keypoints.
  lifting_gt_crop: where these are lifted to 3D;
- lifting_exact_2d: 3D by the lifting networks from the true 2D keypoints of hands that show 9 or more;
  fit_exact_2d: the same after the hand model, where the set has one;
- whole_chain: image to hand as a user gets it, against the labelled hand that the found mask overlaps most.
  Errors are those of the hands found; in the areas under curves a missing hand counts as wrong.
In 3D, root and scale are the true ones, as in the paper.
"""

import argparse
import json
import os
import sys

import keras
import numpy as np

from experiments.lifting_runs import hand_fit, lifter_of
from experiments.measure import BATCH, collect, from_true_regions  # noqa: F401 (others take it from here)
from experiments.truth import MIN_VISIBLE, Errors, Truth, errors_mm  # noqa: F401 (the same)
from hand3d import manifest, metrics
from hand3d.files import write_atomic
from hand3d.networks.hand_fit import fit_keypoints
from hand3d.skeleton import SIDES
from hand3d.tracing import traced
from hand3d.views import Views

SHOWN = {
    "handsegnet": ("images", "iou", "iou_pooled"),
    "posenet_gt_crop": ("hands", "epe_px", "epe_median_px", "auc_0_30px", "side_right"),
    "lifting_gt_crop": ("hands", "epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    "lifting_exact_2d": ("hands", "epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    "fit_exact_2d": ("hands", "epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    "whole_chain": (
        *("images", "hands_found", "side_right", "epe_px", "epe_median_px", "auc_0_30px"),
        *("epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    ),
}


def evaluate_images(weight_set, directory, limit=None):
    """All parts that need pictures: dict part -> dict of scores."""
    found = collect(weight_set, directory, "evaluation", limit=limit)
    ious, crop, whole = found.masks.ious(), found.crop, found.chain
    return {
        "handsegnet": {
            "images": len(ious),
            "iou": float(np.mean(ious)) if len(ious) else float("nan"),
            "iou_pooled": found.masks.iou_pooled(),
        },
        "posenet_gt_crop": {"hands": len(crop.px)} | crop.summary_2d(),
        "lifting_gt_crop": {"hands": len(crop.px)} | crop.summary_3d(),
        "whole_chain": {"images": len(whole.px)} | whole.summary_2d() | whole.summary_3d(),
    }


def evaluate_lifting(weight_set, directory, limit=None):
    """3D from the true 2D keypoints: dict part -> dict of scores."""
    from pipelines.inputs import load_poses

    try:
        poses = load_poses(directory, "evaluation")
    except ValueError:  # labels in 2D only
        return {"lifting_exact_2d": {"hands": 0}}
    in_view = np.flatnonzero(poses["visible"].sum(-1) >= MIN_VISIBLE)[:limit]
    poses = {key: value[in_view] for key, value in poses.items()}
    lifter, fit = lifter_of(weight_set), hand_fit(weight_set)
    lift = traced(lifter)
    crop_size = fit.get_layer("hand_model").crop_size if fit else 256
    views = Views(map_size=lifter.inputs[0].shape[1], crop_size=crop_size)
    parts = {"lifting_exact_2d": []} | ({"fit_exact_2d": []} if fit else {})
    for start in range(0, len(poses["side"]), 8 * BATCH):
        part = {key: value[start : start + 8 * BATCH] for key, value in poses.items()}
        seen = {
            key: _numpy(value) for key, value in views(part["xyz"], part["side"], part["visible"]).items()
        }
        maps = seen["score_maps"]
        one_hot = np.eye(len(SIDES), dtype=np.float32)[part["side"]]
        xyz = lift(maps, one_hot)
        parts["lifting_exact_2d"].append(_numpy(xyz))
        if fit:
            fitted = fit_keypoints(fit, seen["uv_crop"], seen["confidence"], xyz, one_hot)[1]
            parts["fit_exact_2d"].append(_numpy(fitted))
    scores = {}
    for name, found in parts.items():
        errors = errors_mm(np.concatenate(found), 1000 * poses["xyz"])
        scores[name] = {"hands": len(errors)} | metrics.summary_3d(errors, "root_scale")
    return scores


def evaluate(weights, directory, limit=None):
    """Scores of a weight set, by name or folder: a dict that JSON can hold, None for what has no value."""
    weight_set = manifest.find(weights)
    parts = evaluate_images(weight_set, directory, limit)
    parts |= evaluate_lifting(weight_set, directory, limit)
    for part in parts.values():
        part |= {key: round(value, 5) if np.isfinite(value) else None for key, value in part.items()}
    data = os.path.basename(os.path.abspath(directory))  # the scores go into a manifest: no paths in it
    return {"weights": weight_set.name, "data": data, "split": "evaluation"} | parts


def table(scores):
    """The most telling scores as text, one line a part."""
    lines = []
    for part, keys in SHOWN.items():
        if part not in scores:
            continue
        found = {key: scores[part].get(key) for key in keys}
        values = (f"{key} {value:.4g}" for key, value in found.items() if value is not None)
        lines.append(f"{part:17s} " + "  ".join(values))
    return "\n".join(lines)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of records with an evaluation split")
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--limit", type=int, help="images, and hands for the lifting networks")
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args(argv)
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    try:
        scores = evaluate(arguments.weights, arguments.data, arguments.limit)
        print(table(scores))  # first: it took minutes, and the file may not be writable
        if arguments.out:
            write_atomic(arguments.out, (json.dumps(scores, indent=1) + "\n").encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
