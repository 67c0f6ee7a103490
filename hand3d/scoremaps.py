"""Keypoints to score maps and back.

The one pixel rule: (u, v) = (column, row), pixel centres at integers.  A map of `size` cells over a crop
of `crop_size` pixels has the stride s = crop_size / size; cell j is centred at pixel s * j + (s - 1) / 2.
`encode` and `decode` both follow it, so decode(encode(uv)) comes back within half a pixel.  On the "legacy"
grid, which the published weights were trained on, cell j is centred at pixel s * j (PAPER.md, fact T3).

Maps are (B, size, size, 21) float32.  Two kinds: *linear* maps hold the paper's Gaussians of peak 1;
*probability* maps sum to 1 over the positions of each keypoint.
"""

import math

import keras
from keras import ops

from hand3d.crops import legacy_resize
from hand3d.highest import argmax

PAPER_SIGMA = 25.0  # crop pixels, in the paper's crop of
PAPER_CROP = 256  # pixels
WINDOW = 5  # cells that decode looks at around the highest one
GRIDS = ("half_pixel", "legacy")
FAR = 1e6  # pixels; stands in for coordinates that are not finite
TAIL = 20.0  # exponent at which a Gaussian ends, with 2e-9: processors are slow with numbers near 1e-38


def cell_centres(size, crop_size):
    """Pixel coordinate of each map cell's centre, (size,) float32."""
    stride = crop_size / size
    return stride * ops.arange(size, dtype="float32") + (stride - 1.0) / 2.0


def encode(uv_crop, weight, size, crop_size, sigma=None):
    """The paper's score maps exp(-d^2 / sigma^2), no factor 2 (PAPER.md 3.4, fact T7).

    The coordinate is not truncated to integers as in the released code, and a keypoint outside the crop
    keeps the tail of its Gaussian, which ends in 2e-9: give it weight 0 where it must not show.

    Args:
        uv_crop: (B, 21, 2), crop pixels; may be NaN where the weight is 0.
        weight: (B, 21) visibility or confidence, the height of each peak.
        size: cells along each side of the map.
        crop_size: pixels along each side of the crop.
        sigma: crop pixels; 25 in a crop of 256 and in proportion for others by default.

    Returns:
        (B, size, size, 21) float32 linear maps.
    """
    sigma = PAPER_SIGMA * crop_size / PAPER_CROP if sigma is None else sigma
    squared_x, squared_y = _squared_distances(uv_crop, size, crop_size)
    rows, columns = (ops.exp(-ops.minimum(each / sigma**2, TAIL)) for each in (squared_y, squared_x))
    rows = rows * ops.cast(weight, "float32")[:, None, :]
    return rows[:, :, None, :] * columns[:, None, :, :]


def target_distribution(uv_crop, weight, size, crop_size, sigma_cells=1.0):
    """Gaussian over the map's positions for `hand3d.losses.position_cross_entropy`.

    Args:
        uv_crop: (B, 21, 2), crop pixels; may be NaN where the weight is 0.
        weight: (B, 21); maps of weight 0 are all zero.
        size, crop_size: as in `encode`.
        sigma_cells: standard deviation in map cells, of exp(-d^2 / (2 sigma^2)).

    Returns:
        (B, size, size, 21) float32, every other map summing to 1.
    """
    squared_x, squared_y = _squared_distances(uv_crop, size, crop_size)
    spread = 2.0 * (sigma_cells * crop_size / size) ** 2
    present = ops.cast(ops.cast(weight, "float32") > 0.0, "float32")
    rows = ops.softmax(-squared_y / spread, axis=1) * present[:, None, :]
    columns = ops.softmax(-squared_x / spread, axis=1)
    return rows[:, :, None, :] * columns[:, None, :, :]


def spatial_softmax(logits):
    """Softmax over the positions of each map, (B, h, w, 21) -> same shape, float32."""
    logits = ops.cast(logits, "float32")
    batch, height, width, channels = ops.shape(logits)
    flat = ops.softmax(ops.reshape(logits, (-1, height * width, channels)), axis=1)
    return ops.reshape(flat, (-1, height, width, channels))


def decode(maps, crop_size, mode="linear", refine="fit", grid="half_pixel"):
    """Sub-pixel keypoints from score maps.

    Around the highest cell a window of 5x5 cells is cut (moved inwards at the border) and summed to a row
    and a column profile.  `fit` puts a Gaussian through each profile, which is exact for Gaussian maps,
    also where the border cuts them off; profiles without a peak fall back to the centroid.

    Args:
        maps: (B, size, size, 21); probabilities, not logits, for mode "probability".
        crop_size: pixels along each side of the crop.
        mode: "linear" (confidence = the highest value, clipped to 0..1) or "probability" (confidence =
            the probability inside the window).
        refine: "fit" or "centroid".
        grid: "half_pixel", or "legacy" for the released code's way: the maps are enlarged to the crop on
            TensorFlow 1's grid, and the (first) highest pixel is the keypoint, without any refinement.

    Returns:
        uv_crop: (B, 21, 2) float32 crop pixels.
        confidence: (B, 21) float32 in 0..1.
    """
    if mode not in ("linear", "probability"):
        raise ValueError(f'mode: "linear" or "probability" expected, got {mode!r}')
    if refine not in ("fit", "centroid"):
        raise ValueError(f'refine: "fit" or "centroid" expected, got {refine!r}')
    if grid not in GRIDS:
        raise ValueError(f"grid: one of {GRIDS} expected, got {grid!r}")
    enlarged = legacy_resize(maps, crop_size) if grid == "legacy" else None
    maps = ops.transpose(ops.cast(maps, "float32"), (0, 3, 1, 2))  # (B, 21, rows, columns)
    _, keypoints, height, width = ops.shape(maps)
    best = argmax(ops.reshape(maps, (-1, keypoints, height * width)), axis=-1)
    uv_cells, window = look_around(maps, best, refine)
    uv_crop = cells_to_pixels(uv_cells, (height, width), crop_size)
    if mode == "probability":
        confidence = ops.sum(window, axis=(-1, -2))
    else:
        confidence = ops.max(window, axis=(-1, -2))
    if enlarged is not None:
        uv_crop = _highest_pixel(enlarged)
    return uv_crop, ops.clip(confidence, 0.0, 1.0)


