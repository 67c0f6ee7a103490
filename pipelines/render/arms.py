"""Arms: where the hands go, and the turns of shoulder, elbow, forearm and wrist that take them there.

Frames as in `hand_rig`: y along the bone, z dorsal.  Pronation 0 is the forearm with the thumb up when the
elbow is bent; positive turns the palm down.  All in the trunk's frame, metres, radians.
"""

import dataclasses

import numpy as np

from pipelines.render.hand_pose import rotation
from pipelines.render.hand_rig import cross, frame, unit

PRONATION = np.radians([-85, 85])
WRIST_FLEXION = np.radians([-70, 72])
WRIST_DEVIATION = np.radians([-22, 32])
ELBOW = np.radians([3, 148])
# where hands are: name, probability
PLACES = (
    ("front", 0.26),
    ("beside_head", 0.25),
    ("face", 0.11),
    ("reach", 0.14),
    ("chest", 0.12),
    ("down", 0.12),
)


@dataclasses.dataclass
class Arm:
    """One arm in place: rotations from rest of the named bones, the wrist's place and the hand's frame."""

    rotations: dict
    elbow: np.ndarray
    wrist: np.ndarray
    hand: np.ndarray
    swivel: float
    joint_angles: dict


@dataclasses.dataclass(frozen=True)
class ArmRest:
    sign: float  # +1 right, -1 left
    clavicle: np.ndarray
    shoulder: np.ndarray
    upper: np.ndarray
    fore: np.ndarray
    upper_frame: np.ndarray
    fore_frame: np.ndarray
    pronation: float
    hand: np.ndarray


def arm_rest(body, heads, rig):
    """ArmRest of one side of a person."""
    side = "LR"[rig.side]
    sign = 1.0 if rig.side else -1.0
    shoulder = heads[body.bone(f"upperarm01.{side}")]
    elbow = heads[body.bone(f"lowerarm01.{side}")]
    upper, fore = elbow - shoulder, rig.pivots[0] - elbow
    hinge = unit(cross(upper, fore))
    fore_frame = frame(fore, sign * hinge)
    turn = fore_frame.T @ rig.frames[0]
    pronation = -sign * np.arctan2(-turn[2, 0], turn[0, 0])
    return ArmRest(
        sign,
        heads[body.bone(f"clavicle.{side}")],
        shoulder,
        upper,
        fore,
        frame(upper, sign * hinge),
        fore_frame,
        pronation,
        rig.frames[0],
    )


def place_arm(rest, target, swivel, pronation=0.0, wrist=(0.0, 0.0), hand_frame=None):
    """Two-bone inverse kinematics.

    Args:
        target: (3,) where the wrist should be; brought into reach.
        swivel: of the elbow, 0 down, positive outwards.
        pronation, wrist: of the hand; or hand_frame (3, 3), which they are then found for.
    All are kept inside the limits; joint_angles["violation"] tells by how much hand_frame was missed.
    """
    shoulder = rest.shoulder
    swing = np.zeros(3)
    for _ in range(2):
        a, b = np.linalg.norm(rest.upper), np.linalg.norm(rest.fore)
        reach = target - shoulder
        least = np.sqrt(a * a + b * b + 2 * a * b * np.cos(ELBOW[1]))
        distance = np.clip(np.linalg.norm(reach), least, 0.999 * (a + b))
        along = unit(reach)
        down = np.array([0.0, -1.0, 0.0]) - 0.35 * np.array([0, 0, 1.0])
        side = unit(cross(along, cross(down, along)))
        outwards = cross(along, side) * (1 if cross(along, side)[0] * -rest.sign > 0 else -1)
        bend = np.cos(swivel) * side + np.sin(swivel) * outwards
        cosine = np.clip((a * a + distance**2 - b * b) / (2 * a * distance), -1, 1)
        upper = a * (cosine * along + np.sqrt(1 - cosine**2) * bend)
        fore = distance * along - upper
        hinge = unit(cross(bend, along))
        swing = _rotation_vector(unit(rest.upper), unit(upper))
        shoulder = rest.clavicle + rodrigues(0.16 * swing) @ (rest.shoulder - rest.clavicle)
    upper_frame, fore_frame = frame(upper, rest.sign * hinge), frame(fore, rest.sign * hinge)
    violation = 0.0
    flexion, deviation = wrist
    if hand_frame is not None:
        q = fore_frame.T @ hand_frame
        deviation = rest.sign * np.arcsin(np.clip(q[1, 0], -1, 1))
        pronation = -rest.sign * np.arctan2(-q[2, 0], q[0, 0])
        flexion = -np.arctan2(-q[1, 2], q[1, 1])
        for value, limits in ((pronation, PRONATION), (flexion, WRIST_FLEXION), (deviation, WRIST_DEVIATION)):
            violation += max(limits[0] - value, value - limits[1], 0)
    pronation = np.clip(pronation, *PRONATION)
    flexion, deviation = np.clip(flexion, *WRIST_FLEXION), np.clip(deviation, *WRIST_DEVIATION)
    s = rest.sign
    hand = fore_frame @ rotation(1, -s * pronation) @ rotation(2, s * deviation) @ rotation(0, -flexion)
    turn = pronation - rest.pronation
    whole = upper_frame @ rest.upper_frame.T
    swing_matrix = rodrigues(swing)
    twist = rotation_vector(whole @ swing_matrix.T)
    rotations = {
        "clavicle": rodrigues(0.16 * swing),
        "shoulder01": rodrigues(0.3 * swing),
        "upperarm01": rodrigues(0.4 * twist) @ swing_matrix,
        "upperarm02": rodrigues(0.85 * twist) @ swing_matrix,
        "lowerarm01": fore_frame @ rotation(1, -s * 0.22 * turn) @ rest.fore_frame.T,
        "lowerarm02": fore_frame @ rotation(1, -s * 0.68 * turn) @ rest.fore_frame.T,
        "wrist": hand @ rest.hand.T,
    }
    angles = {
        "pronation": float(pronation),
        "wrist_flexion": float(flexion),
        "wrist_deviation": float(deviation),
        "elbow": float(np.arccos(np.clip(unit(upper) @ unit(fore), -1, 1))),
        "violation": float(violation),
    }
    return Arm(rotations, shoulder + upper, shoulder + upper + fore, hand, swivel, angles)


