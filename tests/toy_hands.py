"""Poses of a stick hand, made without the renderer, for tests of what learns from poses."""

import numpy as np
from scipy.spatial.transform import Rotation

from hand3d.skeleton import CHAINS, NUM_KEYPOINTS

LENGTHS = (1.3, 1.0, 0.75, 0.6)  # palm bone, then base to tip, in lengths of the scale bone


def toy_poses(count, seed=0, tilt=0.7):
    """Left and right hands with fingers bent at random: dict of xyz_relative, root and side.

    tilt: radians, deviation of the view from that onto the palm.
    """
    rng = np.random.default_rng(seed)
    xyz = np.zeros((count, NUM_KEYPOINTS, 3))
    shape = np.exp(rng.normal(0, 0.05, (count, 4)))
    for finger, chain in enumerate(CHAINS.values()):
        spread = (finger - 2) * 0.35 + (-0.5 if finger == 0 else 0) + rng.normal(0, 0.05, count)
        bend, at = np.zeros(count), np.zeros((count, 3))
        for level, keypoint in enumerate(chain[::-1]):
            bend = bend + (rng.uniform(0, 1.2, count) if level else 0)
            flat = np.cos(bend)
            direction = np.stack([np.sin(spread) * flat, -np.cos(spread) * flat, -np.sin(bend)], -1)
            at = at + direction * (LENGTHS[level] * shape[:, level])[:, None]
            xyz[:, keypoint] = at
    scale = np.linalg.norm(xyz[:, 11] - xyz[:, 12], axis=-1)
    xyz = Rotation.from_rotvec(rng.normal(0, tilt, (count, 3))).as_matrix() @ xyz.transpose(0, 2, 1)
    side = rng.integers(0, 2, count).astype(np.int32)
    mirror = np.where(side == 1, -1, 1)[:, None, None] ** np.array([1, 0, 0])
    root = np.stack([rng.normal(0, 1, count), rng.normal(0, 1, count), rng.uniform(9, 16, count)], -1)
    xyz = xyz.transpose(0, 2, 1) / scale[:, None, None] * mirror
    return {"xyz_relative": xyz.astype(np.float32), "root": root.astype(np.float32), "side": side}


def toy_views(poses, size=128):
    """Keypoints (N, 21, 2) of poses in crops of `size` pixels around them."""
    xyz = poses["xyz_relative"] + poses["root"][:, None]
    uv = xyz[..., :2] / xyz[..., 2:]
    low, high = uv.min(1), uv.max(1)
    factor = size / (1.45 * (high - low).max(-1))
    uv = (uv - ((low + high) / 2)[:, None]) * factor[:, None, None] + (size - 1) / 2
    return uv.astype(np.float32)
