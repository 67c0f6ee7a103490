"""Trained lifting networks for Table 2, each trained once and kept.

The cache holds a folder per variant, setting and training set, so another data set or another setting trains
anew and the same one is found again.  `experiments.lifting` trains, and resumes what was interrupted.
Variants train side by side, each in a process with its share of the cores: networks as small as these gain
little from a second core, so that two cores do half as much again that way.
"""

import concurrent.futures
import contextlib
import hashlib
import io
import multiprocessing
import os
import time

import keras
import numpy as np

from experiments import common, lifting, recipes, run_folder
from hand3d import geometry, manifest
from hand3d.cores import cores, has_graphics_card
from hand3d.files import write_atomic
from hand3d.networks.lifting import VARIANTS
from hand3d.networks.mirrored import lifter
from pipelines.processes import follow_parent

CACHE = os.path.join("runs", "table2")
POSES = "poses_{}.npz"
# `--set` of experiments.lifting.  The evaluation shows hands in the views that they were rendered in, cut out
# in the middle, so views are varied less than for photographs.
VIEWS = ("any_view=0", "turn=0.2", "roll=0.3", "scale=0.85,1.15", "shift=0.08", "precision=auto")
SETTINGS = {
    "quick": ("batch=16", "steps=3200", "epoch_steps=800", "warmup=200", "ema=0.995", *VIEWS),
    "full": ("batch=64", "steps=6000", "epoch_steps=1000", "warmup=200", "ema=0.999", *VIEWS),
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


def jobs_for(variants):
    """How many variants to train at a time: one on a graphics card, else as many as there are cores."""
    return 1 if has_graphics_card() else max(1, min(cores(), len(variants)))


def train(folder, variants, settings, seed=0, jobs=1):
    """Trains (the rest of) those variants that are not there yet, `jobs` of them at a time, in this order.

    folder: of `prepare`.  settings: `--set` of experiments.lifting, a value of `SETTINGS`.  What a variant
    that trains beside others prints is in its folder's output.txt.  ValueError for an unknown variant.
    """
    for variant in variants:
        if variant not in VARIANTS:
            raise ValueError(f"variant: one of {VARIANTS} expected, got {variant!r}")
    missing = [name for name in variants if not os.path.exists(_paths(folder, name, seed)[1])]
    jobs = min(jobs, len(missing))
    if jobs < 2:
        for variant in missing:
            _train(folder, variant, settings, seed)
        return
    share = max(1, cores() // jobs)
    print(f"training {', '.join(missing)}: {jobs} at a time, threads for each: {share}", flush=True)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context, follow_parent) as pool:
        tasks = {
            pool.submit(_train_apart, folder, variant, settings, seed, share): variant for variant in missing
        }
        try:
            _show(tasks, folder, seed)
        except concurrent.futures.process.BrokenProcessPool:
            reason = f"{folder}: a training ended suddenly (out of memory?); run the command again"
            raise OSError(f"{reason}, with fewer --jobs if need be: it goes on where it was") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _show(tasks, folder, seed, every=2.0):
    """Prints each epoch as it ends, until all tasks are done; raises what one of them raised.

    tasks: {future: variant}.  every: seconds between looks.
    """
    metric, waiting = lifting.OPTIONS["monitor"], set(tasks)
    shown = {variant: len(_log(folder, variant, seed)) for variant in tasks.values()}
    while waiting:
        done, waiting = concurrent.futures.wait(waiting, every, concurrent.futures.FIRST_EXCEPTION)
        for variant in tasks.values():
            rows = _log(folder, variant, seed)
            for row in rows[shown[variant] :]:
                print(f"{variant}: epoch {int(row['epoch']) + 1}, {metric} {row[metric]:.1f}", flush=True)
            shown[variant] = len(rows)
        for task in done:
            task.result()


def _log(folder, variant, seed):
    return run_folder.read_log(_paths(folder, variant, seed)[0])


def _paths(folder, variant, seed):
    """A variant's run folder, and the file that says that it is done, and in how many seconds."""
    run = os.path.join(folder, f"{variant}-{seed}")
    return run, os.path.join(run, "seconds.txt")


def _train(folder, variant, settings, seed):
    run, done = _paths(folder, variant, seed)
    data = ",".join(os.path.join(folder, POSES.format(split)) for split in ("training", "evaluation"))
    settings = (f"variant={variant}", f"seed={seed}", *settings)
    start = time.time()
    try:
        lifting.main(["--data", data, "--run", run, *(f"--set={one}" for one in settings)])
    finally:
        keras.config.set_dtype_policy("float32")
        keras.utils.clear_session()
    write_atomic(done, f"{time.time() - start:.1f}\n".encode())


def _train_apart(folder, variant, settings, seed, threads):
    """The same in a process of its own."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    run, _ = _paths(folder, variant, seed)
    os.makedirs(run, exist_ok=True)
    with open(os.path.join(run, "output.txt"), "a", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            _train(folder, variant, settings, seed)


def trained(folder, variant, seed=0):
    """A network that `train` has trained, and the seconds that it took.

    The weights are the last, averaged ones: the best epoch is chosen on the hands that Table 2 measures,
    which would be unfair to the nearest neighbour.
    """
    run, done = _paths(folder, variant, seed)
    network = lifting.build(recipes.read_recipe(run, lifting.Recipe))
    network.load_weights(os.path.join(run, common.LAST))
    with open(done) as file:
        return network, float(file.read())


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
