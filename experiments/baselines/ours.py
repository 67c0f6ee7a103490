"""The project's own networks on the same crops: PoseNet and the proposed lifting of a weight set.

Other systems take their 2D keypoints from here (`with_detections`).
"""

import dataclasses
import os

import keras
import numpy as np

from experiments.baselines.interface import Baseline, Prediction
from hand3d import crops, layers, manifest
from hand3d.files import write_atomic
from hand3d.networks.common import score_maps_and_side
from hand3d.networks.mirrored import average_mirrored
from hand3d.set_options import set_options
from hand3d.skeleton import SIDES
from hand3d.tracing import traced

ROLES = ("posenet", "poseprior", "viewpoint")
REACH = 1.45  # of the crops (`data.REACH`)
BATCH = 32


def crop_network(weight_set):
    """The part of `hand3d.graph.full_graph` behind the crop: crop (B, c, c, 3) 0..255 and side one-hot (B, 2)
    -> uv_crop (B, 21, 2), confidence (B, 21), xyz_relative (B, 21, 3)."""
    networks, options = manifest.load(weight_set), set_options(weight_set).graph
    size = options.get("crop_size", 256)
    grid, mode = options.get("grid", "half_pixel"), options.get("map_mode", "linear")
    crop = keras.Input((size, size, 3), name="crop", dtype="float32")
    side = keras.Input((len(SIDES),), name="hand_side", dtype="float32")
    posenet = average_mirrored(networks["posenet"]) if options.get("mirror") else networks["posenet"]
    pixels = keras.layers.Rescaling(1 / 255, -0.5, dtype="float32")(crop)
    maps = score_maps_and_side(posenet(pixels))[0][-1]
    maps = layers.SpatialSoftmax()(maps) if mode == "probability" else maps
    uv_crop, confidence = layers.DecodeScoreMaps(size, mode, grid)(maps)
    map_size = networks["poseprior"].inputs[0].shape[1]
    if options.get("reencode"):
        maps = layers.EncodeScoreMaps(map_size, size)([uv_crop, confidence])
    elif maps.shape[1] != map_size:
        maps = layers.ResizeImages(map_size)(maps)
    canonical, rotation = (networks[role]([maps, side]) for role in ROLES[1:])
    xyz = layers.FromCanonical()([canonical, rotation, side])
    return keras.Model([crop, side], [uv_crop, confidence, xyz])


class Detector:
    """hands -> uv_crop (N, 21, 2) in pixels of their crops, confidence (N, 21), xyz_relative (N, 21, 3)."""

    def __init__(self, weights):
        weight_set = manifest.find(weights)
        self.model = crop_network(weight_set)
        self.call, self.size = traced(self.model), self.model.inputs[0].shape[1]
        self.zoom = set_options(weight_set).graph.get("crop_factor", 1.25) / REACH  # its crops by ours

    def __call__(self, hands):
        parts, middle = [], (hands.size - 1) / 2
        for start in range(0, len(hands), BATCH):
            some = hands.take(slice(start, start + BATCH))
            centre, side = np.full((len(some), 2), middle), np.full(len(some), self.zoom * hands.size)
            cut = keras.ops.convert_to_numpy(crops.crop_and_resize(some.image, centre, side, self.size))
            uv, *rest = self.call(cut, np.eye(len(SIDES))[some.side])
            uv = crops.crop_to_image(uv, centre, side, self.size)
            parts.append([keras.ops.convert_to_numpy(uv), *rest])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def with_detections(hands, weights):
    """The same `Hands` with what a weight set, by name or folder, says of their crops."""
    uv, score, xyz = Detector(weights)(hands)
    return dataclasses.replace(hands, detected_uv=uv, detected_score=score, detected_xyz=xyz)


class Ours(Baseline):
    """PoseNet, PosePrior and ViewpointNet of a weight set; nothing is trained here."""

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
            self.detector = Detector(file.read())

    def predict(self, hands):
        uv, _, xyz = self.detector(hands)
        return Prediction(uv, xyz)

    @property
    def parameters(self):
        return self.detector.model.count_params()
