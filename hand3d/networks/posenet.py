"""PoseNet: score maps of the 21 keypoints from a hand crop, in three stages (PAPER.md 1.2)."""

import keras
from keras import layers

from hand3d.networks.common import IMAGE_CHANNELS, conv, scaled, vgg_blocks
from hand3d.skeleton import NUM_KEYPOINTS


def posenet(width=1, name="PoseNet2D"):
    """PoseNet, 17,518,847 parameters at width 1.

    Input `image` (B, H, W, 3): RGB, x / 255 - 0.5, H and W divisible by 8 (256 in the paper).  Outputs: list
    of three (B, H / 8, W / 8, 21) float32 linear score maps: conv5_2, conv6_7 and conv7_7, the best one.

    Args:
        width: multiplier of the inner layers' channels.
        name: of the model.
    """
    # --- shared features
    image = keras.Input((None, None, IMAGE_CHANNELS), name="image")
    x = vgg_blocks(image, width)
    for number, channels in enumerate((512, 512, 256, 256, 256, 256, 128), start=1):
        x = conv(x, scaled(channels, width), 3, f"conv4_{number}")
    encoding = x

    # --- stage 1, then two that see the maps before them
    x = conv(encoding, scaled(512, width), 1, "conv5_1")
    score_maps = [conv(x, NUM_KEYPOINTS, 1, "conv5_2", activation=False)]
    for stage in (6, 7):
        x = layers.Concatenate(name=f"concat{stage}")([score_maps[-1], encoding])
        for number in range(1, 6):
            x = conv(x, scaled(128, width), 7, f"conv{stage}_{number}")
        x = conv(x, scaled(128, width), 1, f"conv{stage}_6")
        score_maps.append(conv(x, NUM_KEYPOINTS, 1, f"conv{stage}_7", activation=False))

    # --- functional model
    return keras.Model(image, score_maps, name=name)
