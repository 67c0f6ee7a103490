"""Geometry of one hand: projection, rotations, the canonical frame and the `local` bone representation.

All functions are pure, batched over any leading axes, work on every Keras backend, take numpy arrays
or tensors and compute in float32.  Points are row vectors: a rotation acts as `xyz @ rotation`
(PAPER.md 2).  xyz_camera is in metres, camera axes (x right, y down, z away); xyz_relative and
xyz_canonical have the root at the origin.  Keypoints stand in the order of `hand3d.skeleton`.

A hand's side is either an index (...,) with 0 left and 1 right, or a one-hot / probability vector
(..., 2); the two are told apart by the number of axes.
"""

from keras import ops

from hand3d import skeleton
from hand3d.highest import argmax

EPSILON = 1e-12
MIDDLE_MCP = skeleton.INDEX["middle_mcp"]
# the kinematic chains joint by joint, all fingers at once, from the base to the tip; the root, itself
# measured from the origin as the bases are, goes with the first
_LEVELS = [list(level) for level in zip(*(chain[::-1] for chain in skeleton.CHAINS.values()), strict=True)]
_LEVELS[0].insert(0, skeleton.ROOT)
_FROM_LEVELS = [sum(_LEVELS, []).index(keypoint) for keypoint in range(skeleton.NUM_KEYPOINTS)]


def project(xyz_camera, K):
    """Pinhole projection.

    Args:
        xyz_camera: (..., 21, 3) metres, camera axes, z > 0.
        K: (..., 3, 3) intrinsics for pixel centres at integers.

    Returns:
        uv (..., 21, 2) float32, pixels, (u, v) = (column, row).
    """
    homogeneous = ops.matmul(_float(xyz_camera), ops.swapaxes(_float(K), -1, -2))
    return homogeneous[..., :2] / homogeneous[..., 2:]


def axis_angle_to_matrix(axis_angle):
    """Rodrigues' formula with the paper's safe angle sqrt(|u|^2 + 1e-8) (PAPER.md 1.4).

    The entries are those of the usual matrix for column vectors; the pipeline uses it on row vectors
    (`xyz_canonical @ matrix`).

    Args:
        axis_angle: (..., 3), rotation axis times angle in radians.

    Returns:
        (..., 3, 3) float32 rotation matrices.
    """
    axis_angle = _float(axis_angle)
    angle = ops.sqrt(ops.sum(ops.square(axis_angle), axis=-1, keepdims=True) + 1e-8)
    axis = axis_angle / angle
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    cos, sin = ops.cos(angle[..., 0]), ops.sin(angle[..., 0])
    rest = 1.0 - cos
    rows = (
        (cos + x * x * rest, x * y * rest - z * sin, x * z * rest + y * sin),
        (y * x * rest + z * sin, cos + y * y * rest, y * z * rest - x * sin),
        (z * x * rest - y * sin, z * y * rest + x * sin, cos + z * z * rest),
    )
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)


def normalise(xyz_camera):
    """Root-relative coordinates in units of the hand's scale bone (PAPER.md 2, fact T5).

    Args:
        xyz_camera: (..., 21, 3) metres.

    Returns:
        xyz_relative: (..., 21, 3) float32, root at the origin, middle finger's MCP-PIP bone of length 1.
        scale: (...,) float32, the length of that bone in metres.
    """
    xyz_camera = _float(xyz_camera)
    xyz_relative = xyz_camera - xyz_camera[..., skeleton.ROOT : skeleton.ROOT + 1, :]
    start, end = skeleton.SCALE_BONE
    scale = _length(xyz_relative[..., end, :] - xyz_relative[..., start, :])
    return xyz_relative / scale[..., None, None], scale


