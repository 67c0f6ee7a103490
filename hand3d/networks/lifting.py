"""The lifting networks that the paper's Table 2 compares (PAPER.md 1.6)."""

import keras
from keras import layers

from hand3d.layers import FromCanonical, FromLocalBones
from hand3d.losses import LIFTING_TARGETS
from hand3d.networks.poseprior import MAP_SIZE, lifting_inputs, pose_stream, poseprior
from hand3d.networks.viewpoint import viewpoint

VARIANTS = tuple(LIFTING_TARGETS)


def lifting(variant="proposed", dropout=True, pool=None, name=None):
    """One lifting network; what it is trained on says `hand3d.losses.LIFTING_TARGETS`.

    Inputs: `score_maps` (B, 32, 32, 21) of peak 1 and `hand_side` (B, 2) one-hot.  Output: a dict of float32
    tensors, always with `xyz_relative` (B, 21, 3), root-relative in units of the scale bone, and
    - direct, bottleneck: nothing else;
    - local, local_w_xyz_loss: `xyz_local` (B, 21, 3), length and angles of each bone as in `local_bones`;
    - proposed: `xyz_canonical` (B, 21, 3) and `rotation` (B, 3, 3).  Its two networks are the layers
      "PosePrior" and "ViewpointNet" and are `poseprior()` and `viewpoint()` themselves.

    Args:
        variant: one of `VARIANTS`.
        dropout: see `poseprior`.
        pool: side of the cells that larger maps are averaged over, 8 for the paper's 256 x 256 maps.
        name: of the model, by default lifting_<variant>.

    Raises:
        ValueError: unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant: one of {VARIANTS} expected, got {variant!r}")
    score_maps, hand_side = inputs = lifting_inputs(MAP_SIZE * (pool or 1))
    if pool:
        score_maps = layers.AveragePooling2D(pool, pool, padding="same", name="pool")(score_maps)

    if variant == "proposed":
        xyz_canonical = poseprior(dropout)([score_maps, hand_side])
        rotation = viewpoint(dropout)([score_maps, hand_side])
        xyz_relative = FromCanonical(name="from_canonical")([xyz_canonical, rotation, hand_side])
        outputs = {"xyz_canonical": xyz_canonical, "rotation": rotation, "xyz_relative": xyz_relative}
    elif variant in ("local", "local_w_xyz_loss"):
        xyz_local = pose_stream(score_maps, hand_side, dropout, output="xyz_local")
        outputs = {"xyz_local": xyz_local, "xyz_relative": FromLocalBones(name="from_local")(xyz_local)}
    else:
        bottleneck = variant == "bottleneck"
        outputs = {"xyz_relative": pose_stream(score_maps, hand_side, dropout, bottleneck, "xyz_relative")}
    return keras.Model(inputs, outputs, name=name or f"lifting_{variant}")
