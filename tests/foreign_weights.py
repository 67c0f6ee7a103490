"""Miniatures of other people's weight files, written byte by byte, and their networks in plain NumPy.

Nothing here uses hand3d or weights.convert: tables, formats and arithmetic are written down a second time,
from PAPER.md 1 and 2 and from the formats' definitions, so that a mistake would have to be made twice.
"""

import json
import struct

import numpy as np

WIDTH = 0.125


def channels(count, width=WIDTH):
    return count if width == 1 else max(8, 8 * round(count * width / 8))


def vgg_table():
    plan = [("1", 64, 2), ("2", 128, 2), ("3", 256, 4)]
    return [(f"conv{block}_{k + 1}", 3, count) for block, count, layers in plan for k in range(layers)]


def handsegnet_table():
    """(layer, kernel side, output channels) of a network of convolutions in a row."""
    middle = [(f"conv4_{k}", 3, 512) for k in (1, 2, 3, 4)] + [("conv5_1", 3, 512), ("conv5_2", 3, 128)]
    return [*vgg_table(), *middle, ("conv6_1", 1, 512), ("conv6_2", 1, -2)]


def posenet_table():
    middle = [(f"conv4_{k + 1}", 3, count) for k, count in enumerate((512, 512, 256, 256, 256, 256, 128))]
    return [*vgg_table(), *middle, ("conv5_1", 1, 512), ("conv5_2", 1, -21)]


def random_layer(random, shape):
    kernel = random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)
    return kernel, random.normal(0, 0.1, shape[-1]).astype(np.float32)


def row(random, table, inputs=3, width=WIDTH):
    """Dict layer -> (HWIO kernel, bias) for a table; negative counts are not scaled by the width."""
    made = {}
    for name, side, count in table:
        outputs = -count if count < 0 else channels(count, width)
        made[name] = random_layer(random, (side, side, inputs, outputs))
        inputs = outputs
    return made


def posenet_weights(random, width=WIDTH):
    made = row(random, posenet_table(), width=width)
    inner = channels(128, width)
    for stage in (6, 7):
        for number in range(1, 6):
            inputs = 21 + inner if number == 1 else inner
            made[f"conv{stage}_{number}"] = random_layer(random, (7, 7, inputs, inner))
        made[f"conv{stage}_6"] = random_layer(random, (1, 1, inner, inner))
        made[f"conv{stage}_7"] = random_layer(random, (1, 1, inner, 21))
    return made


def stream_weights(random, prefix, counts, dense):
    """Weights of PosePrior or ViewpointNet; dense: (layer, units) behind the convolutions."""
    made, inputs = {}, 21
    for block, count in enumerate(counts):
        for number in (1, 2):
            made[f"{prefix}_{block}_{number}"] = random_layer(random, (3, 3, inputs, count))
            inputs = count
    inputs = 16 * inputs + 2
    for name, units in dense:
        made[name] = random_layer(random, (inputs, units))
        inputs = units if not name.startswith("fc_vp_u") else inputs
    return made


def poseprior_weights(random, bottleneck=False):
    middle = [("fc_bottleneck", 30)] if bottleneck else []
    dense = [("fc_rel0", 512), ("fc_rel1", 512), *middle, ("fc_xyz", 63)]
    return stream_weights(random, "conv_pose", (32, 64, 128), dense)


def viewpoint_weights(random):
    dense = [("fc_vp0", 256), ("fc_vp1", 128), ("fc_vp_ux", 1), ("fc_vp_uy", 1), ("fc_vp_uz", 1)]
    return stream_weights(random, "conv_vp", (64, 128, 256), dense)


def named(scope, weights, suffix_of=lambda layer: ""):
    """Dict SCOPE/LAYER/weights, .../biases -> array, as TensorFlow 1 named them."""
    scope = f"{scope}/" if scope else ""
    return {
        f"{scope}{layer}{suffix_of(layer)}/{kind}": values
        for layer, pair in weights.items()
        for kind, values in zip(("weights", "biases"), pair, strict=True)
    }


# --- the networks


