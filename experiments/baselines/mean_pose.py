"""Chance: the mean hand of the training split for every crop, so that the other rows can be read."""

import os

import numpy as np

from experiments.baselines.interface import Baseline, Prediction
from hand3d.files import write_atomic


class MeanPose(Baseline):
    """The mean crop coordinates and the mean xyz_relative of the training hands, right ones mirrored."""

    name = "Mean pose (chance)"
    reference = "no picture is looked at"
    simplifications = "none"
    learns_from = ("hands",)

    def train(self, training, run):
        hands = training.hands.as_left()
        seen = hands.visible[..., None]
        uv = (hands.uv_crop * seen).sum(0) / np.maximum(seen.sum(0), 1)
        xyz = hands.xyz_relative[hands.in_3d]
        mean = np.concatenate(
            [uv / hands.size, xyz.mean(0) if len(xyz) else np.full((len(uv), 3), np.nan)], -1
        )
        write_atomic(
            os.path.join(run, "mean.csv"),
            "\n".join(",".join(map(repr, row)) for row in mean.tolist()).encode(),
        )

    def load(self, run):
        self.mean = np.loadtxt(os.path.join(run, "mean.csv"), delimiter=",", dtype=np.float32)

    def predict(self, hands):
        mean = np.repeat(self.mean[None], len(hands), 0)
        return Prediction(mean[..., :2] * hands.size, mean[..., 2:]).mirrored_back(hands.side, hands.size)

    @property
    def parameters(self):
        return self.mean.size
