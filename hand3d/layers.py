"""The package's functions as registered Keras layers, the joints of the functional models.

Without weights; float32 under any dtype policy, since coordinates need it.  `hand3d.graph` strings them
together.
"""

import math

import keras
from keras import ops

from hand3d import crops, geometry, scoremaps, segmentation
from hand3d.highest import argmax

register = keras.saving.register_keras_serializable("hand3d")


class Float32Layer(keras.layers.Layer):
    """Base of all layers here: float32, its options stored under the names in `OPTIONS`."""

    OPTIONS = ()

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "float32")
        options = {name: kwargs.pop(name) for name in self.OPTIONS if name in kwargs}
        super().__init__(**kwargs)
        for name, value in options.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in self.OPTIONS}}


@register
class AxisAngleToMatrix(Float32Layer):
    """(B, 3) axis-angle -> (B, 3, 3), see `geometry.axis_angle_to_matrix`.

    In training the part of the angle beyond a whole turn costs its square (mean of the batch): out there the
    rotation hardly tells how long the vector is, and what a step too large takes there would not come back.
    """

    def call(self, axis_angle, training=False):
        if training:
            angle = ops.sqrt(ops.sum(ops.square(axis_angle), axis=-1) + 1e-8)
            self.add_loss(ops.mean(ops.square(ops.relu(angle - 2 * math.pi))))
        return geometry.axis_angle_to_matrix(axis_angle)


@register
class FromCanonical(Float32Layer):
    """[xyz_canonical (B, 21, 3), rotation (B, 3, 3), hand_side (B, 2)] -> xyz_relative (B, 21, 3)."""

    def call(self, inputs):
        return geometry.from_canonical(*inputs)


@register
class FromLocalBones(Float32Layer):
    """(B, 21, 3) lengths and angles -> xyz_relative (B, 21, 3), see `geometry.from_local_bones`."""

    def call(self, local):
        return geometry.from_local_bones(local)


@register
class EnlargeLike(Float32Layer):
    """[maps (B, h, w, C), image (B, H, W, ...)] -> maps (B, H, W, C); `grid` is "legacy" or "half_pixel"."""

    OPTIONS = ("grid",)

    def __init__(self, grid="legacy", **kwargs):
        if grid not in ("legacy", "half_pixel"):
            raise ValueError(f'grid: "legacy" or "half_pixel" expected, got {grid!r}')
        super().__init__(grid=grid, **kwargs)

    def call(self, inputs):
        maps, image = inputs
        enlarge = crops.legacy_resize if self.grid == "legacy" else crops.resize
        return enlarge(maps, tuple(ops.shape(image)[1:3]))

    def compute_output_shape(self, input_shapes):
        maps, image = input_shapes
        return (maps[0], image[1], image[2], maps[3])


@register
class ResizeImages(Float32Layer):
    """(B, h, w, C) -> (B, size, size, C) or (B, *size, C), antialiased on the half-pixel grid."""

    OPTIONS = ("size",)

    def __init__(self, size, **kwargs):
        super().__init__(size=size, **kwargs)

    def call(self, images):
        return crops.resize(images, self.size)


@register
class HandMask(Float32Layer):
    """Logits (B, h, w, 2 or more), channel 0 background -> hand probability (B, *size).

    With grid "legacy" the logits are enlarged, on that grid; otherwise it is the probabilities.  Of a list of
    logits, of looks at several sizes, the mean of the probabilities.
    """

    OPTIONS = ("size", "grid")

    def __init__(self, size, grid="half_pixel", **kwargs):
        super().__init__(size=size, grid=grid, **kwargs)

    def call(self, logits):
        looks = logits if isinstance(logits, list | tuple) else [logits]
        return sum(map(self._probability, looks)) / len(looks)

    def _probability(self, logits):
        if self.grid == "legacy" and tuple(logits.shape[1:3]) != tuple(self.size):
            logits = crops.legacy_resize(logits, tuple(self.size))
        probability = ops.max(ops.softmax(logits, axis=-1)[..., 1:], axis=-1, keepdims=True)
        if self.grid != "legacy" and tuple(logits.shape[1:3]) != tuple(self.size):
            probability = crops.resize(probability, self.size)
        return ops.clip(probability[..., 0], 0.0, 1.0)


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
class SpatialSoftmax(Float32Layer):
    """Logits (B, h, w, 21) -> probability maps (B, h, w, 21)."""

    def call(self, logits):
        return scoremaps.spatial_softmax(logits)


