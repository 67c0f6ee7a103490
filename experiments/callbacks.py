"""Callbacks of the training programs: seeds, checkpoints, the loss watched, speed."""

import contextlib
import json
import math
import os
import time

import keras
import numpy as np

from hand3d.files import write_atomic

EPOCHS = "epochs.json"
STATE, LAST, BEST = "state.weights.h5", "last.weights.h5", "best.weights.h5"


class RunError(Exception):
    """What ends a run with a message and leaves its folder usable."""


def write_weights(model, path):
    """Saves the weights beside `path` (*.weights.h5), whole and on the disk; returns where.

    RunError where the disk is full or the folder cannot be written to; nothing is left behind.
    """
    partial = path.removesuffix(".weights.h5") + ".partial.weights.h5"
    try:
        model.save_weights(partial)
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise RunError(
            f"{path} cannot be saved: {error}; what was saved before is untouched: make room, then give the "
            "same command"
        ) from error
    return partial


def save_weights(model, path):
    """Saves the weights to `path` (*.weights.h5), atomically.  RunError as of `write_weights`."""
    os.replace(write_weights(model, path), path)


class Seeds(keras.callbacks.Callback):
    """Sets every random generator of the model at the start of an epoch, by the seed and the epoch alone.

    Keras does not save their states, and so a run that goes on draws what an unbroken one draws.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        states = [variable for variable in self.model.variables if "seed_generator_state" in variable.path]
        for number, state in enumerate(states):
            words = np.random.SeedSequence([self.seed, epoch, number]).generate_state(2) >> 1
            state.assign(words.astype(state.dtype))


class SaveState(keras.callbacks.Callback):
    """After every epoch: all that `fit` needs to go on, in one file; a killed run repeats one epoch at most.

    It stands before the callback that puts averaged weights in place.  The file takes the place of the old
    one in `commit`, when all else of the epoch is on the disk: an epoch is done wholly or not at all.
    (Keras' BackupAndRestore overwrites its file in place and would save the averages.)  Where an optimiser
    did not count every step, as in float16 those whose gradients overflow, epochs.json tells the epoch.
    """

    def __init__(self, run, epoch_steps):
        super().__init__()
        self.run, self.epoch_steps = run, epoch_steps
        self.path, self.partial = os.path.join(run, STATE), None

    def on_epoch_end(self, epoch, logs=None):
        counted = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if counted != (epoch + 1) * self.epoch_steps:
            kept = dict(sorted(_read_epochs(self.run).items(), key=lambda item: item[1])[-2:])
            content = json.dumps(kept | {str(counted): epoch + 1})
            write_atomic(os.path.join(self.run, EPOCHS), content.encode())
        self.partial = write_weights(self.model, self.path)

    def commit(self):
        """Returns a callback that ends the epoch."""
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: os.replace(self.partial, self.path)
        )


def epochs_done(run, counted, epoch_steps):
    """Epochs of a run whose optimiser has counted so many steps."""
    return _read_epochs(run).get(str(counted), counted // epoch_steps)


def _read_epochs(run):
    path = os.path.join(run, EPOCHS)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class SaveNetwork(keras.callbacks.Callback):
    """After every epoch: the network alone, as last and, if `monitor` is the best yet, as best.

    values: of the monitored metric in the epochs done.  patience: epochs without a better value after which
    the run stops; 0: it never does.
    """

    def __init__(self, run, monitor, mode, values=(), patience=0):
        super().__init__()
        self.run, self.monitor, self.mode, self.patience = run, monitor, mode, patience
        self.values = list(values)

    def on_epoch_end(self, epoch, logs=None):
        save_weights(self.model.network, os.path.join(self.run, LAST))
        self.values.append((logs or {}).get(self.monitor, math.nan))
        if best_epoch(self.values, self.mode) == len(self.values) - 1:
            save_weights(self.model.network, os.path.join(self.run, BEST))
        if on_plateau(self.values, self.mode, self.patience):
            self.model.stop_training = True
            print(f"stopped: {self.monitor} has not got better for {self.patience} epochs", flush=True)


def best_epoch(values, mode):
    """Index of the first best value, or None; mode: "min" or "max"."""
    sign = {"min": 1, "max": -1}[mode]
    finite = [(sign * value, index) for index, value in enumerate(values) if math.isfinite(value)]
    return min(finite)[1] if finite else None


def on_plateau(values, mode, patience):
    """Whether the last `patience` values brought no better one (patience > 0)."""
    best = best_epoch(values, mode)
    return bool(patience) and best is not None and len(values) - 1 - best >= patience


class WatchLoss(keras.callbacks.Callback):
    """RunError at the step where the loss is no number any more; the epoch is not saved.

    A step's loss is read while the next step computes, so that a GPU does not wait for it.
    name_samples(step): names of the samples of a step, a list.
    """

    def __init__(self, run, name_samples, steps_per_epoch):
        super().__init__()
        self.run, self.name_samples, self.steps_per_epoch = run, name_samples, steps_per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.loss, self.step = epoch, None, -1

    def on_train_batch_end(self, step, logs=None):
        self._check()
        self.loss, self.step = (logs or {}).get("loss"), step

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        if self.loss is None or math.isfinite(float(self.loss)):
            return
        step = self.epoch * self.steps_per_epoch + self.step
        names = ", ".join(self.name_samples(step)) or "not known"
        raise RunError(
            f"the loss is {float(self.loss)} at step {step + 1}, epoch {self.epoch + 1}; samples: {names}.  "
            f"{self.run} keeps the state of the end of epoch {self.epoch}.  Look at the samples; or start "
            f"another --run with --init {os.path.join(self.run, BEST)} and a smaller learning_rate or clip"
        )


class Speed(keras.callbacks.Callback):
    """Adds `examples_per_s`, `learning_rate` and, with a clock, `waiting_share` to the log of every epoch.

    clock: object whose `seconds()` is the time spent waiting for data so far, or None.
    """

    def __init__(self, batch, clock=None):
        super().__init__()
        self.batch, self.clock = batch, clock

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.steps = time.time(), 0
        self.waited = self.clock.seconds() if self.clock else 0.0

    def on_train_batch_end(self, step, logs=None):
        self.steps, self.stop = self.steps + 1, time.time()

    def on_epoch_end(self, epoch, logs=None):
        taken = max(self.stop - self.start, 1e-9)
        logs["examples_per_s"] = round(self.steps * self.batch / taken, 1)
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        if self.clock:
            logs["waiting_share"] = round((self.clock.seconds() - self.waited) / taken, 4)
