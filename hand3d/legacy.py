"""The released code's way from a hand mask to a crop and back, whole pixels included (PAPER.md 2).

`full_graph(..., grid="legacy")` uses it, for weights that were trained with it.  Coordinates are (u, v) in
the frame that HandSegNet sees, pixel centres at integers; the crop is cut out of the same frame.
"""

from keras import ops

from hand3d import crops, segmentation
from hand3d.layers import Float32Layer, register


def crop_window(object_map, crop_size):
    """calc_center_bb and the size of the crop: the object's bounding box, 1.25 times as large.

    Args:
        object_map: (B, H, W) of 0 and 1.
        crop_size: pixels along each side of the crop.

    Returns:
        centre: (B, 2) float32, (u, v), halves of pixels; (160, 160) where the map is empty.
        side: (B,) float32 pixels, crop_size / scale with the scale clipped to 0.25..5; from a size of 100
            where the map is empty.
    """
    centre, size = segmentation.mask_to_box(object_map)
    return centre, segmentation.crop_side(size, crop_size)


def crop_and_resize(images, centre, side, crop_size):
    """crop_image_from_xy with TensorFlow's crop_and_resize: bilinear, not antialiased, zero outside.

    The window starts at centre - floor(side / 2).  It is normalised by the image's size but the operation
    multiplies by size - 1, so it is drawn a little too small and too near to the origin; and the crop's first
    and last pixel lie on the window's edges.

    Arguments and result as in `crops.crop_and_resize`.
    """
    images = ops.cast(images, "float32")
    _, height, width, _ = ops.shape(images)

    def matrix(middle, size):
        length = ops.cast(size, "float32")
        first = middle - ops.floor(side / 2.0)
        low, high = first / length, (first + side) / length  # in this order, so that float32 rounds alike
        step = (high - low) * (length - 1.0) / (crop_size - 1.0)
        start = low * (length - 1.0)
        return crops.interpolation_matrix(start, step, crop_size, size, antialias=False, edge="cut")

    return crops.apply(matrix(centre[:, 1], height), matrix(centre[:, 0], width), images)


def crop_to_image(uv_crop, centre, side, crop_size):
    """trafo_coords: (uv_crop - crop_size / 2) / scale + centre; not quite the inverse of `crop_and_resize`.

    uv_crop (B, N, 2), centre (B, 2), side (B,) -> (B, N, 2) float32.
    """
    scale = crop_size / ops.cast(side, "float32")
    return (uv_crop - 0.5 * crop_size) / scale[:, None, None] + centre[:, None, :]


@register
class LegacyWindow(Float32Layer):
    """Object map (B, H, W) -> (centre (B, 2), side (B,)), see `crop_window`."""

    OPTIONS = ("crop_size",)

    def __init__(self, crop_size, **kwargs):
        super().__init__(crop_size=crop_size, **kwargs)

    def call(self, object_map):
        return crop_window(object_map, self.crop_size)


@register
class LegacyCrop(Float32Layer):
    """[images (B, H, W, C), centre (B, 2), side (B,)] -> (B, crop_size, crop_size, C), `crop_and_resize`."""

    OPTIONS = ("crop_size",)

    def __init__(self, crop_size, **kwargs):
        super().__init__(crop_size=crop_size, **kwargs)

    def call(self, inputs):
        return crop_and_resize(*inputs, self.crop_size)


@register
class LegacyCropToImage(Float32Layer):
    """[uv_crop (B, 21, 2), centre (B, 2), side (B,)] -> (B, 21, 2), see `crop_to_image`."""

    OPTIONS = ("crop_size",)

    def __init__(self, crop_size, **kwargs):
        super().__init__(crop_size=crop_size, **kwargs)

    def call(self, inputs):
        return crop_to_image(*inputs, self.crop_size)
