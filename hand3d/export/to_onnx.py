"""The whole chain as an ONNX file."""

import os

from hand3d.export.chain import INPUT, chain
from hand3d.export.formats import QUANTISED

FILE = "model.onnx"
INT8 = ("Conv", "Add", "Relu")  # kinds of operations in int8; convolutions alone take 6 % longer
OPSET = 18
LEAST_ELEMENTS = 1024  # constants below stay in float32


def write(estimator, size, precision, folder, samples, scratch):
    """Convert, see `formats.export`.  Returns what its description says beyond the usual."""
    import onnx
    import tf2onnx

    function = chain(estimator, size, skip_empty=True)
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=OPSET)
    used = {name for node in model.graph.node for name in node.input}
    for left in [each for each in model.graph.input if each.name != INPUT and each.name not in used]:
        model.graph.input.remove(left)  # of operations that the converter has folded away
    path = os.path.join(folder, FILE)
    if precision == "int8":
        model = _quantised(model, samples, estimator.networks, scratch)
    if precision != "float32":
        model = halved(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return {"file": FILE}


def halved(model):
    """The model with its large float32 constants stored as float16 and turned back where they are used.

    Runtimes do that once, when they load it: half the size, the speed of float32.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST_ELEMENTS:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)
    return model


def _quantised(model, samples, networks, scratch):
    """HandSegNet's and PoseNet's convolutions in int8, all else in float32, see `formats.QUANTISED`."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(samples)

        def get_next(self):
            sample = next(self.left, None)
            return None if sample is None else {INPUT: sample}

    plain, ready, done = (os.path.join(scratch, f"{name}.onnx") for name in ("plain", "ready", "int8"))
    onnx.save(model, plain)
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    names = [networks[role].name for role in QUANTISED]
    chosen = [
        node.name
        for node in onnx.load(ready).graph.node
        if node.op_type in INT8 and any(name in node.name for name in names)
    ]
    quantization.quantize_static(
        ready,
        done,
        Samples(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_quantize=chosen,
    )
    return onnx.load(done)
