"""Score maps: encoding, decoding, and that they are inverse."""

import numpy as np
import pytest
from keras import ops

from hand3d import scoremaps, skeleton

K = skeleton.NUM_KEYPOINTS


def array(x):
    return ops.convert_to_numpy(x)


def test_value_at_25_pixels_is_exp_minus_1():
    maps = array(scoremaps.encode(np.full((1, K, 2), 100.0), np.ones((1, K)), 256, 256))
    assert maps.shape == (1, 256, 256, K) and maps.dtype == np.float32
    assert maps[0, 100, 100, 0] == pytest.approx(1.0)
    assert maps[0, 100, 125, 3] == pytest.approx(0.3679, abs=1e-4)  # [row, column]
    assert maps[0, 75, 100, 3] == pytest.approx(0.3679, abs=1e-4)


def test_encode_agrees_with_the_formula_and_the_pixel_rule():
    uv = np.random.default_rng(0).uniform(0, 127, (2, K, 2))
    weight = np.random.default_rng(1).uniform(0, 1, (2, K))
    maps = array(scoremaps.encode(uv, weight, 32, 128))
    centre = 4 * np.arange(32) + 1.5
    squared = (centre[None, None, :, None] - uv[:, None, None, :, 0]) ** 2
    squared = squared + (centre[None, :, None, None] - uv[:, None, None, :, 1]) ** 2
    np.testing.assert_allclose(maps, weight[:, None, None] * np.exp(-squared / 12.5**2), atol=1e-5)


def test_tails_are_no_numbers_that_processors_are_slow_with():
    uv = np.stack(np.meshgrid(np.linspace(-500, 500, 41), np.linspace(0, 127, 7)), -1).reshape(-1, 1, 2)
    maps = array(scoremaps.encode(np.repeat(uv, K, 1), np.full((len(uv), K), 1e-3), 32, 128))
    assert (maps >= 1e3 * np.finfo(np.float32).tiny).all() and maps[uv[:, 0, 0] < -400].max() < 1e-8


def test_absent_keypoints_give_empty_maps():
    uv = np.full((1, K, 2), np.nan)
    assert (array(scoremaps.encode(uv, np.zeros((1, K)), 8, 64)) == 0).all()
    assert (array(scoremaps.target_distribution(uv, np.zeros((1, K)), 8, 64)) == 0).all()


@pytest.mark.parametrize("size, crop_size", [(32, 256), (32, 128), (64, 128), (256, 256)])
@pytest.mark.parametrize("mode", ["linear", "probability"])
def test_decode_inverts_encode_at_the_edges_too(size, crop_size, mode):
    rng = np.random.default_rng(2)
    last = crop_size - 0.5
    uv = rng.uniform(-0.5, last, (4, K, 2))
    uv[0, :4] = [(-0.5, -0.5), (last, last), (-0.5, last), (0.0, 40.3)]
    if mode == "linear":
        maps = scoremaps.encode(uv, np.ones((4, K)), size, crop_size)
    else:
        maps = scoremaps.target_distribution(uv, np.ones((4, K)), size, crop_size, 1.0)
    decoded, confidence = (array(x) for x in scoremaps.decode(maps, crop_size, mode))
    assert np.abs(decoded - uv).max() < 0.5
    assert decoded.dtype == np.float32 and decoded.shape == (4, K, 2)
    assert confidence.min() > 0.8 and confidence.max() <= 1.0


def test_several_cells_of_a_map_are_looked_at_as_each_by_itself():
    rng = np.random.default_rng(0)
    maps = rng.uniform(-0.1, 1, (2, K, 12, 9)).astype("float32")
    cells = rng.integers(0, 12 * 9, (2, K, 3)).astype("int32")
    places, windows = (array(value) for value in scoremaps.look_around(maps, cells))
    for k in range(3):
        place, window = (array(value) for value in scoremaps.look_around(maps, cells[..., k]))
        np.testing.assert_allclose(places[:, :, k], place, atol=1e-5)
        np.testing.assert_allclose(windows[:, :, k], window, atol=1e-6)


def test_confidence_says_how_sure():
    uv = np.full((1, K, 2), 60.0)
    weak = scoremaps.encode(uv, np.full((1, K), 0.3), 32, 128)
    assert array(scoremaps.decode(weak, 128)[1]).max() == pytest.approx(0.3, abs=0.02)
    flat = np.full((1, 32, 32, K), 1 / 1024)
    assert array(scoremaps.decode(flat, 128, "probability")[1]).max() == pytest.approx(25 / 1024, abs=1e-4)


@pytest.mark.parametrize("refine", ["fit", "centroid"])
def test_decode_survives_ugly_maps(refine):
    rng = np.random.default_rng(3)
    maps = rng.normal(0, 1, (3, 16, 16, K)).astype("float32")
    maps[1] = 0
    maps[2] = -1
    for mode in ("linear", "probability"):
        uv, confidence = (array(x) for x in scoremaps.decode(maps, 128, mode, refine))
        assert np.isfinite(uv).all() and np.isfinite(confidence).all()
        assert (uv > -16).all() and (uv < 144).all()
        assert (confidence[1:] == 0).all()
    with pytest.raises(ValueError, match="mode"):
        scoremaps.decode(maps, 128, "soft")


def test_spatial_softmax_and_target_sum_to_one():
    logits = np.random.default_rng(4).normal(size=(2, 8, 8, K)).astype("float32")
    probability = array(scoremaps.spatial_softmax(logits))
    np.testing.assert_allclose(probability.sum((1, 2)), 1, rtol=1e-5)
    flat = np.exp(logits) / np.exp(logits).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(probability, flat, rtol=1e-4)
    target = array(scoremaps.target_distribution(np.full((1, K, 2), -3.0), np.ones((1, K)), 8, 64))
    np.testing.assert_allclose(target.sum((1, 2)), 1, rtol=1e-5)
