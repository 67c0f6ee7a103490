"""What the training programs share: recipes, the run folder, schedules, callbacks and resuming.

A run folder holds
    recipe.json           the recipe, checked when the run is resumed
    state.weights.h5      everything `fit` needs to go on, replaced after every epoch
    best.weights.h5, last.weights.h5   the network alone (averaged, if the recipe averages)
    log.csv, tensorboard/              every metric of every epoch
"""

import argparse
import csv
import dataclasses
import functools
import json
import os
import time

import keras

from hand3d import manifest
from hand3d.networks.standardised import unfold

STATE, RECIPE = "state.weights.h5", "recipe.json"


def parse(recipes, description, argv=None):
    """Command line -> (arguments, recipe).

    recipes: {name: frozen dataclass}.  `--set key=value` changes a field and has its type; an unknown
    key ends the program with the list of known ones.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="what to train and validate on, see above")
    parser.add_argument("--run", required=True, help="folder of this run; an unfinished one is resumed")
    parser.add_argument("--recipe", choices=sorted(recipes), default="lite")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--backgrounds", help="folder with photographs; made-up pictures without it")
    parser.add_argument("--init", help="weights to start from: a set (lite), its folder, or a .weights.h5")
    arguments = parser.parse_args(argv)
    try:
        recipe = change(recipes[arguments.recipe], arguments.set)
    except ValueError as error:
        parser.error(str(error))
    return arguments, recipe


def change(recipe, settings):
    """A copy of the recipe with `settings`, a list of "key=value"; ValueError if one does not fit."""
    fields = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or key not in fields:
            raise ValueError(f"--set {setting}: no such key; known are {', '.join(fields)}")
        try:
            fields[key] = _typed(value, fields[key])
        except ValueError:
            raise ValueError(f"--set {setting}: a {type(fields[key]).__name__} is expected") from None
    return type(recipe)(**fields)


def _typed(text, old):
    if isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if isinstance(old, tuple):
        return tuple(type(old[0])(part) for part in text.split(","))
    return type(old)(text)


def open_run(run, recipe):
    """Makes the run folder, or checks that it was made for the same recipe."""
    os.makedirs(run, exist_ok=True)
    path, wanted = os.path.join(run, RECIPE), json.loads(json.dumps(dataclasses.asdict(recipe)))
    if os.path.exists(path):
        with open(path) as file:
            found = json.load(file)
        different = sorted(key for key in wanted if found.get(key) != wanted[key])
        if different and os.path.exists(os.path.join(run, STATE)):
            raise SystemExit(f"{path} differs from this recipe in {', '.join(different)}; take another --run")
    with open(path + ".partial", "w") as file:
        json.dump(wanted, file, indent=1)
    os.replace(path + ".partial", path)


def read_recipe(run, kind):
    """The recipe of a run folder as a dataclass of `kind`."""
    with open(os.path.join(run, RECIPE)) as file:
        stored = json.load(file)
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()})


def compiler():
    """What `hand3d.augment.Augment` should compile its rendering with: XLA under TensorFlow."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return functools.partial(tf.function, jit_compile=True)


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
        save_weights(self.model.network, os.path.join(self.run, "last.weights.h5"))
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

    init: path, or name or folder of a weight set.  role: of `hand3d.manifest.ROLES`, or "lifting" for the two
    of them that make up the network `proposed`.  Layers that the set does not have, such as further stages,
    keep their values; their names are printed.
    """
    if init.endswith(".weights.h5"):
        network.load_weights(init)
        return
    plain = manifest.load(manifest.find(init))
    if role == "lifting":
        for name, part in (("PosePrior", "poseprior"), ("ViewpointNet", "viewpoint")):
            unfold(plain[part], network.get_layer(name))
        return
    new = unfold(plain[role], network)
    if new:
        print(f"not in {init}, so trained from scratch: {', '.join(new)}", flush=True)


def train(model, recipe, run, training_data, validation_data, *, monitor, mode, role, init=None):
    """Compiles, resumes and fits; returns the model with its last (averaged) weights.

    An epoch is `recipe.epoch_steps` steps.  training_data(seed) -> endless tf.data.Dataset: a resumed run
    asks with another seed, so that it does not see the same examples first again.
    """
    open_run(run, recipe)
    state = os.path.join(run, STATE)
    model.compile(optimizer=optimizer(recipe), jit_compile=False if compiler() else "auto")
    done = 0
    resumed = os.path.exists(state)
    if init and not resumed:
        start_from(model.network, init, role)
    if resumed:
        model.optimizer.build(model.trainable_variables)
        model.load_weights(state)
        done = int(model.optimizer.iterations) // recipe.epoch_steps
        print(f"resumed {run} after epoch {done}", flush=True)
    epochs = -(-recipe.steps // recipe.epoch_steps)
    if done >= epochs:
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
    model.fit(
        training_data(recipe.seed + done),
        validation_data=validation_data,
        initial_epoch=done,
        epochs=epochs,
        steps_per_epoch=recipe.epoch_steps,
        callbacks=callbacks,
        verbose=2,
    )
    return model
