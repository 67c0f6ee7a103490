"""Simple things in a hand: a bar, a ball, a pen or a card that fits between the fingers as they are.

The fingers come first; the thing takes the room that they leave and touches them without cutting into them.
Hand frame as in `hand_pose`: origin at the wrist, y along the palm, z dorsal, metres.
"""

import dataclasses

import numpy as np

from pipelines.render.hand_rig import frame, unit
from pipelines.render.hand_solver import capsules

# action -> what it may hold, and how often it holds something
HELD = {
    "cylinder_grasp": (("bar",), 0.8),
    "power_grip": (("bar",), 0.7),
    "hook_grip": (("bar",), 0.5),
    "sphere_grasp": (("ball",), 0.8),
    "claw": (("ball",), 0.5),
    "pen_hold": (("pen",), 0.85),
    "key_pinch": (("card",), 0.7),
    "pinch": (("card", "pen"), 0.5),
}
TOUCH = 0.006  # metres from a finger that still counts as held
RADIUS = {"bar": (0.006, 0.042), "ball": (0.012, 0.045)}
PEN = (0.0025, 0.0055)
SAMPLES = np.linspace(0, 1, 5)  # along each segment


@dataclasses.dataclass(frozen=True)
class Thing:
    """vertices (V, 3) metres, hand frame; faces (F, 3) int; rest (V, 3) metres, for its pattern."""

    vertices: np.ndarray
    faces: np.ndarray
    rest: np.ndarray


