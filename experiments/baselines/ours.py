"""The project's own networks on the same crops: PoseNet and the proposed lifting of a weight set.

Other systems take their 2D keypoints from here (`with_detections`).
"""

import dataclasses
import os

import keras
import numpy as np

from experiments.baselines.interface import Baseline, Prediction
from hand3d import manifest
from hand3d.files import write_atomic
from hand3d.graph import full_graph
from hand3d.set_options import set_options
from hand3d.skeleton import SIDES
from hand3d.tracing import traced

REACH = 1.45  # of the crops (`data.REACH`)
BATCH = 32


class Detector:
    """What a weight set sees in given crops, as `hand3d.graph.full_graph` behind its mask.

    fit: whether its hand model, where it has one, has the last word, or the networks alone.
    Called with `Hands`: uv_crop (N, 21, 2) in pixels of their crops, confidence (N, 21), xyz_relative
    (N, 21, 3).
    """

    def __init__(self, weights, fit=False):
        weight_set = manifest.find(weights)
        networks = manifest.for_graph(manifest.load(weight_set))
        self.fits = fit and "hand_fit" in networks
        if not self.fits:
            networks.pop("hand_fit", None)
        options = set_options(weight_set).graph | {"known_crop": True, "calibration": None, "upright": False}
        model = full_graph(**networks, **options)
        names = ("keypoints_uv", "keypoint_scores", "keypoints_xyz")
        self.call = traced(keras.Model(model.inputs, [model.output[name] for name in names]))
        used = [network for role, network in networks.items() if role != "handsegnet"]
        self.parameters = sum(network.count_params() for network in used)
        self.zoom = options.get("crop_factor", 1.25) / REACH  # its crops by ours

    def __call__(self, hands):
        parts, middle = [], (hands.size - 1) / 2
        for start in range(0, len(hands), BATCH):
            some = hands.take(slice(start, start + BATCH))
            centre, side = np.full((len(some), 2), middle), np.full(len(some), self.zoom * hands.size)
            parts.append(self.call(some.image, centre, side, np.eye(len(SIDES))[some.side]))
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def with_detections(hands, weights):
    """The same `Hands` with what a weight set, by name or folder, says of their crops."""
    uv, score, xyz = Detector(weights)(hands)
    return dataclasses.replace(hands, detected_uv=uv, detected_score=score, detected_xyz=xyz)


class Ours(Baseline):
    """PoseNet, PosePrior, ViewpointNet and hand model of a weight set; nothing is trained here."""

    name = "Zimmermann & Brox, this project"
    reference = (
        "[1] C. Zimmermann, T. Brox, Learning to estimate 3D hand pose from single RGB images, ICCV 2017"
    )
    simplifications = "Those of the weight set."
    learns_from = ("weights",)

    def train(self, training, run):
        write_atomic(os.path.join(run, "weights.txt"), str(training.weights).encode())

    def load(self, run):
        with open(os.path.join(run, "weights.txt")) as file:
            self.weights = file.read()
        self.detector = Detector(self.weights, fit=True)

    def predict(self, hands):
        uv, _, xyz = self.detector(hands)
        return Prediction(uv, xyz)

    def variants(self, hands):
        """The networks of the paper alone, where the set has a hand model after them."""
        if not self.detector.fits:
            return {}
        uv, _, xyz = Detector(self.weights)(hands)
        return {", networks alone": Prediction(uv, xyz)}

    @property
    def parameters(self):
        return self.detector.parameters
