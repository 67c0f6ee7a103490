"""What the training programs share: the run folder, schedules, callbacks and resuming.

A run folder holds
    recipe.json           the recipe, checked when the run is resumed
    state.weights.h5      everything `fit` needs to go on, replaced after every epoch
    best.weights.h5, last.weights.h5   the network alone (averaged, if the recipe averages)
    log.csv, tensorboard/              every metric of every epoch
"""

import csv
import functools
import os
import time

import keras

from experiments.recipes import open_run, pick, plain_errors
from hand3d import manifest
from hand3d.augment import Augment
from hand3d.networks.standardised import unfold

STATE, LAST = "state.weights.h5", "last.weights.h5"


def compiler():
    """What `hand3d.augment.Augment` should compile its rendering with: XLA under TensorFlow."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return functools.partial(tf.function, jit_compile=True)


def augmentation(recipe, reach, **options):
    """The `Augment` of an image network's recipe; options: those that the recipe does not have."""
    names = "scale shift roll roll_any mirror replace behind front colour blur noise seed"
    return Augment(recipe.crop_size, reach, jit=compiler(), **options, **pick(recipe, names))


def schedule(recipe):
    """Learning rate over the steps.

    "cosine": warm-up, then half a cosine down to zero.  Otherwise comma-separated steps as in the paper,
    "1e-4:10000,1e-5:20000,1e-6" (PAPER.md 4); the released scripts never advanced it (fact T1): "1e-4".
    """
    if recipe.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0, recipe.steps - recipe.warmup, warmup_target=recipe.learning_rate, warmup_steps=recipe.warmup
        )
    parts = [part.split(":") for part in recipe.schedule.split(",")]
    rates = [float(part[0]) for part in parts]
    if len(rates) == 1:
        return rates[0]
    return keras.optimizers.schedules.PiecewiseConstantDecay([int(part[1]) for part in parts[:-1]], rates)


def optimizer(recipe):
    """AdamW (Adam without weight decay), with averaged weights if the recipe says so."""
    average = dict(use_ema=True, ema_momentum=recipe.ema) if recipe.ema else {}
    made = keras.optimizers.AdamW(
        schedule(recipe),
        weight_decay=recipe.weight_decay,
        epsilon=1e-8,
        global_clipnorm=recipe.clip or None,
        **average,
    )
    made.exclude_from_weight_decay(var_names=["bias", "gain", "gamma", "beta"])
    return made


def save_weights(model, path):
    """Saves the weights to `path` (*.weights.h5), atomically."""
    partial = path.removesuffix(".weights.h5") + ".partial.weights.h5"
    model.save_weights(partial)
    os.replace(partial, path)


class SaveState(keras.callbacks.Callback):
    """After every epoch: the state for resuming, in one file; a killed run loses one epoch at most."""

    def __init__(self, run):
        super().__init__()
        self.path = os.path.join(run, STATE)

    def on_epoch_end(self, epoch, logs=None):
        save_weights(self.model, self.path)


class SaveNetwork(keras.callbacks.Callback):
    """After every epoch: the network alone, as last and, if `monitor` is the best yet, as best."""

    def __init__(self, run, monitor, mode):
        super().__init__()
        self.run, self.monitor, self.sign = run, monitor, {"min": 1, "max": -1}[mode]
        self.best = float("inf")
        if os.path.exists(os.path.join(run, "log.csv")):  # resumed
            with open(os.path.join(run, "log.csv")) as file:
                values = [float(row[monitor]) for row in csv.DictReader(file) if row.get(monitor)]
            self.best = min((self.sign * value for value in values), default=self.best)

    def on_epoch_end(self, epoch, logs=None):
        save_weights(self.model.network, os.path.join(self.run, LAST))
        value = self.sign * logs[self.monitor] if self.monitor in (logs or {}) else float("inf")
        if value < self.best:
            self.best = value
            save_weights(self.model.network, os.path.join(self.run, "best.weights.h5"))


