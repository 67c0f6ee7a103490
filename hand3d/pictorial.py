"""One skeleton out of the peaks of 21 score maps: pictorial structures on the tree of the hand.

`scoremaps.decode` takes the highest peak of every map by itself, as the paper does.  Where a map has several,
since two fingers look alike, that may join keypoints which no hand can join.  Here each keypoint has its few
highest peaks to choose from, and all choose together: the most probable choice, by dynamic programming over
the tree (Felzenszwalb and Huttenlocher, 2005), when bones longer than in most hands cost something.
"""

import keras
from keras import ops

from hand3d import scoremaps
from hand3d.highest import argmax
from hand3d.layers import Float32Layer
from hand3d.skeleton import CHAINS, FINGERS, JOINTS, NUM_KEYPOINTS, ROOT

register = keras.saving.register_keras_serializable("hand3d")

PEAKS = 4
# Length in the image that three of four rendered hands keep below, by the larger side of the box around all
# keypoints; per finger the bones that end at its tip, DIP, PIP and MCP.  `experiments.bone_reach` prints it.
REACH = {
    "thumb": (0.21, 0.25, 0.32, 0.23),
    "index": (0.21, 0.18, 0.34, 0.39),
    "middle": (0.21, 0.22, 0.39, 0.31),
    "ring": (0.20, 0.20, 0.36, 0.30),
    "little": (0.15, 0.13, 0.28, 0.33),
}
SOFTNESS = 0.2  # of the reach: one standard deviation beyond it
FLOOR = 3e-3  # probability of a keypoint anywhere, which keeps a missing peak from deciding alone


def peaks(maps, count):
    """The `count` highest local maxima (of 5 x 5 cells) of each map.

    maps: (B, h, w, 21) float32, at least 0.  Returns cells (B, 21, count) int, row * w + column; where a map
    has fewer, any cells follow.
    """
    _, height, width, keypoints = ops.shape(maps)
    around = scoremaps.WINDOW
    highest = ops.max_pool(maps, around, strides=1, padding="same", data_format="channels_last")
    alone = ops.transpose(ops.where(maps >= highest, maps, -1.0), (0, 3, 1, 2))
    return ops.top_k(ops.reshape(alone, (-1, keypoints, height * width)), count)[1]


def best_tree(uv, evidence, extent):
    """Which peaks belong to one hand.

    uv: (B, 21, K, 2) places, any unit.  evidence: (B, 21, K) logarithms of their probabilities.  extent: the
    hand's in the same unit.  Returns (B, 21) int, 0 to K - 1: the highest sum of evidence and bones.
    """
    joints = [[CHAINS[finger][joint] for finger in FINGERS] for joint in range(len(JOINTS))]
    reach = [[REACH[finger][joint] for finger in FINGERS] for joint in range(len(JOINTS))]
    total, chosen = None, []
    for joint, (members, longest) in enumerate(zip(joints, reach, strict=True)):  # from the tips to the bases
        last = joint + 1 == len(JOINTS)
        parents = [ROOT] * len(FINGERS) if last else joints[joint + 1]
        here, there = ops.take(uv, members, axis=1), ops.take(uv, parents, axis=1)
        own = ops.take(evidence, members, axis=1) + (0.0 if total is None else total)
        bone = _length(here[:, :, :, None] - there[:, :, None])  # (B, 5, K, K parents)
        limit = extent * ops.reshape(ops.convert_to_tensor(longest, "float32"), (1, -1, 1, 1))
        cost = ops.square(ops.maximum(bone - limit, 0.0) / (SOFTNESS * limit))
        sums = own[..., None] - 0.5 * cost
        chosen.append(argmax(sums, axis=2))
        total = ops.max(sums, axis=2)
    root = argmax(evidence[:, ROOT] + ops.sum(total, axis=1), axis=-1)[:, None]
    picked = [ops.repeat(root, len(FINGERS), axis=1)]
    for table in reversed(chosen):  # back from the root to the tips
        picked.insert(0, _take_last(table, picked[0]))
    fingers = ops.stack(picked[:-1], axis=2)  # (B, 5, 4), tip to base, as in the skeleton
    return ops.concatenate([root, ops.reshape(fingers, (-1, NUM_KEYPOINTS - 1))], axis=1)


def decode(maps, crop_size, extent, mode="linear", count=PEAKS):
    """Sub-pixel keypoints of one hand from score maps.

    maps, crop_size, mode: as in `scoremaps.decode`.  extent: of the hand in crop pixels, about.  count: peaks
    that a keypoint may choose from.  Returns uv_crop (B, 21, 2) crop pixels and confidence (B, 21) as there,
    and the same of all peaks: (B, 21, count, 2) and (B, 21, count).
    """
    maps = ops.cast(maps, "float32")
    cells = peaks(maps, count)
    maps = ops.transpose(maps, (0, 3, 1, 2))
    _, _, height, width = ops.shape(maps)
    uv_cells, window = scoremaps.look_around(maps, cells)
    uv = scoremaps.cells_to_pixels(uv_cells, (height, width), crop_size)
    most = ops.sum if mode == "probability" else ops.max
    mass = ops.clip(most(window, axis=(-1, -2)), 0.0, 1.0)
    choice = best_tree(uv, ops.log(mass + FLOOR), extent)
    confidence = _take_last(mass, choice)
    chosen = ops.stack([_take_last(uv[..., axis], choice) for axis in (0, 1)], axis=-1)
    return chosen, confidence, uv, mass


@register
class DecodeTree(Float32Layer):
    """Score maps (B, h, w, 21) -> (uv_crop (B, 21, 2), confidence (B, 21), peaks, masses), see `decode`."""

    OPTIONS = ("crop_size", "extent", "mode", "count")

    def __init__(self, crop_size, extent, mode="linear", count=PEAKS, **kwargs):
        super().__init__(crop_size=crop_size, extent=extent, mode=mode, count=count, **kwargs)

    def call(self, maps):
        return decode(maps, self.crop_size, self.extent, self.mode, self.count)


def _length(offset):
    return ops.sqrt(ops.sum(ops.square(offset), axis=-1) + 1e-12)


def _take_last(values, index):
    """values (B, F, K), index (B, F) -> (B, F)."""
    return ops.squeeze(ops.take_along_axis(values, index[..., None], axis=-1), axis=-1)
