"""The full graph with crops and PoseNet for candidates and hands that are there alone (TensorFlow).

A functional model does the same work for every picture: for two candidates and two hands where one is to be
seen.  Here batches inside the graph are as large as what was found.
"""

import keras
import tensorflow as tf


def skipping(model, names=None):
    """A function that gives what a `hand3d.graph.full_graph` gives, and skips what is not there.

    model: the graph.  names: of the outputs wanted, those it has; None for all.
    Returns None for a graph that looks at one place, else a function of image (B, H, W, 3) float32 and
    hand_side (B, 2) that returns {name: tensor}.  Hands with a score above 0, and the first of each picture,
    are those of the graph; of the others a row may be another's of the picture.
    """
    layer, known = model.get_layer, {each.name for each in model.layers}
    if "image_regions" not in known:
        return None
    wanted = {name: value for name, value in model.output.items() if names is None or name in names}
    before = "probability_maps" if "probability_maps" in known else "decode"
    region, mask, place = (layer(name).output for name in ("regions", "mask", "box"))
    image, hand_side = model.inputs
    find = keras.Model(image, [layer("image_pixels").output, mask, region, *place])
    twice, candidates = "second_box" in known, layer("regions").count
    first = [layer(before).input, *([layer("side_logits").input[1]] if "side_logits" in known else [])]
    first_look = keras.Model(layer("crop").output, first)
    crops = [layer("second_crop" if twice else "crop").output] if "crop" in wanted else []
    chosen, second = [mask, region, *place], first
    if twice:
        hands = layer("second_images").count if "second_images" in known else 1
        scores = layer("distinct_scores" if "distinct_scores" in known else "region_scores").output
        best, box = layer("first_scores").output, layer("second_box").output
        choose = keras.Model([*chosen, *first], [scores, best, *box])
        side = keras.tree.flatten(layer("side").input)[1:]  # PoseNet's logits beside what is given, if any
        second = [layer(f"second_{before}").input, *side]
        second_look = keras.Model(layer("second_crop").output, second)
        chosen = [mask, region, scores, *box]
    given = [*chosen, *second, *crops, hand_side]
    # a model can not put out what it is given
    through = {
        name: next(number for number, each in enumerate(given) if each is value)
        for name, value in wanted.items()
        if any(each is value for each in given)
    }
    rest = keras.Model(given, {name: value for name, value in wanted.items() if name not in through})

    def run(image, hand_side):
        pixels, mask, region, *place = find(image, training=False)

        def look(network, crop, there, place, count, keep):
            """Score maps, sides and, if asked for, crops of all rows, computed for those that are there."""
            # and for the first of each picture: where there is no hand it is what people are shown
            looked = there | (tf.range(tf.size(there)) % count == 0)
            row = tf.where(looked)[:, 0]
            images = pixels if pixels.shape[0] == 1 else tf.gather(pixels, row // count)
            cut = layer(crop)([images, *(tf.gather(value, row) for value in place)])
            seen = [*tf.nest.flatten(network(cut, training=False)), *([cut] if keep else [])]
            back = (
                tf.cumsum(tf.cast(looked, tf.int32)) - 1
            )  # the last row before that is, of the same picture
            return [tf.gather(value, back) for value in seen]

        there, keep = tf.reduce_max(region, (1, 2)) > 0.0, bool(crops)
        seen = look(first_look, "crop", there, place, candidates, keep and not twice)
        now = [mask, region, *place]
        if twice:
            scores, best, *place = choose([*now, *seen], training=False)
            seen = look(second_look, "second_crop", best > 0.0, place, hands, keep)
            now = [mask, region, scores, *place]
        now = [*now, *seen, hand_side]
        return rest(now, training=False) | {name: now[number] for name, number in through.items()}

    return run
