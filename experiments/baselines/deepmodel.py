"""Model-based regression (Zhou et al. 2016, "DeepModel"; PAPER.md 6.6): joint angles and forward kinematics.

The network's outputs are the joint angles of a hand of known bones, and how it is turned.  A layer without
parameters, `hand3d.kinematics`, makes keypoints of them; the loss is on these, with a penalty for angles
beyond their limits.  So whatever the network says is a hand.
"""

import keras
import numpy as np
from keras import ops

from experiments.baselines import learning
from experiments.baselines.interface import Baseline, Prediction
from hand3d import geometry, kinematics, scoremaps
from hand3d.layers import AxisAngleToMatrix, Float32Layer, FromCanonical, register
from hand3d.losses import mean_squared
from hand3d.networks.common import dense
from hand3d.networks.poseprior import convolutions, lifting_inputs
from hand3d.skeleton import ROOT, SIDES
from hand3d.training import LiftingTraining
from hand3d.views import Views

PENALTY = 1.0  # of radians beyond the limits, summed over angles
BONE = 0.044  # metres: the scale bone's length in the median
STEPS = 6000
MAP_SIZE = 32


@register
class HandOfAngles(Float32Layer):
    """Angles (B, 22) radians -> keypoints (B, 21, 3) of the mean left hand, relative to the palm."""

    def call(self, angles):
        xyz = geometry.wrist_to_palm(kinematics.forward(angles, kinematics.mean_hand()))
        return xyz - xyz[:, ROOT : ROOT + 1]


def network():
    """[score maps (B, 32, 32, 21), side (B, 2)] -> dict: angles (B, 22) radians, xyz_relative (B, 21, 3)."""
    score_maps, side = inputs = lifting_inputs(MAP_SIZE)
    x = convolutions(score_maps, (16, 32, 64), "conv_pose")
    x = keras.layers.Concatenate(name="concat_side")([x, side])
    x = dense(dense(x, 512, "fc1"), 512, "fc2")
    angles = dense(x, len(kinematics.ANGLES), "fc_angles", activation=False)
    turn = AxisAngleToMatrix(name="rotation")(dense(x, 3, "fc_turn", activation=False))
    xyz = FromCanonical(name="xyz_relative")([HandOfAngles(name="hand")(angles), turn, side])
    return keras.Model(inputs, {"angles": angles, "xyz_relative": xyz}, name="deepmodel")


class AngleTraining(LiftingTraining):
    """`LiftingTraining` with the loss on keypoints and the penalty on angles beyond their limits."""

    def __init__(self, network, views):
        super().__init__(network, views, variant="direct")
        self.means["outside_limits_deg"] = keras.metrics.Mean(name="outside_limits_deg")

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return loss(y_pred["outputs"], y_pred["targets"]["xyz_relative"])

    def measure(self, y_pred):
        beyond = kinematics.outside_limits(y_pred["outputs"]["angles"])
        return super().measure(y_pred) | {"outside_limits_deg": beyond * (180 / np.pi)}


def loss(outputs, xyz_relative):
    """Mean squared error of the keypoints plus the penalty, a mean over the batch."""
    beyond = ops.mean(ops.sum(kinematics.outside_limits(outputs["angles"]), -1))
    return mean_squared(xyz_relative, outputs["xyz_relative"]) + PENALTY * beyond


def pose_examples(poses):
    """What `LiftingTraining` learns from, of `Training.poses`."""
    xyz = np.float32(BONE) * (poses["xyz_relative"] + poses["root"][:, None])
    visible = np.ones(xyz.shape[:2], bool)
    return {"xyz": xyz.astype(np.float32), "side": poses["side"].astype(np.int32), "visible": visible}


class DeepModel(Baseline):
    name = "Zhou et al. 2016, on our 2D"
    reference = (
        "[7] X. Zhou, Q. Wan, W. Zhang, X. Xue, Y. Wei, Model-based deep hand pose estimation, IJCAI 2016"
    )
    simplifications = (
        "Sees score maps of the weight set's 2D keypoints, not depth; the bones are those of the mean hand; "
        "22 angles and a rotation, no translation."
    )

    learns_from = ("poses",)
    sees_detections = True

    def train(self, training, run):
        keras.utils.set_random_seed(training.seed)
        views = Views(seed=training.seed, map_size=MAP_SIZE)
        recipe = learning.recipe(STEPS, training, batch=64)
        examples = pose_examples(training.poses)
        learning.learn(AngleTraining(network(), views), recipe, run, examples)

    def load(self, run):
        self.network = learning.last_weights(network(), run)

    def predict(self, hands):
        if hands.detected_uv is None:
            raise ValueError("hands: detected_uv is None; this system takes 2D keypoints, see `ours`")
        return Prediction(hands.detected_uv, self.outputs(hands)["xyz_relative"])

    def notes(self, hands):
        beyond = np.degrees(ops.convert_to_numpy(kinematics.outside_limits(self.outputs(hands)["angles"])))
        return [
            f"{self.name}: {(beyond == 0).mean():.1%} of the joint angles are within their limits, "
            f"{(beyond < 5).mean():.2%} within 5 degrees of them."
        ]

    def outputs(self, hands):
        """The network's outputs for detected keypoints: dict of angles and xyz_relative."""
        score = hands.detected_score
        side = np.eye(len(SIDES), dtype=np.float32)[hands.side]
        found = []
        for start in range(0, len(hands), learning.BATCH):
            part = slice(start, start + learning.BATCH)
            maps = scoremaps.encode(hands.detected_uv[part], score[part], MAP_SIZE, hands.size)
            found.append(self.network.predict_on_batch([maps, side[part]]))
        return {key: np.concatenate([one[key] for one in found]) for key in found[0]}

    @property
    def parameters(self):
        return self.network.count_params()
