"""HandSegNet: which pixels belong to a hand (PAPER.md 1.1)."""

import keras

from hand3d.layers import EnlargeLike
from hand3d.networks.common import IMAGE_CHANNELS, conv, scaled, vgg_blocks


def handsegnet(width=1, grid="legacy", name="HandSegNet"):
    """HandSegNet, 13,601,986 parameters at width 1.

    Input `image` (B, H, W, 3): RGB, x / 255 - 0.5, H and W divisible by 8.  Output (B, H, W, 2) float32:
    logits of background and hand, made at stride 8 and enlarged bilinearly.

    Args:
        width: multiplier of the inner layers' channels.
        grid: of the enlargement, "legacy" as published (PAPER.md, fact T3) or "half_pixel".
        name: of the model.

    Example: `keras.ops.softmax(handsegnet(width=0.25)(images))[..., 1]`
    """
    # --- layers and data flow
    image = keras.Input((None, None, IMAGE_CHANNELS), name="image")
    x = vgg_blocks(image, width)
    for number in range(1, 5):
        x = conv(x, scaled(512, width), 3, f"conv4_{number}")
    x = conv(x, scaled(512, width), 3, "conv5_1")
    x = conv(x, scaled(128, width), 3, "conv5_2")
    x = conv(x, scaled(512, width), 1, "conv6_1")
    logits = conv(x, 2, 1, "conv6_2", activation=False)

    # --- functional model
    return keras.Model(image, EnlargeLike(grid, name="logits")([logits, image]), name=name)