@register
class DecodeScoreMaps(Float32Layer):
    """Score maps (B, h, w, 21) -> (uv_crop (B, 21, 2), confidence (B, 21)), see `scoremaps.decode`."""

    OPTIONS = ("crop_size", "mode", "grid")

    def __init__(self, crop_size, mode="linear", grid="half_pixel", **kwargs):
        super().__init__(crop_size=crop_size, mode=mode, grid=grid, **kwargs)

    def call(self, maps):
        return scoremaps.decode(maps, self.crop_size, self.mode, grid=self.grid)


@register
class EncodeScoreMaps(Float32Layer):
    """[uv_crop (B, 21, 2), confidence (B, 21)] -> linear maps (B, size, size, 21), see `scoremaps.encode`."""

    OPTIONS = ("size", "crop_size")

    def __init__(self, size, crop_size, **kwargs):
        super().__init__(size=size, crop_size=crop_size, **kwargs)

    def call(self, inputs):
        uv_crop, confidence = inputs
        return scoremaps.encode(uv_crop, confidence, self.size, self.crop_size)


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


@register
class ResolveSide(Float32Layer):
    """[hand_side (B, 2)] or [hand_side, logits (B, 2)] -> (side (B, 2), one-hot for the networks (B, 2)).

    A side that is given counts; where it is all zeros the prediction does, or 0.5 / 0.5 without one.
    """

    def call(self, inputs):
        given = inputs[0]
        guess = ops.softmax(inputs[1], axis=-1) if len(inputs) > 1 else ops.full_like(given, 0.5)
        side = ops.where(ops.sum(given, axis=-1, keepdims=True) > 0.0, given, guess)
        undecided = ops.abs(side[:, :1] - side[:, 1:]) < 1e-6
        one_hot = ops.one_hot(argmax(side, axis=-1), side.shape[-1], dtype="float32")
        return side, ops.where(undecided, side, one_hot)


@register
class HandScore(Float32Layer):
    """[mask (B, H, W), object map (B, H, W), confidence (B, 21)] -> score (B,) in 0..1.

    Mean hand probability inside the object times the mean keypoint confidence; 0 without an object.
    """

    def call(self, inputs):
        mask, object_map, confidence = inputs
        area = ops.sum(object_map, axis=(1, 2))
        certainty = ops.sum(mask * object_map, axis=(1, 2)) / ops.maximum(area, 1.0)
        return certainty * ops.mean(confidence, axis=-1)


@register
class MeanOfKeypoints(Float32Layer):
    """(B, 21) -> (B,)."""

    def call(self, values):
        return ops.mean(values, axis=-1)


@register
class Curve(Float32Layer):
    """A rising curve over 0..1, linear between its points and constant beyond them; the shape is kept.

    points: list of [x, y], both in 0..1, x rising, y not falling.  Raises ValueError for others.
    """

    OPTIONS = ("points",)

    def __init__(self, points, **kwargs):
        try:
            points = tuple((float(x), float(y)) for x, y in points)
        except (TypeError, ValueError):
            raise ValueError(f"points is {points!r}; a list of [x, y] expected") from None
        inside = all(0.0 <= value <= 1.0 for point in points for value in point)
        steps = list(zip(points, points[1:], strict=False))
        if len(points) < 2 or not inside or any(a[0] >= b[0] or a[1] > b[1] for a, b in steps):
            raise ValueError(f"points is {points!r}; two or more [x, y] in 0..1 that rise expected")
        super().__init__(points=points, **kwargs)

    def call(self, values):
        result = ops.full_like(values, self.points[0][1])
        for (x, y), (next_x, next_y) in zip(self.points, self.points[1:], strict=False):
            slope = (next_y - y) / (next_x - x)
            result = result + slope * ops.clip(values - x, 0.0, next_x - x)
        return ops.clip(result, 0.0, 1.0)
