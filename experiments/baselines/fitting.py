"""[5] SMPLify: fit a model of the body - here a hand - to 2D keypoints.

Minimised over rotation, place, distance, pose z and shape b, for each hand:

    sum_j w_j rho(projection_j - keypoint_j) / noise^2 + stage (|z|^2 + |b|^2) + distance's prior

rho is Geman and McClure's robust error, w_j the detector's confidence.  The prior is strong in the first
stage and weak in the last, as in the paper.  The minimiser is Gauss and Newton's method with Levenberg's
damping and reweighted residuals, which is of the kind that the paper uses, for many hands at once.  A fit
finds the nearest minimum only: each hand starts from the `STARTS` directions in which the mean hand looks
most like the keypoints, as a left and as a right hand; the lowest energy wins.
"""

import io
import os

import numpy as np
from keras import ops
from scipy.spatial.transform import Rotation

from experiments.baselines.interface import LEFT, RIGHT, Baseline, Prediction, mirror_uv, mirror_xyz
from experiments.hand_model import learn
from experiments.nearest import descriptors
from hand3d import hand_model
from hand3d.files import write_atomic
from hand3d.hand_model import FIRST, PLACE, HandModel
from hand3d.skeleton import ROOT

STARTS, DIRECTIONS, APART = 3, 1000, np.deg2rad(50)
NOISE, REACH = 3.0 / 128, 12.0 / 128  # of the crop: keypoints' noise, and where errors stop to count
STAGES = ((8.0, 6), (1.0, 14))  # weight of the priors, iterations
BATCH = 512  # fits at once


def project(model, rotation, rest):
    """`hand3d.hand_model.project` of NumPy arrays: uv, its derivatives by all variables, xyz_relative."""
    given = (part.astype(np.float32) for part in (rotation, rest))
    return [ops.convert_to_numpy(part) for part in hand_model.project(model, *given)]


def energy(model, uv, target, weight, rest, prior):
    """(P,) energies; weight (P, 21).  In units of the crop's side."""
    square = ((uv - target) ** 2).sum(-1)
    data = (weight * square * REACH**2 / (square + REACH**2)).sum(-1) / NOISE**2
    return data + (_prior_residuals(model, rest, prior) ** 2).sum(-1)


def _prior_residuals(model, rest, prior):
    distance = (rest[:, 3:PLACE] - model.distance[0]) / model.distance[1]
    return np.concatenate([distance, np.sqrt(prior) * rest[:, PLACE:]], -1)


def fit(model, target, weight, rotation, rest):
    """Minimises the energies of P hands from one start each.

    target (P, 21, 2), in units of the crop's side; weight (P, 21); rotation, rest: see `project`.
    Returns rotation, rest, energy (P,).
    """
    rotation, rest = rotation.copy(), rest.copy()
    count = rest.shape[1] + FIRST - PLACE
    slope = np.zeros((rest.shape[1] - 3, count), np.float32)  # of the priors' residuals
    slope[np.arange(len(slope)), 6 + np.arange(len(slope))] = 1
    for prior, iterations in STAGES:
        scaled = slope * np.sqrt(prior)
        scaled[0] = slope[0] / model.distance[1]
        damping = np.full(len(rest), 1e-2, np.float32)
        uv, moved, _ = project(model, rotation, rest)
        now = energy(model, uv, target, weight, rest, prior)
        for _ in range(iterations):
            error = uv - target
            robust = (REACH**2 / ((error**2).sum(-1) + REACH**2)) ** 2 * weight / NOISE**2
            jacobian = moved.reshape(len(rest), -1, count)
            weighted = jacobian * np.repeat(robust, 2, axis=1)[..., None]
            hessian = weighted.transpose(0, 2, 1) @ jacobian + scaled.T @ scaled
            gradient = (weighted * error.reshape(len(rest), -1, 1)).sum(1)
            gradient += _prior_residuals(model, rest, prior) @ scaled
            diagonal = np.einsum("pii->pi", hessian)
            diagonal += damping[:, None] * (diagonal + 1e-3)
            step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
            step[:, 5:7] = np.clip(step[:, 5:7], -0.5, 0.5)
            turn = Rotation.from_rotvec(np.clip(step[:, :3], -1, 1)).as_matrix().astype(np.float32)
            tried = rotation @ turn.transpose(0, 2, 1), rest + step[:, 3:]
            new_uv, new_moved, _ = project(model, *tried)
            then = energy(model, new_uv, target, weight, tried[1], prior)
            better = then < now
            damping = np.where(better, damping * 0.3, damping * 5).clip(1e-5, 1e5).astype(np.float32)
            chosen = better[:, None]
            rotation = np.where(chosen[..., None], tried[0], rotation)
            rest, now = np.where(chosen, tried[1], rest), np.where(better, then, now)
            uv = np.where(chosen[..., None], new_uv, uv)
            moved = np.where(chosen[..., None, None], new_moved, moved)
    return rotation, rest, now


