"""The source networks in plain NumPy, without Keras: what a conversion is compared with.

Images and maps are (H, W, C) float32 arrays.  `weights` are dicts layer -> (kernel, bias).  Same padding is
TensorFlow's: at stride 2 an even size is padded at the bottom and the right only (PAPER.md, fact T11).
"""

import numpy as np

SLOPE = 0.01  # of the leaky ReLU (fact T12)
POOLED = ("conv1_2", "conv2_2", "conv3_4")


def convolve(x, kernel, bias, stride=1, border=0.0):
    """Same-padded convolution; border: value, or one per channel, of what lies outside."""
    height, width = kernel.shape[:2]
    pads = []
    for size, length in zip(x.shape[:2], (height, width), strict=True):
        total = max((-(-size // stride) - 1) * stride + length - size, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.empty((x.shape[0] + sum(pads[0]), x.shape[1] + sum(pads[1]), x.shape[2]), np.float32)
    padded[:] = border
    padded[pads[0][0] : pads[0][0] + x.shape[0], pads[1][0] : pads[1][0] + x.shape[1]] = x
    rows, columns = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    made = np.zeros((rows, columns, kernel.shape[3]), np.float32)
    for row in range(height):
        for column in range(width):
            seen = padded[row::stride, column::stride][:rows, :columns]
            made += seen @ kernel[row, column].astype(np.float32)
    return made + bias


def leaky(x, slope=SLOPE):
    return np.maximum(x, slope * x)


def pool(x, ceil=False):
    """2 x 2 maxima; an odd last row or column is left out, or with `ceil`, as in Caffe, gives one more."""
    height, width, channels = x.shape
    if ceil and (height % 2 or width % 2):
        x = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=-np.inf)
        height, width, _ = x.shape
    x = x[: height // 2 * 2, : width // 2 * 2]
    return x.reshape(height // 2, 2, width // 2, 2, channels).max((1, 3))


def trunk(x, layers, slope=SLOPE, border=0.0, ceil=False):
    """Convolutions one after the other, (name, kernel, bias) each, with the pooling between them."""
    for name, kernel, bias in layers:
        x = leaky(convolve(x, kernel, bias, border=border), slope)
        border = 0.0
        if name in POOLED:
            x = pool(x, ceil)
    return x


def handsegnet(weights, image):
    """Logits (H, W, 2), enlarged on TensorFlow 1's grid."""
    names = [name for name in weights if name != "conv6_2"]
    x = trunk(image, [(name, *weights[name]) for name in names])
    return legacy_enlarge(convolve(x, *weights["conv6_2"]), image.shape[:2])


def posenet(weights, image):
    """Three score maps (H / 8, W / 8, 21); each stage sees the maps before it, then the encoding."""
    names = [name for name in weights if name[:5] in ("conv1", "conv2", "conv3", "conv4")]
    encoding = trunk(image, [(name, *weights[name]) for name in names])
    maps = [_stage(encoding, weights, "conv5", 2)]
    for stage in ("conv6", "conv7"):
        maps.append(_stage(np.concatenate([maps[-1], encoding], -1), weights, stage, 7))
    return maps


def pose_stream(weights, maps, side):
    """fc_xyz's output (63,) of PosePrior or one of its variants."""
    x = _flat(weights, "conv_pose", maps, side)
    for name in ("fc_rel0", "fc_rel1"):
        x = leaky(x @ weights[name][0] + weights[name][1])
    for name in ("fc_bottleneck", "fc_xyz"):
        if name in weights:
            x = x @ weights[name][0] + weights[name][1]
    return x


def viewpoint(weights, maps, side):
    """Rotation matrix (3, 3) of ViewpointNet."""
    x = _flat(weights, "conv_vp", maps, side)
    for name in ("fc_vp0", "fc_vp1"):
        x = leaky(x @ weights[name][0] + weights[name][1])
    u = np.concatenate([x @ weights[f"fc_vp_u{axis}"][0] + weights[f"fc_vp_u{axis}"][1] for axis in "xyz"])
    angle = np.sqrt(u @ u + 1e-8)
    x, y, z = axis = u / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    cosine = np.cos(angle)
    return np.eye(3) * cosine + np.sin(angle) * cross + (1 - cosine) * np.outer(axis, axis)


def legacy_enlarge(x, size):
    """Bilinear, u' = u * factor, the last cell held (fact T3)."""
    for axis, (new, old) in enumerate(zip(size, x.shape[:2], strict=True)):
        position = np.arange(new) * (old / new)
        low = np.floor(position).astype(int)
        share = (position - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        high = np.minimum(low + 1, old - 1)
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def noise_picture(side, seed=0):
    """(side, side, 3) float32, 0..255: noise whose power falls with the frequency, as in photographs."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(random.normal(size=(3, side, side))) / np.maximum(frequency, 1 / side)
    noise = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
    return np.clip(127.5 + 50 * noise / noise.std(), 0, 255).round().astype(np.float32)


def _stage(x, weights, prefix, last):
    for number in range(1, last):
        x = leaky(convolve(x, *weights[f"{prefix}_{number}"]))
    return convolve(x, *weights[f"{prefix}_{last}"])


def _flat(weights, prefix, maps, side):
    x = maps
    for number in range(3):
        x = leaky(convolve(x, *weights[f"{prefix}_{number}_1"]))
        x = leaky(convolve(x, *weights[f"{prefix}_{number}_2"], stride=2))
    return np.concatenate([x.reshape(-1), side])
