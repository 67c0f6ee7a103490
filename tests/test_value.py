"""What data sets are worth: networks trained on each, scored on labelled photographs."""

import json
import os
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from toy_samples import FLAT_HAND, write_toy_records

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import side_by_side, value  # noqa: E402


def write_photos(folder, count=3):
    """Labelled photographs of nothing; returns the labels."""
    rng = np.random.default_rng(0)
    os.makedirs(folder / "images")
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (64, 80, 3), np.uint8)).save(folder / "images" / name)
    xyz = 1000 * (FLAT_HAND + rng.normal(0, 0.01, (count, *FLAT_HAND.shape)) + (0, 0, 0.5))
    labels = {"names": names, "uv": xyz[..., :2] + 40, "xyz": xyz, "side": ["left"] * count}
    np.savez(folder / "truth.npz", **labels)
    return labels


def test_scores_of_known_predictions(tmp_path, monkeypatch):
    labels = write_photos(tmp_path)
    hands = [
        SimpleNamespace(keypoints_uv=uv + (3, 0), keypoints_xyz=7 * xyz, side=side)
        for uv, xyz, side in zip(labels["uv"], labels["xyz"], ("left", "right", "left"), strict=True)
    ]
    hands[1].keypoints_xyz = np.zeros_like(hands[1].keypoints_xyz)  # 3D far off, 2D right
    asked = []

    def nobody(paths):
        return [SimpleNamespace(hands=[])] * len(paths)

    def predict(paths):
        asked.extend(paths)
        return [SimpleNamespace(hands=[hand]) for hand in hands]

    def estimator(weight_set, **options):
        assert options == {"min_score": 0, "max_hands": 1}
        return SimpleNamespace(predict=predict)

    monkeypatch.setattr(value, "HandPoseEstimator", estimator)
    paths, known = value.read_labels(str(tmp_path))
    found, areas = value.score(None, paths, known)
    assert asked == [str(tmp_path / "images" / f"{number}.png") for number in range(3)]
    assert found["hands_found"] == 1 and found["side_right"] == pytest.approx(2 / 3)
    assert found[value.UV] == pytest.approx(0.9, abs=0.03)  # 20 thresholds
    assert 2 / 3 < found[value.XYZ] < 0.8  # of a hand in one point some keypoints are near
    assert found["epe_pooled_median_px"] == pytest.approx(3)
    for key in (value.UV, value.XYZ):
        assert areas[key].shape == (3,) and areas[key].mean() == pytest.approx(found[key])
    assert areas[value.XYZ][1] < areas[value.XYZ][0] == areas[value.XYZ][2]

    monkeypatch.setattr(value, "HandPoseEstimator", lambda *_, **__: SimpleNamespace(predict=nobody))
    nothing, _ = value.score(None, paths, known)
    assert nothing["hands_found"] == nothing[value.UV] == nothing[value.XYZ] == 0
    assert nothing["side_right"] is None


def test_gain_and_its_interval():
    rng = np.random.default_rng(0)
    others = rng.uniform(0, 1, 60)  # photographs differ far more than the networks
    gains = rng.normal(0.05, 0.1, 60)
    mean, low, high = value.gain(others + gains, others, 0)
    assert mean == pytest.approx(gains.mean())
    half = 1.96 * gains.std() / 60**0.5
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 10)
    assert value.gain([0.5], [0.25], 0) == (0.25, 0.25, 0.25)
    areas = {name: {value.UV: one, value.XYZ: one} for name, one in (("a", others), ("b", others + gains))}
    (sentence,) = value.gains("both", areas, 0)
    assert sentence.startswith("both, b beyond a") and f"2D AUC 0-30 px {mean:+.3f} ({low:+.3f}" in sentence
    assert not list(value.gains("both", {"a": areas["a"]}, 0))


def test_labels_and_arguments_that_cannot_be_used(tmp_path, capsys):
    labels = write_photos(tmp_path)
    np.savez(tmp_path / "truth.npz", **{**labels, "uv": labels["uv"][:, :20]})
    with pytest.raises(ValueError, match=r"truth.npz: uv is \(3, 20, 2\), expected \(3, 21, 2\)"):
        value.read_labels(str(tmp_path))
    del labels["side"]
    np.savez(tmp_path / "truth.npz", **labels)
    options = ["--data", f"a={tmp_path}", "--photos", str(tmp_path), "--run", str(tmp_path / "run")]
    assert value.main(options) == 1
    assert "truth.npz: lacks side" in capsys.readouterr().err
    for wrong in (["a"], ["=b"], ["a=b", "a=c"], ["a/b=c"]):
        with pytest.raises(SystemExit):
            value.main(["--data", *wrong, *options[2:]])
        assert "--data" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_networks_of_a_set_are_trained_once_and_scored(tmp_path, monkeypatch):
    write_photos(tmp_path)
    tiny = ("batch=2", "steps=1", "epoch_steps=1", "warmup=0", "ema=0.5", "validation=2")
    monkeypatch.setattr(value, "COMMON", tiny)
    os.makedirs(tmp_path / "records")
    write_toy_records(tmp_path / "records")
    toy, photos, run = f"toy={tmp_path / 'records'}", str(tmp_path), str(tmp_path / "run")
    options = ["--data", toy, "--photos", photos, "--run", run, "--jobs", "1"]
    options += ["--out", str(tmp_path / "out"), "--posenet-steps", "1", "--handsegnet-steps", "1"]
    assert value.main(options) == 0
    first = json.loads((tmp_path / "out" / "value.json").read_text())
    names = [row["name"] for row in first["rows"]]
    assert names == [f"{chain}, toy" for chain in value.CHAINS]
    assert first["options"]["sets"]["toy"]["samples"] == 12 and first["data"]["samples"] == 3
    assert all(0 <= row["values"]["hands_found"] <= 1 for row in first["rows"])
    monkeypatch.setattr(side_by_side, "_run", lambda program, _: pytest.fail(f"{program} again"))
    with pytest.raises(pytest.fail.Exception, match="posenet again"):  # other steps: another network
        value.main([*options, "--posenet-steps", "2"])
    assert value.main(options) == 0
    again = json.loads((tmp_path / "out" / "value.json").read_text())
    assert [row["values"] for row in again["rows"]] == [row["values"] for row in first["rows"]]
