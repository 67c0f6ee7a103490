"""Dicts of arrays: .npz, .npy, HDF5 and .safetensors; sizes are compared with the file's before reading."""

import io
import json
import math
import zipfile

import h5py
import numpy as np

from hand3d.weight_files import data_sets
from weights.convert.limits import KINDS, MAX_ARRAYS, SourceError, check_size, from_bytes
from weights.convert.pickles import load_pickle, named_arrays

SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


def load_npz(path):
    """Dict name -> float32 array of a .npz, and a list of the entries that are no arrays."""
    arrays, taken = {}, 0
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_ARRAYS:
                raise SourceError(f"{path}: {len(entries)} entries, expected up to {MAX_ARRAYS}")
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                taken += check_size(f"{path}: {name}", (entry.file_size,), 1, taken)
                with archive.open(entry) as file:
                    content = file.read(entry.file_size + 1)
                arrays[name] = _npy(content, f"{path}: {name}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:
        raise SourceError(f"{path}: damaged or truncated .npz ({error})") from error
    return arrays, []


def load_npy(path):
    """A dict that numpy.save stored as a pickle; see `weights.convert.pickles`."""
    with open(path, "rb") as file:
        content = file.read()
    shape, _, dtype, start = _npy_header(content, path)
    if dtype.kind != "O" or shape not in ((), (1,)):
        raise SourceError(f"{path}: one array of {dtype} and shape {shape}, expected a dict of named arrays")
    return named_arrays(load_pickle(content[start:], path), path)


def load_hdf5(path):
    """Dict name -> float32 array of the data sets of an HDF5 file; links are not followed."""
    arrays, skipped, taken = {}, [], 0
    try:
        with h5py.File(path, "r") as file:
            sets = data_sets(file)
            if len(sets) > MAX_ARRAYS:
                raise SourceError(f"{path}: {len(sets)} data sets, expected up to {MAX_ARRAYS}")
            for name, item in sets.items():
                if item.shape is None or item.dtype.kind not in KINDS:
                    skipped.append(name)
                    continue
                taken += check_size(f"{path}: {name}", item.shape, item.dtype.itemsize, taken)
                check_size(f"{path}: {name}", item.chunks or (), item.dtype.itemsize)
                arrays[name] = item[()].astype(np.float32)
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path}: damaged or truncated HDF5 file ({error})") from error
    return arrays, skipped


def load_safetensors(path):
    """Dict name -> float32 array of a .safetensors file."""
    with open(path, "rb") as file:
        content = file.read()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise SourceError(f"{path}: {len(content)} bytes, but its header alone is said to take {length + 8}")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: the header is not JSON ({error})") from error
    if not isinstance(header, dict) or len(header) > MAX_ARRAYS:
        raise SourceError(f"{path}: the header is no object of up to {MAX_ARRAYS} arrays")
    body, arrays, taken = content[8 + length :], {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        where = f"{path}: {name}"
        try:
            kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
            dtype = np.dtype(SAFETENSORS[kind])
            good = 0 <= start <= stop <= len(body) and isinstance(shape, list)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{where}: damaged header entry {entry!r}") from error
        if not good:
            raise SourceError(f"{where}: bytes {start} to {stop}, but the file has {len(body)}")
        taken += check_size(where, shape, 4, taken)
        piece = body[start:stop]
        if kind == "BF16":  # the upper half of a float32
            size = check_size(where, shape, 2)
            if len(piece) != size:
                raise SourceError(f"{where}: {len(piece)} bytes, expected {size} for shape {tuple(shape)}")
            upper = np.frombuffer(piece, dtype).astype(np.uint32) << 16
            arrays[name] = upper.view(np.float32).reshape(shape)
        else:
            arrays[name] = from_bytes(where, piece, dtype, tuple(shape))
    return arrays, []


def _npy(content, name):
    shape, fortran, dtype, start = _npy_header(content, name)
    return from_bytes(name, content[start:], dtype, shape, fortran)


def _npy_header(content, name):
    """shape, Fortran order, dtype, place of the data."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = readers[version](file)
    except Exception as error:  # the header is parsed as Python, which can fail in many ways
        raise SourceError(f"{name}: damaged header of an array ({error})") from error
    if math.prod(shape) * dtype.itemsize > len(content) and dtype.kind != "O":
        raise SourceError(f"{name}: {len(content)} bytes are too few for shape {shape} of {dtype}")
    return shape, fortran, dtype, file.tell()
