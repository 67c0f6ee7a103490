"""hand3d.export.formats and hand3d.exported: bad input, and models of each runtime against the estimator."""

import glob
import importlib.util
import json
import os
import shutil

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are converted from TensorFlow's graphs", allow_module_level=True)

from hand3d import cli
from hand3d.export import formats
from hand3d.exported import ExportedError, ExportedEstimator

FIELDS = {"box": 0.05, "keypoints_uv": 0.05, "keypoint_scores": 1e-3, "keypoints_xyz": 2e-3}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--to", "onnx", "--precision", "bfloat16"], "take float32 or float16 or int8"),
        (["--to", "tflite", "--precision", "bfloat16"], "no bfloat16 kernels"),
        (["--to", "savedmodel", "--precision", "int8", "--calibrate", "."], "take float32"),
        (["--to", "openvino", "--precision", "int8"], "needs --calibrate DIR"),
        (["--to", "onnx", "--calibrate", "."], "--precision int8 alone"),
        (["--to", "savedmodel", "--image-size", "320"], "--image-size"),
    ],
)
def test_what_does_not_go_together(arguments, words, tmp_path, capsys):
    out = tmp_path / "model"
    assert cli.main(["export", *arguments, "--out", str(out)]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["--to", "caffe"], ["--to", "onnx", "--precision", "int4"]])
def test_unknown_names(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["export", *arguments, "--out", str(tmp_path / "model")])
    assert "invalid choice" in capsys.readouterr().err


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"openvino, nncf not installed; pip install 'hand3d-keras\[openvino\]'"
    ):
        formats.check("openvino", "int8", ".")
    formats.check("savedmodel", "bfloat16")


def test_folders_that_are_no_exported_model(tmp_path):
    with pytest.raises(ExportedError, match="not a model of hand3d export"):
        ExportedEstimator(str(tmp_path))
    card = {"input": {"shape": [1, 8, 8, 3]}, "format": "savedmodel", "file": "x"}
    (tmp_path / "hand3d.json").write_text(json.dumps(card))
    with pytest.raises(ExportedError, match="not a model of hand3d export"):
        ExportedEstimator(str(tmp_path))


def test_the_chain_keeps_the_second_look_for_small_hands(tiny_weights, photo, monkeypatch):
    """ONNX and OpenVINO take the graph apart: with the mean mask of both looks it is the graph still."""
    from hand3d import HandPoseEstimator
    from hand3d.export.chain import chain

    monkeypatch.setattr("hand3d.estimator.FINE_SIZE", 96)
    estimator = HandPoseEstimator(tiny_weights, small_hands=True)
    canvas, _ = estimator.fit(photo)
    image = canvas[None].astype(np.float32)
    whole, apart = (chain(estimator, canvas.shape[:2], skip)(image) for skip in (False, True))
    assert sorted(whole) == sorted(apart)
    for name, value in whole.items():
        shown = whole["score"].numpy() > 0
        np.testing.assert_allclose(apart[name].numpy()[shown], value.numpy()[shown], atol=1e-3, err_msg=name)


@pytest.mark.parametrize("max_hands", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_chain_looks_again_at_hands_that_are_there(tiny_weights, photo, tmp_path, max_hands):
    """ONNX and OpenVINO leave out empty objects and hands in both looks; what is there comes out the same."""
    from hand3d.export.chain import chain

    estimator = twice_looking(tiny_weights, tmp_path, max_hands=max_hands)
    if max_hands == 1:
        assert not twice_looking(tiny_weights, tmp_path, one_look=True).graph_options["second_look"]
    canvas, _ = estimator.fit(photo)
    image = canvas[None].astype(np.float32)
    same_where_shown(estimator, canvas)
    whole, apart = (chain(estimator, canvas.shape[:2], skip)(image) for skip in (False, True))
    assert sorted(whole) == sorted(apart)
    shown = whole["score"].numpy() > 0
    assert shown.any()
    for name, value in whole.items():
        np.testing.assert_allclose(apart[name].numpy()[shown], value.numpy()[shown], atol=1e-3, err_msg=name)


def same_where_shown(estimator, canvas):
    """What the estimator computes of a batch, its crops, masks and boxes too, is what the whole graph has.

    The second picture has no object: what is shown of it, its first row, is its own all the same.
    """
    pictures = np.stack([canvas, canvas[:, ::-1], canvas[::-1]]).astype(np.float32)
    sides = estimator.given_side(len(pictures))
    mask = estimator.model.get_layer("regions")
    regions = type(mask).call

    def without_the_second(layer, probability):
        return regions(layer, probability * np.float32([1, 0, 1])[:, None, None])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(mask), "call", without_the_second)
        whole = {name: np.asarray(each) for name, each in estimator.model([pictures, sides]).items()}
        found = estimator._run(pictures, sides)
    assert sorted(whole) == sorted(found)
    shown = whole["score"].reshape(len(pictures), -1) > 0
    assert shown[[0, 2], 0].all() and not shown[1].any()
    shown[1, 0] = True
    if estimator.max_hands == 1:
        shown = shown[:, 0]
    for name, value in whole.items():
        rows = slice(None) if name == "mask" else shown
        np.testing.assert_allclose(found[name][rows], value[rows], atol=2e-3, err_msg=name)


