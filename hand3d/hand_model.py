"""A statistical hand with the project's skeleton, seen by a camera, and the derivatives of what is seen.

The directions of the 20 bones, in the canonical frame of a left hand (`hand3d.geometry.to_canonical`), have a
mean and principal components, the pose z; the logarithms of their lengths too, the shape b.  Coefficients are
in standard deviations, so that a standard normal is their prior.

    directions = unit(mean + z P),  lengths = exp(mean + b Q),  joints = sums along the chains

Lengths do not depend on the pose.  `experiments.hand_model` learns it from our own poses; it stands in place
of MANO (Romero et al., 2017), whose licence does not fit this project.

A hand in view has 7 + Z + B variables: three turns about the camera's axes, u and v of the root, logarithms
of the scale (of a scale bone, in the unit of u and v) and of the root's distance (in scale bones), z and b.
The turns are those on top of an orientation (P, 3, 3), xyz_relative = xyz_canonical @ orientation.
"""

import dataclasses

import numpy as np
from keras import ops

from hand3d.geometry import EPSILON, axis_angle_to_matrix
from hand3d.skeleton import BONES, NUM_KEYPOINTS, PARENTS, ROOT

TURN, PLACE = 3, 4  # variables: turns; u, v, log scale, log distance
FIRST = TURN + PLACE  # of z
_PARENTS, _CHILDREN = (list(ends) for ends in zip(*BONES, strict=True))
# xyz (..., 3) @ TURNS -> (..., 9): row-major (axes of xyz, axes of the turn), the derivative by small turns
_TURNS = np.zeros((3, 3, 3), np.float32)
for _one, _two, _three in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _TURNS[_one, _two, _three], _TURNS[_one, _three, _two] = 1, -1
_TURNS = _TURNS.reshape(3, 9)


def _chains():
    """(21, 20) float32: bones on the way from the root to each keypoint."""
    bones = {child: number for number, (_, child) in enumerate(BONES)}
    chains = np.zeros((NUM_KEYPOINTS, len(BONES)), np.float32)
    for keypoint in range(NUM_KEYPOINTS):
        at = keypoint
        while at != ROOT:
            chains[keypoint, bones[at]], at = 1, PARENTS[at]
    return chains


_CHAINS = _chains()


@dataclasses.dataclass(frozen=True)
class HandModel:
    """directions (60,), pose (Z, 60), lengths (20,), shape (B, 20): means and components; distance (2,): mean
    and deviation of the logarithm of the root's distance in scale bones.  float32 arrays or tensors."""

    directions: object
    pose: object
    lengths: object
    shape: object
    distance: object


def joints(model, z, b):
    """The skeleton and its derivative.

    z: (P, Z), b: (P, B), in standard deviations.  Returns xyz_canonical (P, 21, 3), root at the origin, in
    scale bones, and its derivative by z and b (P, 21, 3, Z + B).
    """
    count = model.pose.shape[0]
    raw = ops.reshape(model.directions + ops.matmul(z, model.pose), (-1, len(BONES), 3))
    norm = ops.sqrt(ops.sum(ops.square(raw), axis=-1, keepdims=True) + EPSILON)
    unit = raw / norm
    length = ops.exp(model.lengths + ops.matmul(b, model.shape))[..., None]
    bones = unit * length
    components = ops.transpose(ops.reshape(model.pose, (count, len(BONES), 3)), (1, 2, 0))
    along = ops.sum(unit[..., None] * components, axis=2, keepdims=True)
    by_pose = (components - unit[..., None] * along) * (length / norm)[..., None]
    by_shape = bones[..., None] * ops.transpose(model.shape)[:, None]
    slopes = ops.concatenate([by_pose, by_shape], axis=-1)  # (P, 20, 3, Z + B)
    variables = slopes.shape[-1]
    flat = ops.matmul(_CHAINS, ops.reshape(slopes, (-1, len(BONES), 3 * variables)))
    return ops.matmul(_CHAINS, bones), ops.reshape(flat, (-1, NUM_KEYPOINTS, 3, variables))


def project(model, orientation, rest):
    """Keypoints in the image and their derivatives.

    orientation: (P, 3, 3).  rest: (P, 4 + Z + B): u, v, log scale, log distance, z, b.
    Returns uv (P, 21, 2), slopes (P, 21, 2, 7 + Z + B) by all variables, xyz_relative (P, 21, 3).
    """
    last = PLACE + model.pose.shape[0]
    canonical, slopes = joints(model, rest[:, PLACE:last], rest[:, last:])
    xyz = ops.matmul(canonical, orientation)
    slopes = ops.matmul(ops.transpose(orientation, (0, 2, 1))[:, None], slopes)
    turns = ops.reshape(ops.matmul(xyz, _TURNS), (-1, NUM_KEYPOINTS, 3, TURN))
    scale, distance = (ops.exp(rest[:, k])[:, None, None] for k in (2, 3))
    depth = 1.0 + xyz[..., 2:] / distance  # relative to the root's
    flat = scale * xyz[..., :2] / depth
    move = (scale / depth)[..., None]
    sink = (flat / (depth * distance))[..., None]
    by_turns, by_rest = (move * part[:, :, :2] - sink * part[:, :, 2:] for part in (turns, slopes))
    shift = ops.zeros_like(by_turns[..., :2]) + np.eye(2, dtype=np.float32)
    away = (flat * (depth - 1.0) / depth)[..., None]
    seen = ops.concatenate([by_turns, shift, flat[..., None], away, by_rest], axis=-1)
    return flat + rest[:, None, :2], seen, xyz


def turned(orientation, turns):
    """Orientations (P, 3, 3) after turns (P, 3) about the camera's axes, in radians."""
    return ops.matmul(orientation, ops.transpose(axis_angle_to_matrix(turns), (0, 2, 1)))


def coefficients(model, xyz_canonical):
    """The z (P, Z) and b (P, B) that come nearest to the bones of skeletons (P, 21, 3), in scale bones."""
    bones = ops.take(xyz_canonical, _CHILDREN, axis=1) - ops.take(xyz_canonical, _PARENTS, axis=1)
    length = ops.sqrt(ops.sum(ops.square(bones), axis=-1, keepdims=True) + EPSILON)
    directions = ops.reshape(bones / length, (-1, 3 * len(BONES)))
    directions, lengths = directions - model.directions, ops.log(length[..., 0]) - model.lengths
    return _onto(directions, model.pose), _onto(lengths, model.shape)


def _onto(rows, components):
    """Coefficients (P, C) of rows (P, D) for components (C, D) that are orthogonal."""
    return ops.matmul(rows, ops.transpose(components / ops.sum(ops.square(components), axis=1)[:, None]))
