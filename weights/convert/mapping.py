"""Which array of a source becomes which weight of ours.

A `Plan` is made for one network: a list of `Step`s, each with the source's names, the target layer, the
values to put there, and the values as they were.  Nothing is changed but the layout of Caffe's kernels and,
in the first layer, order and range of the colours.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from weights.convert.limits import SourceError

CPM_NETS = {"HandSegNet": "PersonNet", "PoseNet2D": "PoseNet"}
# PAPER.md 1.8: what the released training scripts take from Convolutional Pose Machines
CPM_LAYERS = {
    "HandSegNet": (
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4"),
        *("conv4_1", "conv4_2", "conv4_3", "conv4_4", "conv5_1", "conv5_2"),
    ),
    "PoseNet2D": (
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv3_4"),
        *("conv4_1", "conv4_2", "conv4_3", "conv4_4", "conv4_5", "conv4_6", "conv4_7", "conv5_1"),
    ),
}
KERNEL_NAMES = ("weights", "weight", "kernel", "W", "0")
BIAS_NAMES = ("biases", "bias", "b", "1")
TRAINING_ONLY = ("Adam", "Adam_1", "Momentum", "ExponentialMovingAverage", "beta1_power", "beta2_power")


@dataclass(frozen=True)
class Colours:
    """What the first layer of a source expects of a pixel value p in 0..255: scale * p - offset[channel].

    order: "rgb" or "bgr" of the source's channels.  offset: three numbers in the order R, G, B.
    """

    order: str = "rgb"
    scale: float = 1 / 255
    offset: tuple = (0.5, 0.5, 0.5)


OURS = Colours()
CPM_COLOURS = Colours("bgr", 1 / 256, (0.5, 0.5, 0.5))
VGG_COLOURS = Colours("bgr", 1.0, (123.68, 116.779, 103.939))


@dataclass(frozen=True)
class Step:
    """kernel_name, bias_name: in the source.  layer: of ours.  kernel (HWIO or in x out), bias: ours.
    source_kernel, source_bias: the same before colours were adapted."""

    kernel_name: str
    bias_name: str
    layer: str
    kernel: np.ndarray
    bias: np.ndarray
    source_kernel: np.ndarray
    source_bias: np.ndarray

    @property
    def checksum(self):
        """CRC-32 over kernel and bias as put into our layer, eight hexadecimal digits."""
        parts = (np.ascontiguousarray(self.kernel), np.ascontiguousarray(self.bias))
        return f"{zlib.crc32(parts[1].tobytes(), zlib.crc32(parts[0].tobytes())):08x}"


@dataclass(frozen=True)
class Plan:
    """network: name of our model.  steps: list of `Step`.  random: names of our layers that get nothing.
    scale: what our last step's output has to be multiplied with to be the source's."""

    network: str
    steps: list
    random: list
    scale: float = 1.0


def split_name(name):
    """(scope, layer, "kernel" or "bias") of an array's name, or None where it is neither."""
    parts = name.split("/")
    if parts[-1] in TRAINING_ONLY or len(parts) < 2:
        return None
    kind = "kernel" if parts[-1] in KERNEL_NAMES else "bias" if parts[-1] in BIAS_NAMES else None
    return kind and ("/".join(parts[:-2]), parts[-2], kind)


def by_layer(arrays, scope_of, rename=lambda layer: layer):
    """Dict (network, layer) -> {"kernel": name, "bias": name}, and a list of the names that are no weights.

    scope_of(scope) -> network or None.  Raises SourceError where two arrays claim one place.
    """
    found, unknown = {}, []
    for name in arrays:
        parts = split_name(name)
        network = scope_of(parts[0]) if parts else None
        if network is None:
            unknown.append(name)
            continue
        place = found.setdefault((network, rename(parts[1])), {})
        if parts[2] in place:
            raise SourceError(f"{name} and {place[parts[2]]} are both the {parts[2]} of {parts[1]}")
        place[parts[2]] = name
    return found, unknown


def plan(network, layers, found, source, *, layout="hwio", colours=OURS):
    """`Plan` for a network.

    network: its name.  layers: dict name -> (kernel shape, bias shape) of all of its layers, in order.
    found: dict layer -> {"kernel": name, "bias": name}; layers without an entry stay random.
    source: `sources.Source`.  layout: of 4-dimensional kernels, "hwio" or "oihw".

    Raises SourceError for a missing bias or kernel, a wrong shape or a value that is not finite.
    """
    steps = []
    for layer, (kernel_shape, bias_shape) in layers.items():
        if layer not in found:
            continue
        missing = {"kernel", "bias"} - set(found[layer])
        if missing:
            have = ", ".join(found[layer].values())
            raise SourceError(f"{source.path}: no {missing.pop()} of {network}/{layer} (there is {have})")
        names = found[layer]["kernel"], found[layer]["bias"]
        kernel, bias = (source.arrays[name] for name in names)
        if layout == "oihw" and kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        _check(source, names[0], kernel, kernel_shape, f"{network}/{layer}")
        _check(source, names[1], bias, bias_shape, f"{network}/{layer}")
        adapted = kernel, bias
        if colours != OURS and len(steps) == 0:
            adapted = adapt_colours(kernel, bias, colours)
        steps.append(Step(*names, layer, *map(np.ascontiguousarray, adapted), kernel, bias))
    return Plan(network, steps, [layer for layer in layers if layer not in found])


def adapt_colours(kernel, bias, colours):
    """A first layer that sees our pixels, p / 255 - 0.5 in RGB, as it saw its own.

    Exact where the kernel lies inside the image.  At the border its zeros stand for another grey than ours,
    scale * p = offset against p = 127.5: what that makes is in the report.

    kernel (h, w, 3, out), bias (out,) -> the same shapes, float32.
    """
    kernel = kernel.astype(np.float64)
    rgb = kernel[:, :, ::-1] if colours.order == "bgr" else kernel
    shift = colours.scale * 127.5 - np.asarray(colours.offset)
    adapted = bias + np.einsum("hwio,i->o", rgb, shift)
    return (rgb * (255 * colours.scale)).astype(np.float32), adapted.astype(np.float32)


def network_layers(model):
    """Dict layer -> (kernel shape, bias shape) of a Keras model, in the order of the layers."""
    return {
        layer.name: (tuple(layer.kernel.shape), tuple(layer.bias.shape))
        for layer in model.layers
        if layer.weights
    }


def _check(source, name, values, expected, target):
    found = tuple(values.shape)
    if found != expected:
        hint = ""
        swapped = [(3, 2, 0, 1), (0, 1, 3, 2), (2, 3, 1, 0), (1, 0)]
        if any(len(order) == len(found) and tuple(found[k] for k in order) == expected for order in swapped):
            hint = "; the kernel is transposed"
            hint += " (--layout oihw reads Caffe's and PyTorch's order)" if len(found) == 4 else ""
        raise SourceError(f"{source.path}: {name} has shape {found}, expected {expected} for {target}{hint}")
    bad = int(np.size(values) - np.isfinite(values).sum())
    if bad:
        raise SourceError(f"{source.path}: {name} has {bad} values that are not finite (for {target})")
