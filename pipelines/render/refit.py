"""A hand that was seen elsewhere, to be rendered: joint angles from keypoints, and the camera."""

import dataclasses

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from hand3d.skeleton import INDEX, ROOT
from pipelines.render import hand_pose, posing
from pipelines.render.camera import Camera
from pipelines.render.scene import Given

PALM_POINTS = [ROOT, *(INDEX[f"{finger}_mcp"] for finger in ("index", "middle", "ring", "little"))]
STARTS = (0.0, 0.5, 1.2)  # radians: flexion of all PIP joints where a fit begins
BENT = {"mcp_flex": 0.5, "pip_flex": 1.0}  # of it, in the fingers
# millimetres: the root's labels differ; radians beyond a limit; radians from straight
ROOT_WEIGHT, LIMIT_WEIGHT, STRAIGHT_WEIGHT = 0.3, 30.0, 0.3


def fit_angles(chain, xyz):
    """Joint angles of a hand whose keypoints lie like these, whatever its size and place.

    chain: `hand_pose.HandChain` of one hand.  xyz: (21, 3), any unit.  Returns angles (22,) radians inside
    the limits, and the mean distance of the keypoints, millimetres of the chain's hand.
    """
    low, high = hand_pose.LIMITS.T
    count = len(low)
    weight = np.where(np.arange(len(xyz)) == ROOT, ROOT_WEIGHT, 1.0)[:, None]

    def keypoints(angles):
        return posing.keypoints_of(hand_pose.forward(chain, angles[None]))[0]

    flat = keypoints(np.zeros(count))
    palm = INDEX["middle_mcp"]
    wanted = (
        (xyz - xyz[ROOT]) * np.linalg.norm(flat[palm] - flat[ROOT]) / np.linalg.norm(xyz[palm] - xyz[ROOT])
    )
    turn, _ = Rotation.align_vectors(wanted[PALM_POINTS], flat[PALM_POINTS])

    def moved(p):  # p: angles, rotation vector, shift, logarithm of the size
        angles, turned, shift, size = np.split(p, (count, count + 3, count + 6))
        return keypoints(angles) @ Rotation.from_rotvec(turned).as_matrix().T * np.exp(size) + shift

    def residuals(p):
        angles = p[:count]
        beyond = np.clip(low - angles, 0, None) + np.clip(angles - high, 0, None)
        gaps = 1000 * weight * (moved(p) - wanted)
        return np.concatenate([gaps.ravel(), LIMIT_WEIGHT * beyond, STRAIGHT_WEIGHT * angles])

    fits = []
    for bend in STARTS:
        angles = np.array([BENT.get(name.partition("_")[2], 0) * bend for name in hand_pose.ANGLES])
        angles[: len(hand_pose.THUMB_ANGLES)] = 0
        fits.append(least_squares(residuals, [*angles, *turn.as_rotvec(), 0, 0, 0, 0], max_nfev=60))
    best = min(fits, key=lambda fit: fit.cost).x
    best[:count] = np.clip(best[:count], low, high)
    return best[:count], 1000 * float(np.linalg.norm(moved(best) - wanted, axis=1).mean())


@dataclasses.dataclass(frozen=True)
class LookFrom:
    """`look` of `scene.Given`: the camera that sees a hand where a photograph has it.

    xyz: (21, 3) camera axes, any unit.  matrix: (3, 3), the photograph's.  scale: pixels of the render by
    those of the photograph.
    """

    xyz: np.ndarray
    matrix: np.ndarray
    scale: float

    def __call__(self, hand):
        """(21, 3) keypoints, world axes -> `camera.Camera`."""
        matrix = np.array(self.matrix, np.float64)
        matrix[:2] *= self.scale
        matrix[:2, 2] += (self.scale - 1) / 2
        there, here = self.xyz - self.xyz.mean(0), hand - hand.mean(0)
        turn, _ = Rotation.align_vectors(there, here)
        size = np.linalg.norm(here) / np.linalg.norm(there)
        rotation = turn.as_matrix()
        return Camera(rotation, self.xyz.mean(0) * size - rotation @ hand.mean(0), matrix, "given")


def given_hand(rig, side, xyz, matrix, scale):
    """(`scene.Given`, the fit's error in millimetres) of a labelled hand.

    rig: `hand_rig.HandRig` to fit with.  side: 0 left, 1 right.  Others as of `LookFrom`.
    """
    angles, error = fit_angles(hand_pose.make_chain([rig]), xyz)
    return Given(side, angles, LookFrom(xyz, matrix, scale)), error
