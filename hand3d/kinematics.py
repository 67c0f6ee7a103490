"""Forward kinematics of the hand, differentiable: joint angles -> keypoints.

The 22 angles of `ANGLES` are radians.  Positive: flexion, abduction to the thumb's side (thumb: away from
the palm), pronation of the thumb.  The frame is the hand's own: the wrist at the origin, y along the palm to
the middle finger's base, x across it, z along its normal; lengths in any unit.  All functions are pure,
batched over leading axes and run on every Keras backend.

Angles, their order, limits and the axes that they turn about are those of the renderer,
`pipelines.render.hand_pose`, which solves for poses with numpy; a test holds the two together.
"""

import dataclasses
import math

import numpy as np
from keras import ops

from hand3d.skeleton import FINGERS, NUM_KEYPOINTS

THUMB_ANGLES = ("cmc_flex", "cmc_abd", "cmc_rot", "mcp_flex", "mcp_abd", "ip_flex")
FINGER_ANGLES = ("mcp_flex", "mcp_abd", "pip_flex", "dip_flex")
ANGLES = tuple(f"thumb_{angle}" for angle in THUMB_ANGLES) + tuple(
    f"{finger}_{angle}" for finger in FINGERS[1:] for angle in FINGER_ANGLES
)
_FLEXION = {"mcp_flex": (-25, 95), "pip_flex": (-8, 115), "dip_flex": (-12, 82)}
_ABDUCTION = {"index": (-14, 22), "middle": (-14, 13), "ring": (-16, 12), "little": (-26, 14)}
_DEGREES = ((-32, 48), (-42, 32), (-25, 40), (-12, 62), (-10, 14), (-28, 82)) + tuple(
    _ABDUCTION[finger] if angle == "mcp_abd" else _FLEXION[angle]
    for finger in FINGERS[1:]
    for angle in FINGER_ANGLES
)
LIMITS = np.radians(_DEGREES).astype(np.float32)  # (22, 2): least, most
TIP = 0.87  # the tip keypoint lies in the pad, this far along the last bone
# every finger as six turns, one after the other; those that it has no angle for stay 0
_TURNS = ("abd", "flex", "rot", "abd_2", "flex_2", "flex_3")
_OF_THUMB = ("cmc_abd", "cmc_flex", "cmc_rot", "mcp_abd", "mcp_flex", "ip_flex")
_OF_FINGER = ("mcp_abd", "mcp_flex", None, None, "pip_flex", "dip_flex")
_NAMES = [f"thumb_{angle}" for angle in _OF_THUMB]
_NAMES += [f"{finger}_{angle}" for finger in FINGERS[1:] for angle in _OF_FINGER]
_EXPAND = np.array([[float(name == angle) for name in _NAMES] for angle in ANGLES], np.float32)  # (22, 30)
_THUMB = np.array([1, 0, 0, 0, 0], np.float32)
_SHOWN = np.array([1, 1, TIP], np.float32)


@dataclasses.dataclass(frozen=True)
class Chain:
    """The bones of a hand, or of a batch of hands (...).

    sign (...): -1 left, +1 right.  base (..., 5, 3, 3): frames of the fingers' first bones at zero angles,
    axes in columns, the bone along the second; origin (..., 5, 3): the fingers' bases; lengths (..., 5, 3),
    base to tip; thumb_mcp (...): radians, abduction of the thumb's MCP at rest.
    """

    sign: np.ndarray
    base: np.ndarray
    origin: np.ndarray
    lengths: np.ndarray
    thumb_mcp: np.ndarray


