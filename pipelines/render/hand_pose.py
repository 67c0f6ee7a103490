"""Joint angles of a hand: their names, limits and forward kinematics.

Angles are radians, one row per hand, in the order of `ANGLES`.  Positive: flexion, abduction to the
thumb's side (thumb: away from the palm), pronation of the thumb (its pad turns to the fingers).  All arrays
are batched over hands in front (H = 2 for a person); the palm is fixed: hand frame, origin at the wrist,
metres.
"""

import dataclasses

import numpy as np

from pipelines.render.hand_rig import cross

THUMB_ANGLES = ("cmc_flex", "cmc_abd", "cmc_rot", "mcp_flex", "mcp_abd", "ip_flex")
FINGER_ANGLES = ("mcp_flex", "mcp_abd", "pip_flex", "dip_flex")
ANGLES = tuple(f"thumb_{a}" for a in THUMB_ANGLES) + tuple(
    f"{finger}_{a}" for finger in ("index", "middle", "ring", "little") for a in FINGER_ANGLES
)
_FINGER_LIMITS = {"mcp_flex": (-25, 95), "pip_flex": (-8, 115), "dip_flex": (-12, 82)}
_ABDUCTION_LIMITS = {"index": (-14, 22), "middle": (-14, 13), "ring": (-16, 12), "little": (-26, 14)}
LIMITS = np.radians(
    [(-32, 48), (-42, 32), (-25, 40), (-12, 62), (-10, 14), (-28, 82)]
    + [
        _ABDUCTION_LIMITS[finger] if angle == "mcp_abd" else _FINGER_LIMITS[angle]
        for finger in ("index", "middle", "ring", "little")
        for angle in FINGER_ANGLES
    ]
)  # (22, 2)
NEUTRAL_SPLAY = np.radians([2.5, 4.5, 5.0, 7.0])  # of the straight fingers, towards the little finger
CONVERGENCE = np.radians([9.0, 3.0, -3.0, -9.0])  # fingers bend towards the base of the thumb
TIP = 0.87  # the tip keypoint lies in the pad, this far along the last bone to the very end


def clip_to_limits(angles):
    """Angles inside `LIMITS`; abduction narrows as the knuckle bends.  angles: (..., 22)."""
    angles = np.clip(angles, LIMITS[:, 0], LIMITS[:, 1])
    for k in range(4):
        first = len(THUMB_ANGLES) + 4 * k
        room = np.clip(np.cos(np.clip(angles[..., first], 0, None)), 0.2, 1)
        angles[..., first + 1] = np.clip(
            angles[..., first + 1], LIMITS[first + 1, 0] * room, LIMITS[first + 1, 1] * room
        )
    return angles


