"""Several machines: `tf.distribute.MultiWorkerMirroredStrategy` over those that TF_CONFIG names.

The same command runs on every machine, with the machine's own number in TF_CONFIG; see README.md.  Each
computes its share of every batch, and gradients are added up.  tf.data gives each its share of the data
(the tf.data service does not: the order of the samples has to depend on the seed and the step alone).  All
machines do the same, since to read a metric is to add it up; but only the first writes to the run folder,
the others to a copy of it that is deleted at the end.  Where one is lost, the others start their command
again and wait for it; all go on from the first one's state.
"""

import contextlib
import functools
import json
import os
import shutil
import sys
import tempfile
import zlib

import keras

NEEDED = ("state.weights.h5", "epochs.json", "recipe.json", "run.json", "log.csv", "stream.json")


def count():
    """Number of machines that TF_CONFIG names; ValueError where it is no such thing."""
    return len(_machines(_config()))


def _config():
    try:
        found = json.loads(os.environ.get("TF_CONFIG") or "{}")
        found.get("cluster", {}).get("worker")
    except (ValueError, AttributeError):
        raise ValueError("TF_CONFIG is set and is no JSON object; unset it") from None
    return found


def _machines(config):
    """[(kind, number)], the first of which writes."""
    cluster = config.get("cluster", {})
    return [(kind, number) for kind in ("chief", "worker") for number in range(len(cluster.get(kind, ())))]


def join(run, devices=None):
    """Waits for the other machines; returns the folder that this one writes to.

    Has to come before anything is computed.  run: run folder, which all machines see.  devices: must be
    None.  ValueError where TF_CONFIG, the backend or `devices` do not fit, or the folders seen differ.
    """
    config = _config()
    machines, task = _machines(config), config.get("task", {})
    own = (task.get("type"), task.get("index"))
    if own not in machines:
        raise ValueError(f"TF_CONFIG: the task {task} is none of the {len(machines)} machines of its cluster")
    if keras.config.backend() != "tensorflow":
        raise ValueError(f"TF_CONFIG names {len(machines)} machines: KERAS_BACKEND=tensorflow expected")
    if devices:
        raise ValueError(f"--devices {devices}: of several machines all GPUs are used; leave --devices out")
    with coming_back():
        _see_one(run)
    if own == machines[0]:
        return run
    copy = _copy().name
    print(f"the first machine writes to {run}; this one to {copy}, deleted at the end", flush=True)
    for name in NEEDED:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(os.path.join(run, name), copy)
    return copy


def _see_one(run):
    """ValueError unless all machines find the same state, or none, in the run folder."""
    import tensorflow as tf

    found, together = 0, strategy()
    with contextlib.suppress(FileNotFoundError), open(os.path.join(run, NEEDED[0]), "rb") as file:
        found = zlib.crc32(file.read())
    total = together.reduce("SUM", together.run(lambda: tf.constant(found, tf.int64)), axis=None)
    if int(total) != found * together.num_replicas_in_sync:
        raise ValueError(
            f"--run {run}: other machines find another state there; take a folder that all share"
        )


@functools.cache
def _copy():
    return tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True)


@functools.cache
def strategy():
    """The distribution over the machines."""
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def adapt(model):
    """Makes `fit` work under the strategy; for models that come built.

    Keras 3.15 fails there twice (https://github.com/keras-team/keras/issues/20585): before the first batch
    it averages the machines' batches to learn their shapes, which TensorFlow refuses (ValueError: "Attempt
    to convert a value (PerReplica..."); and it averages each metric of a step, a scalar, along axis 0
    ("Invalid reduction dimension 0 for input with 0 dimensions").  So the one is left out, and the steps
    return vectors of one.
    """
    import tensorflow as tf

    def vectors(step):
        return lambda data: {name: tf.reshape(value, [1]) for name, value in step(data).items()}

    model.train_step, model.test_step = vectors(model.train_step), vectors(model.test_step)
    model._maybe_symbolic_build = lambda *args, **kwargs: None


def share(data):
    """The dataset of batches, of which each machine takes its part."""
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return data.with_options(options)


@contextlib.contextmanager
def coming_back():
    """Where another machine is lost: starts this process's command again, which waits for that machine."""
    if count() < 2:
        yield
        return
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        print(f"a machine was lost; starting again: {error.message.splitlines()[0][:300]}", flush=True)
        _copy().cleanup()
        os.execv(sys.executable, sys.orig_argv)
