"""Nearest neighbour lifting: the 3D pose of the known hand whose 2D keypoints look most alike.

The row NN of Table 2, in the manner of Chen and Ramanan (CVPR 2017; PAPER.md 6.3).  A hand is described by
its 2D keypoints, root at the origin, of unit spread, right hands mirrored.  The search is exact: the squared
distances are a matrix product, block by block.
"""

import numpy as np

from hand3d.skeleton import ROOT, SIDES

BLOCK_QUERIES, BLOCK_BANK = 512, 512  # their distances stay in the cache: 1 MiB
RIGHT = SIDES.index("right")


def descriptors(uv, side):
    """uv (N, 21, 2), any unit; side (N,) index -> (N, 42) float32."""
    uv = np.array(uv, np.float32)
    uv -= uv[:, ROOT : ROOT + 1]
    uv[..., 0] *= np.where(np.asarray(side) == RIGHT, -1, 1)[:, None]
    flat = uv.reshape(len(uv), -1)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)


def nearest(queries, bank, weight=None):
    """Index of the row of `bank` (M, D) nearest to each row of `queries` (N, D): (N,) int64, exact.

    weight: (N, D) of the squared differences, such as the keypoints' visibility; all 1 by default.
    """
    # argmin |b|^2 - 2 b q, with the weights b^2 w - 2 b (q w): one product with a longer row
    queries, bank = np.asarray(queries, np.float32), np.asarray(bank, np.float32)
    if weight is None:
        left = np.concatenate([-2 * queries, np.ones((len(queries), 1), np.float32)], 1)
        right = np.concatenate([bank, (bank * bank).sum(1, keepdims=True)], 1)
    else:
        left = np.concatenate([-2 * queries * weight, np.asarray(weight, np.float32)], 1)
        right = np.concatenate([bank, bank * bank], 1)
    blocks = [np.ascontiguousarray(right[k : k + BLOCK_BANK].T) for k in range(0, len(right), BLOCK_BANK)]
    found = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), BLOCK_QUERIES):
        part = left[start : start + BLOCK_QUERIES]
        least = np.full(len(part), np.inf, np.float32)
        rows = np.arange(len(part))
        for number, block in enumerate(blocks):
            costs = part @ block
            index = costs.argmin(1)
            better = costs[rows, index] < least
            least = np.where(better, costs[rows, index], least)
            found[start : start + len(part)][better] = number * BLOCK_BANK + index[better]
    return found


class Bank:
    """Known hands to be looked up.

    Args:
        uv: (M, 21, 2) keypoints in the image or a crop.
        xyz_relative: (M, 21, 3), root at the origin, in units of the scale bone, camera axes.
        side: (M,) index.
    """

    def __init__(self, uv, xyz_relative, side):
        self.descriptors = descriptors(uv, side)
        self.xyz_left = _mirrored(xyz_relative, side)

    def __len__(self):
        return len(self.descriptors)

    def lift(self, uv, side):
        """uv (N, 21, 2), side (N,) -> xyz_relative (N, 21, 3): that of the nearest known hand."""
        found = nearest(descriptors(uv, side), self.descriptors)
        return _mirrored(self.xyz_left[found], side)


def _mirrored(xyz, side):
    """Right hands to left ones, or back: x negated.  (N, 21, 3), (N,) -> (N, 21, 3) float32."""
    sign = np.where(np.asarray(side) == RIGHT, -1, 1).astype(np.float32)
    return np.asarray(xyz, np.float32) * np.stack([sign, np.ones_like(sign), np.ones_like(sign)], -1)[:, None]
