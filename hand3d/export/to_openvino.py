"""The whole chain as OpenVINO's model.xml and model.bin."""

import os

import numpy as np

from hand3d.export.chain import chain, freeze
from hand3d.export.formats import QUANTISED

FILE = "model.xml"
# their convolutions are in int8, too: a twentieth of the time for 0.13 mm
LIFTING = ("poseprior", "viewpoint")
JOINS = ("Add", "Relu", "PRelu", "MaxPool")  # what stands between a network's convolutions


def write(estimator, size, precision, folder, samples, scratch):
    """Convert, see `formats.export`.  Returns what its description says beyond the usual."""
    import openvino

    saved = os.path.join(scratch, "frozen")
    freeze(chain(estimator, size, skip_empty=True), saved)
    model = openvino.convert_model(saved)
    if precision == "int8":
        model = _quantised(model, samples, estimator.networks)
    path = os.path.join(folder, FILE)
    openvino.save_model(model, path, compress_to_fp16=precision != "float32")
    # without a hint OpenVINO takes bfloat16 where the processor has it, coordinates too
    return {"file": FILE, "run": {"INFERENCE_PRECISION_HINT": "f32"}}


def _quantised(model, samples, networks):
    """The networks' convolutions in int8, all else in float32, see `formats.QUANTISED`."""
    import nncf

    weights = [weight for role in (*QUANTISED, *LIFTING) for weight in networks[role].get_weights()]
    # where three colours go in, float32 is as quick
    kernels = [weight for weight in weights if weight.ndim == 4 and weight.shape[2] != 3]
    inside = {op.get_friendly_name() for op in _of_networks(model, kernels)}
    outside = [name for op in model.get_ops() if (name := op.get_friendly_name()) not in inside]
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=outside, validate=False),
    )


def _of_networks(model, kernels):
    """The convolutions with these kernels (kh, kw, in, out), and what joins them.

    OpenVINO keeps no layer's name, but it keeps the kernels, so these tell which network an operation is of.
    RuntimeError if one of them is in no convolution: it would be left in float32 unseen.
    """
    kernels = [kernel.transpose(3, 2, 0, 1) for kernel in kernels]
    found, left = [], set(range(len(kernels)))
    for op in model.get_ops():
        weight = op.input_value(1).get_node() if op.get_type_name() == "Convolution" else None
        if weight is None or weight.get_type_name() != "Constant":
            continue
        same = {number for number, kernel in enumerate(kernels) if np.array_equal(kernel, weight.data)}
        if same:  # a network that looks twice has each kernel in two convolutions
            found.append(op)
            left -= same
    if left:
        raise RuntimeError(f"{len(left)} of {len(kernels)} kernels to quantise are in no convolution")
    joined, todo = {}, found
    while todo:
        op = todo.pop()
        joined[op.get_friendly_name()] = op
        after = [given.get_node() for output in op.outputs() for given in output.get_target_inputs()]
        todo += [
            node for node in after if node.get_type_name() in JOINS and node.get_friendly_name() not in joined
        ]
    return joined.values()