def mean_hand():
    """`Chain` of a left hand in units of the scale bone: the mean of 24 rendered people (training)."""
    splay, convergence = np.radians([2.5, 4.5, 5.0, 7.0]), np.radians([9.0, 3.0, -3.0, -9.0])
    thumb = [[-0.0946, 0.5684, 0.8173], [-0.6672, 0.5731, -0.4757], [-0.7388, -0.5903, 0.3251]]
    fingers = [_turn(2, a) @ _turn(1, b) for a, b in zip(splay, convergence, strict=True)]
    return Chain(
        sign=np.float32(-1),
        base=np.array([thumb, *fingers], np.float32),
        origin=np.array(
            [
                [0.554, 0.493, -0.096],
                [0.512, 1.923, -0.080],
                [0.0, 1.886, 0.0],
                [-0.450, 1.752, 0.003],
                [-0.790, 1.549, -0.080],
            ],
            np.float32,
        ),
        lengths=np.array(
            [
                [0.895, 0.704, 0.633],
                [0.860, 0.497, 0.613],
                [1.000, 0.631, 0.616],
                [0.900, 0.569, 0.609],
                [0.721, 0.356, 0.456],
            ],
            np.float32,
        ),
        thumb_mcp=np.float32(0.1634),
    )


def forward(angles, chain):
    """Keypoints of a hand in its own frame.

    Args:
        angles: (..., 22) radians, in the order of `ANGLES`.
        chain: `Chain`, of one hand or of as many as there are rows of angles.

    Returns:
        (..., 21, 3) float32 in the chain's unit, keypoint 0 the wrist, at the origin.
    """
    turns = ops.matmul(_float(angles), _EXPAND)
    turns = ops.reshape(turns, (*ops.shape(turns)[:-1], len(FINGERS), len(_TURNS)))
    abduct, flex, twist, abduct_2, flex_2, flex_3 = (turns[..., k] for k in range(len(_TURNS)))
    sign = _float(chain.sign)[..., None]
    at_rest = _float(chain.thumb_mcp)[..., None] * ops.convert_to_tensor(_THUMB)
    first = ops.matmul(_float(chain.base), rotation(2, sign * abduct))
    first = ops.matmul(ops.matmul(first, rotation(0, -flex)), rotation(1, -sign * twist))
    second = ops.matmul(first, rotation(2, at_rest + sign * abduct_2))
    second = ops.matmul(second, rotation(0, -flex_2))
    third = ops.matmul(second, rotation(0, -flex_3))
    bones = ops.stack([first[..., 1], second[..., 1], third[..., 1]], axis=-2)
    bones = bones * (_float(chain.lengths) * ops.convert_to_tensor(_SHOWN))[..., None]
    base = _float(chain.origin) + ops.zeros_like(bones[..., 0, :])
    joints = [base]
    for bone in range(len(_SHOWN)):
        joints.append(joints[-1] + bones[..., bone, :])
    joints = ops.stack(joints[::-1], axis=-2)  # (..., 5, 4, 3), tip to base as in the skeleton
    joints = ops.reshape(joints, (*ops.shape(joints)[:-3], NUM_KEYPOINTS - 1, 3))
    return ops.concatenate([ops.zeros_like(joints[..., :1, :]), joints], axis=-2)


def outside_limits(angles):
    """Radians by which each angle is beyond its limit, (..., 22) -> (..., 22), 0 inside."""
    low, high = ops.convert_to_tensor(LIMITS[:, 0]), ops.convert_to_tensor(LIMITS[:, 1])
    angles = _float(angles)
    return ops.relu(low - angles) + ops.relu(angles - high)


def rotation(axis, angle):
    """(..., 3, 3) rotations about a coordinate axis (0, 1 or 2) by `angle` (...,) radians."""
    cos, sin, zero, one = ops.cos(angle), ops.sin(angle), ops.zeros_like(angle), ops.ones_like(angle)
    rows = {
        0: ((one, zero, zero), (zero, cos, -sin), (zero, sin, cos)),
        1: ((cos, zero, sin), (zero, one, zero), (-sin, zero, cos)),
        2: ((cos, -sin, zero), (sin, cos, zero), (zero, zero, one)),
    }[axis]
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)


def _turn(axis, angle):
    """`rotation` by one number, numpy."""
    cos, sin, i, j = math.cos(angle), math.sin(angle), (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[i, i] = turn[j, j] = cos
    turn[i, j], turn[j, i] = -sin, sin
    return turn


def _float(x):
    return ops.cast(x, "float32")
