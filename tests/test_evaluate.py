"""The programs that measure a weight set, on toy records and networks of random weights."""

import json

import keras
import numpy as np
import pytest
from toy_samples import toy_sample, write_toy_records

from hand3d import geometry, manifest
from hand3d.skeleton import HAND_SLICES, NUM_KEYPOINTS

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import evaluate  # noqa: E402


def toy_batch():
    """Two toy samples as `records.decode_pictures` gives them."""
    samples = [toy_sample(seed) for seed in (1000, 1001)]
    batch = {key: np.stack([s[key] for s in samples]) for key in ("mask", "uv", "xyz", "visible", "present")}
    batch |= {"mask": batch["mask"][..., None], "present_xyz": batch["present"]}
    return batch | {"root": np.zeros(2, int), "mask_kind": np.full(2, 2)}


@pytest.fixture(scope="module")
def truth():
    return evaluate.Truth(toy_batch())


def test_truth_of_samples_without_mask_or_with_another_root(truth):
    batch = toy_batch()
    batch["mask"], batch["mask_kind"] = np.zeros_like(batch["mask"]), np.array([0, 2])
    batch["root"] = np.array([1, 0])
    batch["present"] = batch["present"].copy()
    batch["present"][1, 1] = batch["visible"][1, 1] = False
    batch["present_xyz"] = batch["present"]
    other = evaluate.Truth(batch)
    np.testing.assert_allclose(other.uv[0, 0, 0], batch["uv"][0, 0])  # the palm is the palm
    np.testing.assert_allclose(other.uv[1], truth.uv[1])
    assert other.has_mask.tolist() == [False, True] and other.in_3d.tolist() == [[True, True], [False, True]]
    seen = batch["uv"][0, HAND_SLICES["left"]].clip(0, 127)
    np.testing.assert_allclose(other.box[0, 0], np.ptp(seen, axis=0).max(), atol=1)
    assert other.counts[0].any() and not other.counts[1].any()


def test_truth_is_that_of_the_sample(truth):
    sample = toy_sample(1001)
    right = HAND_SLICES["right"]
    np.testing.assert_allclose(truth.xyz_mm[1, 1, 1:], 1000 * sample["xyz"][right][1:], rtol=1e-5)
    rows, columns = np.nonzero(sample["mask"] >= 18)
    assert truth.box[1, 1] == max(np.ptp(rows), np.ptp(columns)) + 1
    assert truth.pixels[1, 1].sum() == len(rows)
    assert truth.counts.any()


def test_perfect_hands_have_no_error_and_missing_ones_count(truth):
    errors = evaluate.Errors()
    for hand in (0, 1):
        xyz_relative, _ = geometry.normalise(truth.xyz_mm[0, hand] / 1000)
        xyz_relative = keras.ops.convert_to_numpy(xyz_relative)
        errors.add(truth, 0, hand, truth.uv[0, hand], xyz_relative, hand)
    for summary, unit in ((errors.summary_2d(), "px"), (errors.summary_3d(), "mm/root_scale")):
        assert summary[f"epe_{unit}"] < 1e-3 and summary["hands_found"] == 1
    assert errors.summary_2d()["auc_0_30px"] == 1 and errors.summary_2d()["side_right"] == 1
    # 10 pixels off in a picture of 128 are 25 in one of 320
    errors.add(truth, 1, 0, truth.uv[1, 0] + (6, 8), np.zeros((NUM_KEYPOINTS, 3)), 1)
    assert errors.px[-1] == pytest.approx(25, rel=1e-5)
    errors.add(truth, 1, 1)
    summary = errors.summary_2d()
    assert summary["hands_found"] == 0.75 and summary["side_right"] == pytest.approx(2 / 3)
    assert summary["auc_0_30px"] < 0.7 and np.isfinite(summary["epe_px"])
    assert evaluate.Errors().summary_2d() == evaluate.Errors().summary_3d() == {}


@pytest.mark.slow
def test_evaluate_writes_every_part(tiny_weights, tmp_path, capsys):
    folder = write_toy_records(tmp_path)
    out = tmp_path / "scores.json"
    arguments = ["--data", folder, "--weights", str(tiny_weights), "--limit", "3", "--out", str(out)]
    assert evaluate.main(arguments) == 0
    scores = json.loads(out.read_text())
    parts = {part: keys for part, keys in evaluate.SHOWN.items() if part != "fit_exact_2d"}  # no hand model
    assert scores["weights"] == "tiny" and set(parts) < set(scores) and "fit_exact_2d" not in scores
    for part, keys in parts.items():
        assert set(keys) <= set(scores[part]), part
    assert scores["whole_chain"]["hands_found"] == 1 and scores["handsegnet"]["images"] == 3
    assert scores["lifting_exact_2d"]["hands"] == 3
    assert "whole_chain" in capsys.readouterr().out


def test_evaluate_reports_what_is_missing(tiny_weights, tmp_path, capsys):
    assert evaluate.main(["--data", str(tmp_path), "--weights", str(tiny_weights)]) == 1
    assert "info.json" in capsys.readouterr().err
    assert evaluate.main(["--data", str(tmp_path), "--weights", "no such set"]) == 1
    assert "no such set" in capsys.readouterr().err


def test_true_regions_are_what_is_cut_out(tiny_weights):
    """Where the region is given, the crop lies around it, whatever HandSegNet finds."""
    weight_set = manifest.find(tiny_weights)
    size = weight_set.entry["graph"]["segment_size"]
    regions = np.zeros((2, size, size), np.float32)
    regions[0, 4:12, 4:12] = regions[1, -12:-4, -16:-4] = 1
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    result = evaluate.from_true_regions(weight_set)(regions, images, np.zeros((2, 2), np.float32))
    centres, extents = np.array([[7.5, 7.5], [size - 10.5, size - 8.5]]), np.array([7, 11])
    crop_size = weight_set.entry["graph"]["crop_size"]
    half = np.maximum(1.5 * extents, crop_size / 5) / 2 + 1  # the crop is not enlarged more than fivefold
    assert (np.abs(result["keypoints_uv"] - centres[:, None]) <= half[:, None, None]).all()
