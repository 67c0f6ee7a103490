"""A PoseNet that looks at every crop twice, as it is and mirrored, and averages what it sees.

A left hand mirrored is a right one, so the keypoints stay the same ones and the side turns round.
"""

import keras
from keras import ops

from hand3d.networks.common import score_maps_and_side

register = keras.saving.register_keras_serializable("hand3d")


def average_mirrored(posenet, name="mirrored"):
    """posenet, twice as slow and more accurate: what only one of two views suggests loses weight.

    posenet: as for `hand3d.graph.full_graph`.  Returns a model of the same input whose outputs are
    {"score_maps": (B, m, m, 21)}, the mean of the last stage over both views, and "side" (B, 2) logits if
    posenet has them.  Logits over positions are averaged before the softmax: a geometric mean of beliefs.
    """
    crop = keras.Input(posenet.inputs[0].shape[1:], name="crop_pixels", dtype="float32")
    maps, side = score_maps_and_side(posenet(WithMirrored(name=f"{name}_both")(crop)))
    averaged = {"score_maps": MeanOfMirrored(axis=2, name=f"{name}_maps")(maps[-1])}
    if side is not None:
        averaged["side"] = MeanOfMirrored(axis=1, name=f"{name}_side")(side)
    return keras.Model(crop, averaged, name=name)


@register
class WithMirrored(keras.layers.Layer):
    """(B, H, W, C) -> (2 B, H, W, C): all images, then all of them with left and right exchanged."""

    def call(self, images):
        return ops.concatenate([images, _flip(images, 2)], axis=0)

    def compute_output_shape(self, input_shape):
        batch, *rest = input_shape
        return (batch and 2 * batch, *rest)


@register
class MeanOfMirrored(keras.layers.Layer):
    """(2 B, ...) -> (B, ...): mean of the first half and of the second half turned back along `axis`."""

    def __init__(self, axis, **kwargs):
        super().__init__(**({"dtype": "float32"} | kwargs))
        self.axis = axis

    def get_config(self):
        return super().get_config() | {"axis": self.axis}

    def call(self, values):
        count = ops.shape(values)[0] // 2
        return 0.5 * (values[:count] + _flip(values[count:], self.axis))

    def compute_output_shape(self, input_shape):
        batch, *rest = input_shape
        return (batch and batch // 2, *rest)


def _flip(values, axis):
    """`ops.flip`, as a choice of columns: OpenVINO has no quick flip, and none of batches of open size.

    SavedModels trace every layer for images of any size, too.
    """
    length = values.shape[axis]
    if length is None:
        return ops.flip(values, axis)
    return ops.take(values, ops.arange(length - 1, -1, -1), axis=axis)
