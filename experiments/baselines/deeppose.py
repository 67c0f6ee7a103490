"""DeepPose (Toshev & Szegedy 2014; PAPER.md 6.1): coordinates by regression, then refined joint by joint.

Stage 1 looks at the whole crop and says where all keypoints are.  Stage 2 looks around each of these places,
as far as stage 1 is usually off, and says how far off it is.  It learns from true keypoints that are
displaced as stage 1 displaces hands that it has not seen.  How far to go where it points, for each keypoint,
comes from held-out hands: stage 1's real errors go with the picture, and are harder to see than random ones.
"""

import json
import os

import keras
import numpy as np
from keras import layers, ops

from experiments.baselines import learning
from experiments.baselines.interface import Baseline, Prediction
from hand3d.files import write_atomic
from hand3d.layers import Float32Layer, register
from hand3d.skeleton import NUM_KEYPOINTS

CROP, PATCH = 128, 64  # pixels: a third of stage 1's keypoints are more than 16 off, 6 % more than 32
CELL = 2  # pixels: both stages see crops that are averaged over these
REGRESSOR_STEPS, REFINER_STEPS = 4000, 1500
WEIGHTS = "lifting.txt"  # name of the weight set that lifts
GAIN = "gain.json"  # how far to go where the refiner points


@register
class Patches(Float32Layer):
    """[crops (B, S, S, 3), uv (B, 21, 2) pixels] -> (B * 21, size, size, 3) around these, at whole pixels."""

    OPTIONS = ("size",)

    def __init__(self, size=PATCH // CELL, **kwargs):
        super().__init__(size=size, **kwargs)

    def call(self, inputs):
        crop, uv = inputs
        height, width, channels = crop.shape[1:]
        offsets = ops.arange(self.size, dtype="int32") - self.size // 2
        corner = ops.cast(ops.round(uv), "int32")
        columns = ops.clip(corner[..., 0, None] + offsets, 0, width - 1)  # (B, 21, size)
        rows = ops.clip(corner[..., 1, None] + offsets, 0, height - 1)
        index = ops.reshape(rows[..., :, None] * width + columns[..., None, :], (ops.shape(uv)[0], -1, 1))
        pixels = ops.take_along_axis(ops.reshape(crop, (-1, height * width, channels)), index, axis=1)
        return ops.reshape(pixels, (-1, self.size, self.size, channels))

    def compute_output_shape(self, input_shapes):
        return (None, self.size, self.size, input_shapes[0][-1])


@register
class ByJoint(Float32Layer):
    """(B * 21, F) -> (B, 21, F)."""

    def call(self, features):
        return ops.reshape(features, (-1, NUM_KEYPOINTS, features.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (None, NUM_KEYPOINTS, input_shape[-1])


def _conv(x, filters, kernel, strides, name):
    options = dict(padding="same", activation="relu", kernel_initializer="he_normal", name=name)
    return layers.Conv2D(filters, kernel, strides, **options)(x)


def regressor():
    """Stage 1: crop (B, 128, 128, 3), -0.5..0.5 -> (B, 21, 2), pixels from its middle by its side."""
    crop = keras.Input((CROP, CROP, 3), name="crop")
    x = layers.AveragePooling2D(CELL, name="coarse")(crop)
    for level, filters in enumerate((24, 48, 64, 96), 1):
        x = _conv(x, filters, 5 if level == 1 else 3, 2, f"conv{level}_1")
        x = _conv(x, filters, 3, 1, f"conv{level}_2") if level in (2, 3) else x
    x = layers.Dense(256, "relu", kernel_initializer="he_normal", name="fc1")(layers.Flatten()(x))
    x = layers.Dense(2 * NUM_KEYPOINTS, name="fc2")(x)
    return keras.Model(crop, layers.Reshape((NUM_KEYPOINTS, 2), name="uv")(x), name="deeppose_regressor")


def refiner():
    """Stage 2: [crop (B, 128, 128, 3), uv (B, 21, 2) pixels] -> (B, 21, 2), pixels to add, by PATCH.

    The convolutions are shared by all keypoints; what they make of their patch is each one's own.
    """
    crop, uv = keras.Input((CROP, CROP, 3), name="crop"), keras.Input((NUM_KEYPOINTS, 2), name="uv")
    coarse = layers.AveragePooling2D(CELL, name="coarse")(crop)
    x = Patches(PATCH // CELL, name="patches")([coarse, layers.Rescaling(1 / CELL, 0.5 / CELL - 0.5)(uv)])
    for level, filters in enumerate((24, 32, 64), 1):
        x = _conv(x, filters, 5 if level == 1 else 3, 2, f"conv{level}")
    x = ByJoint(name="by_joint")(layers.Flatten()(x))
    x = layers.EinsumDense("bjf,jfg->bjg", (NUM_KEYPOINTS, 32), "relu", "jg", name="fc1")(x)
    x = layers.EinsumDense("bjf,jfg->bjg", (NUM_KEYPOINTS, 2), bias_axes="jg", name="fc2")(x)
    return keras.Model([crop, uv], x, name="deeppose_refiner")


def to_pixels(normalised):
    """Stage 1's outputs -> pixels of the crop."""
    return normalised * CROP + (CROP - 1) / 2


def loss(normalised, uv, weight):
    """Squared distance by the side of the crop, summed over keypoints, a mean over the batch."""
    off = ops.sum(ops.square(normalised - (uv - (CROP - 1) / 2) / CROP), -1)
    return ops.mean(ops.sum(weight * off, -1))


class RefinerTraining(learning.CropTraining):
    """Stage 2 on simulated displacements: normal, with each coordinate's own mean and deviation (21, 2)."""

    def __init__(self, network, mean, deviation, seed=0):
        super().__init__(network, CROP, self.displacement_loss, lambda outputs: outputs[0], seed)
        self.mean, self.deviation = np.float32(mean), np.float32(deviation)
        self.random = keras.random.SeedGenerator(seed)

    def look(self, crop, uv, training):
        displaced = keras.random.normal(ops.shape(uv), seed=self.random) * self.deviation + self.mean + uv
        displaced = ops.clip(displaced, 0.0, CROP - 1.0)
        return refine(lambda inputs: self.network(inputs, training=training), crop, displaced)

    @staticmethod
    def displacement_loss(outputs, uv, weight):
        return loss((outputs[0] - (CROP - 1) / 2) / CROP, uv, weight)


def refine(network, crop, uv):
    """[uv moved by what the refiner says (B, 21, 2), pixels]; a list, as networks put them out."""
    centre = CELL * ops.round((uv + 0.5) / CELL - 0.5) + (CELL - 1) / 2  # patches are cut at whole cells
    return [centre + PATCH * network([crop, centre])]


class DeepPose(Baseline):
    name = "DeepPose 2014, proposed lifting"
    reference = (
        "[2] A. Toshev, C. Szegedy, DeepPose: human pose estimation via deep neural networks, CVPR 2014"
    )
    simplifications = (
        "Stage 1 sees 64 pixels through six convolutions, not AlexNet; one refinement, whose convolutions "
        "all keypoints share, on patches of half the crop's side; hidden keypoints count as seen ones; "
        "lifted to 3D by the weight set's PosePrior and ViewpointNet."
    )

    learns_from = ("hands", "weights")

    def train(self, training, run):
        write_atomic(os.path.join(run, WEIGHTS), str(training.weights).encode())
        keras.utils.set_random_seed(training.seed)
        examples = learning.crop_examples(training.hands)
        model = learning.CropTraining(regressor(), CROP, loss, to_pixels, training.seed)
        recipe = learning.recipe(REGRESSOR_STEPS, training)
        first = learning.learn(model, recipe, os.path.join(run, "stage1"), examples)
        kept = learning.held_out(len(training.hands))
        mean, deviation = errors(first, {key: part[kept] for key, part in examples.items()})
        model = RefinerTraining(refiner(), mean, deviation, training.seed)
        recipe = learning.recipe(REFINER_STEPS, training)
        second = learning.learn(model, recipe, os.path.join(run, "stage2"), examples)
        found = gain(first, second, {key: part[kept] for key, part in examples.items()})
        write_atomic(os.path.join(run, GAIN), json.dumps(found.tolist()).encode())

    def load(self, run):
        self.regressor = learning.last_weights(regressor(), os.path.join(run, "stage1"))
        self.refiner = learning.last_weights(refiner(), os.path.join(run, "stage2"))
        with open(os.path.join(run, WEIGHTS)) as file:
            self.lifting = learning.ProposedLifting(file.read())
        with open(os.path.join(run, GAIN)) as file:
            self.gain = np.array(json.load(file), np.float32)

    def predict(self, hands):
        return self._prediction(self._refined(hands, self._coarse(hands)), hands)

    def variants(self, hands):
        """Before the refinement: that it helps is what the cascade is about."""
        return {", stage 1": self._prediction(self._coarse(hands), hands)}

    def _coarse(self, hands):
        return to_pixels(learning.predict(self.regressor, hands, CROP))

    def _refined(self, hands, uv):
        return uv + self.gain[:, None] * moves(self.refiner, hands.as_left().image, uv)

    def _prediction(self, uv, hands):
        xyz = self.lifting(uv, np.ones(uv.shape[:2], np.float32), CROP)
        uv = (uv + 0.5) * (hands.size / CROP) - 0.5
        return Prediction(uv, xyz).mirrored_back(hands.side, hands.size)

    @property
    def parameters(self):
        networks = self.regressor, self.refiner
        return sum(network.count_params() for network in networks) + self.lifting.parameters


def errors(network, examples):
    """Mean and standard deviation (21, 2) of stage 1's errors in pixels, on hands kept from its training."""
    uv, true = places(network, examples)
    return np.nanmean(uv - true, axis=0), np.nanstd(uv - true, axis=0)


def gain(first, second, examples):
    """(21,) in 0..1: the share of stage 2's moves that undoes most of stage 1's errors, least squares.

    examples: of hands kept from both trainings, as of `learning.crop_examples`.
    """
    uv, true = places(first, examples)
    known = np.isfinite(true).all(-1, keepdims=True)
    move = np.where(known, moves(second, examples["picture"], uv), 0.0)
    wanted = np.where(known, true - uv, 0.0)
    return np.clip((move * wanted).sum((0, 2)) / ((move**2).sum((0, 2)) + 1e-6), 0, 1)


def places(network, examples):
    """Stage 1's keypoints and the true ones, (N, 21, 2) each, pixels of the crop."""
    uv = to_pixels(network.predict(learning.network_crops(examples["picture"], CROP), verbose=0))
    return uv, (examples["uv"] + 0.5) * (CROP / examples["picture"].shape[1]) - 0.5


def moves(network, pictures, uv):
    """What the refiner adds to keypoints uv (N, 21, 2), pixels of the crops; pictures (N, S, S, 3) uint8."""

    def predict(inputs):
        return network.predict(inputs, batch_size=learning.BATCH, verbose=0)

    refined = refine(
        predict, ops.convert_to_numpy(learning.network_crops(pictures, CROP)), np.clip(uv, 0, CROP - 1)
    )
    return ops.convert_to_numpy(refined[0]) - uv
