"""Several regions of one image that may be the hand: look at each of them, keep the best.

Regions go through the networks as a larger batch: region m of image b is number b * count + m.
"""

import keras
from keras import ops

from hand3d import segmentation
from hand3d.layers import Float32Layer

register = keras.saving.register_keras_serializable("hand3d")


def hand_regions(mask_probability, count, reach=segmentation.REACH, stride=1):
    """The first `count` objects of a hand mask, each as `segmentation.hand_component` finds it in what the
    ones before left over.

    mask_probability: (B, H, W), 0..1.  Returns (B * count, H, W) float32 of 0 and 1, all 0 where there are
    fewer objects.
    """
    left, regions = ops.cast(mask_probability, "float32"), []
    for _ in range(count):
        regions.append(segmentation.hand_component(left, reach, stride))
        left = left * (1.0 - regions[-1])
    return _as_batch(ops.stack(regions, axis=1))


@register
class HandRegions(Float32Layer):
    """Hand probability (B, H, W) -> objects (B * count, H, W), see `hand_regions`."""

    OPTIONS = ("count", "reach", "stride")

    def __init__(self, count, reach=segmentation.REACH, stride=1, **kwargs):
        super().__init__(count=count, reach=reach, stride=stride, **kwargs)

    def call(self, mask_probability):
        return ops.stop_gradient(hand_regions(mask_probability, self.count, self.reach, self.stride))


@register
class ForEachRegion(Float32Layer):
    """(B, ...) -> (B * count, ...): one copy for each region."""

    OPTIONS = ("count",)

    def __init__(self, count, **kwargs):
        super().__init__(count=count, **kwargs)

    def call(self, values):
        return ops.repeat(values, self.count, axis=0)


@register
class BestRegion(Float32Layer):
    """[score (B * count,), values (B * count, ...)] -> values (B, ...) of the region with the highest score.

    Of equal scores the first counts, so that of an image without a hand the outputs are those of its first,
    empty, region.
    """

    OPTIONS = ("count",)

    def __init__(self, count, **kwargs):
        super().__init__(count=count, **kwargs)

    def call(self, inputs):
        score, values = inputs
        best = ops.argmax(ops.reshape(score, (-1, self.count)), axis=-1)
        first = ops.arange(0, ops.shape(score)[0], self.count)
        return ops.take(values, first + ops.cast(best, first.dtype), axis=0)

    def compute_output_shape(self, input_shapes):
        batch, *rest = input_shapes[1]
        return (batch and batch // self.count, *rest)


def _as_batch(values):
    """(B, count, ...) -> (B * count, ...)."""
    return ops.reshape(values, (-1, *values.shape[2:]))
