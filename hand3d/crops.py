"""Resizing and cropping as two matrix products, on every backend, differentiable, in batches.

Crops that are turned are read from an upright one by a gather.

The one pixel rule: pixel centres at integers, an image of width W spans [-0.5, W - 0.5].  A crop is a
square of `side` image pixels around `centre` = (u, v), drawn with `crop_size` pixels a side; its middle,
(crop_size - 1) / 2, shows the image at `centre`.  Images are (B, H, W, C).
"""

import math

from keras import ops

EDGES = ("zero", "cut", "renormalise")


def interpolation_matrix(start, step, out_size, in_size, antialias=True, edge="zero"):
    """Rows of a bilinear sampler: output i is taken at input coordinate start + step * i.

    Args:
        start: (B,) input pixels, coordinate of the first output pixel's centre.
        step: (B,) input pixels from one output pixel to the next.
        out_size, in_size: numbers of pixels.
        antialias: widen the triangle filter by `step` where step > 1, so that every input pixel counts.
        edge: "zero" takes 0 outside the image and blends at its border, "cut" takes 0 for every coordinate
            outside [0, in_size - 1]; "renormalise" takes the nearest inside (rows sum to 1).

    Returns:
        (B, out_size, in_size) float32; output = matrix @ input.
    """
    if edge not in EDGES:
        raise ValueError(f"edge: one of {EDGES} expected, got {edge!r}")
    start, step = ops.cast(start, "float32"), ops.cast(step, "float32")
    position = start[:, None] + step[:, None] * ops.arange(out_size, dtype="float32")
    radius = ops.maximum(step, 1.0)[:, None] if antialias else ops.ones_like(step)[:, None]
    distance = ops.abs(position[:, :, None] - ops.arange(in_size, dtype="float32"))
    weight = ops.maximum(1.0 - distance / radius[:, :, None], 0.0)
    if edge == "cut":
        inside = ops.logical_and(position >= 0.0, position <= ops.cast(in_size, "float32") - 1.0)
        return weight * ops.cast(inside, "float32")[:, :, None]
    if edge == "zero":
        total = _triangle_sum(position, radius)
    else:
        total = ops.maximum(ops.sum(weight, axis=-1), 1e-6)
    return weight / total[:, :, None]


def crop_and_resize(images, centre, side, crop_size, antialias=True, up=None):
    """Square crops, zero outside the image.

    Unlike the released code nothing is rounded to whole pixels (PAPER.md 2, crop_image_from_xy).

    Args:
        images: (B, H, W, C), any numeric dtype.
        centre: (B, 2) image pixels, (u, v).
        side: (B,) image pixels.
        crop_size: pixels along each side of the result.
        antialias: average where the crop is shrunk.
        up: None, or (B, 2), the unit vector of the image that points up in the crop.

    Returns:
        (B, crop_size, crop_size, C) float32.
    """
    images = ops.cast(images, "float32")
    centre, side = ops.cast(centre, "float32"), ops.cast(side, "float32")
    _, height, width, _ = ops.shape(images)
    step = side / crop_size
    size = crop_size if up is None else 2 * math.ceil(crop_size / math.sqrt(2)) + crop_size % 2  # all corners
    start = centre - 0.5 * (size - 1) * step[:, None]
    rows = interpolation_matrix(start[:, 1], step, size, height, antialias)
    columns = interpolation_matrix(start[:, 0], step, size, width, antialias)
    planes = _planes(rows, columns, images)
    if up is not None:
        planes = _turn(planes, up, crop_size)
    return ops.transpose(planes, (0, 2, 3, 1))


