"""Trained lifting networks for Table 2, each trained once and kept.

The cache holds a folder per variant, setting and training set, so another data set or another setting trains
anew and the same one is found again.  `experiments.lifting` trains, and resumes what was interrupted.
Variants train side by side (`experiments.side_by_side`).
"""

import hashlib
import io
import os

import keras
import numpy as np

from experiments import common, lifting, recipes, side_by_side
from hand3d import geometry, manifest
from hand3d.files import write_atomic
from hand3d.networks.lifting import VARIANTS
from hand3d.networks.mirrored import lifter

CACHE = os.path.join("runs", "table2")
POSES = "poses_{}.npz"
# `--set` of experiments.lifting.  The evaluation shows hands in the views that they were rendered in, cut out
# in the middle, so views are varied less than for photographs.
VIEWS = ("any_view=0", "turn=0.2", "roll=0.3", "scale=0.85,1.15", "shift=0.08", "precision=auto")
CLIP = "clip=1"  # as the published table was measured
SETTINGS = {
    "quick": ("batch=16", "steps=3200", "epoch_steps=800", "warmup=200", "ema=0.995", CLIP, *VIEWS),
    "full": ("batch=64", "steps=6000", "epoch_steps=1000", "warmup=200", "ema=0.999", CLIP, *VIEWS),
}


def prepare(cache, setting, hands, identity):
    """Puts training and evaluation hands where the runs find them; returns their folder.

    hands: {split: dict of `experiments.annotations.load_hands`}; identity: text that stands for the training
    set, such as its hash.
    """
    key = hashlib.sha256(repr((setting, SETTINGS[setting], identity)).encode()).hexdigest()[:10]
    folder = os.path.join(cache, f"{setting}-{key}")
    os.makedirs(folder, exist_ok=True)
    for split, poses in hands.items():
        write_atomic(os.path.join(folder, POSES.format(split)), _archive(poses, split))
    return folder


def _archive(poses, split):
    """Hands with the palm for root -> bytes of a file as `pipelines.poses` writes, with the wrist."""
    content = io.BytesIO()
    xyz = keras.ops.convert_to_numpy(geometry.palm_to_wrist(poses["xyz"]))
    arrays = {"xyz": xyz, "side": poses["side"], "visible": poses["visible"], "split": np.array(split)}
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def train(folder, variants, settings, seed=0, jobs=None):
    """Trains (the rest of) those variants that are not there yet, in this order.

    folder: of `prepare`.  settings: `--set` of experiments.lifting, a value of `SETTINGS`.  jobs, errors: see
    `side_by_side.train`; ValueError for an unknown variant.
    """
    data = ",".join(os.path.join(folder, POSES.format(split)) for split in ("training", "evaluation"))
    trainings = {}
    for variant in variants:
        if variant not in VARIANTS:
            raise ValueError(f"variant: one of {VARIANTS} expected, got {variant!r}")
        options = ["--data", data, "--run", _run(folder, variant, seed)]
        options += [f"--set={one}" for one in (f"variant={variant}", f"seed={seed}", *settings)]
        trainings[variant] = ("experiments.lifting", options)
    side_by_side.train(trainings, jobs)


def _run(folder, variant, seed):
    return os.path.join(folder, f"{variant}-{seed}")


def trained(folder, variant, seed=0):
    """A network that `train` has trained, and the seconds that it took.

    The weights are the last, averaged ones: the best epoch is chosen on the hands that Table 2 measures,
    which would be unfair to the nearest neighbour.
    """
    run = _run(folder, variant, seed)
    network = lifting.build(recipes.read_recipe(run, lifting.Recipe))
    network.load_weights(os.path.join(run, common.LAST))
    return network, side_by_side.seconds(run)


def shipped(weights):
    """PosePrior and viewpoint network of a weight set as one network of the variant "proposed"."""
    made = lifter_of(manifest.find(weights))
    name = f"lifting_{weights}".replace("/", "_")
    return keras.Model(made.inputs, {"xyz_relative": made.outputs[0]}, name=name)


def lifter_of(weight_set, mirror=None):
    """`networks.mirrored.lifter` of a `manifest.WeightSet`; mirror: as its graph has it, unless given."""
    if mirror is None:
        mirror = weight_set.entry.get("graph", {}).get("mirror", False)
    entries = manifest.network_entries(weight_set)
    parts = [
        manifest.load_network(entries[role], manifest.verify(weight_set, role))
        for role in ("poseprior", "viewpoint")
    ]
    return lifter(*parts, mirror=mirror)


def hand_fit(weight_set):
    """The hand model of a `manifest.WeightSet` with its fit, a network; None where it has none."""
    entry = manifest.network_entries(weight_set).get("hand_fit")
    return entry and manifest.load_network(entry, manifest.verify(weight_set, "hand_fit"))
