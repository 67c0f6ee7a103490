"""How far a converted network is from its source: both run on one made-up input."""

import keras
import numpy as np

from weights.convert import reference
from weights.convert.limits import SourceError
from weights.convert.mapping import OURS

SIDE = 64  # pixels of the made-up picture
TOLERANCE = 1e-4  # of the largest output


def put(made, model):
    """Write a plan's values into a Keras model."""
    for step in made.steps:
        model.get_layer(step.layer).set_weights([step.kernel, step.bias])


def check(made, model, colours=OURS):
    """List of lines that say how our output differs from the source's.

    made: `mapping.Plan`, already put into `model`.  colours: what the source expects of a picture.
    Raises SourceError where the two disagree beyond rounding.
    """
    if made.random:
        return _check_trunk(made, model, colours)
    weights = {step.layer: (step.source_kernel, step.source_bias) for step in made.steps}
    side = np.array([0.0, 1.0], np.float32)
    if len(model.inputs) == 1:
        picture = reference.noise_picture(SIDE) / 255 - 0.5
        run = reference.handsegnet if made.network == "HandSegNet" else reference.posenet
        theirs, inputs = run(weights, picture), picture[None]
    else:
        channels = np.abs(reference.noise_picture(32, seed=1) / 255 - 0.5)
        maps = channels[..., np.arange(21) % 3].astype(np.float32)
        run = reference.viewpoint if made.network == "ViewpointNet" else reference.pose_stream
        theirs, inputs = run(weights, maps, side), [maps[None], side[None]]
    ours = keras.tree.flatten(_first_output(model(inputs, training=False)))
    theirs = theirs if isinstance(theirs, list) else [theirs]
    lines = []
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        which = f" {number}" if len(ours) > 1 else ""
        one = keras.ops.convert_to_numpy(one)[0].reshape(other.shape)
        lines.append(_line(f"{made.network} output{which}: source in NumPy against Keras", one, other, made))
    return lines


def _check_trunk(made, model, colours):
    last = made.steps[-1].layer
    head = keras.Model(model.inputs, model.get_layer(f"{last}_leaky").output)
    picture = reference.noise_picture(SIDE)
    ours = keras.ops.convert_to_numpy(head((picture / 255 - 0.5)[None], training=False))[0] * made.scale
    layers = [(step.layer, step.source_kernel, step.source_bias) for step in made.steps]
    offset = np.array(colours.offset)
    theirs, grey = colours.scale * picture - offset, colours.scale * 127.5 - offset
    if colours.order == "bgr":
        theirs, grey = theirs[..., ::-1], grey[::-1]
    theirs = theirs.astype(np.float32)
    exact = reference.trunk(theirs, layers, border=grey)
    lines = [_line(f"{made.network} {last}: source in NumPy against Keras", ours, exact, made)]
    if np.abs(grey).max() > 0:
        note = "of this, the border being grey here and zero there"
        lines.append(_plain(f"  {note}", exact, reference.trunk(theirs, layers)))
    plain = reference.trunk(theirs, layers, slope=0.0, border=grey)
    lines.append(_plain("  the same with the plain ReLU that the source was trained with", exact, plain))
    return lines


def _line(what, ours, theirs, made):
    difference, largest = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    if not difference <= TOLERANCE * max(largest, 1e-3):
        raise SourceError(
            f"{made.network}: our output differs from the source's by {difference:.3g} of {largest:.3g}, "
            f"expected up to {TOLERANCE} of it: an error of this converter; please report it"
        )
    return _plain(what, ours, theirs)


def _plain(what, ours, theirs):
    difference, largest = np.abs(ours - theirs).max(), np.abs(theirs).max()
    return f"{what}: largest difference {difference:.2e}, largest output {largest:.3g}"


def _first_output(outputs):
    """The output that the last layer's 63 numbers are, of a network with several."""
    if not isinstance(outputs, dict):
        return outputs
    return outputs["xyz_local"] if "xyz_local" in outputs else outputs["xyz_relative"]