class Speed(keras.callbacks.Callback):
    """Adds `examples_per_s` and `learning_rate` to the log of every epoch."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.steps = time.time(), 0

    def on_train_batch_end(self, step, logs=None):
        self.steps, self.stop = self.steps + 1, time.time()

    def on_epoch_end(self, epoch, logs=None):
        logs["examples_per_s"] = round(self.steps * self.batch / max(self.stop - self.start, 1e-9), 1)
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))


def start_from(network, init, role):
    """Sets a network's weights from those of a `*.weights.h5` of the same network, or of a weight set.

    init: path, name or folder of a weight set ("cpm" and "vgg" are what `weights.convert` makes), or "none".
    role: of `hand3d.manifest.ROLES`, or "lifting".  Layers that the set does not have, such as more stages,
    keep their values; their names are printed.  ValueError where the set has no such network or another one.
    """
    if init == "none":
        return
    if init.endswith(".weights.h5"):
        network.load_weights(init)
        return
    weight_set = manifest.find(init)
    entries = manifest.network_entries(weight_set)
    parts = {role: network}
    if role == "lifting" and role not in entries:  # `proposed` is made up of two
        names = {"poseprior": "PosePrior", "viewpoint": "ViewpointNet"}
        layers = {layer.name: layer for layer in network.layers}
        parts = {part: layers.get(name) for part, name in names.items()}
    for part, target in parts.items():
        if part not in entries or target is None:
            has = ", ".join(entries)
            raise ValueError(f"--init {init}: no weights for {network.name}; the set has {has}")
        entry = entries[part]
        plain = manifest.load_network(entry, manifest.verify(weight_set, part))
        try:
            new = unfold(plain, target, skip=entry.get("random", ()))
        except ValueError as error:
            raise ValueError(f"--init {init}: {part} does not fit {network.name}: {error}") from error
        if new:
            print(f"not in {init}, so trained from scratch: {', '.join(new)}", flush=True)


def train(model, recipe, arguments, training_data, validation_data, *, monitor, mode, role):
    """Compiles, resumes and fits; returns the model with its last (averaged) weights.

    An epoch is `recipe.epoch_steps` steps.  arguments: of `recipes.start`.  training_data(seed) -> endless
    tf.data.Dataset: a resumed run asks with another seed, so that it does not see the same examples first
    again.  monitor, mode: the metric that says which epoch is best, "min" or "max".  role: see `start_from`.
    """
    run = arguments.run
    with plain_errors():
        open_run(run, recipe, os.path.exists(os.path.join(run, STATE)))
    state = os.path.join(run, STATE)
    model.compile(optimizer=optimizer(recipe), jit_compile=False if compiler() else "auto")
    done = 0
    if os.path.exists(state):
        model.optimizer.build(model.trainable_variables)
        model.load_weights(state)
        done = int(model.optimizer.iterations) // recipe.epoch_steps
        print(f"resumed {run} after epoch {done}", flush=True)
    elif arguments.init:
        with plain_errors():
            start_from(model.network, arguments.init, role)
    epochs = -(-recipe.steps // recipe.epoch_steps)
    if done >= epochs:
        if recipe.ema:  # the state has them apart
            model.optimizer.finalize_variable_values(model.trainable_variables)
        save_weights(model.network, os.path.join(run, LAST))  # in case that the run ended before it did
        print(f"{run} is complete: {recipe.steps} steps")
        return model
    callbacks = [Speed(recipe.batch), SaveState(run)]  # the state before averages are put in place
    if recipe.ema:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    callbacks += [
        SaveNetwork(run, monitor, mode),
        keras.callbacks.CSVLogger(os.path.join(run, "log.csv"), append=True),
        keras.callbacks.TensorBoard(os.path.join(run, "tensorboard"), write_graph=False),
    ]
    with plain_errors():
        data = training_data(recipe.seed + done)
    model.fit(
        data,
        validation_data=validation_data,
        initial_epoch=done,
        epochs=epochs,
        steps_per_epoch=recipe.epoch_steps,
        callbacks=callbacks,
        verbose=2,
    )
    return model


def train_on_pictures(model, recipe, arguments, batches, **options):
    """`train` for an image network.

    batches(directory, split, *, training, limit, ...): `handsegnet_batches` or `posenet_batches` of
    `pipelines.inputs`, with the sizes bound.  options: monitor, mode and role.
    """
    with plain_errors():
        validation = batches(arguments.data, "evaluation", training=False, limit=recipe.validation)

    def training_data(seed):
        changing = dict(seed=seed, limit=recipe.limit or None, backgrounds=arguments.backgrounds)
        return batches(arguments.data, "training", training=True, **changing)

    return train(model, recipe, arguments, training_data, validation.cache(), **options)
