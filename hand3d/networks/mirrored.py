"""Networks that look at everything twice, as it is and mirrored, and average what they see.

A left hand mirrored is a right one, so the keypoints stay the same ones and the side turns round.
"""

import keras
from keras import ops

from hand3d import geometry
from hand3d.highest import argmax
from hand3d.layers import Float32Layer, FromCanonical
from hand3d.networks.common import score_maps_and_side

register = keras.saving.register_keras_serializable("hand3d")

INPUTS = ("score_maps", "hand_side")


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


def lifter(poseprior, viewpoint, mirror=False, name="lifter"):
    """Both lifting networks as one: [score maps (B, n, n, 21), hand_side (B, 2)] -> xyz_relative (B, 21, 3).

    mirror: average what they say of the score maps and of their mirror image, which show a hand of the other
    side.  poseprior, viewpoint: as for `hand3d.graph.full_graph`.
    """
    shapes = dict(zip(INPUTS, poseprior.inputs, strict=True))
    inputs = [keras.Input(each.shape[1:], name=f"{name}_{key}") for key, each in shapes.items()]
    seen = inputs
    if mirror:
        maps, side = inputs
        seen = [WithMirrored(name=f"{name}_maps")(maps), WithMirrored(axis=1, name=f"{name}_sides")(side)]
    last = MeanFromCanonical if mirror else FromCanonical
    xyz = last(name=f"{name}_xyz")([poseprior(seen), viewpoint(seen), inputs[1]])
    return keras.Model(inputs, xyz, name=name)


@register
class WithMirrored(keras.layers.Layer):
    """(B, ...) -> (2 B, ...): all, then all with left and right exchanged, along axis 2 of images."""

    def __init__(self, axis=2, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def get_config(self):
        return super().get_config() | {"axis": self.axis}

    def call(self, values):
        return ops.concatenate([values, _flip(values, self.axis)], axis=0)

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


@register
class MeanFromCanonical(Float32Layer):
    """[xyz_canonical (2 B, 21, 3), rotation (2 B, 3, 3), hand_side (B, 2)] -> xyz_relative (B, 21, 3).

    The mean of the first B hands and of their mirror images, turned back.
    """

    def call(self, inputs):
        canonical, rotation, hand_side = inputs
        count, side = ops.shape(hand_side)[0], argmax(hand_side, axis=-1)
        seen = geometry.from_canonical(canonical[:count], rotation[:count], side)
        mirrored = geometry.from_canonical(canonical[count:], rotation[count:], 1 - side)
        x, rest = mirrored[..., :1], mirrored[..., 1:]
        return 0.5 * (seen + ops.concatenate([-x, rest], axis=-1))

    def compute_output_shape(self, input_shapes):
        canonical, _, hand_side = input_shapes
        return (hand_side[0], *canonical[1:])


def _flip(values, axis):
    """`ops.flip`, as a choice of columns: OpenVINO has no quick flip, and none of batches of open size.

    SavedModels trace every layer for images of any size, too.
    """
    length = values.shape[axis]
    if length is None:
        return ops.flip(values, axis)
    return ops.take(values, ops.arange(length - 1, -1, -1), axis=axis)
