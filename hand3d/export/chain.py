"""The whole chain for one image of a fixed size: what the exports for other runtimes are converted from."""

import tensorflow as tf

from hand3d.export.signatures import HANDS, Serving
from hand3d.skipping import skipping

INPUT = "image"
OUTPUTS = (*HANDS, "confidence")
LARGEST = 2048  # pixels a side of the image


def image_size(estimator, side=None):
    """(height, width) of the image: the set's frame, or `side` squared, by default its smallest canvas.

    ValueError for a side that HandSegNet's own picture does not fit into, or one beside a frame.
    """
    if estimator.frame:
        if side is not None:
            raise ValueError(f"--image-size {side}: these weights need images of {estimator.frame}")
        return estimator.frame
    if side is None:
        return (estimator.canvases[0],) * 2
    least = max(estimator.model.get_layer("mask").size)
    if not least <= side <= LARGEST:
        raise ValueError(f"--image-size {side}: a number from {least} to {LARGEST} expected")
    return side, side


def chain(estimator, size, skip_empty=False):
    """tf.function: `image` (1, *size, 3) float32, RGB 0..255 -> {name: tensor}, the names in `OUTPUTS`.

    Shapes and units as of `signatures.Serving`, (1, M, ...), in pixels of this image; `confidence` (1, M).
    The side is the estimator's.  skip_empty: PoseNet looks only at objects and hands that are there, which
    takes a batch of open size inside the graph; hands with a score are the same.
    """
    serving, side = Serving(estimator), estimator.given_side(1)
    run = skipping(estimator.model, (*OUTPUTS, "component")) if skip_empty else None
    height, width = size

    def call(image):
        given = tf.constant(side)  # made here: ONNX would take a captured tensor for another input
        out = run(image, given) if run else estimator.model([image, given], training=False)
        whole = tf.constant([[0.0, 0.0, width, height]])
        return serving.placed(
            out, tf.constant([[height, width]]), whole, tf.constant([[width, height]]), OUTPUTS
        )

    signature = [tf.TensorSpec((1, height, width, 3), tf.float32, INPUT)]
    return tf.function(call, signature, autograph=False, jit_compile=False)


def freeze(function, folder):
    """Write the function as a SavedModel whose variables are constants, as converters like it."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    concrete = function.get_concrete_function()
    frozen = convert_variables_to_constants_v2(concrete)
    names = sorted(concrete.structured_outputs)

    def call(image):
        return dict(zip(names, frozen(image), strict=True))

    signature = tf.function(call, function.input_signature, autograph=False)
    tf.saved_model.save(tf.Module(), folder, signatures=signature)
