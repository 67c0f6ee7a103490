"""The hand model and its fit as a network of a weight set, after the lifting networks (not in the paper)."""

import keras
from keras import ops

from hand3d import fitting
from hand3d.hand_model import HandModel
from hand3d.layers import Float32Layer
from hand3d.pictorial import PEAKS
from hand3d.skeleton import BONES, NUM_KEYPOINTS, SIDES

register = keras.saving.register_keras_serializable("hand3d")

POSE, SHAPE = 24, 6  # components


def hand_fit(
    crop_size=128, peaks=PEAKS, pose=POSE, shape=SHAPE, iterations=fitting.ITERATIONS, name="HandFit"
):
    """`hand3d.fitting.fit` with a hand model of 1,642 numbers as its weights.

    Inputs: [uv_crop (B, 21, 2) crop pixels, confidence (B, 21), peaks (B, 21, K, 2) crop pixels, masses
    (B, 21, K), xyz_relative (B, 21, 3) in any unit, hand_side (B, 2) one-hot].  Outputs: uv_crop (B, 21, 2),
    half-way from the chosen peaks to the fitted hand, and its xyz_relative (B, 21, 3), root at the origin, in
    units of the scale bone.

    Args:
        crop_size: pixels a side.
        peaks: K, how many places each keypoint may choose from, as in `hand3d.graph.full_graph`.
        pose, shape: numbers of principal components.
        iterations: steps of the fit.
        name: of the model.
    """
    shapes = {"uv_crop": (2,), "confidence": (), "peaks": (peaks, 2), "masses": (peaks,), "xyz": (3,)}
    inputs = [
        keras.Input((NUM_KEYPOINTS, *last), name=f"fit_{key}", dtype="float32")
        for key, last in shapes.items()
    ]
    inputs.append(keras.Input((len(SIDES),), name="fit_side", dtype="float32"))
    layer = FitHand(crop_size, pose, shape, iterations, name="hand_model")
    return keras.Model(inputs, layer(inputs), name=name)


def fit_keypoints(network, uv_crop, confidence, xyz_relative, hand_side):
    """What a `hand_fit` makes of keypoints with one place each: uv_crop and xyz_relative, as its outputs."""
    count = network.inputs[2].shape[2]
    peaks = ops.repeat(uv_crop[:, :, None], count, axis=2)
    masses = ops.repeat(confidence[..., None], count, axis=2)
    inputs = uv_crop, confidence, peaks, masses, xyz_relative, hand_side
    return network([ops.convert_to_tensor(each, "float32") for each in inputs])


@register
class FitHand(Float32Layer):
    """See `hand_fit`.  Its weights are a `hand3d.hand_model.HandModel`, learnt elsewhere and not by `fit`."""

    OPTIONS = ("crop_size", "pose", "shape", "iterations")

    def __init__(self, crop_size, pose, shape, iterations, **kwargs):
        options = {"crop_size": crop_size, "pose": pose, "shape": shape, "iterations": iterations}
        super().__init__(**options, **kwargs)

    def build(self, input_shapes):
        bones = len(BONES)
        shapes = {
            "directions": (3 * bones,),
            "pose": (self.pose, 3 * bones),
            "lengths": (bones,),
            "shape": (self.shape, bones),
            "distance": (2,),
        }
        weights = {
            name: self.add_weight(shape=shape, initializer="ones", trainable=False, name=name)
            for name, shape in shapes.items()
        }
        for name, weight in weights.items():
            setattr(self, f"model_{name}", weight)  # SavedModels hold the variables that are attributes
        self.model = HandModel(**weights)

    def call(self, inputs):
        uv_crop, confidence, peaks, masses, xyz_relative, side = inputs
        uv, seen, xyz = fitting.fit(
            self.model,
            uv_crop / self.crop_size,
            confidence,
            peaks / self.crop_size,
            masses,
            xyz_relative,
            side,
            self.iterations,
        )
        return self.crop_size * (uv + fitting.SHARE * (seen - uv)), xyz
