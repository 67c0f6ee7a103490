"""Pickles of arrays, read without running anything that they name.

A pickle is a program.  This one is read twice: first only its opcodes, none of which may be unknown, name
a memory cell beyond those that it has filled, or reach past the end of the file; then by Python's own
unpickler, in which the few names that arrays need stand for objects of this module that only take notes.
NumPy arrays are made afterwards from the notes, when types and sizes have been compared.  Any other name is
an error.
"""

import io
import pickle
import pickletools

import numpy as np

from weights.convert.limits import KINDS, MAX_ARRAYS, Damaged, SourceError, check_size, from_bytes, numbers

MAX_OPCODES = 2_000_000
OPCODES = set(
    "PROTO FRAME STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS "
    "SETITEM SETITEMS BININT BININT1 BININT2 LONG1 BINFLOAT NONE NEWTRUE NEWFALSE BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 BINUNICODE SHORT_BINUNICODE BINUNICODE8 GLOBAL REDUCE "
    "BUILD STACK_GLOBAL BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET".split()
)


def load_pickle(content, name="pickle", *, opcodes=OPCODES, known=None, most=MAX_OPCODES):
    """What a pickle of protocol 2 or later holds: dicts, lists, tuples, text, numbers, notes on arrays.

    content: bytes.  name: for messages.  opcodes, known, most: what may occur, if not what weights need:
    names of opcodes, {(module, name): what stands for it}, and the number of opcodes.
    Raises SourceError; nothing that the pickle names is ever called.
    """
    _check_opcodes(content, name, opcodes, most)
    try:
        made = _Unpickler(content, KNOWN if known is None else known).load()
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle raises almost anything
        raise Damaged(f"{name}: damaged pickle ({error or type(error).__name__})") from error
    return made


def named_arrays(made, name="pickle"):
    """A loaded pickle as a flat dict name -> array; nested dicts and lists of two add to the names.

    {"conv": [kernel, bias]} gives conv/weights and conv/biases.  Raises SourceError.
    """
    if isinstance(made, Array) and made.objects is not None and len(made.objects) == 1:
        made = made.objects[0]  # numpy.save of a dict
    if not isinstance(made, dict):
        raise SourceError(f"{name}: holds {_kind(made)}, expected a dict of arrays")
    arrays, skipped, taken = {}, [], 0
    for key, value in _leaves(made, name):
        if isinstance(value, Array):
            arrays[key] = value.values(f"{name}: {key}")
            taken += arrays[key].nbytes
            check_size(f"{name}: {key}", (), 0, taken)
        else:
            skipped.append(key)
        if len(arrays) + len(skipped) > MAX_ARRAYS:
            raise SourceError(f"{name}: more than {MAX_ARRAYS} entries")
    return arrays, skipped


def _leaves(made, name, prefix="", depth=0):
    for key, value in made.items():
        if not isinstance(key, str):
            raise SourceError(f"{name}: a key is {_kind(key)}, expected text")
        key = prefix + key
        if isinstance(value, list | tuple) and len(value) == 2:
            value = dict(zip(("weights", "biases"), value, strict=True))
        if isinstance(value, dict) and depth < 4:
            yield from _leaves(value, name, f"{key}/", depth + 1)
        else:
            yield key, value


def _check_opcodes(content, name, opcodes, most):
    stored = 0
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(io.BytesIO(content))):
            if opcode.name not in opcodes:
                old = "; files of protocol 0 or 1 have to be saved again" if opcode.proto < 2 else ""
                raise SourceError(f"{name}: opcode {opcode.name} at byte {place} is no part of an array{old}")
            stored += opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
            if opcode.name in ("PUT", "LONG_BINPUT") and argument > stored:
                raise SourceError(f"{name}: memory cell {argument} at byte {place}, but {stored} are in use")
            if count > most:
                raise SourceError(f"{name}: more than {most} opcodes")
    except SourceError:
        raise
    except Exception as error:  # ValueError, UnicodeDecodeError, OverflowError ...
        raise Damaged(f"{name}: truncated or damaged pickle ({error})") from error


class Note:
    """Base of what a pickle gets to hold: no attributes beyond the slots, no state unless it is taken."""

    __slots__ = ()

    def __setstate__(self, state):
        raise SourceError(f"{type(self).__name__} takes no state")


