"""Several machines, here two processes: the loss curve of one, and one that is killed and comes back."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import machines, run_folder

ROOT = Path(machines.__file__).parents[1]


def config(ports, number):
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})


def test_what_tf_config_says(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert machines.count() == 0
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["localhost:1"]}}')
    assert machines.count() == 1
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}}')
    assert machines.count() == 2
    with pytest.raises(ValueError, match="the task {} is none of the 2 machines"):
        machines.join("run")
    for wrong in ("[", "[]", '{"cluster": 3}'):
        monkeypatch.setenv("TF_CONFIG", wrong)
        with pytest.raises(ValueError, match="no JSON object"):
            machines.count()
    monkeypatch.setenv("TF_CONFIG", config([1, 2], 1))
    if machines.keras.config.backend() == "tensorflow":
        with pytest.raises(ValueError, match="--devices 2: of several machines all GPUs are used"):
            machines.join("run", "2")
    else:
        with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow expected"):
            machines.join("run")


TOY = """
import argparse, sys
import keras
from experiments import common, devices, machines
from test_resume import Recipe, Toy, toy_data
run = machines.join(sys.argv[1]) if machines.count() else sys.argv[1]
keras.utils.set_random_seed(0)
with devices.scope(None, 4):
    model = Toy(rate=0.0)  # what a device draws at random depends on its share of the batch
options = dict(monitor="val_loss", mode="min", role="toy")
arguments = argparse.Namespace(run=run, init=None)
common.train(model, Recipe(clip=0.0), arguments, toy_data, toy_data().take(2), **options)
"""


def start(command, log, tf_config=None):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"TMPDIR": str(log.parent)} | ({"TF_CONFIG": tf_config} if tf_config else {})
    with open(log, "a") as file:
        return subprocess.Popen([sys.executable, *command], env=environment, stdout=file, stderr=file)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def together(command, folder):
    """(processes, again): a command on two machines, and what starts it once more on one of them."""
    ports = free_ports(2)
    logs = [folder / f"{number}.log" for number in range(2)]

    def again(number):
        processes[number] = start(command, logs[number], config(ports, number))

    processes = [start(command, log, config(ports, number)) for number, log in enumerate(logs)]
    try:
        yield processes, again
        codes = [process.wait(240) for process in processes]
        assert codes == [0, 0], [log.read_text()[-3000:] for log in logs]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_two_machines_have_the_loss_curve_of_one(tmp_path):
    pytest.importorskip("tensorflow")
    assert start(["-c", TOY, str(tmp_path / "one")], tmp_path / "one.log").wait() == 0
    with together(["-c", TOY, str(tmp_path / "two")], tmp_path):
        pass
    one, two = (
        [[row["loss"], row["val_loss"]] for row in run_folder.read_log(tmp_path / name)]
        for name in ("one", "two")
    )
    assert len(one) == 5
    np.testing.assert_allclose(one, two, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_machine_is_killed_and_comes_back(victim, tmp_path):
    pytest.importorskip("tensorflow")
    from test_training import write_toy_poses

    run, epochs = tmp_path / "run", 6
    data = write_toy_poses(tmp_path)
    settings = f"batch=8 epoch_steps=4 steps={4 * epochs} warmup=2 learning_rate=1e-4".split()
    command = ["-m", "experiments.lifting", "--data", data, "--run", str(run)]
    with together([*command, *(f"--set={each}" for each in settings)], tmp_path) as (processes, again):
        until = time.time() + 120
        while len(run_folder.read_log(run)) < 2 and time.time() < until:
            time.sleep(0.05)
        processes[victim].send_signal(signal.SIGKILL)
        processes[victim].wait()
        done = len(run_folder.read_log(run))
        assert 2 <= done < epochs
        again(victim)
    rows = run_folder.read_log(run)
    assert [row["epoch"] for row in rows] == list(range(epochs))
    assert np.isfinite([[row["loss"], row["val_loss"]] for row in rows]).all()
    log = (tmp_path / f"{1 - victim}.log").read_text()
    assert "a machine was lost; starting again" in log and log.count("resumed") == 1
    starts = json.loads((run / "run.json").read_text())["starts"]
    assert len(starts) == 2
