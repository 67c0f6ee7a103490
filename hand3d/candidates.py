"""Several regions of one image that may be hands: look at each of them, keep the best.

Regions go through the networks as a larger batch: region m of image b is number b * count + m.
"""

import keras
from keras import ops

from hand3d import segmentation
from hand3d.layers import Float32Layer

register = keras.saving.register_keras_serializable("hand3d")

MOST_OVERLAP = 0.5  # of the smaller of two hands' boxes, measured by `experiments.several_hands`


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
class BestRegions(Float32Layer):
    """[score (B * count,), values (B * count, ...)] -> values (B * keep, ...) of the best regions.

    The highest score first.  Of equal scores the first region counts, so that of an image without a hand the
    outputs are those of its first, empty, region.
    """

    OPTIONS = ("count", "keep")

    def __init__(self, count, keep=1, **kwargs):
        super().__init__(count=count, keep=keep, **kwargs)

    def call(self, inputs):
        score, values = inputs
        best = _rank(ops.reshape(score, (-1, self.count)))[:, : self.keep]
        first = ops.arange(0, ops.shape(score)[0], self.count)
        return ops.take(values, ops.reshape(first[:, None] + ops.cast(best, first.dtype), (-1,)), axis=0)

    def compute_output_shape(self, input_shapes):
        batch, *rest = input_shapes[1]
        return (batch and batch // self.count * self.keep, *rest)


@register
class DistinctHands(Float32Layer):
    """[score (B * count,), keypoints (B * count, 21, 2)] -> score, 0 for hands that a better one covers.

    See `distinct`.
    """

    OPTIONS = ("count",)

    def __init__(self, count, **kwargs):
        super().__init__(count=count, **kwargs)

    def call(self, inputs):
        score, uv = inputs
        score = ops.reshape(score, (-1, self.count))
        return ops.reshape(distinct(score, ops.reshape(uv, (-1, self.count, *uv.shape[1:]))), (-1,))

    def compute_output_shape(self, input_shapes):
        return tuple(input_shapes[0])


@register
class SplitHands(Float32Layer):
    """(B * count, ...) -> (B, count, ...)."""

    OPTIONS = ("count",)

    def __init__(self, count, **kwargs):
        super().__init__(count=count, **kwargs)

    def call(self, values):
        return ops.reshape(values, (-1, self.count, *values.shape[1:]))

    def compute_output_shape(self, input_shape):
        batch, *rest = input_shape
        return (batch and batch // self.count, self.count, *rest)


def distinct(score, uv, most=MOST_OVERLAP):
    """Scores in which each hand counts once: two regions of one hand - its palm and a finger - find it twice.

    From the best to the worst, a hand goes whose box around its keypoints shares more than `most` of the
    smaller box with that of a better one that stays.

    score: (B, M).  uv: (B, M, 21, 2).  Returns (B, M) float32: the score, or 0.
    """
    score, uv = ops.convert_to_tensor(score, "float32"), ops.convert_to_tensor(uv, "float32")
    low, high = ops.min(uv, axis=2), ops.max(uv, axis=2)
    shared = ops.minimum(high[:, :, None], high[:, None]) - ops.maximum(low[:, :, None], low[:, None])
    shared = ops.prod(ops.maximum(shared, 0.0), axis=-1)  # (B, M, M) areas
    area = ops.prod(high - low, axis=-1)
    same = shared > most * ops.minimum(area[:, :, None], area[:, None])
    count = score.shape[1]
    index = ops.arange(count)
    before = index[None, :] < index[:, None]
    better = (score[:, None] > score[:, :, None]) | ((score[:, None] == score[:, :, None]) & before)
    covers = ops.cast(same & better & (score[:, None] > 0.0), "float32")  # [b, i, j]: j covers i
    stays = ops.ones_like(score)
    for _ in range(count - 1):  # after step k the k + 1 best are decided
        stays = ops.cast(ops.sum(covers * stays[:, None], axis=-1) < 0.5, "float32")
    return score * stays


def _rank(score):
    """(B, M) -> (B, M) int: numbers of the regions, best first, of equals the first one first."""
    return ops.top_k(score, score.shape[1], sorted=True)[1]


def _as_batch(values):
    """(B, count, ...) -> (B * count, ...)."""
    return ops.reshape(values, (-1, *values.shape[2:]))
