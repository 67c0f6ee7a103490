"""A statistical hand with the project's skeleton: what `experiments.baselines.fitting` fits to keypoints.

Learnt from poses in the canonical frame of a left hand (`hand3d.geometry.to_canonical`): the directions of
the 20 bones have a mean and principal components, the pose z; the logarithms of their lengths too, the shape
b.  Coefficients are in standard deviations, so that a standard normal is their prior.

    directions = unit(mean + z P),  lengths = exp(mean + b Q),  joints = sums along the chains

Lengths do not depend on the pose.  In place of MANO, whose licence does not fit this project.
"""

import dataclasses

import numpy as np

from hand3d import geometry
from hand3d.skeleton import BONES, NUM_KEYPOINTS, PARENTS, ROOT

POSE, SHAPE = 24, 6  # components


def _chains():
    """(21, 20) float32: bones on the way from the root to each keypoint."""
    bones = {child: number for number, (_, child) in enumerate(BONES)}
    chains = np.zeros((NUM_KEYPOINTS, len(BONES)), np.float32)
    for keypoint in range(NUM_KEYPOINTS):
        at = keypoint
        while at != ROOT:
            chains[keypoint, bones[at]], at = 1, PARENTS[at]
    return chains


CHAINS = _chains()


@dataclasses.dataclass(frozen=True)
class HandModel:
    """directions (60,), pose (Z, 60), lengths (20,), shape (B, 20): means and components; distance (2,): mean
    and deviation of the logarithm of the palm's distance from the camera in bone lengths.  All float32."""

    directions: np.ndarray
    pose: np.ndarray
    lengths: np.ndarray
    shape: np.ndarray
    distance: np.ndarray

    def joints(self, z, b):
        """z (P, Z), b (P, B) -> xyz_canonical (P, 21, 3) and its derivative (P, 21, 3, Z + B)."""
        raw = (self.directions + z @ self.pose).reshape(len(z), -1, 3)
        norm = np.linalg.norm(raw, axis=-1, keepdims=True)
        unit, length = raw / norm, np.exp(self.lengths + b @ self.shape)[..., None]
        bones = unit * length
        components = self.pose.reshape(len(self.pose), -1, 3)
        along = np.einsum("pjc,zjc->pjz", unit, components)
        turned = components.transpose(1, 2, 0) - unit[..., None] * along[:, :, None]
        by_pose = turned * (length / norm)[..., None]
        by_shape = bones[..., None] * self.shape.T[:, None]
        slopes = np.concatenate([by_pose, by_shape], -1).reshape(len(z), len(BONES), -1)
        return CHAINS @ bones, (CHAINS @ slopes).reshape(len(z), NUM_KEYPOINTS, 3, -1)


def learn(poses):
    """`HandModel` of poses as `interface.Training` has them."""
    xyz = np.asarray(geometry.to_canonical(poses["xyz_relative"], poses["side"])[0])
    parents, children = np.array(BONES).T
    bones = xyz[:, children] - xyz[:, parents]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    directions, pose = _principal((bones / length).reshape(len(xyz), -1), POSE)
    lengths, shape = _principal(np.log(length[..., 0]), SHAPE)
    distance = np.log(np.maximum(poses["root"][:, 2], 1))
    spread = np.array([distance.mean(), distance.std() + 1e-3], np.float32)
    return HandModel(directions, pose, lengths, shape, spread)


def _principal(rows, count):
    """Mean (D,) and the first components (count, D), each as long as its standard deviation."""
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    best = np.argsort(values)[::-1][:count]
    return mean.astype(np.float32), (np.sqrt(np.maximum(values[best], 1e-9)) * vectors[:, best]).T.astype(
        np.float32
    )
