"""Training examples out of a rendered sample, in NumPy: what `pipelines.hands` and `pipelines.inputs` do with
TensorFlow, for processes that have none.  Tests hold the two together.
"""

import numpy as np
from scipy import sparse

from hand3d.images import GREY
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SIDES
from pipelines.records import SOURCES
from pipelines.rules import HAND_IDS, palm_from_wrist, palm_visible

ZOOMS = (1.4, 4.0)  # side of a zoomed view by the hand's box


def cut_square(image, covers, cut, side):
    """A square part of an image, averaged where it shrinks; the picture of `hands.cut_square`.

    image: (H, W, 3) uint8.  covers: (H, W, C) bool.  cut: (3,) centre u, v and side in pixels.
    Returns (side, side, 3 + C) uint8; outside the image it is grey and the covers are 0.
    """
    height, width = image.shape[:2]
    layers = np.concatenate([image - np.float32(GREY), covers * np.float32(255)], -1)
    rows, columns = _sampler(cut[1], cut[2], side, height), _sampler(cut[0], cut[2], side, width)
    tall = (rows @ layers.reshape(height, -1)).reshape(side, width, -1)
    wide = columns @ np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(width, -1)
    picture = wide.reshape(side, side, -1).transpose(1, 0, 2)
    picture[..., :3] += GREY
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _sampler(centre, extent, side, size):
    """(side, size) sparse: means of two bilinear samples each, 0 outside the image."""
    at = centre + (np.arange(2 * side) + 0.5 - side) * (extent / (2 * side))
    low = np.floor(at)
    inside = (at >= 0) & (at <= size - 1)
    row, rest = np.arange(2 * side) // 2, at - low
    columns = np.clip(np.stack([low, low + 1]), 0, size - 1).astype(int)
    weights = 0.5 * np.stack([1 - rest, rest]) * inside
    entries = weights.ravel().astype(np.float32), (np.tile(row, 2), columns.ravel())
    return sparse.csr_matrix(entries, shape=(side, size))


def hand(sample, number):
    """Hand `number` (0 left, 1 right) of a rendered sample, root = palm: `hands.hand` without the image.

    Returns a dict: covers (H, W, 2) bool, person and this hand; uv (21, 2), xyz (21, 3) float32; visible,
    present, present_xyz (21,) bool; side, source int32; has_mask bool; K (3, 3); cut (3,) float32: centre and
    larger extent of its pixels in the mask, 0 if it has none.
    """
    part = slice(number * NUM_KEYPOINTS, (number + 1) * NUM_KEYPOINTS)
    low, high = HAND_IDS[number]
    mask = sample["mask"]
    mine = (mask >= low) & (mask <= high)
    visible = np.array(sample["visible"][part])
    visible[ROOT] = palm_visible(visible)
    return {
        "covers": np.stack([mask > 0, mine], -1),
        "uv": palm_from_wrist(sample["uv"][part]).astype(np.float32),
        "xyz": palm_from_wrist(sample["xyz"][part]).astype(np.float32),
        "visible": visible,
        "present": np.ones(NUM_KEYPOINTS, bool),
        "present_xyz": np.ones(NUM_KEYPOINTS, bool),
        "side": np.int32(number),
        "source": np.int32(SOURCES.index("render")),
        "has_mask": np.bool_(True),
        "cut": _extent(mine),
        "K": np.asarray(sample["K"], np.float32),
    }


def _extent(mine):
    columns, rows = np.flatnonzero(mine.any(0)), np.flatnonzero(mine.any(1))
    if not len(columns):
        return np.zeros(3, np.float32)
    (left, right), (top, bottom) = columns[[0, -1]], rows[[0, -1]]
    return np.array([(left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) + 1], np.float32)


def posenet_examples(sample, *, side, reach, min_visible, min_box):
    """The hands of a sample as examples for PoseNet, arguments and keys as of `inputs.posenet_batches`."""
    examples = []
    for number in range(len(SIDES)):
        example = hand(sample, number)
        if example["visible"].sum() < min_visible or example["cut"][2] < min_box:
            continue
        example["cut"] = example["cut"] * np.array([1, 1, reach], np.float32)
        cut = example["cut"]
        example["picture"] = cut_square(sample["image"], example.pop("covers"), cut, side)
        uv = (example["uv"] - cut[:2]) * (side / cut[2]) + (side - 1) / 2
        examples.append(example | {"uv": uv.astype(np.float32)})
    return examples


def handsegnet_examples(sample, rng, *, side, zooms, min_box):
    """The image and zoomed views as examples for HandSegNet, as of `inputs.handsegnet_batches`."""
    mask, (height, width) = sample["mask"], sample["mask"].shape
    cuts = [((width - 1) / 2, (height - 1) / 2, max(width, height))]
    for number in range(len(SIDES)) if zooms else ():
        low, high = HAND_IDS[number]
        u, v, extent = _extent((mask >= low) & (mask <= high))
        factor = ZOOMS[0] * (ZOOMS[1] / ZOOMS[0]) ** rng.random()
        move = (rng.random(2) - 0.5) * (factor - 1) * extent
        if extent >= min_box:
            cuts.append((u + move[0], v + move[1], factor * extent))
    covers = np.stack([mask > 0, mask >= HAND_IDS[0][0]], -1)
    return [{"picture": cut_square(sample["image"], covers, cut, side)} for cut in cuts]
