"""The one command for a machine with a GPU, in toy size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hand3d import manifest

ROOT = Path(manifest.__file__).parents[1]
RUN = """
import sys
sys.modules["tensorflow"] = None  # as on a machine that does not have it
if __name__ == "__main__":
    from experiments import gpu_training
    sys.exit(gpu_training.main(sys.argv[1:]))
"""


def run(*arguments, backend="jax"):
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_renders_trains_and_returns_weights(tmp_path):
    pytest.importorskip("jax")
    settings = "width=0.125 crop_size=64 cut=80 batch=4 epoch_steps=5 validation=8 stages=1 people=24".split()
    settings = [f"--set={setting}" for setting in settings]
    small = ["--size", 96, "--workers", 2, "--pool", 64, "--validation", 8, "--set", "ema=0.9"]
    finished = run("--out", tmp_path, "--minutes", 1, "--stages", "posenet,lifting", *small, *settings)
    if "OpenGL" in finished.stderr or "moderngl" in finished.stderr:
        pytest.skip(finished.stderr)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "examples_per_s=" in finished.stdout and "share_of_peak=" in finished.stdout
    for stage, roles in (("posenet", {"posenet"}), ("lifting", {"poseprior", "viewpoint"})):
        folder = tmp_path / stage
        assert all(path.stat().st_size < 2**24 for path in folder.iterdir())
        weight_set = manifest.find(str(folder))
        assert set(manifest.load(weight_set)) == roles
        assert np.isfinite(weight_set.entry["scores"]["validation"]["val_loss"])
    assert json.loads((tmp_path / "posenet" / "manifest.json").read_text())["schema"] == 1
    again = ["--init", tmp_path / "posenet", "--precision", "bfloat16"]
    finished = run("--out", tmp_path / "on", "--minutes", 0.5, *again, *small, *settings)
    assert finished.returncode == 0, finished.stderr[-3000:]


@pytest.mark.slow
def test_wrong_arguments(tmp_path):
    for arguments, words in (
        (["--stages", "hands"], "--stages hands: known are handsegnet"),
        (["--minutes", "0"], "more than 0 expected"),
        (["--set", "stepz=3"], "--set stepz=3: no such key"),
    ):
        finished = run("--out", tmp_path, "--minutes", "1", *arguments)
        assert finished.returncode == 2 and words in finished.stderr, finished.stderr
    finished = run("--out", tmp_path, "--minutes", "1", backend="numpy")
    assert finished.returncode == 2 and "KERAS_BACKEND=jax" in finished.stderr
