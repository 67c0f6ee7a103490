"""Convolutional Pose Machine (Wei et al. 2016; PAPER.md 6.2): belief maps, refined stage by stage.

The first stage sees a small neighbourhood of every cell.  Each later one sees the same features beside the
belief maps of the stage before, through large kernels: where one finger is tells where the next one can be.
Every stage is trained, by the squared difference of its maps, a map of the background among them.
"""

import os

import keras
from keras import layers, ops

from experiments.baselines import learning
from experiments.baselines.interface import Baseline, Prediction
from hand3d import scoremaps
from hand3d.files import write_atomic
from hand3d.skeleton import NUM_KEYPOINTS

CROP, STRIDE, STAGES = 64, 4, 3
MAPS = NUM_KEYPOINTS + 1  # and the background
STEPS = 3000
WEIGHTS = "lifting.txt"  # name of the weight set that lifts


def network(stages=STAGES):
    """Crop (B, 64, 64, 3), -0.5..0.5 -> list of belief maps (B, 16, 16, 22), the last one the background."""
    crop = keras.Input((CROP, CROP, 3), name="crop")

    def conv(x, filters, kernel, name):
        options = dict(padding="same", activation="relu", kernel_initializer="he_normal", name=name)
        return layers.Conv2D(filters, kernel, **options)(x)

    def maps(x, stage):
        small = keras.initializers.RandomNormal(stddev=0.01)  # begins near empty maps, as the target is
        return layers.Conv2D(MAPS, 1, kernel_initializer=small, name=f"stage{stage}_maps")(x)

    x = layers.MaxPooling2D(name="pool1")(conv(crop, 16, 3, "conv1"))
    x = layers.MaxPooling2D(name="pool2")(conv(x, 32, 3, "conv2"))
    features = conv(conv(x, 48, 3, "conv3"), 48, 3, "features")
    beliefs = [maps(conv(features, 96, 1, "stage1_1"), 1)]
    for stage in range(2, stages + 1):
        x = layers.Concatenate(name=f"stage{stage}_seen")([beliefs[-1], features])
        for number in (1, 2, 3):  # 5 x 5 on maps of 16 cells: all of the hand
            x = conv(x, 32, 5, f"stage{stage}_{number}")
        beliefs.append(maps(x, stage))
    return keras.Model(crop, beliefs, name="cpm")


def belief_target(uv, weight):
    """(B, 21, 2) pixels and (B, 21) -> (B, 16, 16, 22): a Gaussian each, and what none of them covers."""
    joints = scoremaps.encode(uv, weight, CROP // STRIDE, CROP)
    return ops.concatenate([joints, 1.0 - ops.max(joints, axis=-1, keepdims=True)], axis=-1)


def loss(beliefs, uv, weight):
    """Sum over stages of the squared difference over all cells and maps, a mean over the batch."""
    target = belief_target(uv, weight)
    return sum(ops.mean(ops.sum(ops.square(stage - target), axis=(1, 2, 3))) for stage in beliefs)


def read(maps):
    """Belief maps (B, 16, 16, 22) -> uv (B, 21, 2) pixels of the crop of 64, confidence (B, 21)."""
    return scoremaps.decode(maps[..., :NUM_KEYPOINTS], CROP)


class ConvolutionalPoseMachine(Baseline):
    name = "CPM 2016, proposed lifting"
    reference = "[3] S.-E. Wei, V. Ramakrishna, T. Kanade, Y. Sheikh, Convolutional pose machines, CVPR 2016"
    simplifications = (
        "Crops of 64 pixels, 16 x 16 maps, three stages, narrow layers, 5 x 5 kernels in place of 11 x 11; "
        "lifted to 3D by the weight set's PosePrior and ViewpointNet."
    )

    learns_from = ("hands", "weights")

    def train(self, training, run):
        write_atomic(os.path.join(run, WEIGHTS), str(training.weights).encode())
        keras.utils.set_random_seed(training.seed)
        model = learning.CropTraining(network(), CROP, loss, lambda maps: read(maps[-1])[0], training.seed)
        recipe = learning.recipe(STEPS, training)
        learning.learn(model, recipe, run, learning.crop_examples(training.hands))

    def load(self, run):
        self.network = learning.last_weights(network(), run)
        with open(os.path.join(run, WEIGHTS)) as file:
            self.lifting = learning.ProposedLifting(file.read())

    def predict(self, hands):
        return self._of_stage(learning.predict(self.network, hands, CROP)[-1], hands)

    def variants(self, hands):
        """The stages before the last: that each is better is what the method is about."""
        earlier = learning.predict(self.network, hands, CROP)[:-1]
        return {f", stage {number}": self._of_stage(maps, hands) for number, maps in enumerate(earlier, 1)}

    def _of_stage(self, maps, hands):
        uv, confidence = read(maps)
        xyz = self.lifting(uv, confidence, CROP)
        uv = (ops.convert_to_numpy(uv) + 0.5) * (hands.size / CROP) - 0.5
        return Prediction(uv, xyz).mirrored_back(hands.side, hands.size)

    @property
    def parameters(self):
        return self.network.count_params() + self.lifting.parameters