def wrist_to_palm(x):
    """Replace the wrist by the palm centre, the mean of wrist and middle MCP (PAPER.md 3.2).

    Args:
        x: (..., 21, 2) uv or (..., 21, 3) xyz, any unit.

    Returns:
        Same shape, float32.  `palm_to_wrist` undoes it.
    """
    x = _float(x)
    palm = 0.5 * (x[..., skeleton.ROOT, :] + x[..., MIDDLE_MCP, :])
    return _with_root(x, palm)


def palm_to_wrist(x):
    """Inverse of `wrist_to_palm`: wrist = 2 palm - middle MCP."""
    x = _float(x)
    wrist = 2.0 * x[..., skeleton.ROOT, :] - x[..., MIDDLE_MCP, :]
    return _with_root(x, wrist)


def palm_visible(visible):
    """Visibility of the palm: wrist or middle MCP visible.  visible (..., 21) -> same shape, bool."""
    visible = ops.cast(visible, "bool")
    root = ops.logical_or(visible[..., skeleton.ROOT], visible[..., MIDDLE_MCP])
    return ops.concatenate([root[..., None], visible[..., skeleton.ROOT + 1 :]], axis=-1)


def canonical_rotation(xyz_relative):
    """Rotation R into the canonical frame: (xyz_relative @ R) has the middle MCP on the negative y
    axis and the little finger's MCP at z = 0, x > 0 (PAPER.md 2).

    Args:
        xyz_relative: (..., 21, 3), root at the origin, any unit; the three points must not lie on a line.

    Returns:
        (..., 3, 3) float32, determinant +1.  The networks' rotation target is its transpose.
    """
    xyz_relative = _float(xyz_relative)
    y = -_unit(xyz_relative[..., skeleton.CANONICAL_Y, :])
    little = _unit(xyz_relative[..., skeleton.CANONICAL_X, :])
    x = _unit(little - y * ops.sum(little * y, axis=-1, keepdims=True))
    # ops.cross is not defined for every rank on every backend, so spelled out: z = x cross y
    z = ops.stack(
        [
            x[..., 1] * y[..., 2] - x[..., 2] * y[..., 1],
            x[..., 2] * y[..., 0] - x[..., 0] * y[..., 2],
            x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0],
        ],
        axis=-1,
    )
    return ops.stack([x, y, z], axis=-1)  # the axes are the columns


def to_canonical(xyz_relative, side):
    """Canonical coordinates of a left hand and the rotation back (PAPER.md 2).

    Args:
        xyz_relative: (..., 21, 3), root at the origin.
        side: (...,) index or (..., 2) one-hot.  Right hands get z negated, so all become left hands.

    Returns:
        xyz_canonical: (..., 21, 3) float32, the target of PosePrior.
        rotation: (..., 3, 3) float32, the target of the viewpoint network.
    """
    xyz_relative = _float(xyz_relative)
    rotation = canonical_rotation(xyz_relative)
    return flip_right(ops.matmul(xyz_relative, rotation), side), ops.swapaxes(rotation, -1, -2)


def from_canonical(xyz_canonical, rotation, side):
    """Inverse of `to_canonical`: negate z of right hands, then `@ rotation` -> xyz_relative (..., 21, 3)."""
    return ops.matmul(flip_right(xyz_canonical, side), _float(rotation))


def flip_right(xyz_canonical, side):
    """Negate z where the side is right; (..., 21, 3) and (...,) or (..., 2) -> (..., 21, 3)."""
    xyz_canonical = _float(xyz_canonical)
    if len(getattr(side, "shape", ())) == len(xyz_canonical.shape) - 1:  # one-hot
        side = argmax(side, axis=-1)
    sign = 1.0 - 2.0 * ops.cast(side, "float32")
    sign = ops.reshape(sign, tuple(ops.shape(sign)) + (1, 1))
    return ops.concatenate([xyz_canonical[..., :2], xyz_canonical[..., 2:] * sign], axis=-1)