def rotation(axis, angle):
    """(..., 3, 3) rotations about a coordinate axis (0, 1, 2) by `angle` (...,)."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((*np.shape(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1
    out[..., i, i] = out[..., j, j] = c
    out[..., i, j], out[..., j, i] = -s, s
    return out


@dataclasses.dataclass(frozen=True)
class HandChain:
    """What forward kinematics needs of H hands, in their own hand frames.

    sign (H,): +1 right, -1 left.  base (H, 5, 3, 3): frames of the first bones at zero angles;
    origin (H, 5, 3); lengths (H, 5, 3); thumb_mcp (H,): abduction of the thumb's MCP at rest; radii (H,
    5, 3);
    palm (H, P, 2, 3) capsules of the palm and palm_radii (H, P).
    """

    sign: np.ndarray
    base: np.ndarray
    origin: np.ndarray
    lengths: np.ndarray
    thumb_mcp: np.ndarray
    radii: np.ndarray
    palm: np.ndarray
    palm_radii: np.ndarray


def make_chain(rigs):
    """HandChain of a sequence of `hand_rig.HandRig`."""
    parts = [_one_chain(rig) for rig in rigs]
    return HandChain(*(np.stack(values) for values in zip(*parts, strict=True)))


def join_chains(chains):
    """One HandChain of all the hands of several."""
    fields = zip(*(vars(chain).values() for chain in chains), strict=True)
    return HandChain(*(np.concatenate(values) for values in fields))


def _one_chain(rig):
    sign = 1.0 if rig.side == 1 else -1.0
    hand = rig.frames[0]
    local = (rig.pivots - rig.pivots[0]) @ hand
    tips = (rig.tips - rig.pivots[0]) @ hand
    base = np.zeros((5, 3, 3))
    base[0] = hand.T @ rig.frames[5]
    splay = rotation(2, -sign * NEUTRAL_SPLAY)
    base[1:] = splay @ rotation(1, -sign * CONVERGENCE)
    joints = np.concatenate([local[5:].reshape(5, 3, 3), tips[:, None]], axis=1)
    lengths = np.linalg.norm(np.diff(joints, axis=1), axis=-1)
    relative = rig.frames[5].T @ rig.frames[6]
    thumb_mcp = np.arctan2(-relative[0, 1], relative[1, 1])
    mcps = joints[1:, 0]
    palmward = np.array([0, 0, -0.35 * np.linalg.norm(mcps[1])])
    starts = 0.25 * mcps + 0.1 * palmward
    ends = 0.88 * mcps
    radius = np.full(4, 0.10 * np.linalg.norm(mcps[1]))
    return (
        np.float64(sign),
        base,
        joints[:, 0],
        lengths,
        thumb_mcp,
        rig.radii,
        np.stack([starts, ends], axis=1),
        radius,
    )


@dataclasses.dataclass
class Kinematics:
    """joints (H, 5, 4, 3) base to tip; frames (H, 5, 3, 3, 3); axes (H, 22, 3); pivots (H, 22, 3)."""

    joints: np.ndarray
    frames: np.ndarray
    axes: np.ndarray
    pivots: np.ndarray

    def part(self, hands):
        """Kinematics of a slice of the hands."""
        return Kinematics(self.joints[hands], self.frames[hands], self.axes[hands], self.pivots[hands])


_OWNER = np.repeat(np.arange(5), [6, 4, 4, 4, 4])  # finger of each angle
_LEVEL = np.array(
    [0, 0, 0, 1, 1, 2] + [0, 0, 1, 2] * 4
)  # joint of each angle: it moves this segment and later


def forward(chain, angles):
    """Kinematics of H hands at (H, 22) angles."""
    count = len(angles)
    s = chain.sign
    frames = np.empty((count, 5, 3, 3, 3))
    axes = np.empty((count, len(ANGLES), 3))
    thumb = chain.base[:, 0]
    abducted = thumb @ rotation(2, s * angles[:, 1])
    flexed = abducted @ rotation(0, -angles[:, 0])
    frames[:, 0, 0] = flexed @ rotation(1, -s * angles[:, 2])
    axes[:, 1] = thumb[..., 2] * s[:, None]
    axes[:, 0] = -abducted[..., 0]
    axes[:, 2] = -flexed[..., 1] * s[:, None]
    turned = frames[:, 0, 0] @ rotation(2, chain.thumb_mcp + s * angles[:, 4])
    axes[:, 4] = frames[:, 0, 0][..., 2] * s[:, None]
    frames[:, 0, 1] = turned @ rotation(0, -angles[:, 3])
    axes[:, 3] = -turned[..., 0]
    frames[:, 0, 2] = frames[:, 0, 1] @ rotation(0, -angles[:, 5])
    axes[:, 5] = -frames[:, 0, 1][..., 0]
    finger = angles[:, 6:].reshape(count, 4, 4)
    spread = chain.base[:, 1:] @ rotation(2, s[:, None] * finger[..., 1])
    frames[:, 1:, 0] = spread @ rotation(0, -finger[..., 0])
    frames[:, 1:, 1] = frames[:, 1:, 0] @ rotation(0, -finger[..., 2])
    frames[:, 1:, 2] = frames[:, 1:, 1] @ rotation(0, -finger[..., 3])
    by_finger = axes[:, 6:].reshape(count, 4, 4, 3)
    by_finger[:, :, 0] = -spread[..., 0]
    by_finger[:, :, 1] = chain.base[:, 1:, :, 2] * s[:, None, None]
    by_finger[:, :, 2] = by_finger[:, :, 3] = -frames[:, 1:, 0, :, 0]
    steps = frames[..., 1] * chain.lengths[..., None]
    joints = np.concatenate(
        [chain.origin[:, :, None], chain.origin[:, :, None] + np.cumsum(steps, axis=2)], axis=2
    )
    return Kinematics(joints, frames, axes, joints[:, _OWNER, _LEVEL])


def point_jacobian(kinematics, points, finger, level):
    """d point / d angle: points (H, P, 3) on segments (finger, level), both (P,); returns (H, P, 3, 22)."""
    moves = (_OWNER == finger[:, None]) & (_LEVEL <= level[:, None])  # (P, 22)
    arm = points[:, :, None] - kinematics.pivots[:, None]
    return (cross(kinematics.axes[:, None], arm) * moves[..., None]).transpose(0, 1, 3, 2)
