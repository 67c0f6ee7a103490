"""Where the highest value is, in operations that every export format has."""

from keras import ops


def argmax(x, axis=-1):
    """Index of the highest value along an axis, of equal ones the first, on every backend.

    `keras.ops.argmax` looks at the bits of floats to tell -0 from 0, and neither LiteRT nor ONNX nor OpenVINO
    has an operation for that; here they are equal.

    x: float tensor, the axis of known length.  Returns int32, without the axis; the last index where the
    values are no numbers.
    """
    x = ops.convert_to_tensor(x)
    axis = axis % len(x.shape)
    length = x.shape[axis]
    index = ops.reshape(
        ops.arange(length, dtype="int32"), [length if k == axis else 1 for k in range(len(x.shape))]
    )
    highest = x >= ops.max(x, axis=axis, keepdims=True)
    return ops.minimum(ops.min(ops.where(highest, index, length), axis=axis), length - 1)
