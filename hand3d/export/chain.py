"""The whole chain for one image of a fixed size: what the exports for other runtimes are converted from."""

import keras
import tensorflow as tf

from hand3d.export.signatures import HANDS, Serving

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
    run = _skipping(estimator.model) if skip_empty else None
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


def _skipping(model):
    """The graph with crops and PoseNet for objects that are there alone; None if it looks at one anyway."""
    layer, names = model.get_layer, {each.name for each in model.layers}
    if "image_regions" not in names:
        return None
    before = "probability_maps" if "probability_maps" in names else "decode"
    twice = "second_box" in names
    region, mask, place = (layer(name).output for name in ("regions", "mask", "box"))
    image, hand_side = model.inputs
    find = keras.Model(image, [layer("image_pixels").output, mask, region, *place])
    first, second = [layer(before).input], []
    if "side_logits" in names:
        first.append(layer("side_logits").input[1])
    look = keras.Model(layer("crop").output, first)
    wanted = {name: model.output[name] for name in (*OUTPUTS, "component") if name in model.output}
    if twice:
        scores = layer("distinct_scores" if "distinct_scores" in names else "region_scores").output
        second = [layer(f"second_{before}").input, *_second_side(model)]
        middle = [scores, layer("first_scores").output, *layer("second_box").output]
        choose = keras.Model([mask, region, *place, *first], middle)
        again = keras.Model(layer("second_crop").output, second)
        rest = keras.Model([mask, region, scores, *middle[2:], *second, hand_side], wanted)
    else:
        rest = keras.Model([mask, region, *place, *first, hand_side], wanted)

    def run(picture, given):
        pixels, mask, region, *place = find(picture, training=False)
        there = tf.reduce_max(region, (1, 2)) > 0.0
        seen = _only(there, lambda where: look(_cut("crop", pixels, place, where), training=False))
        if not twice:
            return rest([mask, region, *place, *seen, given], training=False)
        scores, best, *place = choose([mask, region, *place, *seen], training=False)
        seen = _only(
            best > 0.0, lambda where: again(_cut("second_crop", pixels, place, where), training=False)
        )
        return rest([mask, region, scores, *place, *seen, given], training=False)

    def _cut(name, pixels, place, where):
        return layer(name)([pixels, *(tf.gather(value, where) for value in place)])

    return run


def _second_side(model):
    """What the graph knows of the sides after the second look: PoseNet's logits, if it has any."""
    given = keras.tree.flatten(model.get_layer("side").input)
    return given[1:]


def _only(there, function):
    """What a function gives for rows of a batch that are there - the first one always - and any for others.

    there: (N,) bool.  function: indices of rows -> tensor or list of tensors, a row each.  Returns a list.
    """
    looked = tf.concat([[True], there[1:]], 0)
    place = tf.maximum(tf.cumsum(tf.cast(looked, tf.int32)) - 1, 0)
    return [tf.gather(value, place) for value in tf.nest.flatten(function(tf.where(looked)[:, 0]))]


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