def hold(rng, action, chain, kinematics, hand):
    """A `Thing` for hand number `hand` of a chain in an action, or None: not every hand holds, nor can.

    chain, kinematics: of `hand_pose`.
    """
    kinds, share = HELD.get(action, ((), 0.0))
    if rng.random() >= share:
        return None
    kind = kinds[rng.integers(len(kinds))]
    ends, radii = (part[hand] for part in capsules(chain, kinematics))
    points = (ends[:, None, 0] + SAMPLES[:, None] * (ends[:, 1] - ends[:, 0])[:, None]).reshape(-1, 3)
    skin = points, np.repeat(radii, len(SAMPLES)), np.repeat(np.arange(len(radii)) // 3, len(SAMPLES))
    makers = {"bar": _bar, "ball": _ball, "pen": _pen, "card": _card}
    return makers[kind](rng, skin, kinematics.joints[hand], chain.sign[hand])


def _held(gaps, fingers, directions):
    """Whether the thumb or palm and two fingers touch, from sides that are apart."""
    touching = gaps < TOUCH
    if len(np.unique(fingers[touching & (fingers < 5)])) < 3:
        return False
    around = directions[touching]
    return (around @ around.T).min() < -0.3


def _best(centres, skin, limits, axes):
    """The centre (3,) and radius of the largest round thing that is held, or None.  axes: (3, 2 or 3)."""
    points, radii, fingers = skin
    offset = (points[None] - centres[:, None]) @ axes
    distance = np.linalg.norm(offset, axis=-1)
    room = (distance - radii).min(1)
    for k in np.argsort(-room):
        if room[k] < limits[0]:
            return None
        if room[k] > limits[1]:
            continue
        if _held(distance[k] - radii - room[k], fingers, offset[k] / distance[k][:, None]):
            return centres[k], room[k]
    return None


def _grid(joints, step):
    """(N, 3) places in front of the palm, between the wrist and the finger tips."""
    knuckles = joints[1:, 0]
    low = np.array([knuckles[:, 0].min(), 0.55 * knuckles[:, 1].mean(), joints[..., 2].min() - 0.01])
    high = np.array([knuckles[:, 0].max(), joints[1:, :, 1].max(), -0.008])
    ranges = [np.arange(a, max(b, a + step), step) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)


def _bar(rng, skin, joints, sign):
    """A cylinder across the palm, at a slant towards the heel of the hand."""
    axis = unit(np.array([sign, -rng.uniform(0.0, 0.45), rng.normal(0, 0.08)]))
    axes = frame(axis, np.array([0, 0, 1.0]))
    grid = _grid(joints, 0.004)
    grid = grid[np.abs(grid[:, 0] - joints[2, 0, 0]) < 0.003][:, None]  # a plane of centres is enough
    found = _best(grid.reshape(-1, 3), skin, RADIUS["bar"], axes[:, [0, 2]])
    if found is None:
        return None
    centre, radius = found
    length = rng.uniform(0.10, 0.24)
    taper = rng.uniform(0.75, 1.0) if rng.random() < 0.4 else 1.0
    return _turned(np.array([[radius, -0.5], [radius * taper, 0.5]]) * [1, length], centre, axes, rng)


def _ball(rng, skin, joints, sign):
    found = _best(_grid(joints, 0.006), skin, RADIUS["ball"], np.eye(3))
    if found is None:
        return None
    centre, radius = found
    polar = np.linspace(-np.pi / 2, np.pi / 2, 15)[1:-1]
    profile = radius * np.stack([np.cos(polar), np.sin(polar)], 1)
    return _turned(profile, centre, frame(unit(rng.normal(size=3)), rng.normal(size=3)), rng, smooth=True)


def _pen(rng, skin, joints, sign):
    """A stick from between thumb and index finger over the web between them."""
    points, radii, _ = skin
    pads = (0.35 * joints[:2, 2] + 0.65 * joints[:2, 3]).mean(0)
    if np.linalg.norm(joints[0, 3] - joints[1, 3]) > 0.035:
        return None
    aim = joints[1, 0] + np.array([-sign * rng.uniform(0.008, 0.02), 0, rng.uniform(0.002, 0.02)])
    best, radius = None, PEN[0]
    for _ in range(12):  # small moves, until there is room
        start, end = pads + rng.normal(0, 0.004, 3), aim + rng.normal(0, 0.006, 3)
        axis = unit(end - start)
        arm = points - start
        room = (np.linalg.norm(arm - (arm @ axis)[:, None] * axis, axis=1) - radii).min() + 0.0015
        if room > radius:
            best, radius = (start, axis), room
    if best is None:
        return None
    start, axis = best
    radius, length, tip = min(radius, PEN[1]), rng.uniform(0.11, 0.17), rng.uniform(0.025, 0.045)
    profile = np.array([[0.0006, -tip], [radius, -tip + 0.015], [radius, length - tip]])
    return _turned(profile, start, frame(axis, np.array([0, 0, 1.0])), rng)


def _card(rng, skin, joints, sign):
    """A flat thing between the pads of thumb and index finger, or the thumb and the index finger's side."""
    _, radii, _ = skin
    thumb = 0.4 * joints[0, 2] + 0.6 * joints[0, 3]
    segments = [0.5 * (joints[1, k] + joints[1, k + 1]) for k in (1, 2)]
    index = min(segments, key=lambda middle: np.linalg.norm(middle - thumb))
    normal = unit(thumb - index)
    gap = np.linalg.norm(thumb - index) - radii[2 * len(SAMPLES)] - radii[4 * len(SAMPLES)]
    if gap > 0.008:
        return None
    away = unit(joints[0, 3] - joints[0, 1]) + rng.normal(0, 0.25, 3)
    axes = frame(away, normal)  # x, y in the plane, z normal
    width, height = ((0.054, 0.085), (0.02, 0.05), (0.10, 0.14))[rng.integers(3)]
    thickness = np.clip(gap, 0.0008, 0.004)
    middle = (thumb + index) / 2 + axes[:, 1] * (height / 2 - rng.uniform(0.006, 0.016))
    corners = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5], indexing="ij"), -1).reshape(-1, 3)
    corners = corners * [width, height, thickness]
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    rest = corners[np.concatenate(quads)]
    first = 4 * np.arange(6)[:, None, None]
    faces = (first + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    return Thing(middle + rest @ axes.T, faces, rest + rng.uniform(-1, 1, 3))


def _turned(profile, centre, axes, rng, smooth=False, around=24):
    """A solid of revolution about axes[:, 1].  profile: (P, 2) of radius and height, closed by flat ends."""
    angle = 2 * np.pi * np.arange(around) / around
    ring = np.stack([np.cos(angle), np.zeros(around), np.sin(angle)], 1)
    rings = [radius * ring + [0, height, 0] for radius, height in profile]
    closed = [rings[0], [[0, profile[0, 1], 0]], rings[-1], [[0, profile[-1, 1], 0]]]
    if smooth:  # the ends share normals with the sides
        closed = [np.zeros((0, 3)), closed[1], np.zeros((0, 3)), closed[3]]
    rest = np.concatenate(rings + closed)
    near, far = np.arange(around), (np.arange(around) + 1) % around
    faces = []
    for k in range(len(rings) - 1):
        a, b = k * around, (k + 1) * around
        faces += [np.stack([a + near, b + near, b + far], 1), np.stack([a + near, b + far, a + far], 1)]
    last = len(rings) * around
    for start, hub, turned in (
        (0 if smooth else last, last if smooth else last + around, False),
        ((len(rings) - 1) * around if smooth else last + around + 1, len(rest) - 1, True),
    ):
        pair = (start + far, start + near) if turned else (start + near, start + far)
        faces.append(np.stack([np.full(around, hub), *pair], 1))
    return Thing(centre + rest @ axes.T, np.concatenate(faces), rest + rng.uniform(-1, 1, 3))
