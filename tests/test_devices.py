"""Several devices: the loss curve of one, and what is not there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import devices, run_folder

ROOT = Path(devices.__file__).parents[1]


def test_names_of_devices():
    for wrong in ("gpu", "tpu:0", "0", "cpu:0,cpu:0", "cpu:x"):
        with pytest.raises(ValueError, match=f"--devices {wrong}: "):
            devices._names(wrong)
    with pytest.raises(ValueError, match="a batch of 5 cannot be shared by 2 devices"):
        devices.scope("cpu:0,cpu:1", 5)
    with pytest.raises(ValueError, match="--devices gpu:7: no gpu:7; there are cpu:0"):
        devices.prepare("gpu:7")


def test_a_generator_that_is_begun_again():
    tf = pytest.importorskip("tensorflow")
    from experiments.sources import KEPT, as_dataset

    data = as_dataset({"x": np.full(1, number)} for number in range(3 * KEPT))
    assert next(iter(data))["x"] == 0
    assert [int(batch["x"][0]) for batch in data] == list(range(3 * KEPT))
    with pytest.raises(tf.errors.OpError, match="begun again after 16 batches"):
        next(iter(data))


ON_DEVICES = """
import argparse, sys
import keras
from experiments import common, devices
from test_resume import Recipe, Toy, toy_data
wanted, run, kind = sys.argv[1:]
devices.prepare(wanted)
keras.utils.set_random_seed(0)
with devices.scope(wanted, 4):
    model = Toy(rate=0.0)  # what a device draws at random depends on its share of the batch
arguments = argparse.Namespace(run=run, init=None)
options = dict(monitor="val_loss", mode="min", role="toy")
def data(start):
    return toy_data(start) if kind == "dataset" else toy_data(start).as_numpy_iterator()
common.train(model, Recipe(clip=0.0), arguments, data, toy_data().take(2), **options)
"""


def on_devices(tmp_path, command, wanted):
    """Rows of the log of a run on the devices `wanted`."""
    run = str(tmp_path / wanted.replace(":", "").replace(",", "-"))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "KERAS_BACKEND": "tensorflow"}
    finished = subprocess.run(command(wanted, run), env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-1000:] + finished.stderr[-3000:]
    return [[row["loss"], row["val_loss"]] for row in run_folder.read_log(run)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dataset", "generator"])
def test_two_devices_have_the_loss_curve_of_one(kind, tmp_path):
    pytest.importorskip("tensorflow")

    def command(wanted, run):
        return [sys.executable, "-c", ON_DEVICES, wanted, run, kind]

    one, two = (on_devices(tmp_path, command, wanted) for wanted in ("cpu:0", "cpu:0,cpu:1"))
    assert len(one) == 5
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_program_on_two_devices(precision, tmp_path):
    pytest.importorskip("tensorflow")
    from test_training import write_toy_poses

    data = write_toy_poses(tmp_path)
    settings = "batch=8 epoch_steps=4 steps=8 warmup=2 learning_rate=1e-4".split()

    def command(wanted, run):
        program = [sys.executable, "-m", "experiments.lifting", "--data", data, "--run", run]
        options = ["--devices", wanted, "--precision", precision]
        return [*program, *options, *(f"--set={each}" for each in settings)]

    losses = np.array(on_devices(tmp_path, command, "cpu:0,cpu:1"))
    assert losses.shape == (2, 2) and np.isfinite(losses).all()
    if precision == "float32":  # a run that is complete is read again
        np.testing.assert_array_equal(losses, on_devices(tmp_path, command, "cpu:0,cpu:1"))
    with pytest.raises(AssertionError, match="a batch of 8 cannot be shared by 3 devices"):
        on_devices(tmp_path, command, "cpu:0,cpu:1,cpu:2")
