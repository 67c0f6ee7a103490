"""Contacts and collisions: angles near wanted ones at which thumb and fingers meet as they should."""

import dataclasses

import numpy as np

from pipelines.render.hand_pose import (
    ANGLES,
    THUMB_ANGLES,
    Kinematics,
    clip_to_limits,
    forward,
    point_jacobian,
)

SOFTNESS = 0.0025  # metres by which two segments may sink into one another
FIRMNESS = 700.0  # weight of a metre of overlap against a radian of bending


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
# part of each bone that its capsule covers; the thumb's metacarpal is buried in the palm
_SPAN = np.array([[0.5, 1.0], [0.0, 1.0], [0.0, 1.0]] + [[0.3, 1.0], [0.0, 1.0], [0.0, 1.0]] * 4)


def capsules(chain, kinematics):
    """Ends (H, 19, 2, 3) and radii (H, 19) of finger segments, thumb first, base to tip, then the palm."""
    start = kinematics.joints[:, :, :3].reshape(len(chain.sign), 15, 3)
    end = kinematics.joints[:, :, 1:].reshape(len(chain.sign), 15, 3)
    radii = chain.radii.reshape(len(chain.sign), 15)
    length = np.linalg.norm(end - start, axis=-1)
    span = np.broadcast_to(_SPAN, (len(chain.sign), 15, 2)).copy()
    span[:, 2::3, 1] = np.clip(1 - radii[:, 2::3] / length[:, 2::3], 0.3, 1)  # a tip ends in a half sphere
    ends = start[:, :, None] + span[..., None] * (end - start)[:, :, None]
    return np.concatenate([ends, chain.palm], axis=1), np.concatenate([radii, chain.palm_radii], axis=1)


def penetration(chain, kinematics):
    """Metres (H, pairs) by which segments overlap, the direction that parts them, the two points."""
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
    """(H, 3) point on the skin of a segment.  along: 0 base .. 1 end; side: unit vector, -z is the pad.

    The x component counts towards the little finger on both hands.
    """
    frame_ = kinematics.frames[:, finger, level]
    a, b = kinematics.joints[:, finger, level], kinematics.joints[:, finger, level + 1]
    offset = np.stack(
        [side[0] * chain.sign, np.full(len(chain.sign), side[1]), np.full(len(chain.sign), side[2])], -1
    )
    offset = offset * chain.radii[:, finger, level, None] * 0.9
    return a + along * (b - a) + (frame_ @ offset[..., None])[..., 0]


PAD = (2, 0.6, (0.0, 0.0, -1.0))  # level, along, side of a finger's pad


# the thumb finds its contact; fingers stay nearer to the pose, and nearer still where the thumb lies on them
STIFFNESS = np.array([0.5, 0.5, 0.5, 0.6, 1.5, 0.6] + [1.0, 1.6, 1.0, 1.3] * 4)
STIFFER = np.where(np.arange(len(ANGLES)) < len(THUMB_ANGLES), 1.0, 4.0)


# a thumb that is to lie on folded fingers comes from in front of them: where it starts, its largest step
RAISED = np.radians([0, 32, 10, 0, 0, 0])
STRIDE = np.where(np.arange(len(ANGLES)) < len(THUMB_ANGLES), 0.25, 0.5)
SETTLING = 5  # last steps without contacts, to take skin out of skin
STUCK = 0.004  # metres of overlap that are too much


def solve(chain, wanted, contacts, iterations=14):
    """Angles near `wanted` (H, 22) that keep the contacts and take the fingers out of one another.

    contacts: per hand a list of (finger, level, along, side, finger, level, along, side, weight).
    Damped Gauss-Newton with projection on the limits.  Returns (H, 22).
    """
    count = len(wanted)
    wanted = clip_to_limits(wanted)
    angles = wanted.copy()
    on_back = np.array([any(c[5] < 2 or c[7][2] > 0 for c in row) for row in contacts])
    angles[on_back, : len(RAISED)] = RAISED
    hold = np.where(on_back[:, None], STIFFNESS * STIFFER, STIFFNESS)
    owners = [h for h in range(count) for _ in contacts[h]]
    flat = [contact for row in contacts for contact in row]
    for _ in range(iterations):
        k = forward(chain, angles)
        rows, values = _collisions(chain, k)
        touching = [_contact(chain, k, h, contact) for h, contact in zip(owners, flat, strict=True)]
        if not flat and not values.any() and np.array_equal(angles, wanted):
            break
        angles = _step(angles, wanted, hold, rows, values, owners, touching)
    angles, depth = _settle(chain, angles, hold)
    stuck = depth > STUCK
    if stuck.any():  # the thumb has come from the wrong side: it stays in front
        angles[stuck, : len(RAISED)] = RAISED
        angles, _ = _settle(chain, angles, hold)
    return angles


def _settle(chain, angles, hold):
    """Skin out of skin, contacts or not: angles (H, 22) and what overlap is left, (H,) metres."""
    wanted = angles
    for _ in range(SETTLING):
        rows, values = _collisions(chain, forward(chain, angles))
        if not values.any():
            break
        angles = _step(angles, wanted, hold, rows, values, [], [])
    return angles, penetration(chain, forward(chain, angles))[0].max(1)


def _collisions(chain, k):
    """Weighted rows (H, P, 22) and depths (H, P) of the pairs that overlap; k: Kinematics."""
    depth, direction, p, q = penetration(chain, k)
    active = np.flatnonzero((depth > SOFTNESS).any(0))
    movable = _SECOND[active] < 15
    jacobian = point_jacobian(k, p[:, active], _FIRST[active] // 3, _FIRST[active] % 3)
    second = _SECOND[active] * movable
    other = point_jacobian(k, q[:, active], second // 3, second % 3) * movable[:, None, None]
    row = np.einsum("hpc,hpca->hpa", direction[:, active], jacobian - other) * FIRMNESS
    value = np.maximum(depth[:, active] - SOFTNESS, 0) * FIRMNESS
    return row * (value > 0)[..., None], value


def _step(angles, wanted, hold, rows, values, hands, touching):
    """One damped step; touching: (Jacobian, residual) of contacts, hands: whose they are."""
    normal = hold[:, :, None] ** 2 * np.eye(len(ANGLES)) + np.einsum("hpa,hpb->hab", rows, rows)
    right = hold**2 * (wanted - angles) + np.einsum("hpa,hp->ha", rows, values)
    for h, (jac, residual) in zip(hands, touching, strict=True):
        normal[h] += jac.T @ jac
        right[h] -= jac.T @ residual
    move = np.linalg.solve(normal + 0.02 * np.eye(len(ANGLES)), right[..., None])[..., 0]
    return clip_to_limits(angles + np.clip(move, -STRIDE, STRIDE))


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
