"""Weights of one network as HDF5 files of named arrays, small and independent of Keras' version and backend.

Every weight is a data set LAYER/WEIGHT, such as conv1_1/kernel; in the paper's networks the layers have the
names of the published weights.  Kernels are float16 or float32, compressed; vectors (biases, batch norm) stay
float32, since they are small and variances can lie below float16's range.  `EXAMPLE` names one more group: an
input of the network and what it made of it when the file was written.  A network may be spread over several
files ("shards"), each weight whole in one of them.

Files may come from strangers: names, types and sizes are compared with the network's before anything is read.
"""

import io
import math

import h5py
import numpy as np

from hand3d.files import write_atomic

EXAMPLE = "example"
SHARD_BYTES = 16 * 2**20
PRECISIONS = ("float16", "float32")


def named_weights(model):
    """Dict name -> keras.Variable of a model's weights.  ValueError if two have one name."""
    named = {weight.path: weight for weight in model.weights}
    if len(named) != len(model.weights):
        raise ValueError(f"model {model.name!r}: weights share names; name its layers")
    return named


def stored_values(model, precision="float16", leave_out=()):
    """Dict name -> array as `write_shards` stores it.

    precision: of kernels, "float16" or "float32".  leave_out: names of layers.
    Raises ValueError for values that are not finite or that the precision cannot hold.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: one of {PRECISIONS} expected, got {precision!r}")
    stored = {}
    for name, weight in named_weights(model).items():
        if name.split("/")[0] in leave_out:
            continue
        values = np.asarray(weight, np.float32)
        dtype = np.dtype(precision if values.ndim >= 2 else "float32")
        if not np.abs(values).max(initial=0) <= np.finfo(dtype).max:
            raise ValueError(f"weight {name}: values are not finite or beyond the range of {dtype}")
        stored[name] = values.astype(dtype)
    return stored


def write_shards(arrays, path, shard_bytes=SHARD_BYTES):
    """Write arrays to `path`, or to several files beside it where one would reach `shard_bytes`.

    arrays: dict name -> array; equal arrays give equal files.  path: ends in .h5; shards are called
    STEM-1-of-3.h5 and so on.  Each file is written atomically.  Returns the list of paths.
    Raises ValueError for an array that fits into no shard, OSError where a file cannot be written.
    """
    groups, room = [{}], 0
    for name, values in arrays.items():
        size = values.nbytes + 4096  # and HDF5's own
        if size >= shard_bytes:
            raise ValueError(f"{name}: {values.nbytes} bytes do not fit into a shard of {shard_bytes}")
        if room + size >= shard_bytes:
            groups.append({})
            room = 0
        groups[-1][name] = values
        room += size
    stem = path.removesuffix(".h5")
    paths = [path]
    if len(groups) > 1:
        paths = [f"{stem}-{number}-of-{len(groups)}.h5" for number in range(1, len(groups) + 1)]
    for shard, group in zip(paths, groups, strict=True):
        write_atomic(shard, _hdf5(group))
    return paths


def read_weights(model, paths, leave_out=()):
    """Set a model's weights from a file or a list of shards; nothing is set unless all fit.

    leave_out: names of layers that the files do not have; they keep their values.
    Raises ValueError if names, shapes or types differ or values are not finite, OSError if a file is no HDF5.
    """
    named = {
        name: weight for name, weight in named_weights(model).items() if name.split("/")[0] not in leave_out
    }
    found = {}
    for path in [paths] if isinstance(paths, str) else paths:
        with h5py.File(path, "r") as file:
            sets = {name: item for name, item in data_sets(file).items() if name.split("/")[0] != EXAMPLE}
            twice, unknown = sorted(set(sets) & set(found)), sorted(set(sets) - set(named))
            if twice:
                raise ValueError(f"{_some(twice)} in two files")
            if unknown:
                missing = sorted(set(named) - set(sets) - set(found))
                raise ValueError(
                    f"the file lacks {_some(missing)} and has {_some(unknown)} that the network has not"
                )
            for name, item in sets.items():
                found[name] = _read(name, item, tuple(named[name].shape), "the network")
    missing = sorted(set(named) - set(found))
    if missing:
        raise ValueError(f"the file lacks {_some(missing)}")
    for name, weight in named.items():
        weight.assign(found[name])


def data_sets(file):
    """Dict name -> h5py.Dataset of all plain data sets of an open HDF5 file.

    Links are not followed.  Raises ValueError for data kept outside the file and for a damaged file.
    """
    sets = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            sets[name] = item

    try:
        file.visititems(visit)
        for name, item in sets.items():
            if not isinstance(name, str):
                raise ValueError(f"damaged HDF5 file (a data set is called {name!r})")
            if item.is_virtual or item.external:
                raise ValueError(f"{name}: its data lie outside the file")
    except (RuntimeError, KeyError, TypeError) as error:  # h5py's for damaged objects
        raise ValueError(f"damaged HDF5 file ({error})") from error
    return sets


def make_example(model):
    """A dict of arrays for `write_shards`: a made-up input of the network and its output, float32.

    The input is smooth noise; images have 64 pixels a side.
    """
    random = np.random.default_rng(0)
    inputs = []
    for tensor in model.inputs:
        shape = tuple(64 if size is None else size for size in tensor.shape[1:])
        if len(shape) == 3:
            values = random.random((8, 8, shape[2]))
            values = np.kron(values, np.ones((math.ceil(shape[0] / 8), math.ceil(shape[1] / 8), 1)))
            values = values[: shape[0], : shape[1]]
            values = values - 0.5 if shape[2] == 3 else values**8  # an image; score maps are mostly empty
        elif len(shape) == 2:
            values = random.random(shape)
        else:
            values = np.eye(*shape)[0]
        inputs.append(values[None].astype(np.float16).astype(np.float32))
    example = {f"{EXAMPLE}/input{number}": values for number, values in enumerate(inputs)}
    return example | {f"{EXAMPLE}/{name}": values for name, values in _outputs(model, inputs).items()}


def example_difference(model, paths):
    """Largest difference between the stored outputs and the model's now, relative to the largest output.

    Returns a float, or None where the files have no example.  Raises ValueError where it does not fit.
    """
    stored = {}
    for path in [paths] if isinstance(paths, str) else paths:
        with h5py.File(path, "r") as file:
            for name, item in data_sets(file).items():
                if name.split("/")[0] == EXAMPLE:
                    if item.size > 2**22:
                        raise ValueError(f"{name}: {item.size} numbers are too many for an example")
                    stored[name.split("/", 1)[1]] = _read(name, item)
    if not stored:
        return None
    inputs = [stored.pop(f"input{number}", None) for number in range(len(model.inputs))]
    for number, (tensor, values) in enumerate(zip(model.inputs, inputs, strict=True)):
        wanted, found = tuple(tensor.shape[1:]), () if values is None else values.shape[1:]
        fits = len(found) == len(wanted)
        if not fits or any(b not in (None, a) for a, b in zip(found, wanted, strict=True)):
            raise ValueError(f"the example's input {number} has shape {found}, expected {wanted}")
    outputs = _outputs(model, inputs)
    if {name: value.shape for name, value in outputs.items()} != {
        name: value.shape for name, value in stored.items()
    }:
        raise ValueError(f"the example's outputs {sorted(stored)} are not the network's {sorted(outputs)}")
    return max(
        float(np.abs(outputs[name] - value).max() / max(np.abs(value).max(), 1e-6))
        for name, value in stored.items()
    )


def _outputs(model, inputs):
    """Dict name -> array of what a model makes of its inputs."""
    import keras

    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    flat = keras.tree.flatten(outputs)
    return {
        f"output{number}": np.asarray(keras.ops.convert_to_numpy(value), np.float32)
        for number, value in enumerate(flat)
    }


def _hdf5(arrays):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in arrays.items():
            options = {"compression": "gzip", "shuffle": True} if values.ndim >= 2 else {}
            file.create_dataset(name, data=values, track_times=False, **options)
    return content.getvalue()


def _read(name, item, shape=None, whose=""):
    """One data set as float32, after its type and shape have been checked."""
    if item.dtype not in PRECISIONS:
        raise ValueError(f"{name} is {item.dtype} in the file, expected one of {PRECISIONS}")
    if shape is not None and tuple(item.shape) != shape:
        raise ValueError(f"{name} has shape {item.shape} in the file, {shape} in {whose}")
    if item.chunks and math.prod(item.chunks) > max(2 * item.size, 2**20):
        raise ValueError(f"{name}: damaged HDF5 file (chunks of {item.chunks})")
    values = item[()].astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite")
    return values


def _some(names):
    more = f" and {len(names) - 3} more" if names[3:] else ""
    return ", ".join(names[:3]) + more if names else "nothing"