class _Function(Note):
    """Stands for a function that the pickle names."""

    __slots__ = ("_call",)

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)

    def __setattr__(self, name, value):
        if name != "_call" or hasattr(self, "_call"):
            raise SourceError(f"a function's attribute {name!r} is set")
        object.__setattr__(self, name, value)


class _Dtype(Note):
    """Notes on a numpy.dtype."""

    __slots__ = ("code", "order")

    def __init__(self, code, align=False, copy=True):
        self.code, self.order = _text(code, "dtype"), "|"

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) < 2:
            raise SourceError(f"state of a dtype is {_kind(state)}")
        self.order = _text(state[1], "byte order")
        if self.order not in tuple("<>|="):
            raise SourceError(f"byte order of a dtype is {self.order!r}")

    def numpy(self, name):
        letter, digits = self.code[:1], self.code[1:]
        if letter not in "fiub" or digits not in ("1", "2", "4", "8"):
            raise SourceError(f"{name}: values of type {self.code!r}, expected numbers")
        return np.dtype(("" if self.order == "|" else self.order) + self.code)


class Array(Note):
    """Notes on a numpy.ndarray.

    objects: list, if it is one of objects.  native: its bytes get this machine's order, as numpy's own
    `__setstate__` has it; over a buffer they keep theirs.
    """

    __slots__ = ("shape", "dtype", "fortran", "content", "objects", "native")

    def __init__(self, *arguments):
        self.native = True
        self.shape, self.dtype, self.fortran, self.content, self.objects = (0,), None, False, b"", None

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5:
            raise SourceError("state of an array has not its five parts")
        _, self.shape, self.dtype, self.fortran, content = state
        if not isinstance(self.shape, tuple) or not isinstance(self.dtype, _Dtype):
            raise SourceError(f"array of shape {_kind(self.shape)} and type {_kind(self.dtype)}")
        if self.dtype.code.startswith("O") and isinstance(content, list):
            self.objects = content
        else:
            self.content = _bytes(content)

    def values(self, name):
        """float32 array of its shape.  SourceError where bytes, type and shape do not go together."""
        if self.dtype is None or self.objects is not None:
            raise SourceError(f"{name}: an array without numbers")
        return from_bytes(name, self.content, self.dtype.numpy(name), self.shape, bool(self.fortran))

    def plain(self, name):
        """The numpy array or, of no dimensions, the numpy scalar that was stored.  SourceError as above."""
        if self.objects is not None:
            raise SourceError(f"{name}: an array of objects, expected numbers")
        if self.dtype is None:
            raise SourceError(f"{name}: an array without numbers")
        dtype = self.dtype.numpy(name)
        values = numbers(name, self.content, dtype, self.shape, bool(self.fortran), KINDS + "b")
        return values.astype(dtype.newbyteorder("=") if self.native else dtype)[()]


def _scalar(dtype, content=b""):
    made = Array()
    made.__setstate__((1, (), dtype, False, content))
    return made


def _from_buffer(content, dtype, shape, order="C"):
    made = Array()
    made.__setstate__((1, shape, dtype, order == "F", content))
    made.native = False
    return made


def _encode(text, codec="latin1"):
    if codec not in ("latin1", "latin-1") or not isinstance(text, str):
        raise SourceError(f"bytes are encoded by {codec!r}, expected latin1")
    return text.encode("latin1")


def _ordered(pairs=()):
    return dict(pairs)


_NUMPY = {"multiarray": {"_reconstruct": Array, "scalar": _scalar}, "numeric": {"_frombuffer": _from_buffer}}
KNOWN = {
    **{
        (f"{core}.{module}", name): call
        for core in ("numpy.core", "numpy._core")
        for module, functions in _NUMPY.items()
        for name, call in functions.items()
    },
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): None,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content, known):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.known = known

    def find_class(self, module, name):
        if (module, name) not in self.known:
            raise SourceError(f"asks for {module}.{name}, which is no part of an array; nothing was run")
        return _Function(self.known[module, name])


def _bytes(content):
    if isinstance(content, str):  # Python 2
        return _encode(content)
    if not isinstance(content, bytes | bytearray):
        raise SourceError(f"the bytes of an array are {_kind(content)}")
    return bytes(content)


def _text(value, what):
    value = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(value, str) or len(value) > 16:
        raise SourceError(f"{what} is {_kind(value)}")
    return value


def _kind(value):
    return f"{type(value).__name__}"
