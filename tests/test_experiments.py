"""Recipes and the training loop: what a user types, and a run that is killed and goes on."""

import argparse
import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops
from test_training import BATCH, SIZE, toy_batch, toy_posenet
from toy_samples import write_toy_records

from hand3d.augment import Augment
from hand3d.training import PoseNetTraining

tf = pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import common, handsegnet, lifting, posenet, recipes  # noqa: E402
from hand3d import cores  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Recipe:
    batch: int = BATCH
    steps: int = 6
    epoch_steps: int = 2
    optimizer: str = "adamw"
    schedule: str = "cosine"
    learning_rate: float = 1e-3
    warmup: int = 1
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.9
    precision: str = "float32"
    seed: int = 0
    scale: tuple = (0.5, 2.0)


def test_settings_are_typed_and_unknown_keys_refused():
    changed = recipes.change(Recipe(), ["steps=8", "learning_rate=1e-2", "scale=1,1.5"])
    assert changed == Recipe(steps=8, learning_rate=0.01, scale=(1.0, 1.5))
    for bad in ("stepz=8", "steps", "steps=many", "scale=1", "scale=1,2,3"):
        with pytest.raises(ValueError, match=f"--set {bad}: .*(known are batch, steps|such as (6|0.5,2.0) )"):
            recipes.change(Recipe(), [bad])


@pytest.mark.parametrize(
    "flags, precision",
    [
        ("fpu avx2 fma", "float32"),
        ("fpu avx512f avx512_bf16 fma", "mixed_bfloat16"),
        ("amx_bf16", "mixed_bfloat16"),
    ],
)
def test_the_precision_is_one_that_the_machine_has(tmp_path, monkeypatch, flags, precision):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: amx_bf16_or_so\n")
    monkeypatch.setattr(cores, "CPUINFO", str(tmp_path / "cpuinfo"))
    monkeypatch.setattr(cores, "has_graphics_card", lambda: False)
    assert recipes.with_precision(Recipe(precision="auto")) == Recipe(precision=precision)
    for given in ("float32", "mixed_float16"):
        assert recipes.with_precision(Recipe(precision=given)).precision == given
    begun = tmp_path / "run"
    begun.mkdir()
    (begun / recipes.RECIPE).write_text('{"precision": "mixed_float16"}')  # as it began elsewhere
    assert recipes.with_precision(Recipe(precision="auto"), str(begun)).precision == "mixed_float16"
    (begun / recipes.RECIPE).write_text("{")
    with pytest.raises(SystemExit, match="recipe.json is not JSON"):
        recipes.with_precision(Recipe(precision="auto"), str(begun))


def test_a_machine_that_does_not_tell_has_no_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "CPUINFO", str(tmp_path / "missing"))
    monkeypatch.setattr(cores, "has_graphics_card", lambda: False)
    assert not cores.multiplies_bfloat16()
    monkeypatch.setattr(cores, "has_graphics_card", lambda: True)
    assert cores.multiplies_bfloat16()


