"""Scores of a weight set on the evaluation split of rendered records (paper section 5; PAPER.md 5.1).

    python -m experiments.evaluate --data RECORDS --weights lite [--limit 200] [--out scores.json]

Four parts, the keys as in `hand3d.metrics`; pixels are those of a picture of 320 a side:
- handsegnet: the mask of both hands, at the size that the network sees;
- posenet_gt_crop: crops around the true pixels of each hand, otherwise as `hand3d.graph` cuts them, of hands
  that are 30 pixels or more in size and show 9 keypoints or more; 2D errors of visible keypoints.
  lifting_gt_crop: where these are lifted to 3D;
- lifting_exact_2d: 3D from the true 2D keypoints of every labelled hand;
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

from hand3d import crops, geometry, manifest, metrics
from hand3d.estimator import HandPoseEstimator
from hand3d.files import write_atomic
from hand3d.graph import full_graph
from hand3d.set_options import set_options
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SIDES
from hand3d.tracing import traced
from hand3d.views import Views

FRAME = 320  # pixels: the picture that 2D errors are given for
MIN_VISIBLE, MIN_BOX = 9, 30  # keypoints and pixels of a hand that counts
MIN_LABELS = 3
BATCH = 16
SHOWN = {
    "handsegnet": ("images", "iou", "iou_pooled"),
    "posenet_gt_crop": ("hands", "epe_px", "epe_median_px", "auc_0_30px", "side_right"),
    "lifting_gt_crop": ("hands", "epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    "lifting_exact_2d": ("hands", "epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    "whole_chain": (
        *("images", "hands_found", "side_right", "epe_px", "epe_median_px", "auc_0_30px"),
        *("epe_mm/root_scale", "epe_median_mm/root_scale", "auc_20_50mm/root_scale"),
    ),
}


class Truth:
    """Labels of a batch of samples; B images, 2 hands each, the left one first.

    uv (B, 2, 21, 2), xyz_mm (B, 2, 21, 3), visible (B, 2, 21): root = palm.  pixels (B, 2, H, W) bool: the
    visible pixels of each hand, or the rectangle around its keypoints in samples without a mask.
    counts (B, 2) bool: large enough and in view.  has_mask (B,) bool.  in_3d (B, 2) bool: all keypoints are
    known in 3D.
    """

    def __init__(self, batch):
        from pipelines.records import HAND_IDS, MASK_KINDS, ROOTS
        from pipelines.rules import palm_present

        hands = (-1, len(SIDES), NUM_KEYPOINTS)
        uv, xyz = batch["uv"].reshape(*hands, 2), batch["xyz"].reshape(*hands, 3)
        visible, present = (batch[key].reshape(hands) for key in ("visible", "present"))
        palm = (batch["root"] == ROOTS.index("palm"))[:, None, None]
        self.uv = np.where(palm[..., None], uv, _numpy(geometry.wrist_to_palm(uv)))
        self.xyz_mm = 1000 * np.where(palm[..., None], xyz, _numpy(geometry.wrist_to_palm(xyz)))
        seen = _numpy(geometry.palm_visible(visible)).copy()
        seen[..., ROOT] &= palm_present(present)
        self.visible = np.where(palm, visible, seen)
        self.has_mask = batch["mask_kind"] > MASK_KINDS.index("none")
        self.in_3d = batch["present_xyz"].reshape(hands).all(-1)
        ids = batch["mask"][..., 0]
        masks = np.stack([(ids >= low) & (ids <= high) for low, high in HAND_IDS], 1)
        around = _around(uv, present, ids.shape[1:])
        self.pixels = np.where(self.has_mask[:, None, None, None], masks, around)
        self.box = np.maximum(_extent(self.pixels.any(2)), _extent(self.pixels.any(3)))
        labelled = present.sum(-1)  # of hands with a few labels all have to be visible
        enough = (labelled >= MIN_LABELS) & (self.visible.sum(-1) >= np.minimum(MIN_VISIBLE, labelled))
        self.counts = enough & (self.box >= MIN_BOX)


class Errors:
    """Collects predictions of hands and their labels."""

    def __init__(self):
        self.px, self.xyz, self.truth_mm, self.visible, self.found, self.side = [], [], [], [], [], []
        self.in_3d = []

    def add(self, truth, image, hand, uv=None, xyz=None, side=None):
        """One hand (image, hand) of a `Truth`; uv (21, 2), xyz (21, 3) and side index, or None if missing."""
        self.found.append(uv is not None)
        if uv is None:
            uv, xyz, side = np.full((NUM_KEYPOINTS, 2), np.inf), np.zeros((NUM_KEYPOINTS, 3)), -1
        zoom = FRAME / max(truth.pixels.shape[2:])
        self.px.append(zoom * np.linalg.norm(uv - truth.uv[image, hand], axis=-1))
        self.xyz.append(xyz)
        self.truth_mm.append(truth.xyz_mm[image, hand])
        self.visible.append(truth.visible[image, hand])
        self.in_3d.append(truth.in_3d[image, hand])
        self.side.append(side == hand)

    def summary_2d(self):
        if not self.px:
            return {}
        found = np.array(self.found)
        right = float(np.mean(np.array(self.side)[found])) if found.any() else float("nan")
        return metrics.summary_2d(np.array(self.px), np.array(self.visible)) | {"side_right": right}

    def summary_3d(self):
        if not self.px:
            return {}
        errors = errors_mm(np.array(self.xyz), np.array(self.truth_mm), np.array(self.found))
        counted = np.array(self.visible) & np.array(self.in_3d)[:, None]
        return metrics.summary_3d(errors, "root_scale", counted)


def errors_mm(xyz_relative, truth_mm, found=None):
    """Errors (N, 21) with the true root and scale; xyz_relative (N, 21, 3) is in units of the scale bone."""
    return metrics.keypoint_errors(metrics.align(xyz_relative, truth_mm, "root_scale"), truth_mm, found)


def from_true_regions(weight_set):
    """The graph behind the mask, for regions that are given: regions, images, sides -> dict of outputs."""
    networks = manifest.load(weight_set)
    options = set_options(weight_set).graph | {"candidates": 1}  # nothing to choose from
    model = full_graph(**{role: networks[role] for role in manifest.ROLES}, **options)
    outputs = {name: model.output[name] for name in ("keypoints_uv", "side", "keypoints_xyz")}
    return traced(keras.Model([model.get_layer("regions").output, *model.inputs], outputs))


def evaluate_images(weight_set, directory, limit=None):
    """All parts that need pictures: dict part -> dict of scores."""
    from pipelines.records import decode_pictures, read_records

    estimator = HandPoseEstimator(weight_set)
    model, from_region = estimator.model, from_true_regions(weight_set)
    size = model.get_layer("mask").size
    segment = traced(keras.Model([model.inputs[0]], model.get_layer("mask").output))

    ious, both, either, done = [], 0, 0, 0
    crop, whole = Errors(), Errors()
    data = read_records(directory, "evaluation").map(decode_pictures)
    data = data.take(limit) if limit else data
    for batch in data.batch(BATCH).as_numpy_iterator():
        images, truth = batch["image"], Truth(batch)
        # --- mask
        found = segment(images) > 0.5
        hand, found = _shrink(truth.pixels.any(1), size)[truth.has_mask], found[truth.has_mask]
        both, either = both + (found & hand).sum(), either + (found | hand).sum()
        ious += [metrics.mask_iou(*pair) for pair in zip(found[:, None], hand[:, None], strict=True)]
        # --- true crops
        numbers, hands = np.nonzero(truth.counts)
        if len(numbers):
            pixels = _shrink(truth.pixels[numbers, hands], size)
            unknown = np.zeros((len(numbers), len(SIDES)))
            result = from_region(pixels, images[numbers], unknown)
            sides = result["side"].argmax(-1)
            for k, place in enumerate(zip(numbers, hands, strict=True)):
                crop.add(truth, *place, result["keypoints_uv"][k], result["keypoints_xyz"][k], sides[k])
        # --- whole chain
        for number, prediction in enumerate(estimator.predict(list(images))):
            if truth.counts[number].any():
                _add_prediction(whole, truth, number, prediction)
        done += len(images)
        print(f"{done} images", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        "handsegnet": {
            "images": len(ious),
            "iou": float(np.mean(ious)) if ious else float("nan"),
            "iou_pooled": float(both / max(either, 1)),
        },
        "posenet_gt_crop": {"hands": len(crop.px)} | crop.summary_2d(),
        "lifting_gt_crop": {"hands": len(crop.px)} | crop.summary_3d(),
        "whole_chain": {"images": len(whole.px)} | whole.summary_2d() | whole.summary_3d(),
    }


def _add_prediction(errors, truth, number, prediction):
    """The best hand of an image, against the labelled one that it overlaps most."""
    pixels = truth.pixels[number]
    overlap = (pixels & _enlarge(prediction.mask > 0.5, pixels.shape[1:])).sum((1, 2))
    if not prediction.hands or not overlap.any():
        errors.add(truth, number, int(np.argmax(truth.box[number] * truth.counts[number])))
        return
    hand = prediction.hands[0]
    place = number, int(overlap.argmax())
    errors.add(truth, *place, hand.keypoints_uv, hand.keypoints_xyz, SIDES.index(hand.side))


def evaluate_lifting(networks, directory, limit=None):
    """3D from the true 2D keypoints: dict of scores."""
    from pipelines.inputs import load_poses

    try:
        poses = {key: value[:limit] for key, value in load_poses(directory, "evaluation").items()}
    except ValueError:  # labels in 2D only
        return {"hands": 0}
    poseprior, viewpoint = traced(networks["poseprior"]), traced(networks["viewpoint"])
    views, xyz = Views(map_size=networks["poseprior"].inputs[0].shape[1]), []
    for start in range(0, len(poses["side"]), 8 * BATCH):
        part = {key: value[start : start + 8 * BATCH] for key, value in poses.items()}
        maps = _numpy(views(part["xyz"], part["side"], part["visible"])["score_maps"])
        one_hot = np.eye(len(SIDES), dtype=np.float32)[part["side"]]
        canonical, rotation = poseprior(maps, one_hot), viewpoint(maps, one_hot)
        xyz.append(_numpy(geometry.from_canonical(canonical, rotation, one_hot)))
    errors = errors_mm(np.concatenate(xyz), 1000 * poses["xyz"])
    return {"hands": len(errors)} | metrics.summary_3d(errors, "root_scale")


def evaluate(weights, directory, limit=None):
    """Scores of a weight set, by name or folder: a dict that JSON can hold, None for what has no value."""
    weight_set = manifest.find(weights)
    parts = evaluate_images(weight_set, directory, limit)
    parts["lifting_exact_2d"] = evaluate_lifting(manifest.load(weight_set), directory, limit)
    for part in parts.values():
        part |= {key: round(value, 5) if np.isfinite(value) else None for key, value in part.items()}
    data = os.path.basename(os.path.abspath(directory))  # the scores go into a manifest: no paths in it
    return {"weights": weight_set.name, "data": data, "split": "evaluation"} | parts


def table(scores):
    """The most telling scores as text, one line a part."""
    lines = []
    for part, keys in SHOWN.items():
        found = {key: scores[part].get(key) for key in keys}
        values = (f"{key} {value:.4g}" for key, value in found.items() if value is not None)
        lines.append(f"{part:17s} " + "  ".join(values))
    return "\n".join(lines)


def _extent(line):
    """(..., L) bool -> (...,) int: from the first to the last True, 0 without any."""
    last = line.shape[-1] - line[..., ::-1].argmax(-1)
    return np.where(line.any(-1), last - line.argmax(-1), 0)


def _around(uv, present, size):
    """(B, 2, 21, 2), (B, 2, 21) -> (B, 2, H, W) bool: the rectangles around the labelled keypoints."""
    inside = True
    for axis, length in ((1, size[0]), (0, size[1])):
        low = np.where(present, uv[..., axis], np.inf).min(-1)[..., None]
        high = np.where(present, uv[..., axis], -np.inf).max(-1)[..., None]
        line = (np.arange(length) >= low) & (np.arange(length) <= high)
        inside = inside & (line[..., None] if axis else line[..., None, :])
    return inside


def _shrink(masks, size):
    """(B, H, W) bool -> (B, *size) bool: more than half of the pixel's area."""
    return _numpy(crops.resize(masks[..., None].astype(np.float32), tuple(size)))[..., 0] > 0.5


def _enlarge(mask, size):
    """(h, w) -> (*size), the nearest pixels."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[rows][:, columns]


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