def starts(model, target, seed=0):
    """The mean hand as it looks most like the keypoints: rotation (N, S, 3, 3), rest (N, S, 4 + Z + B)."""
    sizes = len(model.pose), len(model.shape)
    nothing = (np.zeros((1, size), np.float32) for size in sizes)
    mean = ops.convert_to_numpy(hand_model.joints(model, *nothing)[0])[0]
    turns = Rotation.random(DIRECTIONS, random_state=seed)
    rotations = turns.as_matrix().astype(np.float32)
    seen = mean @ rotations
    costs = -descriptors(target, np.zeros(len(target))) @ descriptors(seen[..., :2], np.zeros(DIRECTIONS)).T
    close = np.arccos(np.clip((np.einsum("aij,bij->ab", rotations, rotations) - 1) / 2, -1, 1)) < APART
    chosen = []
    for _ in range(STARTS):
        best = costs.argmin(1)
        chosen.append(best)
        costs = np.where(close[best], np.inf, costs)
    chosen = np.stack(chosen, 1)
    rest = np.zeros((*chosen.shape, PLACE + sum(sizes)), np.float32)
    rest[..., :2] = target[:, None, ROOT]
    spread = np.linalg.norm(target - target[:, ROOT : ROOT + 1], axis=(1, 2))[:, None]
    rest[..., 2] = np.log(spread / np.linalg.norm(seen[..., :2], axis=(1, 2))[chosen] + 1e-6)
    rest[..., 3] = model.distance[0]
    return rotations[chosen], rest


class Fitting(Baseline):
    """A hand model fitted to detected 2D keypoints."""

    name = "SMPLify, fitting"
    reference = "[5] F. Bogo et al., Keep it SMPL: automatic estimation of 3D pose and shape, ECCV 2016"
    simplifications = (
        "A skeleton with principal components of bone directions and lengths instead of a skinned body; one "
        "normal distribution for the pose instead of a mixture; no joint limits, no interpenetration; the "
        "focal length is not known, so the distance that stands for it is fitted with a prior."
    )
    learns_from = ("poses",)
    sees_detections = True

    def train(self, training, run):
        content = io.BytesIO()
        np.savez(content, **vars(learn(training.poses)))
        write_atomic(os.path.join(run, "model.npz"), content.getbuffer())

    def load(self, run):
        with np.load(os.path.join(run, "model.npz")) as archive:
            self.model = HandModel(**{key: archive[key] for key in archive.files})

    def fit_sides(self, uv_crop, weight, size):
        """Best fits as left and as right hands: uv (N, 2, 21, 2), xyz (N, 2, 21, 3), energy (N, 2)."""
        found = []
        for side in (LEFT, RIGHT):
            mirrored = np.full(len(uv_crop), side == RIGHT)
            target = (mirror_uv(uv_crop, mirrored, size) / size).astype(np.float32)
            parts = [
                self._fit_left(target[k : k + BATCH // STARTS], weight[k : k + BATCH // STARTS])
                for k in range(0, len(target), BATCH // STARTS)
            ]
            uv, xyz, least = (np.concatenate(part) for part in zip(*parts, strict=True))
            found.append((mirror_uv(uv * size, mirrored, size), mirror_xyz(xyz, mirrored), least))
        return [np.stack(part, 1) for part in zip(*found, strict=True)]

    def _fit_left(self, target, weight):
        rotation, rest = starts(self.model, target)
        repeated = [np.repeat(part, STARTS, axis=0) for part in (target, weight.astype(np.float32))]
        flat = [part.reshape(-1, *part.shape[2:]) for part in (rotation, rest)]
        rotation, rest, least = fit(self.model, *repeated, *flat)
        least = least.reshape(-1, STARTS)
        best = np.arange(len(target)) * STARTS + least.argmin(1)
        uv, _, xyz = project(self.model, rotation[best], rest[best])
        return uv, xyz, least.min(1)

    def predict(self, hands):
        return self._of_side(self._detected(hands), hands.side)

    def _detected(self, hands):
        """Both fits; those of the hands asked for last are kept for `variants` and `notes`."""
        if getattr(self, "last", (None,))[0] is not hands:
            self.last = hands, self.fit_sides(hands.detected_uv, hands.detected_score, hands.size)
        return self.last[1]

    def _of_side(self, fits, side):
        rows = np.arange(len(side))
        return Prediction(fits[0][rows, side], fits[1][rows, side])

    def variants(self, hands):
        fits = self._detected(hands)
        exact = self.fit_sides(hands.uv_crop, np.ones_like(hands.detected_score), hands.size)
        return {
            ", side not given": self._of_side(fits, fits[2].argmin(1)),
            ", exact 2D": self._of_side(exact, hands.side),
        }

    def notes(self, hands):
        fits = self._detected(hands)
        fitted = self._of_side(fits, hands.side).uv_crop - hands.detected_uv
        network = placed(hands.detected_xyz, hands.detected_uv) - hands.detected_uv
        network, fitted = (np.linalg.norm(error, axis=-1) for error in (network, fitted))
        network, fitted = ((np.sqrt((error**2).mean()), np.median(error)) for error in (network, fitted))
        right = (fits[2].argmin(1) == hands.side).mean()
        return [
            "Reprojection onto the detected keypoints, root mean square and median, pixels of the crop: "
            f"{network[0]:.2f} and {network[1]:.2f} for the lifting network in its best scale and place, "
            f"{fitted[0]:.2f} and {fitted[1]:.2f} for the fit; the fit tells the side of "
            f"{100 * right:.0f} % of the hands."
        ]

    @property
    def parameters(self):
        return sum(part.size for part in vars(self.model).values())


def placed(xyz_relative, uv):
    """Parallel projection of xyz (N, 21, 3) in the best scale and place for uv (N, 21, 2): (N, 21, 2)."""
    flat, centre = xyz_relative[..., :2], uv.mean(1, keepdims=True)
    flat = flat - flat.mean(1, keepdims=True)
    scale = (flat * (uv - centre)).sum((1, 2)) / np.maximum((flat**2).sum((1, 2)), 1e-12)
    return scale[:, None, None] * flat + centre
