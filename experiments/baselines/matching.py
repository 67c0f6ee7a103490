"""[4] Chen & Ramanan: 3D pose = 2D pose + matching.

A 2D pose is looked up in a bank of 3D poses that were projected into many cameras.  The nearest exemplar
gives what the picture lacks, depth; what the picture shows, x and y, is kept.  Steps:

1. bank: every training pose as its own camera saw it, and turned at random `TURNS` times, projected;
2. descriptor: the 21 keypoints around the palm, scaled to unit spread, right hands mirrored;
3. search: argmin over exemplars of sum_j w_j |x_j - p_j|^2 with the detector's confidence for w; exact, as a
   matrix product (`experiments.nearest`);
4. result: detected x and y in the exemplar's scale, the exemplar's depth.
"""

import io
import os

import numpy as np

from experiments.baselines.interface import Baseline, Prediction, mirror_xyz
from experiments.nearest import descriptors, nearest
from hand3d.files import write_atomic
from hand3d.skeleton import ROOT

TURNS = 1  # views of a pose besides its own
NEAR = 0.5  # bone lengths: nearest point of a turned hand before the camera
SIZES = (100, 300, 1000, 3000, 10_000, 30_000)  # of the plot, and the whole bank


def project(xyz_relative, root):
    """(N, 21, 3) and (N, 3) in bone lengths -> uv (N, 21, 2), focal length 1."""
    xyz = xyz_relative + root[:, None]
    return xyz[..., :2] / np.maximum(xyz[..., 2:], NEAR)


def turned(xyz_relative, rng):
    """Each hand turned about its root, uniformly over all rotations; (N, 21, 3) -> (N, 21, 3) float32."""
    from scipy.spatial.transform import Rotation

    rotations = Rotation.random(len(xyz_relative), random_state=rng).as_matrix().astype(np.float32)
    return xyz_relative @ rotations


def make_bank(poses, seed=0, turns=TURNS, limit=None):
    """Exemplars in random order: descriptors (M, 42) and xyz (M, 21, 3), all float32 and of left hands."""
    rng = np.random.default_rng(seed)
    xyz = mirror_xyz(poses["xyz_relative"], poses["side"] == 1)
    root = poses["root"] * np.where(poses["side"] == 1, -1, 1)[:, None] ** np.array([1, 0, 0])
    views = np.concatenate([xyz] + [turned(xyz, rng) for _ in range(turns)])
    uv = project(views, np.tile(root, (turns + 1, 1)))
    order = rng.permutation(len(views))[:limit]
    return {
        "descriptors": descriptors(uv[order], np.zeros(len(order))),
        "xyz": views[order].astype(np.float32),
    }


def lift(bank, uv, side, weight, count=None, keep_detected=True):
    """Keypoints (N, 21, 2) in pixels of anything, side (N,), weight (N, 21) -> xyz_relative (N, 21, 3).

    count: use the first so many exemplars only.  keep_detected: x and y of the keypoints, else of the
    exemplar.
    """
    queries = descriptors(uv, side)
    found = nearest(queries, bank["descriptors"][:count], np.repeat(weight, 2, axis=1))
    xyz = bank["xyz"][:count][found]
    if keep_detected:
        flat = queries.reshape(len(queries), -1, 2)
        spread = np.linalg.norm((xyz - xyz[:, ROOT : ROOT + 1])[..., :2], axis=(1, 2))
        xyz = np.concatenate([flat * spread[:, None, None], xyz[..., 2:]], -1)
    return mirror_xyz(xyz.astype(np.float32), np.asarray(side) == 1)


class Matching(Baseline):
    """Nearest neighbour of detected 2D keypoints in a bank of projected poses."""

    name = "Chen & Ramanan, matching"
    reference = (
        "[4] C.-H. Chen, D. Ramanan, 3D human pose estimation = 2D pose estimation + matching, CVPR 2017"
    )
    simplifications = (
        "2D keypoints are those of this project's PoseNet instead of CPM's; one nearest exemplar, as in the "
        "paper, of hands instead of bodies; weak perspective between exemplar and picture."
    )
    learns_from = ("poses",)
    sees_detections = True

    def train(self, training, run):
        limit = int(training.effort * len(training.poses["side"]) * (TURNS + 1))
        content = io.BytesIO()
        np.savez(content, **make_bank(training.poses, training.seed, limit=max(limit, 1)))
        write_atomic(os.path.join(run, "bank.npz"), content.getbuffer())

    def load(self, run):
        with np.load(os.path.join(run, "bank.npz")) as archive:
            self.bank = {key: archive[key] for key in archive.files}

    def predict(self, hands, **options):
        uv, weight = hands.detected_uv, hands.detected_score
        return Prediction(uv, lift(self.bank, uv, hands.side, weight, **options))

    def variants(self, hands):
        exact, equal = hands.uv_crop, np.ones_like(hands.detected_score)
        return {
            ", pure exemplar": self.predict(hands, keep_detected=False),
            ", exact 2D": Prediction(None, lift(self.bank, exact, hands.side, equal)),
        }

    def by_size(self, hands):
        whole = len(self.bank["xyz"])
        return {count: self.predict(hands, count=count) for count in (*SIZES, whole) if count <= whole}

    @property
    def parameters(self):
        return sum(part.size for part in self.bank.values())
