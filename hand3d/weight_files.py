"""Weights of one network as an HDF5 file of named arrays, small and independent of the Keras version.

Every weight is a data set LAYER/WEIGHT, such as conv1_1/kernel; in the paper's networks the layers have the
names of the published weights.  Kernels are float16, compressed; vectors (biases, batch norm) stay float32,
since they are small and variances can lie below float16's range.
"""

import io

import h5py
import numpy as np

from hand3d.files import write_atomic


def named_weights(model):
    """Dict name -> keras.Variable of a model's weights.  ValueError if two have one name."""
    named = {weight.path: weight for weight in model.weights}
    if len(named) != len(model.weights):
        raise ValueError(f"model {model.name!r}: weights share names; name its layers")
    return named


def write_weights(model, path):
    """Write a model's weights to `path`, atomically; equal weights give equal files.

    Raises ValueError for values that float16 cannot hold, OSError where the file cannot be written.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, weight in named_weights(model).items():
            values = np.asarray(weight, np.float32)
            options = {}
            if values.ndim >= 2:
                if not np.abs(values).max(initial=0) <= np.finfo(np.float16).max:
                    raise ValueError(f"weight {name}: values are not finite or beyond the range of float16")
                values = values.astype(np.float16)
                options = {"compression": "gzip", "shuffle": True}
            file.create_dataset(name, data=values, track_times=False, **options)
    write_atomic(path, content.getvalue())


def read_weights(model, path):
    """Set a model's weights from `path`; nothing is set unless all fit.

    Raises ValueError if names or shapes differ, OSError if it is no HDF5 file.
    """
    named, found = named_weights(model), {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {}))
    missing, unknown = sorted(set(named) - set(found)), sorted(set(found) - set(named))
    if missing or unknown:
        raise ValueError(f"the file lacks {_some(missing)} and has {_some(unknown)} that the network has not")
    for name, weight in named.items():
        if tuple(found[name].shape) != tuple(weight.shape):
            raise ValueError(
                f"{name} has shape {found[name].shape} in the file, {tuple(weight.shape)} in the network"
            )
    for name, weight in named.items():
        weight.assign(found[name].astype(np.float32))


def _some(names):
    more = f" and {len(names) - 3} more" if names[3:] else ""
    return ", ".join(names[:3]) + more if names else "nothing"
