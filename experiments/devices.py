"""Several devices: `tf.distribute.MirroredStrategy` under TensorFlow, `keras.distribution` under JAX.

Every device computes a share of each batch, and gradients are added up.  Several machines:
`experiments.machines`.
"""

import contextlib

import keras

from experiments import machines


def prepare(wanted):
    """Makes the devices ready before the backend starts; ValueError for one that is not there.

    wanted: number of GPUs ("2"), or names ("gpu:0,gpu:1"; "cpu:0,cpu:1" are logical CPU devices, for tests).
    """
    names = _names(wanted)
    if keras.config.backend() == "jax":
        found = keras.distribution.list_devices()
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"--devices {wanted}: no {missing[0]}; there are {', '.join(found)}")
        if len(names) > 1:
            keras.distribution.set_distribution(keras.distribution.DataParallel(devices=names))
        return
    import tensorflow as tf

    processors = [name for name in names if name.startswith("cpu:")]
    if len(processors) > 1:
        logical = [tf.config.LogicalDeviceConfiguration() for _ in processors]
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already: as it was set up then
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    found = [device.name.removeprefix("/device:").lower() for device in tf.config.list_logical_devices()]
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"--devices {wanted}: no {missing[0]}; there are {', '.join(found)}")


def _names(wanted):
    if wanted.isdigit() and int(wanted) > 0:
        return [f"gpu:{number}" for number in range(int(wanted))]
    names = [name.strip().lower() for name in wanted.split(",")]
    if not all(
        name.partition(":")[0] in ("cpu", "gpu") and name.partition(":")[2].isdigit() for name in names
    ):
        raise ValueError(f"--devices {wanted}: a number of GPUs or names such as gpu:0,gpu:1 expected")
    if len(set(names)) < len(names):
        raise ValueError(f"--devices {wanted}: the same device twice")
    return names


def scope(wanted, batch):
    """Context in which the model is built.  ValueError where the batch does not divide among the devices."""
    if machines.count() > 1:
        together = machines.strategy().num_replicas_in_sync
        if batch % together:
            raise ValueError(f"TF_CONFIG: a batch of {batch} cannot be shared by {together} devices")
        return machines.strategy().scope()
    names = _names(wanted) if wanted else []
    if names and batch % len(names):
        raise ValueError(f"--devices {wanted}: a batch of {batch} cannot be shared by {len(names)} devices")
    if not names or keras.config.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(f"/{names[0]}").scope()
    return tf.distribute.MirroredStrategy([f"/{name}" for name in names]).scope()


def strategy(model):
    """The distribution that a model was built in, or None for one device."""
    found = getattr(model, "distribute_strategy", None) if keras.config.backend() == "tensorflow" else None
    return found if found is not None and found.num_replicas_in_sync > 1 else None


def scope_of(model):
    """Context in which the model's optimiser is made."""
    return (
        model.distribute_strategy.scope()
        if keras.config.backend() == "tensorflow"
        else contextlib.nullcontext()
    )


def shared(data, model):
    """A dataset or dict of arrays with 0 and 1 for truth values.

    Keras adds up the devices' batches to see their shapes, and truth values cannot be added.
    """
    if data is None or strategy(model) is None:
        return data
    if isinstance(data, dict):
        return {key: value.astype("uint8") if value.dtype == bool else value for key, value in data.items()}
    import tensorflow as tf

    def plain(value):
        return tf.cast(value, tf.uint8) if value.dtype == tf.bool else value

    data = data.map(lambda batch: tf.nest.map_structure(plain, batch))
    return machines.share(data) if machines.count() > 1 else data


def replicas(model):
    """Number of devices whose gradients are added."""
    found = strategy(model)
    return found.num_replicas_in_sync if found else 1
