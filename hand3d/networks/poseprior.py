"""PosePrior: canonical 3D coordinates from score maps (PAPER.md 1.3)."""

import keras
from keras import layers

from hand3d.networks.common import conv, dense
from hand3d.skeleton import NUM_KEYPOINTS, SIDES

MAP_SIZE = 32
DROPOUT = 0.2  # keep probability 0.8
BOTTLENECK = 30


def lifting_inputs(map_size=MAP_SIZE):
    """The inputs of every lifting network: `score_maps` (B, 32, 32, 21), `hand_side` (B, 2) one-hot."""
    score_maps = keras.Input((map_size, map_size, NUM_KEYPOINTS), name="score_maps")
    return score_maps, keras.Input((len(SIDES),), name="hand_side")


def convolutions(x, channels, prefix):
    """Three pairs of 3x3 convolutions, the second of each pair of stride 2; flattened in HWC order."""
    for number, filters in enumerate(channels):
        x = conv(x, filters, 3, f"{prefix}_{number}_1")
        x = conv(x, filters, 3, f"{prefix}_{number}_2", strides=2)
    return layers.Flatten(name=f"{prefix}_flatten")(x)


def pose_stream(score_maps, hand_side, dropout=True, bottleneck=False, output="xyz_canonical"):
    """The PosePrior stream up to its (B, 21, 3) float32 output."""
    x = convolutions(score_maps, (32, 64, 128), "conv_pose")
    x = layers.Concatenate(name="concat_side")([x, hand_side])
    for number in range(2):
        x = dense(x, 512, f"fc_rel{number}", dropout=DROPOUT if dropout else 0.0)
    if bottleneck:
        x = dense(x, BOTTLENECK, "fc_bottleneck", activation=False)
    x = dense(x, NUM_KEYPOINTS * 3, "fc_xyz", activation=False)
    return layers.Reshape((NUM_KEYPOINTS, 3), name=output, dtype="float32")(x)


def poseprior(dropout=True, map_size=MAP_SIZE, name="PosePrior"):
    """PosePrior, 1,637,279 parameters.

    Inputs: `score_maps` (B, 32, 32, 21) linear maps of peak 1, `hand_side` (B, 2) one-hot (left, right).
    Output: (B, 21, 3) float32, canonical coordinates of a left hand in units of the scale bone.

    Args:
        dropout: whether the fully connected layers drop out in training.  The released training script
            leaves it off (PAPER.md, fact T2).
        map_size: cells along each side of the maps; the parameter count is that of 32.
        name: of the model.
    """
    inputs = lifting_inputs(map_size)
    return keras.Model(inputs, pose_stream(*inputs, dropout=dropout), name=name)