def _turn(planes, up, size):
    """The middle of square planes, turned: (B, C, N, N) -> (B, C, size, size) float32, bilinear.

    up: (B, 2), unit vector of the image that points up in the result.
    """
    linear = ops.stack(_axes(up), axis=-1)
    channels, side = planes.shape[1], planes.shape[2]
    offset = ops.arange(size, dtype="float32") - 0.5 * (size - 1)
    u, v = (
        linear[:, axis, 0, None, None] * offset
        + linear[:, axis, 1, None, None] * offset[:, None]
        + 0.5 * (side - 1)
        for axis in (0, 1)
    )
    column, row = (ops.clip(ops.floor(place), 0, side - 2) for place in (u, v))
    u, v = (u - column)[:, None], (v - row)[:, None]
    plane = ops.reshape(ops.arange(ops.shape(planes)[0] * channels, dtype="int32"), (-1, channels, 1, 1))
    index = plane * side**2 + ops.cast(row * side + column, "int32")[:, None]
    values = ops.reshape(planes, (-1,))
    return _between([ops.take(values, index + step) for step in (0, 1, side, side + 1)], u, v)


def warp(picture, matrix, size):
    """Bilinear resampling of whole batches by a gather.

    picture: (B, S, S, C) uint8 or float.  matrix: (B, 2, 3), crop pixel -> picture pixel.
    Returns (B, size, size, C) float32 and (B, size, size, 1) float32, 1 inside the picture, 0 outside.
    """
    batch, side, channels = ops.shape(picture)[0], picture.shape[1], picture.shape[-1]
    grid = ops.arange(size, dtype="float32")
    u, v = (
        matrix[:, row, 0, None, None] * grid[None, None, :]
        + matrix[:, row, 1, None, None] * grid[None, :, None]
        + matrix[:, row, 2, None, None]
        for row in (0, 1)
    )
    inside = (u > -0.5) & (u < side - 0.5) & (v > -0.5) & (v < side - 0.5)
    u, v = ops.clip(u, 0, side - 1.001), ops.clip(v, 0, side - 1.001)
    column, row = ops.floor(u), ops.floor(v)
    u, v = (u - column)[..., None], (v - row)[..., None]
    # each pixel with its three neighbours, so that one gather fetches all four
    block = ops.concatenate(
        [picture[:, :-1, :-1], picture[:, :-1, 1:], picture[:, 1:, :-1], picture[:, 1:, 1:]], -1
    )
    block = ops.reshape(block, (-1, 4 * channels))
    first = ops.arange(batch, dtype="int32")[:, None, None] * (side - 1) ** 2
    index = first + ops.cast(row, "int32") * (side - 1) + ops.cast(column, "int32")
    near = ops.cast(ops.take(block, index, axis=0), "float32")
    corners = [near[..., k * channels : (k + 1) * channels] for k in range(4)]
    return _between(corners, u, v), ops.cast(inside, "float32")[..., None]


def _between(corners, u, v):
    """Bilinear: the values at top left, top right, low left and low right, and how far along, 0 to 1."""
    top_left, top_right, low_left, low_right = corners
    top, low = top_left + (top_right - top_left) * u, low_left + (low_right - low_left) * u
    return top + (low - top) * v


def resize(images, size, antialias=True):
    """Resize on the half-pixel grid: u' = (u + 0.5) * factor - 0.5.

    Args:
        images: (B, h, w, C).
        size: pixels a side, or (height, width).
        antialias: average where the image is shrunk.

    Returns:
        (B, height, width, C) float32.
    """
    return _resize(images, size, antialias, half_pixel=True)


def legacy_resize(images, size):
    """Bilinear resize on TensorFlow 1's grid, u' = u * factor, without antialiasing (PAPER.md, fact T3).

    What the published networks were trained with: an 8 times larger map lies 3.5 pixels to the upper left
    of `resize`'s.  Arguments and result as in `resize`.
    """
    return _resize(images, size, antialias=False, half_pixel=False)


def image_to_crop(uv_image, centre, side, crop_size, up=None):
    """Image pixels to crop pixels, (B, N, 2) -> (B, N, 2) float32; centre (B, 2), side (B,), up (B, 2)."""
    uv_image, centre, factor = _transform(uv_image, centre, side, crop_size)
    offset = (uv_image - centre) * factor
    if up is not None:
        offset = ops.matmul(offset, ops.stack(_axes(up), axis=-1))
    return offset + 0.5 * (crop_size - 1)


