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


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_two_devices_have_the_loss_curve_of_one(precision, tmp_path):
    pytest.importorskip("tensorflow")
    from test_training import toy_poses

    from pipelines.poses import write_poses

    for split in ("training", "evaluation"):
        poses = toy_poses(np.random.default_rng(0), 40)
        poses |= {"action": ["flat"] * 40, "character": np.arange(40)}
        write_poses(str(tmp_path / f"{split}.npz"), poses, split)
    data = f"{tmp_path}/training.npz,{tmp_path}/evaluation.npz"
    # nothing random: what a device draws depends on its share of the batch
    still = "any_view=0 turn=0 roll=0 off_axis=0 scale=1,1 shift=0 noise=0 gross=0 proportions=0"
    settings = f"{still} batch=8 epoch_steps=4 steps=12 warmup=2 learning_rate=1e-4".split()
    losses = []
    for name in ("cpu:0", "cpu:0,cpu:1"):
        run = str(tmp_path / name.replace(":", "").replace(",", "-"))
        command = [sys.executable, "-m", "experiments.lifting", "--data", data, "--run", run]
        command += ["--devices", name, "--precision", precision, *(f"--set={each}" for each in settings)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout[-1000:] + finished.stderr[-3000:]
        losses.append([[row["loss"], row["val_loss"]] for row in run_folder.read_log(run)])
    tolerance = 1e-4 if precision == "float32" else 0.03
    np.testing.assert_allclose(losses[0], losses[1], rtol=tolerance)
