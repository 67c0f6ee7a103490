"""Annotation pickles from the internet: numpy arrays and plain containers, and nothing else.

A pickle names the functions that rebuild its objects, so loading one with `pickle.load` runs whatever its
author wanted.  Here only the few names that numpy's own arrays need are known, and each of them is replaced
by a function of this module that does no more than its part; any other name is refused.
"""

import collections
import pickle

import numpy as np


class UnsafePickle(ValueError):
    """A pickle that asks for something else than numpy arrays and plain containers."""


class _Allowed:
    """A callable without attributes, so that a pickle's BUILD cannot change it."""

    __slots__ = ("_call",)

    def __init__(self, call):
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments):
        return self._call(*arguments)

    def __setattr__(self, name, value):
        raise UnsafePickle(f"the pickle sets the attribute {name!r} of a function")

    __setstate__ = None


def _empty_array(kind, shape, code):
    """What numpy's `_reconstruct` makes before the array's state arrives: an array without elements."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise UnsafePickle(f"the pickle builds {kind!r} of shape {shape!r}, expected a plain numpy array")
    return np.ndarray((0,), np.int8)


def _dtype(code, *flags):
    # a copy: the byte order follows as the state of this very object
    made = np.dtype(code if isinstance(code, str) else code.decode("latin1"), False, True)
    if made.hasobject:
        raise UnsafePickle("the pickle holds an array of objects, expected numbers")
    return made


def _scalar(dtype, content=b""):
    if isinstance(content, str):
        content = content.encode("latin1")
    return np.frombuffer(content, dtype, 1)[0]


def _from_buffer(buffer, dtype, shape, order="C"):
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _latin1(text, encoding="latin1"):
    """Protocol 2 writes bytes as text with the codec's name."""
    if str(encoding).lower().replace("-", "").replace("_", "") not in ("latin1", "iso88591"):
        raise UnsafePickle(f"the pickle encodes bytes by {encoding!r}, expected latin1")
    return text.encode("latin1")


def _no_bytes():
    """Protocol 2 writes empty bytes as a call of their class."""
    return b""


_NUMPY = {
    f"{core}.{module}": functions
    for core in ("numpy.core", "numpy._core")
    for module, functions in {
        "multiarray": {"_reconstruct": _empty_array, "scalar": _scalar},
        "numeric": {"_frombuffer": _from_buffer},
    }.items()
}
_KNOWN = {
    **{(module, name): call for module, functions in _NUMPY.items() for name, call in functions.items()},
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _latin1,
    **{
        (module, name): call
        for module in ("builtins", "__builtin__")
        for name, call in {"set": set, "frozenset": frozenset, "bytes": _no_bytes}.items()
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) not in _KNOWN:
            raise UnsafePickle(f"the pickle asks for {module}.{name}")
        return _Allowed(_KNOWN[module, name])

    def persistent_load(self, identifier):
        raise UnsafePickle(f"the pickle asks for the outside object {identifier!r}")


def load(path):
    """Contents of a pickle file of any protocol, also of Python 2.

    path: str.  Returns what it holds: numpy arrays and scalars, dicts, lists, tuples, sets, numbers, text.
    Raises UnsafePickle (a ValueError) naming the file and the first thing that is none of these, ValueError
    for a file that is damaged or no pickle, OSError if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    except UnsafePickle as error:
        raise UnsafePickle(
            f"{path}: {error}; only numpy arrays and plain containers are read: "
            "get the file from its authors again"
        ) from None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"{path}: damaged, or no pickle ({error or type(error).__name__})") from error