def crop_to_image(uv_crop, centre, side, crop_size, up=None):
    """Inverse of `image_to_crop`: crop pixels to image pixels, (B, N, 2) -> (B, N, 2) float32."""
    uv_crop, centre, factor = _transform(uv_crop, centre, side, crop_size)
    offset = (uv_crop - 0.5 * (crop_size - 1)) / factor
    return (offset if up is None else turn_back(offset, up)) + centre


def turn_back(points, up):
    """Offsets (B, N, 2 or 3) along a turned crop's axes -> along the image's or camera's; up (B, 2).

    The first two axes go right and down; a third, away from the camera, stays.
    """
    points = ops.cast(points, "float32")
    turned = ops.matmul(points[..., :2], ops.stack(_axes(up), axis=1))
    return ops.concatenate([turned, points[..., 2:]], axis=-1)


def _axes(up):
    """Unit vectors of the image, (B, 2) each, that go right and down in a crop that `up` points up in."""
    up = ops.cast(up, "float32")
    return ops.stack([-up[:, 1], up[:, 0]], axis=-1), -up


def crop_intrinsics(K, centre, side, crop_size):
    """Intrinsics (B, 3, 3) of the crop's camera: project(xyz, K') = image_to_crop(project(xyz, K))."""
    K, centre = ops.cast(K, "float32"), ops.cast(centre, "float32")
    factor = crop_size / ops.cast(side, "float32")
    shift = 0.5 * (crop_size - 1) - centre * factor[:, None]
    rows_uv = K[:, :2, :] * factor[:, None, None] + shift[:, :, None] * K[:, 2:, :]
    return ops.concatenate([rows_uv, K[:, 2:, :]], axis=1)


def _transform(uv, centre, side, crop_size):
    factor = crop_size / ops.cast(side, "float32")
    return ops.cast(uv, "float32"), ops.cast(centre, "float32")[:, None, :], factor[:, None, None]


def _resize(images, size, antialias, half_pixel):
    out_height, out_width = size if isinstance(size, (tuple, list)) else (size, size)
    images = ops.cast(images, "float32")
    _, height, width, _ = ops.shape(images)

    def matrix(out_size, in_size):
        step = ops.reshape(ops.cast(in_size, "float32") / ops.cast(out_size, "float32"), (1,))
        start = 0.5 * step - 0.5 if half_pixel else 0.0 * step
        return interpolation_matrix(start, step, out_size, in_size, antialias, edge="renormalise")

    return apply(matrix(out_height, height), matrix(out_width, width), images)


def apply(rows, columns, images):
    """Interpolation matrices at work: images (B, H, W, C) -> (B, o, p, C).

    rows: (B or 1, o, H).  columns: (B or 1, p, W).
    """
    return ops.transpose(_planes(rows, columns, images), (0, 2, 3, 1))


def _planes(rows, columns, images):
    """The same as (B, C, o, p): what is transposed on the way is small, and the products have one batch axis.

    With two, (B, 1, o, H) by (B, C, H, W), TensorFlow 2.21 crashed in larger graphs.
    """
    _, height, width, channels = ops.shape(images)
    out_height, out_width = ops.shape(rows)[1], ops.shape(columns)[1]
    tall = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
    tall = ops.transpose(ops.reshape(tall, (-1, out_height, width, channels)), (0, 3, 1, 2))
    tall = ops.reshape(tall, (-1, channels * out_height, width))
    wide = ops.matmul(tall, ops.swapaxes(columns, -1, -2))
    return ops.reshape(wide, (-1, channels, out_height, out_width))


def _triangle_sum(position, radius):
    """Sum over all integers j of max(0, 1 - |position - j| / radius), radius >= 1, in closed form."""
    left = position - ops.floor(position)
    total = 0.0
    for nearest in (left, 1.0 - left):  # distances nearest, nearest + 1, ... on either side
        count = ops.floor(radius - nearest) + 1.0
        total = total + count - (count * nearest + 0.5 * count * (count - 1.0)) / radius
    return total
