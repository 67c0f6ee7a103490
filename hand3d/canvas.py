"""The canvas that the networks see an image on, and the way back to the image's own pixels."""

import numpy as np
from PIL import Image

from hand3d.images import GREY


def fit(picture, canvas_side):
    """An image in the middle of a square canvas, resized with antialiasing to fill it in one direction.

    picture: (H, W, 3) uint8, or Pillow's image of mode RGB.  Returns canvas (S, S, 3) uint8 and area (left,
    top, width, height), the pixels of the canvas that the image covers.
    """
    return fit_into(picture, (canvas_side, canvas_side))


def fit_into(picture, frame):
    """As `fit`, for a canvas of (height, width) = frame."""
    image = as_image(picture)
    width, height = image.size
    factor = min(frame[0] / height, frame[1] / width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    left, top = (frame[1] - size[0]) // 2, (frame[0] - size[1]) // 2
    canvas = np.full((*frame, 3), GREY, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(_resized(image, size))
    return canvas, (left, top, *size)


def _resized(image, size):
    """image with antialiasing; by whole numbers, as from 1280 to 640 pixels, the mean of squares of pixels,
    which takes a sixth of the time and moves nothing either."""
    if image.size == size:
        return image
    times = image.width // size[0]
    if times > 1 and image.size == (times * size[0], times * size[1]):
        return image.reduce(times)
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def as_image(picture):
    """Pillow's image of an (H, W, 3) uint8 array; such an image as it is."""
    return picture if isinstance(picture, Image.Image) else Image.fromarray(picture)


def stretch(picture, frame):
    """An image resized with antialiasing to (height, width) = frame, its sides not kept in proportion.

    What the released programs do (PAPER.md 2).  Arguments and result as in `fit`.
    """
    height, width = frame
    image = as_image(picture)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image), (0, 0, width, height)


def canvas_to_image(uv_canvas, area, size):
    """uv_canvas: (N, 2) pixels of the canvas -> (N, 2) float32 pixels of the image, by the one pixel rule.

    area: as returned by `fit`.  size: (2,) width and height of the image, pixels.
    """
    area = np.asarray(area, np.float64)
    uv = (np.asarray(uv_canvas, np.float64) - area[:2] + 0.5) * (np.asarray(size) / area[2:]) - 0.5
    return uv.astype(np.float32)


def corners_of(component, canvas_size):
    """First and last pixel centre of the found object, (2, 2) in pixels of the canvas."""
    rows, columns = np.nonzero(component.any(1))[0], np.nonzero(component.any(0))[0]
    cells = np.array([[columns[0], rows[0]], [columns[-1], rows[-1]]], np.float64)
    return (cells + 0.5) * (np.array(canvas_size[::-1]) / component.shape[::-1]) - 0.5


def box_around(uv, size):
    """Bounding box (4,) of points, clipped to the pixel centres of the image."""
    corners = np.stack([uv.min(0), uv.max(0)])
    return np.clip(corners, 0, size - 1).reshape(4).astype(np.float32)


def mask_of_area(mask, area, canvas_size):
    """The part of a mask over the canvas that lies over the image, (h, w) float32."""
    scale = np.array(mask.shape[::-1]) / canvas_size[::-1]
    low = np.array(area[:2]) * scale
    high = low + np.array(area[2:]) * scale
    size = np.maximum(1, np.round(high - low)).astype(int)
    image = Image.fromarray(np.asarray(mask, np.float32))
    return np.asarray(image.resize(tuple(size), Image.Resampling.BILINEAR, box=(*low, *high)))
