"""Trainings in processes of their own, beside each other."""

import os

import keras
import numpy as np
import pytest
from test_table2 import toy_poses

pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import lifting_runs, side_by_side  # noqa: E402

TINY = ("batch=4", "steps=2", "epoch_steps=1", "warmup=1", "ema=0.5", *lifting_runs.VIEWS)
NAMES = ("direct", "bottleneck")


def test_one_on_a_graphics_card_and_otherwise_one_a_core(monkeypatch):
    monkeypatch.setattr(side_by_side, "has_graphics_card", lambda: False)
    monkeypatch.setattr(side_by_side, "cores", lambda: 4)
    assert [side_by_side.jobs_for(count) for count in (1, 3, 9)] == [1, 3, 4]
    monkeypatch.setattr(side_by_side, "has_graphics_card", lambda: True)
    assert side_by_side.jobs_for(9) == 1


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path, capsys):
    """The same weights; they go on where they were, and an error in one of them comes out."""
    splits = {"training": toy_poses(16), "evaluation": toy_poses(4, seed=1)}
    made = {}
    for jobs in (1, 2):
        folder = lifting_runs.prepare(str(tmp_path / str(jobs)), "quick", splits, "toy")
        lifting_runs.train(folder, NAMES, TINY, jobs=jobs)
        made[jobs] = [lifting_runs.trained(folder, name)[0].get_weights() for name in NAMES]
    shown = capsys.readouterr().out
    assert all(f"{name}: epoch 2, val_epe_mm/root_scale" in shown for name in NAMES)
    runs = [os.path.join(folder, f"{name}-0") for name in NAMES]
    with open(os.path.join(runs[0], side_by_side.OUTPUT), encoding="utf-8") as file:
        assert "Epoch 2/2" in file.read()
    for one, two in zip(*made.values(), strict=True):
        for alone, beside in zip(one, two, strict=True):
            np.testing.assert_allclose(beside, alone, atol=1e-5)

    def forget():  # as if killed after the last epoch
        for run in runs:
            os.unlink(os.path.join(run, side_by_side.SECONDS))

    forget()
    lifting_runs.train(folder, NAMES, TINY, jobs=2)
    assert all(side_by_side.seconds(run) > 0 for run in runs)
    forget()
    with pytest.raises(SystemExit, match="recipe.json differs from this recipe in batch"):
        lifting_runs.train(folder, NAMES, ("batch=5", *TINY[1:]), jobs=2)


def test_an_unknown_variant_is_named(tmp_path):
    with pytest.raises(ValueError, match="variant: one of .*'best'"):
        lifting_runs.train(str(tmp_path), ("best",), TINY)


def _killed(arguments):
    os._exit(9)


@pytest.mark.slow
def test_a_killed_training_is_named(tmp_path, monkeypatch):
    trainings = {name: (__name__, ["--run", str(tmp_path / name)]) for name in NAMES}
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    with pytest.raises(OSError, match="a training ended suddenly .*goes on where it was"):
        side_by_side.train(trainings, 2)


main, OPTIONS = _killed, {"monitor": "loss"}  # of this module as a training program
