"""Annotation pickles from the internet: numpy arrays and plain containers, and nothing else.

A pickle names the functions that rebuild its objects, so loading one with `pickle.load` runs whatever its
author wanted.  `weights.convert.pickles` reads them without calling any; here the arrays keep their types,
and sets and the old protocols are admitted too.
"""

from weights.convert import pickles
from weights.convert.limits import Damaged, SourceError

MAX_OPCODES = 20_000_000  # the training annotations of RHD have about three millions
OPCODES = pickles.OPCODES | set(
    "INT LONG LONG4 FLOAT STRING UNICODE LIST DICT APPEND SETITEM PUT GET POP POP_MARK DUP "
    "EMPTY_SET ADDITEMS FROZENSET".split()
)
KNOWN = pickles.KNOWN | {
    (module, name): call
    for module in ("builtins", "__builtin__")
    for name, call in {"set": set, "frozenset": frozenset, "bytes": bytes}.items()
}


class UnsafePickle(ValueError):
    """A pickle that asks for something else than numpy arrays and plain containers."""


def load(path):
    """Contents of a pickle file of any protocol, also of Python 2.

    path: str.  Returns what it holds: numpy arrays and scalars, dicts, lists, tuples, sets, numbers, text.
    Raises UnsafePickle (a ValueError) naming the file and the first thing that is none of these, ValueError
    for a file that is damaged or no pickle, OSError if it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        made = pickles.load_pickle(content, path, opcodes=OPCODES, known=KNOWN, most=MAX_OPCODES)
        return _plain(made, path)
    except Damaged as error:
        raise ValueError(f"{error}, or no pickle") from None
    except SourceError as error:
        raise UnsafePickle(
            f"{error}; only numpy arrays and plain containers are read: get the file from its authors again"
        ) from None
    except RecursionError:
        raise UnsafePickle(f"{path}: containers inside each other without end") from None


def _plain(made, path):
    """Notes on arrays -> arrays, anywhere in the containers."""
    if isinstance(made, pickles.Array):
        return made.plain(path)
    if isinstance(made, dict):
        return {_plain(key, path): _plain(value, path) for key, value in made.items()}
    if isinstance(made, list | tuple | set | frozenset):
        return type(made)(_plain(value, path) for value in made)
    if isinstance(made, pickles.Note):
        raise SourceError(f"{path}: holds a function or a type, expected data")
    return made
