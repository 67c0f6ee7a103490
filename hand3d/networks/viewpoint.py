"""ViewpointNet: the rotation from the canonical frame to the camera (PAPER.md 1.4)."""

import keras
from keras import layers

from hand3d.layers import AxisAngleToMatrix
from hand3d.networks.common import dense
from hand3d.networks.poseprior import MAP_SIZE, convolutions, lifting_inputs

DROPOUT = 0.25  # keep probability 0.75


def viewpoint(dropout=True, map_size=MAP_SIZE, name="ViewpointNet"):
    """ViewpointNet, 2,238,403 parameters.

    Inputs as `poseprior`.  Output: (B, 3, 3) float32 rotation, xyz_relative = xyz_canonical @ rotation.

    Args:
        dropout: whether the fully connected layers drop out in training (see `poseprior`).
        map_size: cells along each side of the maps; the parameter count is that of 32.
        name: of the model.
    """
    # --- layers and data flow
    score_maps, hand_side = lifting_inputs(map_size)
    x = convolutions(score_maps, (64, 128, 256), "conv_vp")
    x = layers.Concatenate(name="concat_side")([x, hand_side])
    x = dense(x, 256, "fc_vp0", dropout=DROPOUT if dropout else 0.0)
    x = dense(x, 128, "fc_vp1", dropout=DROPOUT if dropout else 0.0)
    axis_angle = [dense(x, 1, f"fc_vp_u{axis}", activation=False) for axis in "xyz"]
    axis_angle = layers.Concatenate(name="axis_angle", dtype="float32")(axis_angle)

    # --- functional model
    return keras.Model([score_maps, hand_side], AxisAngleToMatrix(name="rotation")(axis_angle), name=name)
