"""The stream of rendered batches; it needs OpenGL in its own processes only."""

import io
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from toy_samples import toy_sample

from pipelines import cut

BACKENDS = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
sys.modules["tensorflow"] = None  # as if it were not installed: Keras itself imports it where it is
import keras
from pipelines.stream import handsegnet_stream, posenet_stream
from hand3d.augment import Augment
from hand3d.networks.lite import {network}
from hand3d.training import {training}
if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    small = dict(batch=4, size=96, side={side}, crop_size=32, min_box=8, workers=2)
    batches = {stream}(**small)
    augment = Augment(32, reach={reach}, crop_factor={crop_factor})
    model = {training}({network}(folded=False, **{network_options}), augment)
    model.compile(optimizer="adamw")
    history = model.fit(batches, steps_per_epoch=2, epochs=1, verbose=0)
    assert history.history["loss"][0] == history.history["loss"][0]
    batches.close()
    print("trained")
"""


def test_cut_is_that_of_the_input_functions():
    tf = pytest.importorskip("tensorflow")
    from pipelines import hands

    for seed, cuts in enumerate(([40.0, 50.0, 60.0], [3.25, 100.5, 47.7], [64.0, 64.0, 300.0])):
        sample = toy_sample(seed)
        covers = np.stack([sample["mask"] > 0, sample["mask"] > 1], -1)
        ours = cut.cut_square(sample["image"], covers, cuts, 48)
        theirs = hands.cut_square(sample["image"], covers, tf.constant(cuts), 48).numpy()
        difference = np.abs(ours.astype(int) - theirs)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_examples_are_those_of_the_input_functions(tmp_path):
    pytest.importorskip("tensorflow")
    pytest.importorskip("google_crc32c")
    from toy_samples import write_toy_records

    from pipelines import inputs

    folder = write_toy_records(tmp_path, splits=(("evaluation", 4),))
    (wanted,) = inputs.posenet_batches(folder, "evaluation", batch=64, training=False, side=64, crop_size=32)
    options = {"side": 64, "reach": 1.6, "min_visible": 9, "min_box": 30}
    samples = [toy_sample(1000 + number) for number in range(4)]
    found = [example for sample in samples for example in cut.posenet_examples(sample, **options)]
    assert len(found) == len(wanted["side"]) > 4
    assert found[0].keys() == wanted.keys() - {"background"}
    for key in found[0]:
        ours, theirs = np.stack([example[key] for example in found]), wanted[key].numpy()
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, key
        if key == "picture":  # the records' JPEG lies between
            assert np.abs(ours[..., 3:].astype(int) - theirs[..., 3:]).max() <= 1
        else:
            np.testing.assert_allclose(ours, theirs, atol=1e-3, err_msg=key)


def test_zooms_are_on_the_hands():
    sample = toy_sample(3)
    rng = np.random.default_rng(0)
    examples = cut.handsegnet_examples(sample, rng, side=64, zooms=True, min_box=20)
    whole, *zoomed = [example["picture"][..., 4].mean() / 255 for example in examples]
    assert len(zoomed) == 2 and max(zoomed) > whole
    assert whole == pytest.approx((sample["mask"] > 1).mean(), abs=0.01)
    assert len(cut.handsegnet_examples(sample, rng, side=64, zooms=False, min_box=20)) == 1


def test_wrong_arguments(tmp_path):
    from pipelines.stream import posenet_stream

    with pytest.raises(ValueError, match="split"):
        posenet_stream(batch=2, split="test")
    with pytest.raises(ValueError, match="workers"):
        posenet_stream(batch=2, workers=0)
    with pytest.raises(FileNotFoundError, match="no picture"):
        posenet_stream(batch=2, backgrounds=str(tmp_path))


def test_goes_on_where_it_was(monkeypatch):
    from pipelines import stream

    class Made(stream.RenderedBatches):
        def _next(self):
            number = self._next_sample
            return [{"number": np.array(10 * number + k)} for k in range(number % 4)]

    def process(settings):
        return types.SimpleNamespace(stdout=io.BytesIO(), terminate=lambda: None, wait=lambda: 0)

    monkeypatch.setattr(stream, "_start", process)
    whole = Made({}, 4, 1, 1)
    batches, positions = [], []
    for _ in range(8):
        positions.append(whole.position)
        batches.append(whole[0]["number"])
    assert list(batches[0]) == [10, 20, 21, 30] and positions[0] == (0, 0)
    assert len(set(np.concatenate(batches))) == 32
    assert whole.numbers == [int(number) // 10 for number in batches[-1]]
    assert any(example for _, example in positions)
    for count, position in enumerate(positions):
        later = Made({}, 4, 1, 1, start=position)
        np.testing.assert_array_equal([later[0]["number"] for _ in batches[count:]], batches[count:])


def first_batches(count, **options):
    from pipelines.stream import posenet_stream

    stream = posenet_stream(batch=3, size=96, side=48, crop_size=32, min_box=8, min_visible=5, **options)
    try:
        return [stream[k] for k in range(count)]
    except RuntimeError as error:
        if "OpenGL" in str(error) or "moderngl" in str(error):
            pytest.skip(str(error))
        raise
    finally:
        stream.close()


@pytest.mark.slow
def test_batches_do_not_depend_on_the_number_of_workers():
    one, two = first_batches(3, workers=1), first_batches(3, workers=2)
    assert one[0]["picture"].shape == (3, 48, 48, 5) and one[0]["background"].shape == (3, 32, 32, 3)
    for a, b in zip(one, two, strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
    assert np.any(one[0]["picture"] != one[1]["picture"])


@pytest.mark.slow
def test_a_killed_process_is_reported():
    from pipelines.render.workers import WorkerKilled
    from pipelines.stream import posenet_stream

    stream = posenet_stream(batch=4, size=96, side=48, crop_size=32, workers=2)
    stream._processes[1].kill()
    with pytest.raises(WorkerKilled, match="died"):
        for k in range(100):
            stream[k]
    assert all(process.poll() is not None for process in stream._processes)
    with pytest.raises(RuntimeError, match="closed"):
        stream[0]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["posenet", "handsegnet"])
def test_trains_under_jax_without_tensorflow(network, tmp_path):
    pytest.importorskip("jax")
    first_batches(1, workers=1)  # skips without OpenGL
    options = {
        "posenet": ("posenet_lite", "PoseNetTraining", 48, 1.6, 1.25, {"width": 0.25, "stages": 1}),
        "handsegnet": ("handsegnet_lite", "HandSegNetTraining", 32, 1.0, 1.0, {"width": 0.25}),
    }[network]
    names = ("network", "training", "side", "reach", "crop_factor", "network_options")
    script = tmp_path / "train.py"
    values = dict(zip(names, options, strict=True)) | {"stream": f"{network}_stream"}
    script.write_text(BACKENDS.format(**values))
    path = os.pathsep.join([str(Path(cut.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert run.returncode == 0 and "trained" in run.stdout, run.stderr[-2000:]
