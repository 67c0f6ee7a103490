"""The lifting networks' hand, moved until it agrees with the keypoints that PoseNet saw.

PosePrior and ViewpointNet answer at one glance; nothing makes their hand project onto the keypoints it was
made of.  Here a hand model (`hand3d.hand_model`) starts as their hand and minimises, as SMPLify does for
bodies (Bogo et al., ECCV 2016),

    sum_j w_j rho(projection_j - keypoint_j) / noise^2 + |z - z_0|^2 / s_z^2 + |turn|^2 / s_t^2
        + |b|^2 / s_b^2 + prior of the distance

with rho Geman and McClure's robust error, w_j PoseNet's confidence, and z_0 the pose of the networks, which
takes the place of SMPLify's mean pose: what the picture does not tell stays as they said.  A few steps of
Gauss and Newton with reweighted residuals; the normal equations are solved by conjugate gradients, which need
nothing that a runtime for exported models lacks.  After some steps each keypoint chooses among the peaks of
its score map once more, now that a hand says where it should be.  What the parts of this are worth, and the
constants: experiments/LOG.md.
"""

import numpy as np
from keras import ops

from hand3d import geometry
from hand3d.hand_model import PLACE, TURN, coefficients, project, turned
from hand3d.highest import argmax
from hand3d.pictorial import FLOOR
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SCALE_BONE

ITERATIONS, CHOICE = 5, 3  # steps, and how many of them go before the peaks are chosen anew
SOLVER_STEPS = 6  # of conjugate gradients
NOISE, REACH = 3.0 / 128, 20.0 / 128  # of the crop: keypoints' noise, and where errors stop to count
POSE_SPREAD, SHAPE_SPREAD = 0.7, 0.7  # standard deviations of the model
TURN_SPREAD = 0.3  # radians
LARGEST_POSE = 2.5  # of z_0, standard deviations
DAMPING = 0.1  # of the diagonal: Levenberg's
LARGEST_STEP, LARGEST_ZOOM = 1.0, 0.5  # of a variable; of the logarithms of scale and distance
NEAR = 10.0 / 128  # of the crop: the same for the choice of a peak
SHARE = 0.5  # of the model in the keypoints that come out; the rest is PoseNet's


def diagonal(matrix):
    """(P, N, N) -> (P, N), by what every runtime can do."""
    return ops.sum(matrix * _eye(matrix.shape[-1]), axis=-1)


def _eye(size):
    return np.eye(size, dtype=np.float32)  # a constant: not every runtime has the operation


def conjugate_gradients(matrix, right, steps):
    """About the x with matrix @ x = right: matrix (P, N, N) positive definite, right (P, N) -> (P, N).

    Preconditioned by the diagonal; exact after N steps, and after a few where the eigenvalues are close.
    """
    inverse = 1.0 / diagonal(matrix)
    x, residual = ops.zeros_like(right), right
    direction = inverse * residual
    size = ops.sum(residual * direction, axis=-1, keepdims=True)
    for step in range(steps):
        image = ops.matmul(matrix, direction[..., None])[..., 0]
        length = size / (ops.sum(direction * image, axis=-1, keepdims=True) + geometry.EPSILON)
        x = x + length * direction
        if step + 1 == steps:
            break
        residual = residual - length * image
        ahead = inverse * residual
        before, size = size, ops.sum(residual * ahead, axis=-1, keepdims=True)
        direction = ahead + size / (before + geometry.EPSILON) * direction
    return x


def fit(model, uv, confidence, peaks, masses, xyz_relative, side, iterations=ITERATIONS):
    """The hand near `xyz_relative` that agrees best with keypoints in the image.

    Args:
        model: `hand_model.HandModel`.
        uv: (P, 21, 2) float32 keypoints, in units of the crop's side.
        confidence: (P, 21) in 0..1, how much each keypoint counts.
        peaks: (P, 21, K, 2) places that a keypoint may have, in the same unit.
        masses: (P, 21, K) in 0..1, their confidences.
        xyz_relative: (P, 21, 3) the networks' hand, camera axes, any unit.
        side: (P, 2) one-hot, left and right.
        iterations: int.

    Returns:
        uv (P, 21, 2), the peaks that were chosen last; seen (P, 21, 2), the fitted hand's keypoints; and its
        xyz_relative (P, 21, 3): root at the origin, scale bone 1.
    """
    orientation, rest = start(model, uv, confidence, xyz_relative, side)
    priors, wanted, limits = _priors(model, rest), _wanted(model, rest), _limits(model, rest)
    turns = ops.zeros_like(rest[:, :TURN])  # their sum stands for the turn from the start: it is small
    for iteration in range(iterations):
        seen, slopes, _ = project(model, orientation, rest)
        if iteration == CHOICE:
            uv, confidence = choose(peaks, masses, seen)
        hessian, gradient = _normal_equations(seen - uv, slopes, confidence)
        gradient = gradient + priors * (ops.concatenate([turns, rest], axis=1) - wanted)
        raised = priors + DAMPING * (diagonal(hessian) + priors) + 1e-3
        hessian = hessian + raised[..., None] * _eye(hessian.shape[-1])
        step = conjugate_gradients(hessian, -gradient, SOLVER_STEPS)
        step = ops.maximum(ops.minimum(step, limits), -limits)
        orientation = turned(orientation, step[:, :TURN])
        turns, rest = turns + step[:, :TURN], rest + step[:, TURN:]
    seen, _, xyz = project(model, orientation, rest)
    return uv, seen, normalised(xyz)