def twice_looking(tiny_weights, folder, **options):
    """`HandPoseEstimator` of the tiny weights: two candidates, mirror images, a second look, upright."""
    import shutil

    from hand3d import HandPoseEstimator

    copy = folder / "twice"
    shutil.copytree(tiny_weights, copy, dirs_exist_ok=True)
    manifest = json.loads((copy / "manifest.json").read_text())
    looks = {"second_look": 1.5, "upright": True}
    manifest["sets"]["tiny"]["graph"] |= {"mirror": True, "candidates": 2, "peaks": 4} | looks
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return HandPoseEstimator(copy, **options)


def test_a_failing_converter_leaves_nothing(estimator, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MODULES", {"onnx": {}})
    monkeypatch.setattr(formats.importlib, "import_module", lambda name: Broken)
    with pytest.raises(formats.ExportError, match="onnx failed: RuntimeError: no such operation"):
        formats.export(estimator, "onnx", "float32", str(tmp_path / "model"))
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="exists; give a folder that does not"):
        formats.export(estimator, "onnx", "float32", str(tmp_path))
    with pytest.raises(ValueError, match="--image-size 32: a number from 64"):
        formats.export(estimator, "onnx", "float32", str(tmp_path / "model"), side=32)


class Broken:
    @staticmethod
    def write(*arguments):
        raise RuntimeError("no such operation\nand a long trace")


@pytest.mark.slow
@pytest.mark.parametrize(
    "to, precision",
    [(to, p) for to, known in formats.PRECISIONS.items() if to != "savedmodel" for p in known],
)
def test_the_estimator_s_hands_in_every_runtime(to, precision, two_regions, photo, photo_file, tmp_path):
    needed = formats.MODULES[to]
    for name in (*needed["any"], *needed.get(precision, ())):
        pytest.importorskip(name)
    from hand3d import HandPoseEstimator

    shutil.copy(photo_file, tmp_path / "one.png")
    out = str(tmp_path / "model")
    arguments = ["export", "--to", to, "--precision", precision, "--weights", two_regions, "--out", out]
    arguments += ["--calibrate", str(tmp_path)] if precision == "int8" else []
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 2  # it exists
    assert not glob.glob(str(tmp_path / ".hand3d-*"))
    assert {"hand3d.json", "LICENSE"} < set(os.listdir(out))
    model = ExportedEstimator(out, threads=1)
    assert len(model.card["keypoints"]) == 21 and model.card["input"]["shape"] == [1, 64, 64, 3]
    shapes = {name: list(value.shape) for name, value in model.run(np.zeros((1, 64, 64, 3))).items()}
    assert shapes == {name: about["shape"] for name, about in model.card["outputs"].items()}
    estimator = HandPoseEstimator(two_regions)
    estimator.canvases = (64,)
    wanted, found = estimator(photo), model(photo)
    assert wanted and len(found) == len(wanted)
    if (to, precision) == ("openvino", "int8"):
        assert_all_convolutions_in_int8(out, estimator)
    if precision in ("int8", "bfloat16"):  # random weights: no more to be said of them
        return
    loose = 10 if precision == "float16" else 1
    for hand, got in zip(wanted, found, strict=True):
        assert got.side == hand.side and got.score == pytest.approx(hand.score, abs=1e-3 * loose)
        for key, tolerance in FIELDS.items():
            np.testing.assert_allclose(getattr(got, key), getattr(hand, key), atol=tolerance * loose)


def assert_all_convolutions_in_int8(folder, estimator):
    """Each kernel of the networks to quantise is stored in int8, and what goes into it is quantised."""
    import openvino

    kernels = [
        weight
        for role in (*formats.QUANTISED, "poseprior", "viewpoint")
        for weight in estimator.networks[role].get_weights()
        if weight.ndim == 4 and weight.shape[2] != 3  # those of three colours stay in float32
    ]
    model = openvino.Core().read_model(os.path.join(folder, "model.xml"))
    given = [op.input_value(0).get_node() for op in model.get_ops() if op.get_type_name() == "Convolution"]
    assert sum(op.get_type_name() == "FakeQuantize" for op in given) == len(kernels)
    size = sum(weight.size for weight in kernels)
    stored = sum(
        int(np.prod(op.shape))
        for op in model.get_ops()
        if op.get_type_name() == "Constant" and op.get_element_type().get_type_name() == "i8"
    )
    assert stored >= size


@pytest.fixture(scope="module")
def two_regions(tiny_weights, tmp_path_factory):
    """Folder of the tiny weights that looks at two objects, and at each mirrored."""
    folder = tmp_path_factory.mktemp("two") / "set"
    shutil.copytree(tiny_weights, folder)
    path = folder / "manifest.json"
    entries = json.loads(path.read_text())
    entries["sets"]["tiny"]["graph"] |= {"candidates": 2, "mirror": True, "peaks": 3}
    path.write_text(json.dumps(entries))
    return str(folder)
