"""What the baselines that are networks share: crops, augmentation, training and lifting.

Networks that look at crops see left hands: `Hands.as_left` mirrors the right ones.  A training has a folder
of its own with its recipe, its log and, after every epoch, all that it takes to go on.
"""

import dataclasses
import json
import os

import keras
import numpy as np
from keras import ops

from experiments.callbacks import LAST, SaveState, save_weights
from experiments.common import load_state
from experiments.lifting_runs import lifter_of
from experiments.run_folder import LOG, cut_log
from hand3d import crops, layers, manifest, memory
from hand3d.files import write_atomic
from hand3d.skeleton import NUM_KEYPOINTS, SIDES

HELD_OUT = 400  # about so many hands, at most every tenth, are kept from training and measured instead
BATCH = 64  # of prediction


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Adam with weight decay, a warm-up and half a cosine down to zero."""

    epochs: int
    epoch_steps: int
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0


def recipe(steps, training, **changes):
    """`Recipe` of about `steps` times `training.effort` steps."""
    steps = max(4, round(steps * training.effort))
    epoch = min(50, steps)
    return Recipe(round(steps / epoch), epoch, seed=training.seed, **changes)


def optimizer(recipe):
    steps = recipe.epochs * recipe.epoch_steps
    warm = min(100, steps // 4)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm, warmup_target=recipe.learning_rate, warmup_steps=warm
    )
    return keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay, global_clipnorm=1.0)


def learn(model, recipe, run, examples):
    """Trains `model.network` on arrays, going on with what is in the folder `run`; returns the network.

    examples: dict of arrays (N, ...).  Those `held_out` are only measured, after each epoch: see log.csv.
    ValueError where the folder holds a training by another recipe.
    """
    os.makedirs(run, exist_ok=True)
    path, plan = os.path.join(run, "recipe.json"), json.dumps(dataclasses.asdict(recipe))
    if os.path.exists(path):
        with open(path) as file:
            if (found := file.read()) != plan:
                raise ValueError(f"{path} is {found}, not {plan}; remove the folder to train again")
    write_atomic(path, plan.encode())
    count = len(next(iter(examples.values())))
    kept = held_out(count)
    rest, measured = ({key: value[which] for key, value in examples.items()} for which in (~kept, kept))
    model.compile(optimizer=optimizer(recipe), jit_compile=False)
    done = load_state(model, run, recipe)
    cut_log(run, done)
    if done < recipe.epochs:
        state = SaveState(run, recipe.epoch_steps)
        memory.keep()
        model.fit(
            batches(rest, recipe.batch, recipe.seed + done),  # resumed: in another order
            validation_data=batches(measured, BATCH),
            initial_epoch=done,
            epochs=recipe.epochs,
            steps_per_epoch=recipe.epoch_steps,
            callbacks=[state, keras.callbacks.CSVLogger(os.path.join(run, LOG), append=True), state.commit()],
            verbose=2,
        )
    save_weights(model.network, os.path.join(run, LAST))
    return model.network


def held_out(count):
    """(count,) bool: the examples that are kept from training."""
    return np.arange(count) % max(10, count // HELD_OUT) == 0


def batches(examples, batch, seed=None):
    """tf.data.Dataset of dicts; shuffled, for ever and in whole batches if there is a seed."""
    import tensorflow as tf

    arrays = {key: tf.constant(value) for key, value in examples.items()}
    count = len(next(iter(arrays.values())))
    data = tf.data.Dataset.range(count)
    if seed is not None:
        data = data.shuffle(count, seed=seed).repeat()
    data = data.batch(min(batch, count), drop_remainder=seed is not None)
    return data.map(lambda index: {key: tf.gather(value, index) for key, value in arrays.items()}).prefetch(2)


def last_weights(network, run):
    """The network with the weights that a finished training left in the folder `run`."""
    network.load_weights(os.path.join(run, LAST))
    return network


def crop_examples(hands):
    """What `CropTraining` learns from, all left hands: picture (N, S, S, 3) uint8 and uv (N, 21, 2)."""
    left = hands.as_left()
    return {"picture": left.image, "uv": left.uv_crop.astype(np.float32)}


def predict(network, hands, size):
    """What a network says of the left-handed crops, resized to `size` pixels; dict or list of arrays."""
    return network.predict(network_crops(hands.as_left().image, size), batch_size=BATCH, verbose=0)


def network_crops(images, size):
    """(N, S, S, 3) uint8 -> (N, size, size, 3) float32, -0.5..0.5, averaged where it shrinks."""
    pixels = ops.cast(images, "float32") / 255.0 - 0.5
    return pixels if images.shape[1] == size else crops.resize(pixels, size)


@keras.saving.register_keras_serializable("hand3d")
class Jitter(layers.Float32Layer):
    """[pictures (B, S, S, 3) uint8, uv (B, 21, 2)] -> crops (B, size, size, 3), uv in them.

    In training the crop is larger or smaller by up to `zoom`, shifted by up to `shift` of its side, and
    its brightness and colours change; otherwise it is the picture, resized.
    """

    OPTIONS = ("size", "zoom", "shift", "colour", "seed")

    def __init__(self, size, zoom=0.2, shift=0.08, colour=0.15, seed=0, **kwargs):
        super().__init__(size=size, zoom=zoom, shift=shift, colour=colour, seed=seed, **kwargs)
        self.random = keras.random.SeedGenerator(seed)

    def call(self, picture, uv, training=False):
        batch, source = ops.shape(picture)[0], picture.shape[1]
        pixels = ops.cast(picture, "float32") / 255.0 - 0.5

        def uniform(reach, *shape):
            return keras.random.uniform((batch, *shape), -reach, reach, seed=self.random)

        if training:
            side = source * ops.exp(uniform(self.zoom))
            centre = (source - 1) / 2 + source * uniform(self.shift, 2)
            gain = ops.exp(uniform(2 * self.colour, 1) + uniform(self.colour, 3))
            pixels = pixels * gain[:, None, None] + uniform(self.colour, 1)[:, None, None]
        else:
            side, centre = ops.full((batch,), float(source)), ops.full((batch, 2), (source - 1) / 2)
        crop = crops.crop_and_resize(pixels, centre, side, self.size)
        return crop, crops.image_to_crop(uv, centre, side, self.size)


class CropTraining(keras.Model):
    """Trains a network on crops with 2D labels.

    network: crop (B, size, size, 3) -> anything.  loss(outputs, uv, weight) -> scalar, with uv (B, 21, 2)
    pixels of the crop and weight (B, 21), 1 for labelled keypoints inside it, seen or hidden.
    read(outputs) -> (B, 21, 2) pixels, for the metric `epe_px`.
    """

    def __init__(self, network, size, loss, read, seed=0):
        super().__init__(dtype="float32", autocast=False)
        self.network, self.size, self.loss_of, self.read = network, size, loss, read
        self.jitter = Jitter(size, seed=seed)
        self.epe = keras.metrics.Mean(name="epe_px")
        self.built = True

    def call(self, batch, training=False):
        crop, uv = self.jitter(batch["picture"], batch["uv"], training=training)
        known = ops.all((uv > -0.5) & (uv < self.size - 0.5), -1)  # NaN is not
        uv = ops.where(known[..., None], uv, 0.0)
        return {"outputs": self.look(crop, uv, training), "uv": uv, "weight": ops.cast(known, "float32")}

    def look(self, crop, uv, training):
        """The network's outputs; here the labels are not looked at."""
        return self.network(crop, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.loss_of(y_pred["outputs"], y_pred["uv"], y_pred["weight"])

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        off = self.read(y_pred["outputs"]) - y_pred["uv"]
        self.epe.update_state(ops.sqrt(ops.sum(ops.square(off), -1)), y_pred["weight"])
        return self.get_metrics_result()


class ProposedLifting:
    """2D keypoints -> 3D by PosePrior and ViewpointNet of a weight set, the prior that the paper proposes.

    At one look, as in the paper, also where the set itself averages two.
    """

    def __init__(self, weights):
        self.lifter, self.model = lifter_of(manifest.find(weights), mirror=False), None

    def __call__(self, uv_crop, confidence, size):
        """uv_crop (N, 21, 2) and confidence (N, 21) of left hands in crops of `size` -> (N, 21, 3)."""
        if self.model is None:
            self.model = self._build(size)
        side = np.eye(len(SIDES), dtype=np.float32)[np.zeros(len(uv_crop), int)]
        inputs = [np.asarray(uv_crop), np.asarray(confidence), side]
        return self.model.predict(inputs, batch_size=BATCH, verbose=0)

    @property
    def parameters(self):
        return self.lifter.count_params()

    def _build(self, size):
        uv, confidence = keras.Input((NUM_KEYPOINTS, 2)), keras.Input((NUM_KEYPOINTS,))
        side = keras.Input((len(SIDES),))
        maps = layers.EncodeScoreMaps(self.lifter.inputs[0].shape[1], size)([uv, confidence])
        return keras.Model([uv, confidence, side], self.lifter([maps, side]))
