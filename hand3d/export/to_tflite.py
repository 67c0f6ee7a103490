"""The whole chain as a LiteRT (TensorFlow Lite) file, built-in operations alone."""

import os

import tensorflow as tf

from hand3d.export.chain import INPUT, chain, freeze
from hand3d.export.formats import QUANTISED

FILE = "model.tflite"
THREADS = 2


def write(estimator, size, precision, folder, samples, scratch):
    """Convert, see `formats.export`.  Returns what its description says beyond the usual."""
    saved = os.path.join(scratch, "frozen")
    freeze(chain(estimator, size), saved)
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    model = converter.convert()
    if precision == "int8":
        model = _quantised(model, samples, estimator.networks)
    with open(os.path.join(folder, FILE), "wb") as file:
        file.write(model)
    return {"file": FILE}


def _quantised(model, samples, networks):
    """HandSegNet's and PoseNet's convolutions in int8, all else in float32, see `formats.QUANTISED`."""
    from ai_edge_quantizer import quantizer

    made = quantizer.Quantizer(bytearray(model))
    names = "|".join(networks[role].name for role in QUANTISED)
    for operation in ("CONV_2D", "ADD"):
        made.add_static_config(f".*({names}).*", operation, 8, 8)
    inputs = {"serving_default": [{INPUT: sample} for sample in samples]}
    measured = made.calibrate(inputs, num_threads=THREADS)
    result = made.quantize(measured, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)