def test_schedules():
    cosine = common.schedule(Recipe(steps=100, warmup=10, learning_rate=1.0))
    values = [float(cosine(step)) for step in (0, 10, 55, 100)]
    np.testing.assert_allclose(values, [0, 1, 0.5, 0], atol=1e-3)
    paper = common.schedule(Recipe(schedule="1e-4:10,1e-5:20,1e-6"))
    np.testing.assert_allclose([float(paper(step)) for step in (0, 15, 25)], [1e-4, 1e-5, 1e-6])
    assert common.schedule(Recipe(schedule="1e-4")) == 1e-4


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    starts = []

    def data(start):
        starts.append(start)
        return tf.data.Dataset.from_tensors(toy_batch(np.random.default_rng(1))).repeat()

    def run():
        keras.utils.set_random_seed(0)
        model = PoseNetTraining(toy_posenet(), Augment(SIZE, 1.25))
        arguments = argparse.Namespace(run=str(tmp_path), init=None)
        options = dict(monitor="val_epe_px", mode="min", role="posenet")
        return common.train(model, Recipe(), arguments, data, data(99).take(1), **options)

    def killed(self, epoch, logs=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(common.SaveNetwork, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (tmp_path / "state.weights.h5").exists() and not (tmp_path / "last.weights.h5").exists()
    model = run()
    assert int(model.optimizer.iterations) == 6
    assert [start for start in starts if start != 99] == [0, 0]  # the first epoch was not done
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["epoch", "0", "1", "2"]
    names = {path.name for path in tmp_path.iterdir()}
    assert {"best.weights.h5", "last.weights.h5", "recipe.json", "tensorboard"} <= names
    assert not [name for name in names if "part" in name]
    expected = model.network.get_weights()  # the averages, as left by the last epoch

    def check():
        network = toy_posenet()
        network.load_weights(tmp_path / "last.weights.h5")
        for ours, theirs in zip(network.get_weights(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-7)

    check()
    (tmp_path / "last.weights.h5").unlink()  # as if killed between the state and the network
    run()
    check()
    assert json.loads((tmp_path / "recipe.json").read_text())["steps"] == 6
    with pytest.raises(SystemExit, match="learning_rate"):
        recipes.open_run(str(tmp_path), Recipe(learning_rate=0.5), begun=True)


def test_the_validation_does_not_tune_itself(tmp_path, monkeypatch):
    given = []

    def fit(self, data, validation_data, **options):
        given.append(validation_data)
        raise KeyboardInterrupt

    def data(start):
        return tf.data.Dataset.from_tensors(toy_batch(np.random.default_rng(1)))

    monkeypatch.setattr(PoseNetTraining, "fit", fit)
    model = PoseNetTraining(toy_posenet(), Augment(SIZE, 1.25))
    arguments = argparse.Namespace(run=str(tmp_path), init=None)
    with pytest.raises(KeyboardInterrupt):
        common.train(
            model, Recipe(), arguments, data, data(0), monitor="val_epe_px", mode="min", role="posenet"
        )
    assert data(0).options().autotune.enabled is not False
    assert given[0].options().autotune.enabled is False
    arrays = {"picture": np.zeros(3)}
    assert common.untuned(arrays) is arrays and common.untuned(None) is None


def test_compiled_augmentation_is_the_same():
    batch = toy_batch(np.random.default_rng(0))
    plain, compiled = (
        Augment(SIZE, 1.25, seed=3, jit=jit)(batch["picture"], batch["background"], training=True)
        for jit in (None, common.compiler())
    )
    for one, other in zip(plain[:2], compiled[:2], strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), atol=2e-3)


@pytest.mark.parametrize("program", [handsegnet, posenet, lifting])
def test_missing_data_and_unknown_keys_are_told(program, tmp_path):
    folder = str(tmp_path / "no such folder")
    with pytest.raises(SystemExit, match="no such folder.*info.json does not exist"):
        program.main(["--data", folder, "--run", str(tmp_path / "run"), "--set", "precision=float32"])
    with pytest.raises(SystemExit) as error:
        program.main(["--data", folder, "--run", str(tmp_path / "run"), "--set", "no_such_key=1"])
    assert error.value.code == 2 and not (tmp_path / "run").exists()


def test_bad_folders_are_told(tmp_path):
    pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
    data = write_toy_records(tmp_path, size=64)
    small = [
        f"--set={setting}"
        for setting in ("precision=float32", "width=0.125", "crop_size=64", "cut=64", "batch=4")
    ]
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    run, empty = str(tmp_path / "run"), str(tmp_path / "empty")
    with pytest.raises(SystemExit, match="no picture for the split 'training'"):
        handsegnet.main(["--data", data, "--run", run, "--backgrounds", empty, *small])
    with pytest.raises(SystemExit, match="file"):
        handsegnet.main(["--data", data, "--run", str(tmp_path / "file"), *small])
    with pytest.raises(SystemExit, match="no-such-set"):
        handsegnet.main(["--data", data, "--run", run, "--init", "no-such-set", *small])