def sample_place(rng, rest, head, style=None):
    """A wrist target (3,), an elbow swivel and a pronation.  head: (3,) centre of the head."""
    names, p = zip(*PLACES, strict=True)
    style = style or str(rng.choice(names, p=p))
    length = np.linalg.norm(rest.upper) + np.linalg.norm(rest.fore)
    out = -rest.sign
    swivel, pronation = rng.normal(0.5, 0.35), rng.uniform(-1.35, 1.35)

    def toward(x, y, z, low, high):
        return rest.shoulder + unit(np.array([out * x, y, z])) * length * rng.uniform(low, high)

    if style == "front":
        target = toward(rng.normal(0, 0.35), rng.normal(0.0, 0.35), 1, 0.5, 0.92)
    elif style == "beside_head":
        target = toward(rng.uniform(0.25, 1.1), rng.uniform(0.2, 1.2), rng.uniform(0.2, 0.9), 0.45, 0.85)
        pronation = rng.uniform(0.2, 1.4) if rng.random() < 0.7 else pronation
    elif style == "face":
        target = head + np.array(
            [out * rng.uniform(-0.05, 0.2), rng.uniform(-0.25, 0.05), rng.uniform(0.2, 0.38)]
        )
    elif style == "reach":
        target = toward(rng.normal(-0.1, 0.3), rng.normal(0.1, 0.3), 1, 0.88, 0.99)
    elif style == "chest":
        target = rest.shoulder + np.array(
            [-out * rng.uniform(0.0, 0.16), rng.uniform(-0.32, 0.0), rng.uniform(0.22, 0.42)]
        )
    else:
        target = toward(rng.uniform(0.12, 0.5), -1, rng.uniform(0.0, 0.45), 0.85, 0.99)
        swivel = rng.normal(0.2, 0.2)
    return target, float(np.clip(swivel, -0.2, 1.5)), float(pronation), style


def best_swivel(rest, target, hand_frame):
    """The arm that comes nearest to a hand's place and frame, out of four elbow swivels."""
    arms = [place_arm(rest, target, swivel, hand_frame=hand_frame) for swivel in (0.0, 0.4, 0.8, 1.3)]
    return min(arms, key=lambda arm: arm.joint_angles["violation"])


def rodrigues(vector):
    """Rotation matrix of a rotation vector (3,)."""
    angle = np.linalg.norm(vector)
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def rotation_vector(matrix):
    """Rotation vector (3,) of a matrix; angles near a half turn included."""
    cosine = np.clip((np.trace(matrix) - 1) / 2, -1, 1)
    angle = np.arccos(cosine)
    skew = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]])
    if angle > np.pi - 1e-3:
        axis = np.sqrt(np.maximum((np.diag(matrix) + 1) / 2, 0))
        k = int(axis.argmax())
        axis = matrix[:, k] + np.eye(3)[k]
        return unit(axis) * angle
    return skew * (0.5 if angle < 1e-6 else angle / (2 * np.sin(angle)))


def _rotation_vector(a, b):
    """The shortest turn of one unit vector onto another, as a rotation vector."""
    axis = cross(a, b)
    sine = np.linalg.norm(axis)
    return axis / max(sine, 1e-9) * np.arctan2(sine, a @ b)
