"""TensorFlow Serving's predict API in JSON: requests to arrays, arrays to answers.

Both of its formats: rows, {"instances": [...]} answered by {"predictions": [...]}, and columns,
{"inputs": {...}} answered by {"outputs": {...}}.  Bytes are {"b64": "..."}.
"""

import base64
import binascii
import json

import numpy as np

DEFAULT_SIGNATURE = "serving_default"


class RequestError(ValueError):
    """A request that cannot be answered.  status: HTTP status code."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status


def parse(body, signatures, most):
    """Signature, inputs and format of a request.

    body: bytes.  signatures: {name: {input: (numpy dtype or bytes, shape with None)}}.  most: images of a
    request.  Returns (signature name, {input: array, or list of bytes}, "predictions" or "outputs").  Raises
    RequestError for anything that does not fit.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise RequestError(f"the body is {_kind(request)}; an object expected")
    name = request.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str) or name not in signatures:
        raise RequestError(f"signature_name is {name!r:.80}; expected one of {sorted(signatures)}")
    wanted = signatures[name]
    given = [key for key in ("instances", "inputs") if key in request]
    if len(given) != 1:
        raise RequestError('exactly one of "instances" and "inputs" expected')
    (form,) = given
    columns = (_rows if form == "instances" else _columns)(request[form], wanted)
    counts = {len(column) for column in columns.values()}
    if len(counts) != 1 or not 1 <= max(counts) <= most:
        raise RequestError(f"1 to {most} images expected, as many for every input; got {sorted(counts)}")
    inputs = {key: _array(key, columns[key], *spec) for key, spec in wanted.items()}
    return name, inputs, "predictions" if form == "instances" else "outputs"


def answer(outputs, form):
    """The body of an answer, bytes.  outputs: {name: array with a leading axis of images}."""
    lists = {name: np.asarray(value).tolist() for name, value in outputs.items()}
    if form == "predictions":
        count = len(next(iter(lists.values())))
        lists = [{name: value[number] for name, value in lists.items()} for number in range(count)]
    return json.dumps({form: lists}, allow_nan=False).encode()


def _rows(rows, wanted):
    if not isinstance(rows, list):
        raise RequestError(f'"instances" is {_kind(rows)}; a list expected')
    if len(wanted) == 1:  # a bare value stands for the only input
        (only,) = wanted
        rows = [row if isinstance(row, dict) and only in row else {only: row} for row in rows]
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(wanted):
            raise RequestError(f"every instance must have the inputs {sorted(wanted)} and no other")
    return {name: [row[name] for row in rows] for name in wanted}


def _columns(columns, wanted):
    if not isinstance(columns, dict) and len(wanted) == 1:
        columns = {next(iter(wanted)): columns}
    if not isinstance(columns, dict) or set(columns) != set(wanted):
        raise RequestError(f'"inputs" must have {sorted(wanted)} and no other')
    for name, column in columns.items():
        if not isinstance(column, list):
            raise RequestError(f"input {name!r} is {_kind(column)}; a list expected")
    return columns


def _array(name, values, dtype, shape):
    if dtype is bytes:
        return [_bytes(name, value) for value in values]
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise ValueError
    except ValueError:
        raise RequestError(f"input {name!r}: numbers in lists of equal length expected") from None
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        raise RequestError(f"input {name!r} has shape {array.shape}; expected {_text(shape)}")
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        if array.dtype.kind == "f" or array.min() < info.min or array.max() > info.max:
            raise RequestError(f"input {name!r}: whole numbers from {info.min} to {info.max} expected")
    elif not np.isfinite(array).all():
        raise RequestError(f"input {name!r}: finite numbers expected")
    return array.astype(dtype)


def _bytes(name, value):
    if not isinstance(value, dict) or set(value) != {"b64"} or not isinstance(value["b64"], str):
        raise RequestError(f'input {name!r}: {{"b64": "..."}} expected, got {_kind(value)}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"input {name!r}: wrong base64: {error}") from None


def _kind(value):
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _text(shape):
    return "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"
