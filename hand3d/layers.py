"""The package's functions as registered Keras layers, the joints of the functional models.

Without weights; float32 under any dtype policy, since coordinates need it.  `hand3d.graph` strings them
together.
"""

import math

import keras
from keras import ops

from hand3d import crops, geometry, scoremaps
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
