"""Joint angles of a hand: their names, limits, forward kinematics, contacts and collision repair.

Angles are radians, one row per hand, in the order of `ANGLES`.  Positive: flexion, abduction to the thumb's side
(thumb: away from the palm), pronation of the thumb (its pad turns to the fingers).  All arrays are batched over
hands in front (H = 2 for a person); the palm is fixed: hand frame, origin at the wrist, metres.
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
_ABDUCTION_LIMITS = {"index": (-14, 22), "middle": (-14, 12), "ring": (-16, 10), "little": (-28, 10)}
LIMITS = np.radians(
    [(-32, 48), (-42, 32), (-25, 40), (-12, 62), (-10, 14), (-28, 82)]
    + [
        _ABDUCTION_LIMITS[finger] if angle == "mcp_abd" else _FINGER_LIMITS[angle]
        for finger in ("index", "middle", "ring", "little")
        for angle in FINGER_ANGLES
    ]
)  # (22, 2)
NEUTRAL_SPLAY = np.radians([3.0, 3.5, 3.0, 2.0])  # of the straight fingers, towards the little finger
CONVERGENCE = np.radians([9.0, 3.0, -3.0, -9.0])  # fingers bend towards the base of the thumb
TIP = 0.87  # the tip keypoint lies in the pad, this far along the last bone to the very end
SOFTNESS = 0.0025  # metres by which two segments may sink into one another


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

    sign (H,): +1 right, -1 left.  base (H, 5, 3, 3): frames of the first bones at zero angles; origin (H, 5, 3);
    lengths (H, 5, 3); thumb_mcp (H,): abduction of the thumb's MCP at rest; radii (H, 5, 3);
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
    return (np.float64(sign), base, joints[:, 0], lengths, thumb_mcp, rig.radii,
            np.stack([starts, ends], axis=1), radius)


@dataclasses.dataclass
class Kinematics:
    """joints (H, 5, 4, 3) base to tip; frames (H, 5, 3, 3, 3); axes (H, 22, 3); pivots (H, 22, 3)."""

    joints: np.ndarray
    frames: np.ndarray
    axes: np.ndarray
    pivots: np.ndarray


_OWNER = np.repeat(np.arange(5), [6, 4, 4, 4, 4])  # finger of each angle
_LEVEL = np.array([0, 0, 0, 1, 1, 2] + [0, 0, 1, 2] * 4)  # joint of each angle: it moves this segment and later


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
    joints = np.concatenate([chain.origin[:, :, None], chain.origin[:, :, None] + np.cumsum(steps, axis=2)], axis=2)
    return Kinematics(joints, frames, axes, joints[:, _OWNER, _LEVEL])


def point_jacobian(kinematics, points, finger, level):
    """d point / d angle: points (H, P, 3) on segments (finger, level), both (P,); returns (H, P, 3, 22)."""
    moves = (_OWNER == finger[:, None]) & (_LEVEL <= level[:, None])  # (P, 22)
    arm = points[:, :, None] - kinematics.pivots[:, None]
    return (cross(kinematics.axes[:, None], arm) * moves[..., None]).transpose(0, 1, 3, 2)


def closest_points(a0, a1, b0, b1):
    """Parameters (s, t) in 0..1 of the closest points of two sets of segments, (..., 3) each."""
    u, v, w = a1 - a0, b1 - b0, a0 - b0
    a, b, c = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    d, e = (u * w).sum(-1), (v * w).sum(-1)
    det = a * c - b * b
    s = np.clip(np.where(det > 1e-12, (b * e - c * d) / np.maximum(det, 1e-12), 0.5), 0, 1)
    t = np.clip((b * s + e) / np.maximum(c, 1e-12), 0, 1)
    s = np.clip((b * t - d) / np.maximum(a, 1e-12), 0, 1)
    return s, t


def _pairs():
    """Segments that could collide: of two fingers, and outer segments with the palm's capsules."""
    first, second = [], []
    for i in range(15):
        for j in range(i + 1, 15):
            same_row = i % 3 == 0 and j % 3 == 0  # first bones meet at the web
            if i // 3 != j // 3 and not same_row:
                first.append(i)
                second.append(j)
    for i in range(15):
        for j in range(4):
            if i % 3 == 2 or (i // 3 == 0 and i % 3 == 1 and j > 1):
                first.append(i)
                second.append(15 + j)
    return np.array(first), np.array(second)


_FIRST, _SECOND = _pairs()
# capsule of the segment in use: start and end as parts of the bone.  The thumb's metacarpal is buried in the palm.
_SPAN = np.array([[0.5, 1.0], [0.0, 1.0], [0.0, 1.0]] + [[0.3, 1.0], [0.0, 1.0], [0.0, 1.0]] * 4)


def capsules(chain, kinematics):
    """Ends (H, 19, 2, 3) and radii (H, 19) of the finger segments (thumb first, base to tip), then the palm."""
    start = kinematics.joints[:, :, :3].reshape(len(chain.sign), 15, 3)
    end = kinematics.joints[:, :, 1:].reshape(len(chain.sign), 15, 3)
    radii = chain.radii.reshape(len(chain.sign), 15)
    length = np.linalg.norm(end - start, axis=-1)
    span = np.broadcast_to(_SPAN, (len(chain.sign), 15, 2)).copy()
    span[:, 2::3, 1] = np.clip(1 - radii[:, 2::3] / length[:, 2::3], 0.3, 1)  # a tip ends in a half sphere
    ends = start[:, :, None] + span[..., None] * (end - start)[:, :, None]
    return np.concatenate([ends, chain.palm], axis=1), np.concatenate([radii, chain.palm_radii], axis=1)


def penetration(chain, kinematics):
    """(H, pairs) metres by which pairs of segments overlap, the direction that parts them and the points."""
    ends, radii = capsules(chain, kinematics)
    a, b = ends[:, _FIRST], ends[:, _SECOND]
    s, t = closest_points(a[:, :, 0], a[:, :, 1], b[:, :, 0], b[:, :, 1])
    p = a[:, :, 0] + s[..., None] * (a[:, :, 1] - a[:, :, 0])
    q = b[:, :, 0] + t[..., None] * (b[:, :, 1] - b[:, :, 0])
    gap = p - q
    distance = np.linalg.norm(gap, axis=-1)
    depth = radii[:, _FIRST] + radii[:, _SECOND] - distance
    return depth, gap / np.maximum(distance, 1e-6)[..., None], p, q


def surface_point(chain, kinematics, finger, level, along, side):
    """(H, 3) point on the skin of a segment.  along: 0 base .. 1 end; side: -z is the pad, as a unit 3-vector.

    The x component counts towards the little finger on both hands.
    """
    frame_ = kinematics.frames[:, finger, level]
    a, b = kinematics.joints[:, finger, level], kinematics.joints[:, finger, level + 1]
    offset = np.stack([side[0] * chain.sign, np.full(len(chain.sign), side[1]), np.full(len(chain.sign), side[2])], -1)
    offset = offset * chain.radii[:, finger, level, None] * 0.9
    return a + along * (b - a) + (frame_ @ offset[..., None])[..., 0]


PAD = (2, 0.6, (0.0, 0.0, -1.0))  # level, along, side of a finger's pad


# the thumb finds its contact; fingers stay nearer to the pose, and nearer still where the thumb lies on them
STIFFNESS = np.array([0.5, 0.5, 0.5, 0.6, 1.5, 0.6] + [1.0, 1.6, 1.0, 1.3] * 4)
STIFFER = np.where(np.arange(len(ANGLES)) < len(THUMB_ANGLES), 1.0, 4.0)


def solve(chain, wanted, contacts, iterations=12):
    """Angles near `wanted` (H, 22) that keep the contacts and take the fingers out of one another.

    contacts: per hand a list of (finger, level, along, side, finger, level, along, side, weight).
    Damped Gauss-Newton with projection on the limits.  Returns (H, 22).
    """
    count = len(wanted)
    wanted = clip_to_limits(wanted)
    angles = wanted.copy()
    hold = np.stack([STIFFNESS * (STIFFER if any(c[5] < 2 for c in row) else 1.0) for row in contacts])
    first_finger, first_level = _FIRST // 3, _FIRST % 3
    movable = _SECOND < 15
    for step in range(iterations):
        k = forward(chain, angles)
        depth, direction, p, q = penetration(chain, k)
        active = np.flatnonzero((depth > SOFTNESS).any(0))
        normal = hold[:, :, None] ** 2 * np.eye(len(ANGLES))
        right = hold**2 * (wanted - angles)
        done = not len(active)
        if len(active):
            jacobian = point_jacobian(k, p[:, active], first_finger[active], first_level[active])
            second = _SECOND[active] * movable[active]
            other = point_jacobian(k, q[:, active], second // 3, second % 3) * movable[active][:, None, None]
            row = np.einsum("hpc,hpca->hpa", direction[:, active], jacobian - other) * 700
            value = np.maximum(depth[:, active] - SOFTNESS, 0) * 700
            row = row * (value > 0)[..., None]
            normal = normal + np.einsum("hpa,hpb->hab", row, row)
            right = right + np.einsum("hpa,hp->ha", row, value)
        for h in range(count):
            for contact in contacts[h]:
                done = False
                jac, residual = _contact(chain, k, h, contact)
                if step > iterations - 4:  # in the end, skin does not pass through skin
                    jac, residual = 0.3 * jac, 0.3 * residual
                normal[h] += jac.T @ jac
                right[h] -= jac.T @ residual
        if done and step > 0:
            break
        move = np.linalg.solve(normal + 0.02 * np.eye(len(ANGLES)), right[..., None])[..., 0]
        angles = clip_to_limits(angles + np.clip(move, -0.5, 0.5))
    return angles


def _contact(chain, k, hand, contact):
    fa, la, ta, sa, fb, lb, tb, sb, weight = contact
    one = dataclasses.replace(chain, sign=chain.sign[hand : hand + 1], radii=chain.radii[hand : hand + 1])
    part = Kinematics(*(getattr(k, f.name)[hand : hand + 1] for f in dataclasses.fields(k)))
    pa = surface_point(one, part, fa, la, ta, sa)
    pb = surface_point(one, part, fb, lb, tb, sb)
    ja = point_jacobian(part, pa[:, None], np.array([fa]), np.array([la]))[0, 0]
    jb = point_jacobian(part, pb[:, None], np.array([fb]), np.array([lb]))[0, 0]
    scale = 300 * weight
    return (ja - jb) * scale, (pa - pb)[0] * scale
