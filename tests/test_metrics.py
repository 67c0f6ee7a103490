"""Metrics: golden numbers of the paper, alignments, missing hands."""

import numpy as np
import pytest

from hand3d import metrics

RNG = np.random.default_rng(0)


def test_auc_of_the_papers_own_stb_curve():
    # PAPER.md 5.2: PCK at 21.05 .. 50 mm, published as 0.948
    curve = [.8699, .8969, .9168, .9321, .9435, .9528, .9599, .9660, .9716, .9765, .9802, .9833]  # fmt: skip
    assert metrics.auc(np.linspace(0, 50, 20)[8:], curve) == pytest.approx(0.9475, abs=1e-4)


def test_auc_and_pck_of_known_errors():
    errors = np.full((4, 21), 15.0)
    assert metrics.pck(errors, [14, 15, 16]).tolist() == [0, 1, 1]
    assert metrics.auc([0, 10, 20], [0, 0, 1]) == pytest.approx(0.25)
    errors[:2] = 0
    np.testing.assert_allclose(metrics.pck(errors, [0, 20]), [0.5, 1])


def test_epe_averages_per_keypoint_first():
    errors = np.array([[1.0, 10.0], [3.0, 0.0], [8.0, 0.0]])
    valid = np.array([[1, 1], [1, 0], [1, 0]])
    values = metrics.epe(errors, valid)
    assert values["mean"] == pytest.approx((4 + 10) / 2)
    assert values["median"] == pytest.approx((3 + 10) / 2)
    assert values["pooled_mean"] == pytest.approx(22 / 4)
    assert values["pooled_median"] == pytest.approx(5.5)
    with pytest.raises(ValueError, match="valid"):
        metrics.epe(errors, valid[:2])


def test_missing_hands_count_as_errors():
    truth = RNG.uniform(0, 300, (4, 21, 2))
    errors = metrics.keypoint_errors(truth, truth, found=[True, True, True, False])
    result = metrics.summary_2d(errors)
    assert result["auc_0_30px"] == pytest.approx(0.75)
    assert result["hands_found"] == 0.75 and result["epe_px"] == 0
    nothing = metrics.summary_2d(np.full((2, 21), np.inf))
    assert nothing["auc_0_30px"] == 0 and np.isnan(nothing["epe_px"])
    with pytest.raises(ValueError, match="prediction"):
        metrics.keypoint_errors(truth[:2], truth)


def test_alignments_undo_what_they_promise():
    truth = RNG.normal(0, 40, (3, 21, 3)) + [0, 0, 600]
    bone = np.linalg.norm(truth[:, 12] - truth[:, 11], axis=-1)[:, None, None]
    normalised = (truth - truth[:, :1]) / bone
    np.testing.assert_allclose(metrics.align(normalised, truth, "root_scale"), truth, atol=1e-9)
    np.testing.assert_allclose(metrics.align(normalised * 7 + 5, truth, "scale"), truth, atol=1e-9)
    rotation, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    turned = 3 * truth @ rotation + 11
    np.testing.assert_allclose(metrics.align(turned, truth, "procrustes"), truth, atol=1e-6)
    mirrored = truth * [-1, 1, 1]
    assert np.abs(metrics.align(mirrored, truth, "procrustes") - truth).max() > 5
    with pytest.raises(ValueError, match="alignment"):
        metrics.align(truth, truth, "none")


def test_summary_3d_names_unit_and_alignment():
    errors = np.full((5, 21), 20.5)
    result = metrics.summary_3d(errors, "scale")
    assert result["epe_mm/scale"] == pytest.approx(20.5)
    assert result["auc_21_50mm/scale"] == 1.0
    assert 0.9 < result["auc_20_50mm/scale"] < 1.0
    assert 0.5 < result["auc_0_50mm/scale"] < 0.7
    assert result["hands_found"] == 1.0


def test_mask_iou():
    a = np.zeros((2, 4, 4), bool)
    b = a.copy()
    a[0, :2], b[0, 1:3] = True, True
    assert metrics.mask_iou(a, b) == pytest.approx((1 / 3 + 1) / 2)
