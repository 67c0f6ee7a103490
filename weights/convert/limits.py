"""Bounds for files from strangers, and the one kind of error that they end in."""

import math

import numpy as np

MAX_BYTES = 2**30  # of a file, and of the arrays in it; VGG-16 with its head has 553 MB
MAX_ARRAYS = 4096
KINDS = "fiu"  # NumPy's letters for numbers that can be weights


class SourceError(ValueError):
    """A file that cannot be converted; the message says which entry, what was expected and what came."""


class Damaged(SourceError):
    """A file that breaks off or makes no sense."""


def check_size(name, shape, itemsize, taken=0):
    """Bytes of an array that a file declares; SourceError if it, with what came before it, is too large."""
    shape = tuple(shape)
    if len(shape) > 8 or any(not isinstance(length, int | np.integer) or length < 0 for length in shape):
        raise SourceError(f"{name}: shape {shape}, expected whole numbers of 0 or more")
    size = math.prod(map(int, shape)) * itemsize
    if taken + size > MAX_BYTES:
        raise SourceError(f"{name}: shape {shape} makes {taken + size} bytes, expected up to {MAX_BYTES}")
    return size


def from_bytes(name, content, dtype, shape, fortran=False):
    """An array (float32) over the bytes of a file, whose number has to be that of the shape."""
    return numbers(name, content, dtype, shape, fortran).astype(np.float32)


def numbers(name, content, dtype, shape, fortran=False, kinds=KINDS):
    """An array of type `dtype` over the bytes of a file, read-only; as in `from_bytes`."""
    if dtype.kind not in kinds:
        raise SourceError(f"{name}: values of type {dtype}, expected numbers")
    size = check_size(name, shape, dtype.itemsize)
    if len(content) != size:
        raise SourceError(f"{name}: {len(content)} bytes, expected {size} for {tuple(shape)} of {dtype}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