def up_direction(uv):
    """Where a hand points in the image: from the palm to the middle finger's base.

    uv: (..., 21, 2) pixels.  Returns (..., 2), a unit vector; (0, -1), which is up, where the two coincide.
    """
    offset = _float(uv)[..., MIDDLE_MCP, :] - _float(uv)[..., skeleton.ROOT, :]
    length = _length(offset)[..., None]
    up = ops.convert_to_tensor([0.0, -1.0], dtype=offset.dtype)
    return ops.where(length > 1e-3, offset / ops.maximum(length, 1e-3), up)


def local_bones(xyz):
    """Each bone as (length, angle_x, angle_y) in its parent's frame (PAPER.md 2).

    A frame's z axis runs along the bone; the root and the five finger bases are measured from the
    origin in the camera's axes, so root-relative coordinates are expected.

    Args:
        xyz: (..., 21, 3), root at the origin.

    Returns:
        (..., 21, 3) float32: length in the unit of xyz, angles in radians.
    """
    xyz = _float(xyz)
    local, origin, frame = [], 0.0, None
    for level in _LEVELS:
        point = ops.take(xyz, level, axis=-2)
        bone = point - origin
        if frame is not None:
            bone = ops.sum(frame * bone[..., None, :], axis=-1)
        x, y, z = bone[..., 0], bone[..., 1], bone[..., 2]
        angle_y = _atan2(x, z)
        angle_x = _atan2(-y, ops.sqrt(ops.square(x) + ops.square(z) + EPSILON))
        local.append(ops.stack([_length(bone), angle_x, angle_y], axis=-1))
        turn = ops.swapaxes(_turn(angle_x, angle_y), -1, -2)
        frame = turn if frame is None else ops.matmul(turn, frame)
        if len(level) > len(skeleton.BASES):  # nothing hangs on the root's frame
            point, frame = point[..., 1:, :], frame[..., 1:, :, :]
        origin = point
    return ops.take(ops.concatenate(local, axis=-2), _FROM_LEVELS, axis=-2)


def from_local_bones(local):
    """Inverse of `local_bones`: forward kinematics, (..., 21, 3) -> xyz (..., 21, 3) float32."""
    local = _float(local)
    xyz, origin, frame = [], 0.0, None  # the frame's columns are its axes
    for level in _LEVELS:
        bones = ops.take(local, level, axis=-2)
        turn = _turn(bones[..., 1], bones[..., 2])
        frame = turn if frame is None else ops.matmul(frame, turn)
        point = origin + frame[..., :, 2] * bones[..., :1]
        xyz.append(point)
        if len(level) > len(skeleton.BASES):
            point, frame = point[..., 1:, :], frame[..., 1:, :, :]
        origin = point
    return ops.take(ops.concatenate(xyz, axis=-2), _FROM_LEVELS, axis=-2)


def _turn(angle_x, angle_y):
    """R_y(angle_y) @ R_x(angle_x) for column vectors, (...,) and (...,) -> (..., 3, 3)."""
    cos_x, sin_x = ops.cos(angle_x), ops.sin(angle_x)
    cos_y, sin_y = ops.cos(angle_y), ops.sin(angle_y)
    rows = (
        (cos_y, sin_y * sin_x, sin_y * cos_x),
        (ops.zeros_like(cos_x), cos_x, -sin_x),
        (-sin_y, cos_y * sin_x, cos_y * cos_x),
    )
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)


def _atan2(y, x):
    """atan2 with value and gradient 0 at the origin."""
    at_origin = ops.logical_and(ops.abs(x) < 1e-9, ops.abs(y) < 1e-9)
    return ops.arctan2(ops.where(at_origin, 0.0, y), ops.where(at_origin, 1.0, x))


def _with_root(x, root):
    return ops.concatenate([root[..., None, :], x[..., skeleton.ROOT + 1 :, :]], axis=-2)


def _length(x):
    return ops.sqrt(ops.sum(ops.square(x), axis=-1) + EPSILON)


def _unit(x):
    return x / _length(x)[..., None]


def _float(x):
    return ops.cast(x, "float32")
