"""Efficient image networks for two CPU cores: HandSegNet and PoseNet on one residual encoder-decoder.

The paper's networks carry a VGG trunk at full width (52 and 60 GFLOP an image).  These keep what the
paper does around it - mask logits; a first score-map stage and refinement stages that see the previous
maps beside an encoding, every stage supervised - and replace the trunk: residual blocks down to
stride 32, so that the whole hand is in view at small cost, and back up with skip connections.
In training the convolutions are weight-standardised; `fold` turns them into plain ones.
"""

import keras
from keras import layers

from hand3d import skeleton
from hand3d.networks.standardised import StandardisedConv2D


def channel_counts(width, *channels):
    """Channel counts times `width`, in multiples of 8, which vector units like."""
    return tuple(max(8, int(round(count * width / 8)) * 8) for count in channels)


class _Blocks:
    """Building blocks with plain (`folded`) or weight-standardised convolutions."""

    def __init__(self, folded):
        self.folded = folded

    def conv(self, x, filters, name, kernel=3, stride=1, activate=True, gain=1.0, after_relu=True):
        """Convolution and, if asked for, ReLU.  `after_relu`: what comes in went through a ReLU."""
        keywords = dict(strides=stride, padding="same", name=name)
        if self.folded:
            x = layers.Conv2D(filters, kernel, **keywords)(x)
        else:
            if not after_relu:
                keywords["input_gain"] = 1.0
            x = StandardisedConv2D(filters, kernel, gain_initializer=gain, **keywords)(x)
        return layers.ReLU(name=f"{name}_relu")(x) if activate else x

    def residual(self, x, name, gain=0.2):
        """x + two 3x3 convolutions of it, the sum through a ReLU."""
        y = self.conv(x, x.shape[-1], f"{name}_1")
        y = self.conv(y, x.shape[-1], f"{name}_2", activate=False, gain=gain)
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))

    def merge_up(self, low, skip, name, silent=False):
        """`low` (stride 2s) upsampled by two and added to `skip` (stride s); silent: `skip` alone."""
        start = dict(gain=0.0) if silent else {}
        low = self.conv(low, skip.shape[-1], f"{name}_lateral", kernel=1, activate=False, **start)
        low = layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_up")(low)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([skip, low]))
        return self.residual(x, f"{name}_res", **start)

    def hourglass(self, x, filters, name, blocks, further=()):
        """Down one octave for each entry of `filters` (channels) and up again.

        further: channels of more octaves below, which start silent: the network begins as one without them.

        Returns the result at x's stride and the features at the lowest level of `filters`.
        """
        skips, deepest = [], len(filters)
        for level, count in enumerate((*filters, *further), 1):
            skips.append(x)
            x = self.conv(x, count, f"{name}_down{level}", stride=2)
            for block in range(1, blocks + 1):
                x = self.residual(x, f"{name}_down{level}_res{block}")
        for level in range(len(skips), deepest, -1):
            x = self.merge_up(x, skips[level - 1], f"{name}_up{level}", silent=True)
        bottom = x
        for level in range(deepest, 0, -1):
            x = self.merge_up(x, skips[level - 1], f"{name}_up{level}")
        return x, bottom


def posenet_lite(width=1.0, stages=2, levels=2, folded=True, name="posenet_lite"):
    """PoseNet on crops of half the paper's size.

    Args:
        width: float, multiplies all channel counts.
        stages: int, number of score-map stages, each supervised (the paper has 3).
        levels: int, octaves below the score maps' stride of 4 in the first stage: 2, or 3 to see crops of
            128 pixels as 4 x 4 cells.  The third starts silent: weights of two levels go on with three.
        folded: bool, plain convolutions (as shipped) instead of weight-standardised ones (to train).

    Input: (B, S, S, 3) float, RGB / 255 - 0.5; S a multiple of 32, 128 as shipped.
    Output: {"score_maps": list of `stages` (B, S/4, S/4, 21) logits over positions,
        "side": (B, 2) logits, left and right}.
    """
    make = _Blocks(folded)
    c64, c32, c16, c8, c4 = channel_counts(width, 32, 64, 128, 192, 256)
    if levels not in (2, 3):
        raise ValueError(f"levels must be 2 or 3, got {levels!r}")
    further = (c4,) * (levels - 2)
    image = keras.Input((None, None, 3), name="crop")
    x = make.conv(image, c64, "stem", stride=2, after_relu=False)
    x = make.residual(x, "stem_res")
    x = make.conv(x, c32, "trunk", stride=2)
    x = make.residual(x, "trunk_res")
    encoding, bottom = make.hourglass(x, (c16, c8), "stage1", 2, further)
    score_maps = []
    for stage in range(1, stages + 1):
        if stage > 1:
            seen = make.conv(score_maps[-1], c32, f"stage{stage}_seen", kernel=1, activate=False)
            x = layers.Add(name=f"stage{stage}_add")([encoding, seen])
            x = layers.ReLU(name=f"stage{stage}_relu")(x)
            encoding, bottom = make.hourglass(x, (c16, c8), f"stage{stage}", blocks=1)
        x = make.conv(encoding, 2 * c32, f"stage{stage}_fc", kernel=1)
        score_maps.append(
            layers.Conv2D(skeleton.NUM_KEYPOINTS, 1, dtype="float32", name=f"stage{stage}_maps")(x)
        )
    x = layers.GlobalAveragePooling2D(name="side_pool")(make.conv(bottom, c8, "side_in", kernel=1))
    side = layers.Dense(len(skeleton.SIDES), dtype="float32", name="side")(x)
    return keras.Model(image, {"score_maps": score_maps, "side": side}, name=name)


def handsegnet_lite(width=1.0, folded=True, name="handsegnet_lite"):
    """HandSegNet with logits at a quarter of the input's size.

    Args: as in `posenet_lite`.

    Input: (B, H, W, 3) float, RGB / 255 - 0.5; H and W multiples of 32, 256 as shipped.
    Output: (B, H/4, W/4, 2) logits, background and hand.
    """
    make = _Blocks(folded)
    c128, c64, c32, c16, c8 = channel_counts(width, 16, 32, 64, 96, 128)
    image = keras.Input((None, None, 3), name="image")
    x = make.conv(image, c128, "stem", stride=2, after_relu=False)
    x = make.conv(x, c64, "trunk", stride=2)
    x = make.residual(x, "trunk_res")
    x, _ = make.hourglass(x, (c32, c16, c8), "segment", blocks=2)
    x = make.conv(x, c64, "head", kernel=1)
    logits = layers.Conv2D(2, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)
