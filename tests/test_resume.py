"""Runs that are killed anywhere go on and end with the weights of an unbroken run, bit for bit."""

import argparse
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import callbacks, common, run_folder  # noqa: E402
from pipelines.order import choices, passes  # noqa: E402

ROOT = str(Path(common.__file__).parents[1])


@dataclasses.dataclass(frozen=True)
class Recipe:
    batch: int = 4
    steps: int = 10
    epoch_steps: int = 2
    optimizer: str = "muon"
    schedule: str = "cosine"
    learning_rate: float = 1e-2
    warmup: int = 1
    weight_decay: float = 1e-3
    clip: float = 0.5
    ema: float = 0.8
    precision: str = "float32"
    plateau: int = 0
    seed: int = 3


class Toy(keras.Model):
    """Dropout, so that there is a random generator."""

    def __init__(self, rate=0.3):
        super().__init__()
        inputs = keras.Input((3,))
        x = keras.layers.Dropout(rate)(keras.layers.Dense(8, activation="relu")(inputs))
        self.network, self.replicas = keras.Model(inputs, keras.layers.Dense(1)(x)), 1
        self.built = True

    def call(self, batch, training=False):
        return self.network(batch["x"], training=training) - batch["y"]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.square(y_pred)) / self.replicas


def toy_data(start=0, bad=None):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(13, 3)).astype(np.float32)
    y = x[:, :1] ** 2
    if bad is not None:
        y[bad] = np.nan
    return passes(tf.data.Dataset.from_tensor_slices({"x": x, "y": y}), 5, 13, start, 13).batch(4)


def toy_run(run, recipe=Recipe(), data=toy_data, names=None):  # noqa: B008 (frozen)
    keras.utils.set_random_seed(0)
    arguments = argparse.Namespace(run=str(run), init=None)
    options = dict(monitor="val_loss", mode="min", role="toy", names=names)
    return common.train(Toy(), recipe, arguments, data, toy_data().take(2), **options)


def weights(folder, name="last.weights.h5"):
    model = Toy().network
    model.load_weights(os.path.join(folder, name))
    return model.get_weights()


class Killed(BaseException):
    """What nothing catches, as a kill."""


def killed_run(run, monkeypatch, where, count):
    """Ends the run at the `count`-th time that it comes to a place."""
    calls = iter(range(count))

    def stop(*args, **kwargs):
        if next(calls, None) is None:
            raise Killed
        return original(*args, **kwargs)

    def half(self, path, *args, **kwargs):
        if next(calls, None) is None:
            Path(path).write_bytes(b"half a file")
            raise Killed
        return original(self, path, *args, **kwargs)

    with monkeypatch.context() as patch:
        owner, name, function = {
            "batch": (callbacks.WatchLoss, "on_train_batch_end", stop),
            "writing": (keras.Model, "save_weights", half),
            "log": (keras.callbacks.CSVLogger, "on_epoch_end", stop),
        }[where]
        original = getattr(owner, name)
        patch.setattr(owner, name, function)
        with pytest.raises(Killed):
            toy_run(run)