def choose(peaks, masses, seen):
    """The most probable peak of each keypoint, given about where it is: places (P, 21, 2), masses (P, 21).

    peaks (P, 21, K, 2), masses (P, 21, K): see `fit`.  seen: (P, 21, 2).
    """
    away = ops.sum(ops.square(peaks - seen[:, :, None]), axis=-1)
    best = argmax(ops.log(masses + FLOOR) - 0.5 * away / NEAR**2, axis=-1)
    chosen = ops.one_hot(best, masses.shape[-1], dtype="float32")
    return ops.sum(chosen[..., None] * peaks, axis=2), ops.sum(chosen * masses, axis=2)


def _normal_equations(error, slopes, confidence):
    """(P, N, N) and (P, N) of the data term: error (P, 21, 2), slopes (P, 21, 2, N), confidence (P, 21)."""
    near = REACH**2 / (ops.sum(ops.square(error), axis=-1) + REACH**2)
    weight = ops.square(near) * confidence / NOISE**2
    rows, variables = 2 * NUM_KEYPOINTS, slopes.shape[-1]
    slopes = ops.reshape(slopes, (-1, rows, variables))
    weighted = slopes * ops.repeat(weight, 2, axis=1)[..., None]
    gradient = ops.matmul(ops.reshape(error, (-1, 1, rows)), weighted)[:, 0]
    return ops.matmul(ops.transpose(weighted, (0, 2, 1)), slopes), gradient


def start(model, uv, confidence, xyz_relative, side):
    """Orientation (P, 3, 3) and the other variables (P, 4 + Z + B) of the networks' hand, see `fit`.

    A right hand is a left one whose canonical z is turned round, which goes into its orientation.
    """
    canonical, rotation = geometry.to_canonical(normalised(xyz_relative), side)
    unit = ops.ones_like(rotation) * _eye(3)  # three points of a left hand's axes
    orientation = geometry.from_canonical(unit, rotation, side)
    z, b = coefficients(model, canonical)
    z = ops.clip(z, -LARGEST_POSE, LARGEST_POSE)
    place = ops.zeros_like(uv[:, 0])
    far = model.distance[0] + ops.zeros_like(uv[:, 0, :1])
    flat = project(model, orientation, ops.concatenate([place, 0.0 * far, far, z, b], axis=1))[0]
    weight = (confidence + 0.05)[..., None]  # best scale and place, in least squares
    weight = weight / ops.sum(weight, axis=1, keepdims=True)
    middle, target = ops.sum(weight * flat, axis=1), ops.sum(weight * uv, axis=1)
    flat, apart = flat - middle[:, None], uv - target[:, None]
    agree, spread = (ops.sum(weight * flat * other, axis=(1, 2)) for other in (apart, flat))
    scale = ops.maximum(agree / (spread + geometry.EPSILON), 0.02)[:, None]
    return orientation, ops.concatenate([target - scale * middle, ops.log(scale), far, z, b], axis=1)


def normalised(xyz):
    """Skeletons (P, 21, 3) of any place and unit: root at the origin, scale bone 1."""
    first, last = SCALE_BONE
    bone = ops.sum(ops.square(xyz[:, last] - xyz[:, first]), axis=-1)
    return (xyz - xyz[:, ROOT : ROOT + 1]) / ops.sqrt(bone + geometry.EPSILON)[:, None, None]


def _each(model, rest, turn, place, scale, distance, pose, shape):
    """(P, 7 + Z + B): a value for each variable.

    The same in each row: in sums with one row only, OpenVINO 2026.4 takes wrong ones.
    """
    parts = (turn, TURN), (place, 2), (scale, 1), (distance, 1), (pose, model.pose.shape[0])
    parts = (*parts, (shape, model.shape.shape[0]))
    one = ops.ones_like(rest[:, :1])
    return ops.concatenate([ops.repeat(value * one, count, axis=1) for value, count in parts], axis=1)


def _priors(model, rest):
    """(P, 7 + Z + B): 1 / variance of each variable, 0 without a prior."""
    pose, shape, turn = POSE_SPREAD**-2, SHAPE_SPREAD**-2, TURN_SPREAD**-2
    return _each(model, rest, turn, 0.0, 0.0, 1.0 / ops.square(model.distance[1]), pose, shape)


def _limits(model, rest):
    step, zoom = LARGEST_STEP, LARGEST_ZOOM
    return _each(model, rest, step, step, zoom, zoom, step, step)


def _wanted(model, rest):
    """(P, 7 + Z + B): what the priors pull to; the pose stays, the shape is to become the mean hand's."""
    last = PLACE + model.pose.shape[0]
    pose, shape = rest[:, PLACE:last], ops.zeros_like(rest[:, last:])
    distance = model.distance[0] + ops.zeros_like(rest[:, :1])
    nowhere = ops.zeros_like(rest[:, :3])
    return ops.concatenate([nowhere, nowhere, distance, pose, shape], axis=1)
