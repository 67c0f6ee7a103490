"""A Keras model as a compiled function of NumPy arrays, on every backend.

`model.predict` prepares data sets, callbacks and progress bars at every call, which takes longer than a small
network does; here only the model runs.
"""

import keras
import numpy as np


def traced(model, skip_absent=False):
    """Callable: NumPy arrays, one per input of `model`, -> the model's outputs as NumPy arrays.

    Compiled once per image size; the batch size may change from call to call.  Arrays of uint8 become float32
    inside, on all cores and after the way into the graph, which is a fourth as long for them.
    skip_absent: `model` is a `hand3d.graph.full_graph`, of which candidates and hands that are not there are
        left out; on TensorFlow alone, see `hand3d.skipping`.
    """
    backend = keras.backend.backend()
    if skip_absent and backend == "tensorflow":
        from hand3d.skipping import skipping

        function = _tensorflow(model, skipping(model))
    else:
        function = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend](model)

    def call(*arrays):
        outputs = function([_plain(np.asarray(array)) for array in arrays])
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return call


def _plain(array):
    return np.ascontiguousarray(array, array.dtype if array.dtype == np.uint8 else np.float32)


def _to_float(tensors):
    return [keras.ops.cast(tensor, "float32") for tensor in tensors]


def _tensorflow(model, run=None):
    import tensorflow as tf

    # without XLA, which is slower than oneDNN on CPUs
    compiled = {}

    def compute(inputs):
        tensors = _to_float(inputs)
        return run(*tensors) if run else model(tensors, training=False)

    def call(arrays):
        given = tuple(((None, *array.shape[1:]), array.dtype) for array in arrays)
        if given not in compiled:
            signature = [[tf.TensorSpec(shape, dtype) for shape, dtype in given]]
            compiled[given] = tf.function(compute, signature, autograph=False, jit_compile=False)
        return compiled[given]([tf.constant(array) for array in arrays])

    return call


def _jax(model):
    import jax

    @jax.jit
    def compiled(trainable, non_trainable, arrays):
        return model.stateless_call(trainable, non_trainable, _to_float(arrays), training=False)[0]

    def call(arrays):
        count = len(arrays[0])
        padded = 1 << (count - 1).bit_length()  # few batch sizes, since each is compiled anew
        arrays = [np.concatenate([array, np.repeat(array[-1:], padded - count, 0)]) for array in arrays]
        state = [[variable.value for variable in group] for group in _variables(model)]
        return keras.tree.map_structure(lambda output: output[:count], compiled(*state, arrays))

    return call


def _torch(model):
    import torch

    def call(arrays):
        with torch.no_grad():
            return model(_to_float(map(keras.ops.convert_to_tensor, arrays)), training=False)

    return call


def _variables(model):
    return model.trainable_variables, model.non_trainable_variables