def test_an_interrupted_run_ends_bit_for_bit_as_an_unbroken_one(tmp_path, monkeypatch):
    toy_run(tmp_path / "whole")
    for where, count in (("batch", 3), ("writing", 5), ("log", 1)):
        killed_run(tmp_path / "broken", monkeypatch, where, count)
    toy_run(tmp_path / "broken")
    for name in ("last.weights.h5", "best.weights.h5"):
        for ours, theirs in zip(
            weights(tmp_path / "broken", name), weights(tmp_path / "whole", name), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    logs = [run_folder.read_log(tmp_path / name) for name in ("broken", "whole")]
    assert [row["epoch"] for row in logs[0]] == [0, 1, 2, 3, 4]
    for key in ("loss", "val_loss"):
        assert [row[key] for row in logs[0]] == [row[key] for row in logs[1]]
    assert not [name for name in os.listdir(tmp_path / "broken") if "partial" in name]


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    asked = []

    def names(start):
        asked.append(start)
        return ["bad one"]

    def data(start):  # good in the first epoch
        return toy_data(start).take(2).concatenate(toy_data(start + 8, bad=slice(None)))

    with pytest.raises(
        SystemExit, match="the loss is nan at step 3, epoch 2; samples: bad one.*end of epoch 1"
    ):
        toy_run(tmp_path, data=data, names=names)
    assert asked == [8]
    assert all(np.isfinite(part).all() for part in weights(tmp_path))
    assert len(run_folder.read_log(tmp_path)) == 1
    model = toy_run(tmp_path)  # the folder stays usable
    assert int(model.optimizer.iterations) == 10


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    whole = keras.Model.save_weights

    def full(self, path, *args, **kwargs):
        if getattr(self, "optimizer", None) is not None and int(self.optimizer.iterations) == 4:
            raise OSError(28, "No space left on device")
        return whole(self, path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save_weights", full)
        with pytest.raises(SystemExit, match="state.weights.h5 cannot be saved: .*No space left"):
            toy_run(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]
    assert int(toy_run(tmp_path).optimizer.iterations) == 10


def test_steps_that_the_optimiser_did_not_count(tmp_path):
    save = callbacks.SaveState(str(tmp_path), 2)
    toy = Toy()
    toy.compile(optimizer="sgd")
    save.set_model(toy)
    for epoch, counted in enumerate((2, 3, 4)):  # an overflow in the second epoch
        toy.optimizer.iterations.assign(counted)
        save.on_epoch_end(epoch)
        assert callbacks.epochs_done(str(tmp_path), counted, 2) == epoch + 1


def test_a_run_folder_of_another_experiment(tmp_path):
    run_folder.open_run(str(tmp_path), Recipe(), False, "experiments.one")
    with pytest.raises(SystemExit, match="is a run of experiments.one, not of experiments.two"):
        run_folder.open_run(str(tmp_path), Recipe(), True, "experiments.two")
    with pytest.raises(SystemExit, match="batch: 4 there, 8 here; take another --run"):
        run_folder.open_run(str(tmp_path), Recipe(batch=8), True, "experiments.one")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(SystemExit, match="run.json is not JSON"):
        run_folder.open_run(str(tmp_path), Recipe(), True)


@pytest.mark.slow
def test_stops_on_a_plateau(tmp_path):
    assert callbacks.on_plateau([5, 4, 4.5, 6], "min", 2) and not callbacks.on_plateau([5, 4, 4.5], "min", 2)
    assert not callbacks.on_plateau([1, 2, float("nan")], "max", 2) and not callbacks.on_plateau(
        [3, 4], "min", 0
    )
    recipe = Recipe(steps=40, learning_rate=0.0, plateau=2, ema=0.0)
    for _ in range(2):  # the second time it is complete
        toy_run(tmp_path, recipe)
        assert len(run_folder.read_log(tmp_path)) == 3


def test_orders_do_not_depend_on_where_they_begin():
    data = tf.data.Dataset.range(7)
    whole = [int(n) for n in passes(data, 1, 7).take(30)]
    assert sorted(whole[:7]) == list(range(7)) and whole[:7] != whole[7:14]
    for start in (3, 7, 20):
        assert [int(n) for n in passes(data, 1, 7, start).take(30 - start)] == whole[start:]
        assert [int(n) for n in passes(lambda number: data, 1, 7, start).take(5)] == whole[start : start + 5]
    first, _ = choices([1, 3], 2)
    picked = np.array([int(n) for n in first.take(5000)])
    assert 0.72 < picked.mean() < 0.78
    later, counts = choices([1, 3], 2, 4500)
    np.testing.assert_array_equal(picked[4500:], [int(n) for n in later.take(500)])
    np.testing.assert_array_equal(counts, np.bincount(picked[:4500]))


def command(program, data, run, *settings):
    return [sys.executable, "-m", f"experiments.{program}", "--data", data, "--run", str(run), *settings]


def kill_often(arguments, run, kills, seed):
    """Kills the command so many times, at random places after its first step; then lets it end."""
    rng, done = random.Random(seed), 0
    environment = os.environ | {"PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3"}
    while True:
        with subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            output = []
            for line in process.stdout:
                output.append(line)
                if line.startswith("Epoch ") and done < kills:
                    if rng.random() < 0.5:  # else in a later epoch of this process
                        time.sleep(rng.uniform(0, 0.4))
                        process.send_signal(signal.SIGKILL)
                        break
            process.stdout.close()
            code = process.wait()
        if code == -signal.SIGKILL:
            done += 1
            continue
        assert code == 0, "".join(output)
        return done


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20])
def test_killed_at_random_places(kills, tmp_path):
    from test_training import toy_poses

    from pipelines.poses import write_poses

    for split in ("training", "evaluation"):
        poses = toy_poses(np.random.default_rng(0), 40)
        poses |= {"action": ["flat"] * 40, "character": np.arange(40)}
        write_poses(str(tmp_path / f"{split}.npz"), poses, split)
    data = f"{tmp_path}/training.npz,{tmp_path}/evaluation.npz"
    settings = "batch=4 epoch_steps=2 steps=160 warmup=4 dropout=true precision=float32".split()
    settings = [f"--set={setting}" for setting in settings]
    runs = [tmp_path / name for name in ("whole", "broken")]
    assert kill_often(command("lifting", data, runs[0], *settings), runs[0], 0, 0) == 0
    assert kill_often(command("lifting", data, runs[1], *settings), runs[1], kills, 1) == kills
    same_end(runs)


def same_end(runs):
    import h5py

    rows = [run_folder.read_log(run) for run in runs]
    assert [row["loss"] for row in rows[0]] == [row["loss"] for row in rows[1]]
    for name in ("state.weights.h5", "last.weights.h5", "best.weights.h5"):
        with h5py.File(runs[0] / name) as one, h5py.File(runs[1] / name) as other:
            compared = []

            def same(path, item, other=other, compared=compared):
                if isinstance(item, h5py.Dataset):
                    np.testing.assert_array_equal(item[()], other[path][()], err_msg=path)
                    compared.append(path)

            one.visititems(same)
            assert len(compared) > 10


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["handsegnet", "posenet"])
def test_an_image_stage_killed_at_random_places(stage, tmp_path):
    pytest.importorskip("google_crc32c")
    from toy_samples import write_toy_records

    (tmp_path / "data").mkdir()
    data = write_toy_records(tmp_path / "data")  # PoseNet leaves smaller hands out
    settings = "batch=4 epoch_steps=2 steps=80 warmup=4 precision=float32 width=0.125 crop_size=32 cut=48"
    settings = [f"--set={setting}" for setting in settings.split()]
    runs = [tmp_path / name for name in ("whole", "broken")]
    kill_often(command(stage, data, runs[0], *settings), runs[0], 0, 0)
    assert kill_often(command(stage, data, runs[1], *settings), runs[1], 20, 1) == 20
    same_end(runs)
