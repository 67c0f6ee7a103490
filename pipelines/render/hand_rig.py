"""Anatomical frames of one hand at rest: where its joints are and which way they turn.

Every bone has a frame with columns x (flexion axis), y (distal), z (dorsal); both sides alike, so that
x points to the little finger's side on a right hand and to the thumb's on a left one.
"""

import dataclasses

import numpy as np

FINGERS = range(1, 6)
# MakeHuman's bones end off the anatomical joints.  These moves bring the proportions of palm and phalanges to
# those of real hands: tables of bone lengths, labelled photographs, and where the web between the fingers is.
WRIST_SHIFT = 0.1  # of the wrist-to-middle-MCP length, towards the fingers
MCP_SHIFT = -0.1  # likewise, along the metacarpals
INDEX_PIP_SHIFT = 0.06  # of the proximal phalanx, towards the tip
CMC_SHIFT = -0.06  # of the wrist-to-middle-MCP length: the thumb's base, towards the wrist
THUMB_MCP_SHIFT = 0.16  # of the thumb's proximal phalanx, towards the tip


@dataclasses.dataclass(frozen=True)
class HandRig:
    """One hand at rest, world axes, metres.

    side: 0 left, 1 right.  bones (20,) int: wrist, 4 metacarpals, then 3 per finger, thumb first.
    pivots (20, 3): the bones' heads, moved to the anatomical joints.  tips (5, 3): finger tips.
    frames (20, 3, 3): rest frames.  radii (5, 3): of the finger segments.  length: wrist to middle tip.
    """

    side: int
    bones: np.ndarray
    pivots: np.ndarray
    tips: np.ndarray
    frames: np.ndarray
    radii: np.ndarray
    length: float


def unit(v):
    return v / np.sqrt((v * v).sum(-1, keepdims=True))


def cross(a, b):
    """np.cross for (..., 3) arrays, several times faster on small ones."""
    a0, a1, a2 = a[..., 0], a[..., 1], a[..., 2]
    b0, b1, b2 = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


def frame(y, z):
    """Columns x, y, z: y kept, z made perpendicular."""
    y = unit(y)
    x = unit(cross(y, z))
    return np.stack([x, y, cross(x, y)], axis=-1)


def fit_hand_rig(body, control, heads, tails, side):
    """HandRig of one hand from the control vertices and the bones' ends of a person at rest."""
    suffix = ".LR"[0] + "LR"[side]
    names = ["wrist"] + [f"metacarpal{k}" for k in range(1, 5)]
    names += [f"finger{f}-{k}" for f in FINGERS for k in (1, 2, 3)]
    bones = np.array([body.bone(name + suffix) for name in names])
    pivots, ends = heads[bones].copy(), tails[bones]
    finger = {f: 5 + 3 * (f - 1) for f in FINGERS}
    palm = pivots[finger[3]] - pivots[0]
    reach = np.linalg.norm(palm)
    for f in range(2, 6):
        mcp = finger[f]
        if f == 2:
            pivots[mcp + 1] += INDEX_PIP_SHIFT * (pivots[mcp + 1] - pivots[mcp])
        pivots[mcp] += MCP_SHIFT * reach * unit(pivots[mcp] - pivots[f - 1])  # f - 1: its metacarpal
    pivots[0] += WRIST_SHIFT * palm
    proximal = pivots[finger[1] + 2] - pivots[finger[1] + 1]
    pivots[finger[1]] += CMC_SHIFT * palm
    pivots[finger[1] + 1] += THUMB_MCP_SHIFT * proximal
    tips = np.stack([ends[finger[f] + 2] for f in FINGERS])

    across = unit(pivots[finger[5]] - pivots[finger[2]])  # index to little: +x on a right hand
    x = across if side == 1 else -across
    dorsal = unit(cross(x, unit(pivots[finger[3]] - pivots[0])))
    frames = np.zeros((len(bones), 3, 3))
    frames[0] = frame(pivots[finger[3]] - pivots[0], dorsal)
    for k in range(1, 5):
        frames[k] = frame(pivots[finger[k + 1]] - pivots[k], dorsal)
    for f in FINGERS:
        first = finger[f]
        joints = np.stack([*pivots[first : first + 3], tips[f - 1]])
        nail = _nail_normal(body, control, bones[first + 2])
        hinge = unit(cross(joints[3] - joints[2], nail))
        for k in range(3):
            y = unit(joints[k + 1] - joints[k])
            frames[first + k] = frame(y, cross(hinge, y))
    radii = _radii(body, control, bones, pivots, tips)
    length = float(
        np.linalg.norm(np.diff(np.stack([pivots[0], *pivots[11:14], tips[2]]), axis=0), axis=1).sum()
    )
    return HandRig(side, bones, pivots, tips, frames, radii, length)


def _nail_normal(body, control, bone):
    quads = control[body.nail_quads[body.nail_bone == bone]]
    normals = cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    return unit(normals.sum(0))


def _radii(body, control, bones, pivots, tips):
    """(5, 3) metres: distance of a segment's skin from its bone; neighbours at rest have room."""
    radii = np.zeros((5, 3))
    for f in range(5):
        for k in range(3):
            a = pivots[5 + 3 * f + k]
            b = pivots[5 + 3 * f + k + 1] if k < 2 else tips[f]
            skin = control[body.owner == bones[5 + 3 * f + k]]
            t = np.clip((skin - a) @ (b - a) / np.sum((b - a) ** 2), 0, 1)
            middle = (t > 0.2) & (t < 0.9)
            distance = np.linalg.norm(skin - a - t[:, None] * (b - a), axis=1)
            radii[f, k] = np.quantile(distance[middle], 0.3)
    knuckles = pivots[[8, 11, 14, 17]]
    room = np.linalg.norm(np.diff(knuckles, axis=0), axis=1).mean()
    radii[1:] = np.minimum(radii[1:], room * np.array([0.46, 0.44, 0.4]))
    radii[0, 0] = min(radii[0, 0], 1.3 * radii[0, 1])
    radii[:, 2] = np.minimum(radii[:, 2], radii[:, 1])
    return radii
