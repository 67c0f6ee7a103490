"""The whole chain as OpenVINO's model.xml and model.bin."""

import os

from hand3d.export.chain import chain, freeze
from hand3d.export.formats import QUANTISED

FILE = "model.xml"
PASSED = ("Convolution", "Add", "Transpose", "Relu", "Reshape")
HOPS = 4


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
    """HandSegNet's and PoseNet's convolutions in int8, all else in float32, see `formats.QUANTISED`."""
    import nncf

    names = [networks[role].name for role in QUANTISED]
    outside = [op.get_friendly_name() for op in model.get_ops() if not _belongs(op, names)]
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=outside, validate=False),
    )


def _belongs(op, names, steps=HOPS):
    """Whether an operation is part of a network of these names; convolutions lose their names on the way, so
    what follows them counts."""
    if any(name in op.get_friendly_name() for name in names):
        return True
    if not steps or op.get_type_name() not in PASSED:
        return False
    after = [given.get_node() for output in op.outputs() for given in output.get_target_inputs()]
    return any(_belongs(node, names, steps - 1) for node in after)
