"""From a hand mask to the box of one hand (PAPER.md 2, single_obj_scoremap and calc_center_bb).

The object that is kept is not the largest one but the one that holds the mask's highest value.
"""

from keras import ops

from hand3d import crops, geometry
from hand3d.highest import argmax

REACH = 10  # pixels (Chebyshev distance) across which two parts count as one object
THRESHOLD = 0.5
PAPER_CENTRE = (160.0, 160.0)  # where the released code looks when it finds nothing,
PAPER_SIZE = 100.0  # in its frame of 240 x 320 pixels
BOX_FACTOR = 1.25
PAPER_CROP = 256


def hand_component(mask_probability, reach=REACH, stride=1):
    """The connected object around the mask's highest value.

    From that seed the object grows over pixels above 0.5, `reach` pixels a step and max(H, W) // reach
    steps, so that gaps of up to reach - 1 pixels are bridged.  With stride > 1 the growth runs on cells of
    stride x stride pixels, any of which counts: stride^3 times less work, the reach only accurate to a cell.

    Args:
        mask_probability: (B, H, W), 0..1; H and W static and divisible by stride.
        reach: pixels.
        stride: pixels along each side of a cell.

    Returns:
        (B, H, W) float32 map of 0 and 1; all 0 where no pixel exceeds 0.5.
    """
    height, width = mask_probability.shape[1:3]
    if height is None or width is None or height % stride or width % stride:
        raise ValueError(
            f"mask_probability: static height and width divisible by stride={stride} expected, "
            f"got {tuple(mask_probability.shape)}"
        )
    mask_probability = ops.cast(mask_probability, "float32")
    detected = ops.cast(mask_probability > THRESHOLD, "float32")
    rows, columns = height // stride, width // stride
    cells = ops.reshape(mask_probability, (-1, rows, stride, columns, stride))
    cells = ops.reshape(ops.max(cells, axis=(2, 4)), (-1, rows * columns))
    occupied = ops.reshape(ops.cast(cells > THRESHOLD, "float32"), (-1, rows, columns))
    seed = ops.one_hot(argmax(cells, axis=-1), rows * columns, dtype="float32")
    grown = ops.reshape(seed, (-1, rows, columns)) * occupied

    radius = max(1, round(reach / stride))
    # a dilation by a square is two products with band matrices: much faster than a large max pool
    row_band, column_band = _band(rows, radius), _band(columns, radius)
    for _ in range(max(1, max(height, width) // (radius * stride))):
        reached = ops.matmul(ops.matmul(row_band, grown), column_band)  # how many neighbours are set
        grown = ops.minimum(reached, occupied)
    if stride > 1:
        grown = ops.repeat(ops.repeat(grown, stride, axis=1), stride, axis=2)
    return grown * detected


def mask_corners(object_map):
    """First and last pixel of an object along each axis.

    Args:
        object_map: (B, H, W) of 0 and 1.

    Returns:
        low, high: (B, 2) float32, (u, v) of the first and last column and row; 0 and -1 without any pixel.
        found: (B,) bool.
    """
    filled = ops.cast(object_map, "float32") > THRESHOLD
    low, high = [], []
    for axis in (1, 2):  # occupied columns, then occupied rows
        line = ops.any(filled, axis=axis)
        length = ops.shape(line)[1]
        index = ops.arange(length, dtype="float32")
        low.append(ops.min(ops.where(line, index, ops.cast(length, "float32")), axis=-1))
        high.append(ops.max(ops.where(line, index, -1.0), axis=-1))
    low, high = ops.stack(low, axis=-1), ops.stack(high, axis=-1)
    found = high[:, 0] >= 0.0
    return ops.where(found[:, None], low, 0.0), high, found


def mask_to_box(object_map, fallback_centre=PAPER_CENTRE, fallback_size=PAPER_SIZE):
    """Centre and size of an object's bounding box.

    Args:
        object_map: (B, H, W) of 0 and 1.
        fallback_centre: (u, v) pixels, and
        fallback_size: pixels, where the map is empty.

    Returns:
        centre: (B, 2) float32 pixels, (u, v).
        size: (B,) float32 pixels, the larger of width and height, measured from first to last pixel centre.
    """
    low, high, found = mask_corners(object_map)
    centre = ops.where(found[:, None], 0.5 * (low + high), ops.convert_to_tensor(fallback_centre, "float32"))
    return centre, ops.where(found, ops.max(high - low, axis=-1), float(fallback_size))


def keypoint_box(uv, upright=False):
    """The square around keypoints: uv (B, 21, 2) -> centre (B, 2), side (B,) and, if `upright`, up (B, 2).

    upright: of all squares the one whose upper side is where the hand points (`geometry.up_direction`).
    """
    uv = ops.cast(uv, "float32")
    if not upright:
        low, high = ops.min(uv, axis=1), ops.max(uv, axis=1)
        return 0.5 * (low + high), ops.max(high - low, axis=-1)
    up = geometry.up_direction(uv)
    nowhere, unit = ops.zeros_like(up), ops.ones_like(up[:, 0])
    turned = crops.image_to_crop(uv, nowhere, unit, 1, up)
    low, high = ops.min(turned, axis=1), ops.max(turned, axis=1)
    centre = crops.crop_to_image(0.5 * (low + high)[:, None], nowhere, unit, 1, up)[:, 0]
    return centre, ops.max(high - low, axis=-1), up


def crop_side(size, crop_size=PAPER_CROP, zoom=(0.25, 5.0), factor=BOX_FACTOR):
    """Side of the square crop around a box: 1.25 times its size, with bounds on the zoom crop_size / side.

    Args:
        size: (B,) pixels.
        crop_size: pixels along each side of the crop.
        zoom: smallest and largest enlargement; None for no bound.
        factor: room around the box.

    Returns:
        (B,) float32 pixels.
    """
    smallest, largest = zoom
    side = factor * ops.cast(size, "float32")
    if largest is not None:
        side = ops.maximum(side, crop_size / largest)
    return side if smallest is None else ops.minimum(side, crop_size / smallest)


def _band(length, radius):
    """(length, length) float32, 1 where two indices are at most `radius` apart."""
    index = ops.arange(length)
    return ops.cast(ops.abs(index[:, None] - index[None, :]) <= radius, "float32")
