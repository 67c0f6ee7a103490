"""TensorBoard of a run: curves, pictures, histograms, throughput and the recipe; and the time spent waiting.

    tensorboard --logdir RUN/tensorboard

TensorBoard's files are written by TensorFlow; under another backend and without it log.csv holds the numbers.
"""

import dataclasses
import importlib.util
import os
import time

import keras
import numpy as np
from keras import ops

from experiments import devices
from experiments.board_pictures import panels

PICTURES = 20  # times in a run that pictures and histograms are written
SHOWN = 4  # examples in a picture


def callbacks(run, recipe, validation, epochs, monitor):
    """The callbacks that write RUN/tensorboard; an empty list without TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        return []
    folder = os.path.join(run, "tensorboard")
    curves = keras.callbacks.TensorBoard(folder, write_graph=False)
    return [curves, Board(folder, recipe, validation, max(1, epochs // PICTURES), monitor)]


class Board(keras.callbacks.Callback):
    """Pictures and histograms of every `every` epochs, and the recipe as hyper-parameters.

    validation: dataset, or dict of arrays, whose first examples are drawn.  monitor: shown beside the recipe.
    """

    def __init__(self, folder, recipe, validation, every, monitor):
        super().__init__()
        import tensorflow as tf

        self.tf, self.recipe, self.every, self.monitor = tf, recipe, every, monitor
        self.validation, self.examples = validation, None
        self.writer = tf.summary.create_file_writer(os.path.join(folder, "pictures"))
        self.trial = os.path.join(folder, "validation")

    def on_train_begin(self, logs=None):
        from tensorboard.plugins.hparams import api

        plain = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in dataclasses.asdict(self.recipe).items()
        }
        metric = api.Metric("epoch_" + self.monitor.removeprefix("val_"), display_name=self.monitor)
        writer = self.tf.summary.create_file_writer(self.trial)
        with writer.as_default():
            api.hparams_config([api.HParam(key) for key in plain], [metric])
            api.hparams(plain)
        writer.close()

    def on_epoch_end(self, epoch, logs=None):
        if epoch % self.every and epoch + 1 < self.params["epochs"]:
            return
        start = time.time()
        with self.writer.as_default(epoch):
            for name, picture in panels(self.model, self._examples()).items():
                self.tf.summary.image(name, picture[None])
            for weight in self.model.network.trainable_variables:
                self.tf.summary.histogram(weight.path, ops.convert_to_numpy(weight))
            self.tf.summary.scalar("seconds_for_pictures", time.time() - start)
        self.writer.flush()

    def _examples(self):
        if self.examples is None:
            batch = self.validation
            if not isinstance(batch, dict):
                batch = next(iter(batch))
            self.examples = {key: np.asarray(value)[:SHOWN] for key, value in batch.items() if key != "id"}
        return self.examples


class Clock:
    """Seconds spent waiting for batches."""

    def __init__(self, variable=None):
        self.variable, self.total = variable, 0.0

    def seconds(self):
        return self.total if self.variable is None else float(self.variable.numpy())


def timed(data, model):
    """(data, clock): the training data with the time measured that `fit` waits for it.

    data: tf.data.Dataset or generator of batches.  The clock is None where several devices fetch ahead.
    """
    if keras.config.backend() == "tensorflow":
        from experiments.sources import as_dataset

        data = as_dataset(data) if hasattr(data, "__next__") else data
        return (data, None) if devices.strategy(model) else _timed_dataset(data)
    if not hasattr(data, "__next__"):
        return data, None
    clock = Clock()

    def batches():
        while True:
            start = time.perf_counter()
            batch = next(data)
            clock.total += time.perf_counter() - start
            yield (batch,)  # as Keras takes batches of a generator

    return batches(), clock


def _timed_dataset(data):
    import tensorflow as tf

    with tf.device("cpu:0"):
        waited = tf.Variable(0.0, trainable=False, dtype=tf.float64)
    now = tf.data.Dataset.range(tf.int64.max).map(lambda _: tf.timestamp())

    def note(before, batch, after):
        with tf.control_dependencies([waited.assign_add(after - before)]):
            return tf.nest.map_structure(tf.identity, batch)

    # `zip` asks its parts one after the other, in the thread that asks for the batch
    timed = tf.data.Dataset.zip(now, data, now).map(note)
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # or the time would be that of another thread
    return timed.with_options(options), Clock(waited)
