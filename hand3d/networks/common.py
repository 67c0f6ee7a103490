"""What the paper's networks share (PAPER.md 1, common ops)."""

import keras
from keras import layers

LEAKY_SLOPE = 0.01
BIAS = 1e-4
IMAGE_CHANNELS = 3


def scaled(channels, width):
    """`channels` times `width`, a multiple of 8 (at least 8) unless width is 1."""
    if not 0 < width <= 4:
        raise ValueError(f"width: a number above 0 and up to 4 expected, got {width!r}")
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))


def conv(x, filters, kernel, name, strides=1, activation=True):
    """Same-padded convolution, Xavier kernel, bias 1e-4, leaky ReLU of slope 0.01 unless it is a head.

    Heads are float32 under mixed precision too.
    """
    dtype = None if activation else "float32"
    x = layers.Conv2D(filters, kernel, strides, padding="same", name=name, dtype=dtype, **_init())(x)
    return leaky(x, name) if activation else x


def dense(x, units, name, activation=True, dropout=0.0):
    """Fully connected layer like `conv`; `dropout` is the share that is dropped, 1 - keep probability."""
    x = layers.Dense(units, name=name, dtype=None if activation else "float32", **_init())(x)
    if activation:
        x = leaky(x, name)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def leaky(x, name):
    return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_leaky")(x)


def pool(x, name):
    return layers.MaxPooling2D(2, 2, padding="valid", name=name)(x)


def vgg_blocks(x, width):
    """conv1_1 to pool3, shared by HandSegNet and PoseNet: (B, H, W, 3) -> (B, H/8, W/8, 256 width)."""
    for block, (channels, convolutions) in enumerate(((64, 2), (128, 2), (256, 4)), start=1):
        for number in range(1, convolutions + 1):
            x = conv(x, scaled(channels, width), 3, f"conv{block}_{number}")
        x = pool(x, f"pool{block}")
    return x


def _init():
    return {
        "kernel_initializer": keras.initializers.GlorotUniform(),
        "bias_initializer": keras.initializers.Constant(BIAS),
    }


def score_maps_and_side(outputs):
    """What any PoseNet puts out, or the shape of it -> list of score maps, one a stage, and the side or None.

    outputs: score maps, a list of them, or a dict with "score_maps" (either of these) and perhaps "side".
    ValueError for a dict without "score_maps".
    """
    side = None
    if isinstance(outputs, dict):
        if "score_maps" not in outputs:
            raise ValueError(f'posenet: an output "score_maps" expected, got {sorted(outputs)}')
        outputs, side = outputs["score_maps"], outputs.get("side")
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs], side
