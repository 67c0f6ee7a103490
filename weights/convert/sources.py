"""A file of weights, of whatever format, as a dict of arrays."""

import os
import re
from dataclasses import dataclass

from weights.convert import arrays, caffe, checkpoints
from weights.convert.limits import MAX_BYTES, SourceError
from weights.convert.pickles import load_pickle, named_arrays


@dataclass(frozen=True)
class Source:
    """path: str.  kind: caffe, checkpoint or arrays.  arrays: dict name -> float32 array, names with slashes.
    skipped: names of entries that are no arrays."""

    path: str
    kind: str
    arrays: dict
    skipped: list


def load_source(path):
    """`Source` of a file, whose format is told by its first bytes.  Raises SourceError, OSError."""
    path = os.fspath(path)
    prefix = checkpoints.checkpoint_prefix(path)
    if prefix:
        _check_bytes(path if os.path.isfile(path) else prefix + ".index")
        kind, (found, skipped) = "checkpoint", checkpoints.load_checkpoint(prefix)
    else:
        if os.path.isdir(path):
            raise SourceError(f"{path}: a folder; name the file in it")
        _check_bytes(path)
        kind, (found, skipped) = _load_file(path)
    if not found:
        raise SourceError(f"{path}: no arrays in it")
    named = {}
    for name, values in found.items():
        plain = re.sub(r":0$", "", name).replace(".", "/") if "/" not in name else re.sub(r":0$", "", name)
        if plain in named:
            raise SourceError(f"{path}: {name} is there twice")
        named[plain] = values
    return Source(path, kind, named, skipped)


def _load_file(path):
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        return "arrays", arrays.load_npz(path)
    if start.startswith(b"\x93NUMPY"):
        return "arrays", arrays.load_npy(path)
    if start.startswith(b"\x89HDF"):
        return "arrays", arrays.load_hdf5(path)
    if path.lower().endswith(".safetensors") or start[8:9] == b"{":
        return "arrays", arrays.load_safetensors(path)
    if start[:1] == b"\x80" or path.lower().endswith((".pickle", ".pkl")):
        with open(path, "rb") as file:
            return "arrays", named_arrays(load_pickle(file.read(), path), path)
    return "caffe", caffe.load_caffemodel(path)


def _check_bytes(path):
    size = os.path.getsize(path)
    if not 0 < size <= MAX_BYTES:
        raise SourceError(f"{path}: {size} bytes, expected 1 to {MAX_BYTES}")