def look_around(maps, cell, refine="fit"):
    """The peaks near cells of each map, as `decode` reads it.

    maps: (B, 21, h, w) float32.  cell: (B, 21) int, row * w + column; or (B, 21, K), and K stands in the
    results likewise.
    Returns uv_cells (B, 21, 2) in cells and the window (B, 21, 5, 5) around the cell, nothing below 0.
    """
    _, keypoints, height, width = ops.shape(maps)
    row, column = cell // width, cell % width
    row_start, pick_rows = _window(row, height)
    column_start, pick_columns = _window(column, width)
    rows = pick_rows.shape[-2]
    together = ops.reshape(pick_rows, (-1, keypoints, math.prod(cell.shape[2:]) * rows, height))
    strips = ops.matmul(together, maps)
    strips = ops.reshape(strips, (-1, *cell.shape[1:], rows, width))
    window = ops.maximum(ops.matmul(strips, ops.swapaxes(pick_columns, -1, -2)), 0.0)
    peak_row = ops.cast(row - row_start, "float32")
    peak_column = ops.cast(column - column_start, "float32")
    v = ops.cast(row_start, "float32") + _peak(ops.sum(window, axis=-1), peak_row, refine)
    u = ops.cast(column_start, "float32") + _peak(ops.sum(window, axis=-2), peak_column, refine)
    return ops.stack([u, v], axis=-1), window


def cells_to_pixels(uv_cells, map_size, crop_size):
    """(..., 2) in cells of a map of (height, width) cells -> pixels of the crop, same shape."""
    height, width = map_size
    stride = ops.cast(crop_size / ops.cast(ops.stack([width, height]), "float32"), "float32")
    return stride * uv_cells + (stride - 1.0) / 2.0


def _highest_pixel(maps):
    """(B, H, W, 21) -> (B, 21, 2) float32, whole pixels (u, v)."""
    _, height, width, keypoints = ops.shape(maps)
    best = argmax(ops.reshape(maps, (-1, height * width, keypoints)), axis=1)
    return ops.cast(ops.stack([best % width, best // width], axis=-1), "float32")


def _squared_distances(uv_crop, size, crop_size):
    """Squared pixel distances of the cells' columns and rows, two (B, size, 21) float32."""
    uv_crop = ops.cast(uv_crop, "float32")
    uv_crop = ops.where(ops.isfinite(uv_crop), uv_crop, FAR)
    offset = cell_centres(size, crop_size)[None, :, None, None] - uv_crop[:, None, :, :]
    squared = ops.square(offset)
    return squared[..., 0], squared[..., 1]


def _window(index, length):
    """First cell of the window (B, 21, ...) and the matrix (B, 21, ..., window, length) that picks it."""
    size = min(WINDOW, length)
    start = ops.clip(index - size // 2, 0, length - size)
    cells = start[..., None] + ops.arange(size, dtype=keras.backend.standardize_dtype(start.dtype))
    return start, ops.one_hot(cells, length, dtype="float32")


def _peak(profile, peak, refine):
    """Sub-cell position of the maximum of profiles (B, 21, ..., window), in cells from the window's start.

    Least-squares parabola through the logarithm, weighted by the squared value (Guo 2011), solved in
    closed form.
    """
    cells = ops.arange(profile.shape[-1], dtype="float32") - peak[..., None]
    highest = ops.max(profile, axis=-1, keepdims=True)
    value = profile / ops.maximum(highest, 1e-30)
    total = ops.maximum(ops.sum(value, axis=-1), 1e-12)
    centroid = ops.sum(value * cells, axis=-1) / total
    if refine == "fit":
        weight = ops.square(value)
        log = ops.log(ops.maximum(value, 1e-6))
        s0, s1, s2, s3, s4 = (ops.sum(weight * cells**k, axis=-1) for k in range(5))
        t0, t1, t2 = (ops.sum(weight * log * cells**k, axis=-1) for k in range(3))
        # Cramer's rule for log = a + b x + c x^2; the peak is at -b / (2 c), the determinant cancels
        b = s0 * (t1 * s4 - t2 * s3) - t0 * (s1 * s4 - s2 * s3) + s2 * (s1 * t2 - s2 * t1)
        c = s0 * (s2 * t2 - s3 * t1) - s1 * (s1 * t2 - s2 * t1) + t0 * (s1 * s3 - s2 * s2)
        peaked = c < -1e-9
        fitted = -b / (2.0 * ops.where(peaked, c, -1.0))
        # beyond one cell from the highest one only noise would put it, the border's overhang apart
        good = ops.logical_and(peaked, ops.abs(fitted) <= 1.0)
        centroid = ops.where(good, fitted, ops.clip(centroid, -1.0, 1.0))
    return peak + ops.where(highest[..., 0] > 0.0, centroid, 0.0)
