"""experiments.calibrate: curves that rise, an error that is measured, a manifest that keeps the rest."""

import json

import numpy as np
import pytest

from experiments import calibrate
from hand3d import manifest
from hand3d.set_options import set_options


def made_up(seed=0, images=400):
    """Found hands whose confidence squared is the probability of being right."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 1, (images, 21))
    return {
        "image": np.arange(images),
        "score": np.full(images, 0.8),
        "confidence": confidence,
        "error": np.where(rng.random(confidence.shape) < confidence**2, 3.0, 40.0),
        "visible": rng.random(confidence.shape) < 0.3 + 0.5 * confidence,
    }


def test_a_curve_rises_and_is_calibrated():
    found = made_up()
    calibration, scores, held = calibrate.calibrate(found, 0.3)
    for name in ("within_10_px", "visible"):
        assert (np.diff(np.array(calibration[name]), axis=0) > 0).all()
        assert scores[f"{name}/ece"] < 0.03
    assert scores["within_10_px/ece_uncalibrated"] > 0.1
    assert 0.55 < scores["visible/accuracy"] < 0.75
    np.testing.assert_allclose(calibrate.apply_curve(calibration["within_10_px"], 0.7), 0.49, atol=0.05)
    assert calibrate.plot(held)[:4] == b"\x89PNG"


def test_a_confidence_that_tells_nothing():
    rng = np.random.default_rng(0)
    curve = calibrate.rising_curve(np.full(1000, 0.5), rng.random(1000) < 0.4)
    assert curve[0][1] == curve[-1][1] == pytest.approx(0.4, abs=0.06) and len(curve) == 2


def test_error():
    right = np.arange(1000) % 2 == 0
    assert calibrate.calibration_error(np.full(1000, 0.5), right) == pytest.approx(0)
    assert calibrate.calibration_error(np.full(1000, 0.9), right) == pytest.approx(0.4)


def test_too_few_and_too_unsure():
    with pytest.raises(ValueError, match="take more pictures"):
        calibrate.calibrate(made_up(images=20), 0.3)
    with pytest.raises(ValueError, match="0 keypoints"):
        calibrate.calibrate(made_up(), 0.9)


def test_the_manifest_keeps_the_rest(tmp_path):
    entry = {"networks": {}, "graph": {"segment_size": 64}, "scores": {"old": 1}, "licence": "x"}
    manifest.write_manifest(str(tmp_path), {"mine": entry})
    calibration, scores, _ = calibrate.calibrate(made_up(), 0.3)
    calibrate.store(manifest.find(tmp_path), calibration, scores, "a6")
    after = manifest.find(tmp_path).entry
    assert after["licence"] == "x" and after["scores"]["old"] == 1
    assert after["scores"]["calibration"]["data"] == "a6"
    assert set_options(manifest.find(tmp_path)).graph["segment_size"] == 64
    assert json.loads(json.dumps(calibration)) == after["graph"]["calibration"]