def conv(x, kernel, bias, stride=1, outside=0.0):
    """TensorFlow's SAME convolution of (H, W, C) by a window view and one product."""
    side = kernel.shape[0]
    pads = []
    for size in x.shape[:2]:
        total = max((int(np.ceil(size / stride)) - 1) * stride + side - size, 0)
        pads.append((total // 2, total - total // 2))
    planes = [
        np.pad(x[..., c], pads, constant_values=np.broadcast_to(outside, x.shape[-1])[c])
        for c in range(x.shape[-1])
    ]
    windows = np.lib.stride_tricks.sliding_window_view(np.stack(planes, -1), (side, side), axis=(0, 1))
    return np.tensordot(windows[::stride, ::stride], kernel.transpose(2, 0, 1, 3), 3) + bias


def relu(x, slope=0.01):
    return np.where(x > 0, x, slope * x)


def max_pool(x, ceil=False):
    if not ceil and x.shape[0] % 2 == x.shape[1] % 2 == 0:
        return np.maximum(np.maximum(x[::2, ::2], x[1::2, ::2]), np.maximum(x[::2, 1::2], x[1::2, 1::2]))
    size = [(int(np.ceil(n / 2)) if ceil else n // 2) for n in x.shape[:2]]
    return np.array(
        [
            [x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1)) for j in range(size[1])]
            for i in range(size[0])
        ]
    )


def in_a_row(x, weights, names, slope=0.01, outside=0.0, ceil=False):
    for name in names:
        x = relu(conv(x, *weights[name], outside=outside), slope)
        outside = 0.0
        if name in ("conv1_2", "conv2_2", "conv3_4"):
            x = max_pool(x, ceil)
    return x


def handsegnet(weights, image):
    """Logits at an eighth of the image's size."""
    names = [name for name, *_ in handsegnet_table()][:-1]
    return conv(in_a_row(image, weights, names), *weights["conv6_2"])


def posenet(weights, image):
    names = [name for name, *_ in posenet_table()][:-2]
    encoding = in_a_row(image, weights, names)
    maps = [conv(in_a_row(encoding, weights, ["conv5_1"]), *weights["conv5_2"])]
    for stage in (6, 7):
        x = np.concatenate([maps[-1], encoding], -1)
        x = in_a_row(x, weights, [f"conv{stage}_{k}" for k in range(1, 7)])
        maps.append(conv(x, *weights[f"conv{stage}_7"]))
    return maps


def stream(weights, prefix, maps, side):
    x = maps
    for block in range(3):
        x = relu(conv(x, *weights[f"{prefix}_{block}_1"]))
        x = relu(conv(x, *weights[f"{prefix}_{block}_2"], stride=2))
    return np.concatenate([x.reshape(-1), side])


def fully(x, weights, names, slope=0.01):
    for name in names:
        x = relu(x @ weights[name][0] + weights[name][1], slope)
    return x


def poseprior(weights, maps, side):
    x = fully(stream(weights, "conv_pose", maps, side), weights, ["fc_rel0", "fc_rel1"])
    linear = [name for name in ("fc_bottleneck", "fc_xyz") if name in weights]
    return fully(x, weights, linear, slope=1.0)


def viewpoint(weights, maps, side):
    x = fully(stream(weights, "conv_vp", maps, side), weights, ["fc_vp0", "fc_vp1"])
    u = [(x @ weights[f"fc_vp_u{axis}"][0] + weights[f"fc_vp_u{axis}"][1])[0] for axis in "xyz"]
    angle = np.sqrt(np.dot(u, u) + 1e-8)
    x, y, z = np.array(u) / angle
    c, s, t = np.cos(angle), np.sin(angle), 1 - np.cos(angle)
    return np.array(
        [
            [t * x * x + c, t * x * y - z * s, t * x * z + y * s],
            [t * x * y + z * s, t * y * y + c, t * y * z - x * s],
            [t * x * z - y * s, t * y * z + x * s, t * z * z + c],
        ]
    )


# --- file formats


def python2_pickle(arrays):
    """Protocol 2 as Python 2 wrote a dict of NumPy arrays: text and bytes are both byte strings."""

    def text(value):
        value = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value):
        return b"J" + struct.pack("<i", value)

    out = [b"\x80\x02}("]
    for name, values in arrays.items():
        state = b"(" + number(1) + b"(" + b"".join(number(n) for n in values.shape) + b"t"
        state += b"cnumpy\ndtype\n" + text("f4") + number(0) + number(1) + b"\x87R"
        state += b"(" + number(3) + text("<") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
        state += b"\x89" + text(np.ascontiguousarray(values, "<f4").tobytes()) + b"t"
        array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text("b")
        out.append(text(name) + array + b"\x87R" + state + b"b")
    return b"".join(out) + b"u."


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, content):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def integer(number, value):
    return varint(number << 3) + varint(value)


def caffe_blob(values, old):
    data = field(5, np.ascontiguousarray(values, "<f4").tobytes())
    if old:
        shape = (1,) * (4 - values.ndim) + values.shape
        return b"".join(integer(k + 1, n) for k, n in enumerate(shape)) + data
    return field(7, field(1, b"".join(varint(n) for n in values.shape))) + data


def caffemodel(weights, old=False, name_of=lambda layer: layer):
    """A Caffe model of HWIO weights, stored as Caffe does, OIHW; old: with V1 layer messages."""
    out = field(1, b"miniature")
    for layer, (kernel, bias) in weights.items():
        blobs = [caffe_blob(values, old) for values in (kernel.transpose(3, 2, 0, 1), bias)]
        name = name_of(layer).encode()
        if old:
            message = field(4, name) + integer(5, 4) + b"".join(field(6, blob) for blob in blobs)
            out += field(2, message) + field(2, field(4, b"relu" + name) + integer(5, 18))
        else:
            message = field(1, name) + field(2, b"Convolution") + b"".join(field(7, blob) for blob in blobs)
            out += field(100, message) + field(100, field(1, b"relu" + name) + field(2, b"ReLU"))
    return out


def safetensors(arrays):
    header, body = {"__metadata__": {"format": "np"}}, b""
    for name, values in arrays.items():
        content = np.ascontiguousarray(values, "<f4").tobytes()
        offsets = [len(body), len(body) + len(content)]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
        body += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body
