"""Registered Keras layers that place, cut and undo crops: `hand3d.layers` of `hand3d.crops`."""

import keras
from keras import ops

from hand3d import crops, segmentation
from hand3d.layers import Float32Layer

register = keras.saving.register_keras_serializable("hand3d")


@register
class ComponentBox(Float32Layer):
    """[object map (B, h, w), image (B, H, W, C)] -> (centre (B, 2), side (B,)) of the crop in image pixels.

    The side is `factor` times the object's larger extent, at least crop_size / `largest_zoom`.  Without an
    object the crop holds the whole image.
    """

    OPTIONS = ("crop_size", "factor", "largest_zoom")

    def __init__(self, crop_size, factor=segmentation.BOX_FACTOR, largest_zoom=5.0, **kwargs):
        super().__init__(crop_size=crop_size, factor=factor, largest_zoom=largest_zoom, **kwargs)

    def call(self, inputs):
        object_map, image = inputs
        low, high, found = segmentation.mask_corners(object_map)
        map_height, map_width = ops.shape(object_map)[1:3]
        height, width = ops.shape(image)[1:3]
        image_size = ops.stack([ops.cast(width, "float32"), ops.cast(height, "float32")])
        factor = image_size / ops.stack([ops.cast(map_width, "float32"), ops.cast(map_height, "float32")])
        centre = (0.5 * (low + high) + 0.5) * factor - 0.5
        extent = ops.max((high - low) * factor, axis=-1)
        side = segmentation.crop_side(extent, self.crop_size, (None, self.largest_zoom), self.factor)
        whole_centre, whole_side = 0.5 * (image_size - 1.0), ops.max(image_size)
        return ops.where(found[:, None], centre, whole_centre), ops.where(found, side, whole_side)


@register
class KeypointBox(Float32Layer):
    """[keypoints (B, 21, 2), score (B,), centre (B, 2), side (B,)] -> centre and side of a crop around them.

    All in image pixels.  The side is `factor` times their larger extent, at least crop_size / `largest_zoom`.
    Where the score is 0 the crop stays as it was.  upright: the extent is that in a crop which is turned so
    that the hand points up, and a third output `up` (B, 2) says how (`crops.crop_and_resize`).
    """

    OPTIONS = ("crop_size", "factor", "largest_zoom", "upright")

    def __init__(self, crop_size, factor, largest_zoom=5.0, upright=False, **kwargs):
        options = dict(crop_size=crop_size, factor=factor, largest_zoom=largest_zoom, upright=upright)
        super().__init__(**options, **kwargs)

    def call(self, inputs):
        uv, score, centre, side = inputs
        found = score > 0.0
        box = segmentation.keypoint_box(uv, self.upright)
        limits = (None, self.largest_zoom)
        new_side = segmentation.crop_side(box[1], self.crop_size, limits, self.factor)
        placed = ops.where(found[:, None], box[0], centre), ops.where(found, new_side, side)
        if not self.upright:
            return placed
        unturned = ops.convert_to_tensor([[0.0, -1.0]])
        return *placed, ops.where(found[:, None], box[2], unturned)


@register
class CropImages(Float32Layer):
    """[images (B, H, W, C), centre (B, 2), side (B,)] -> crops (B, crop_size, crop_size, C).

    With a fourth input `up` (B, 2) they are turned (`crops.crop_and_resize`).
    """

    OPTIONS = ("crop_size",)

    def __init__(self, crop_size, **kwargs):
        super().__init__(crop_size=crop_size, **kwargs)

    def call(self, inputs):
        images, centre, side, *up = inputs
        return crops.crop_and_resize(images, centre, side, self.crop_size, up=up[0] if up else None)


@register
class CropToImage(Float32Layer):
    """[uv_crop (B, 21, 2), centre (B, 2), side (B,)] -> uv_image (B, 21, 2); `up` as of `CropImages`."""

    OPTIONS = ("crop_size",)

    def __init__(self, crop_size, **kwargs):
        super().__init__(crop_size=crop_size, **kwargs)

    def call(self, inputs):
        uv_crop, centre, side, *up = inputs
        return crops.crop_to_image(uv_crop, centre, side, self.crop_size, up[0] if up else None)


@register
class TurnBack(Float32Layer):
    """[xyz (B, 21, 3) in the axes of a turned crop, up (B, 2)] -> xyz in camera axes (`crops.turn_back`)."""

    def call(self, inputs):
        return crops.turn_back(*inputs)
