"""From a root-relative hand to camera space: where it is, in metres.

One image tells neither scale nor distance.  With the camera matrix and one length of the hand, the
translation follows from the keypoints in the image.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from hand3d import skeleton

BONE_LENGTH_MM = 44.0  # of the scale bone: median over the renderer's people, 34 to 53 in nine out of ten
LEAST_POINTS = 4  # keypoints that a translation is estimated from
_MIDDLE = skeleton.CHAINS["middle"]


@dataclass(frozen=True, eq=False)
class CameraHand:
    """A hand in camera space.

    xyz_camera: (21, 3) float64 metres, camera axes: x right, y down, z away.
    translation: (3,) metres, of keypoint 0.
    scale: metres per unit of `Hand.keypoints_xyz`, the length of the scale bone.
    scale_source: which assumption `scale` rests on, in words.
    reprojection_error: root mean square over the keypoints used, pixels.
    """

    xyz_camera: np.ndarray
    translation: np.ndarray
    scale: float
    scale_source: str
    reprojection_error: float


def to_camera(hand, K, *, bone_length_mm=None, hand_length_mm=None, bone_lengths=None, least_score=0.2):
    """Places a hand in front of its camera, by least squares over the reprojected keypoints.

    The distance is proportional to the assumed length: 10 % off in one is 10 % off in the other.

    Args:
        hand: `hand3d.Hand`, or anything with keypoints_uv (21, 2) pixels, keypoints_xyz (21, 3) relative to
            the root, in units of the scale bone, and keypoint_scores (21,), the weights.
        K: (3, 3) intrinsics for the pixels of keypoints_uv, pixel centres at integers.
        bone_length_mm: middle finger, MCP to PIP; the renderer's median of 44 mm unless a length is given.
        hand_length_mm: instead of it, from the wrist's crease to the tip of the stretched middle finger.
        bone_lengths: (20,) in units of the scale bone, of `skeleton.BONES`: the hand is first given bones of
            these lengths, as `with_bone_lengths` does.  `median_bone_lengths` has those of a person.
        least_score: keypoints below this score are left out.

    Returns: `CameraHand`.

    Raises:
        ValueError: K or a length that cannot be right, both lengths given, fewer than four keypoints left, or
            keypoints that fit no hand before the camera.
    """
    K = _intrinsics(K)
    xyz, uv = np.asarray(hand.keypoints_xyz, np.float64), np.asarray(hand.keypoints_uv, np.float64)
    weight = np.asarray(hand.keypoint_scores, np.float64)
    weight = np.where(weight >= least_score, weight, 0.0)
    if (weight > 0).sum() < LEAST_POINTS:
        raise ValueError(
            f"only {(weight > 0).sum()} of {len(weight)} keypoint_scores reach least_score={least_score}; "
            f"{LEAST_POINTS} are needed: lower it"
        )
    if bone_lengths is not None:
        xyz = with_bone_lengths(xyz, bone_lengths)
    scale, source = _scale(xyz, bone_length_mm, hand_length_mm)
    translation = _translation(scale * xyz, uv, weight, K)
    error = _residuals(translation, scale * xyz, uv, np.sqrt(weight > 0), K)
    return CameraHand(
        xyz_camera=scale * xyz + translation,
        translation=translation,
        scale=scale,
        scale_source=source,
        reprojection_error=float(np.sqrt((error**2).sum() / (weight > 0).sum())),
    )


def with_bone_lengths(xyz, bone_lengths):
    """The same pose with bones of given lengths: every bone keeps its direction.

    xyz: (21, 3).  bone_lengths: (20,) in the same unit, in the order of `skeleton.BONES`.
    Returns (21, 3) float64, root where it was.  Raises ValueError for lengths that are not positive.
    """
    lengths = np.asarray(bone_lengths, np.float64)
    if lengths.shape != (len(skeleton.BONES),) or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError(f"bone_lengths: {len(skeleton.BONES)} positive numbers expected, got {bone_lengths}")
    xyz = np.asarray(xyz, np.float64)
    placed = xyz.copy()
    length_to = {child: length for (_, child), length in zip(skeleton.BONES, lengths, strict=True)}
    for child in skeleton.TOPOLOGICAL_ORDER[1:]:
        parent = skeleton.PARENTS[child]
        direction = xyz[child] - xyz[parent]
        placed[child] = placed[parent] + length_to[child] * direction / max(np.linalg.norm(direction), 1e-12)
    return placed


def median_bone_lengths(hands):
    """The bone lengths of one person, steadier than those of one picture.

    hands: sequence of `hand3d.Hand` of that person, or of keypoints (21, 3) in units of the scale bone.
    Returns (20,) float64, the median of each of `skeleton.BONES`.  ValueError without hands.
    """
    if len(hands) == 0:
        raise ValueError("hands is empty: bone lengths need one hand at least")
    xyz = np.stack([np.asarray(getattr(hand, "keypoints_xyz", hand), np.float64) for hand in hands])
    parents, children = np.transpose(skeleton.BONES)
    return np.median(np.linalg.norm(xyz[:, children] - xyz[:, parents], axis=-1), axis=0)


def hand_length(xyz):
    """Wrist to the tip of the stretched middle finger, along its bones; xyz (21, 3) with the palm as root.

    The palm's centre is half-way between the wrist and the middle finger's MCP.
    """
    tip_to_base = np.asarray(xyz, np.float64)[list(_MIDDLE)]
    palm = 2 * np.linalg.norm(tip_to_base[-1] - np.asarray(xyz)[skeleton.ROOT])
    return float(palm + np.linalg.norm(np.diff(tip_to_base, axis=0), axis=1).sum())


def _scale(xyz, bone_length_mm, hand_length_mm):
    """Metres per unit, and the assumption in words."""
    if bone_length_mm is not None and hand_length_mm is not None:
        raise ValueError("give bone_length_mm or hand_length_mm, not both: each one sets the scale")
    if hand_length_mm is not None:
        _check_length("hand_length_mm", hand_length_mm, 50, 400)
        length = hand_length(xyz)
        return hand_length_mm / 1000 / length, f"hand of {hand_length_mm:g} mm, wrist to middle fingertip"
    if bone_length_mm is None:
        text = f"median middle finger, MCP to PIP {BONE_LENGTH_MM:g} mm; +-20 % from person to person"
        return BONE_LENGTH_MM / 1000, text
    _check_length("bone_length_mm", bone_length_mm, 10, 120)
    return bone_length_mm / 1000, f"middle finger, MCP to PIP {bone_length_mm:g} mm"


def _check_length(name, value, least, most):
    if not least <= value <= most:
        raise ValueError(f"{name} is {value!r}; millimetres expected, {least} to {most}")


def _intrinsics(K):
    K = np.asarray(K, np.float64)
    if (
        K.shape != (3, 3)
        or not np.isfinite(K).all()
        or K[0, 0] <= 0
        or K[1, 1] <= 0
        or abs(K[2, 2] - 1) > 1e-6
    ):
        raise ValueError(
            f"K: a camera matrix [[f, 0, u], [0, f, v], [0, 0, 1]] in pixels expected, got {K.tolist()}"
        )
    return K


def _translation(xyz, uv, weight, K):
    """(3,) minimising the weighted reprojection error of xyz + translation: linear start, then iterated."""
    rays = np.linalg.solve(K, np.column_stack([uv, np.ones(len(uv))]).T).T
    rays = rays[:, :2] / rays[:, 2:]
    # (x + tx) - ray (z + tz) = 0 along either axis
    rows = np.zeros((2, len(uv), 3))
    rows[0, :, 0] = rows[1, :, 1] = 1.0
    rows[:, :, 2] = -rays.T
    right = rays.T * xyz[:, 2] - xyz[:, :2].T
    root = np.sqrt(weight)
    start = np.linalg.lstsq((rows * root[:, None]).reshape(-1, 3), (right * root).reshape(-1), rcond=None)[0]
    used = weight > 0
    nearest = 1e-3 - xyz[used, 2].min()  # every keypoint stays before the camera
    if start[2] <= nearest:
        raise ValueError(
            f"the keypoints fit no hand before the camera (depth {start[2]:.3f} m): "
            "do K and keypoints_uv belong to the same image size?"
        )
    bounds = ([-np.inf, -np.inf, nearest], np.inf)
    arguments = (xyz[used], uv[used], root[used], K)
    return least_squares(_residuals, start, bounds=bounds, args=arguments, x_scale="jac", xtol=1e-14).x


def _residuals(translation, xyz, uv, weight, K):
    points = (xyz + translation) @ K.T
    return ((points[:, :2] / points[:, 2:] - uv) * weight[:, None]).reshape(-1)
