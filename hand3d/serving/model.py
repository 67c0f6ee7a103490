"""The signatures that the server answers, from an estimator or from an exported SavedModel."""

import json
import os

import numpy as np
import tensorflow as tf

from hand3d.export.formats import CARD
from hand3d.serving.protocol import DEFAULT_SIGNATURE


class ServedModel:
    """Functions of arrays, their inputs and outputs, and the model card.

    functions: {signature: concrete function with named outputs}.  card: dict, see
    `hand3d.export.savedmodel.model_card`.  version: int.
    """

    def __init__(self, functions, card, version=1, owner=None):
        self.card, self.version, self._functions = card, version, functions
        self._owner = owner  # keeps the variables alive
        self.inputs = {
            name: {
                spec.name: (
                    bytes if spec.dtype == tf.string else spec.dtype.as_numpy_dtype,
                    tuple(spec.shape),
                )
                for spec in function.structured_input_signature[1].values()
            }
            for name, function in functions.items()
        }

    def run(self, signature, inputs):
        """{input: array or list of bytes} -> {output: array}."""
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in self._functions[signature](**tensors).items()}

    def run_files(self, files):
        """List of bytes of image files -> list of {output: array}, one for each."""
        outputs = self.run(DEFAULT_SIGNATURE, {"image_bytes": files})
        return [{name: value[number] for name, value in outputs.items()} for number in range(len(files))]

    def metadata(self, name):
        """The answer of TensorFlow Serving's metadata path."""
        signatures = {
            signature: {
                "inputs": {key: _tensor_info(s) for key, s in function.structured_input_signature[1].items()},
                "outputs": {key: _tensor_info(s) for key, s in function.structured_outputs.items()},
                "method_name": "tensorflow/serving/predict",
            }
            for signature, function in self._functions.items()
        }
        spec = {"name": name, "signature_name": "", "version": str(self.version)}
        return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}


def from_estimator(estimator, weights):
    """`ServedModel` of a `hand3d.HandPoseEstimator`."""
    from hand3d.export import savedmodel
    from hand3d.export.signatures import Serving

    module = Serving(estimator)
    functions = {name: _named(function) for name, function in module.signatures().items()}
    return ServedModel(functions, savedmodel.model_card(estimator, weights), owner=module)


def from_folder(path):
    """`ServedModel` of a version folder, or of the newest in a folder of them.

    Raises OSError or ValueError where there is none.
    """
    versions = [name for name in os.listdir(path) if name.isdigit()]
    if not os.path.exists(os.path.join(path, "saved_model.pb")):
        if not versions:
            raise ValueError(f"{path}: neither a SavedModel nor a folder of numbered versions")
        path = os.path.join(path, max(versions, key=int))
    with open(os.path.join(path, "assets", CARD), encoding="utf-8") as file:
        card = json.load(file)
    loaded = tf.saved_model.load(path)
    name = os.path.basename(os.path.normpath(path))
    return ServedModel(dict(loaded.signatures), card, int(name) if name.isdigit() else 1, loaded)


def warm_up(model):
    """Run every canvas size once, so that the first request is not the slow one."""
    image = np.full((240, 320, 3), 128, np.uint8)
    small, large = (tf.io.encode_jpeg(np.tile(image, (n, n, 1))).numpy() for n in (1, 2))
    model.run_files([small])
    model.run_files([small, large])


def _named(function):
    """A concrete function that takes its inputs by their names."""
    specs = {spec.name: spec for spec in function.input_signature}
    names = list(specs)
    by_name = tf.function(lambda **inputs: function(*(inputs[name] for name in names)), autograph=False)
    return by_name.get_concrete_function(**specs)


def _tensor_info(spec):
    shape = [{"size": str(-1 if side is None else side), "name": ""} for side in spec.shape]
    return {
        "dtype": f"DT_{'FLOAT' if spec.dtype == tf.float32 else spec.dtype.name.upper()}",
        "tensor_shape": {"dim": shape, "unknown_rank": False},
        "name": spec.name,
    }
