"""One skeleton out of the peaks of many maps."""

import itertools

import keras
import numpy as np
import pytest

from hand3d import pictorial, scoremaps
from hand3d.skeleton import CHAINS, INDEX, NUM_KEYPOINTS, PARENTS, ROOT

SIZE, CROP, EXTENT = 32, 128, 88.0


def hand():
    """(21, 2) crop pixels: an open hand, fingers up, no bone longer than it may be."""
    uv = np.zeros((NUM_KEYPOINTS, 2))
    uv[ROOT] = 64, 110
    for k, (finger, chain) in enumerate(CHAINS.items()):
        steps = np.cumsum([0.9 * EXTENT * step for step in pictorial.REACH[finger][::-1]])
        angle = np.radians(-110 + 10 * k if finger == "thumb" else -105 + 10 * k)
        for keypoint, step in zip(reversed(chain), steps, strict=True):
            uv[keypoint] = uv[ROOT] + 0.7 * step * np.array([np.cos(angle), np.sin(angle)])
    return uv


def maps_of(uv, heights=None, size=SIZE):
    heights = np.ones(NUM_KEYPOINTS) if heights is None else heights
    return np.array(scoremaps.encode(uv[None], np.asarray(heights)[None], size, CROP, 5.0))


def test_one_peak_each_is_read_as_ever():
    maps = maps_of(hand())
    uv, confidence, *_ = pictorial.decode(maps, CROP, EXTENT)
    expected, certain = scoremaps.decode(maps, CROP)
    np.testing.assert_allclose(uv, expected, atol=1e-3)
    np.testing.assert_allclose(confidence, certain, atol=1e-5)


@pytest.mark.parametrize("name", ["index_pip", "thumb_tip", "little_mcp", "ring_dip", "root"])
def test_a_peak_out_of_reach_loses_though_it_is_higher(name):
    uv, keypoint = hand(), INDEX[name]
    away = uv.copy()
    away[keypoint] = (10, 120) if name != "root" else (64, 6)
    heights = np.ones(NUM_KEYPOINTS)
    heights[keypoint] = 0.7
    maps = np.maximum(maps_of(uv, heights), maps_of(away))
    alone, _ = scoremaps.decode(maps, CROP)
    together, confidence, *_ = pictorial.decode(maps, CROP, EXTENT)
    assert np.linalg.norm(np.array(alone)[0, keypoint] - away[keypoint]) < 1
    assert np.linalg.norm(np.array(together)[0] - uv, axis=-1).max() < 1
    _, certain = scoremaps.decode(maps_of(uv, heights), CROP)  # how sure it is of the peak that it took
    np.testing.assert_allclose(confidence, certain, atol=1e-3)


def _energy(uv, evidence, extent, choice):
    reach = {
        k: length for f, chain in CHAINS.items() for k, length in zip(chain, pictorial.REACH[f], strict=True)
    }
    places = uv[np.arange(NUM_KEYPOINTS), choice]
    total = evidence[np.arange(NUM_KEYPOINTS), choice].sum()
    for keypoint in range(1, NUM_KEYPOINTS):
        limit = extent * reach[keypoint]
        bone = np.linalg.norm(places[keypoint] - places[PARENTS[keypoint]])
        total -= 0.5 * (max(bone - limit, 0) / (pictorial.SOFTNESS * limit)) ** 2
    return total


def test_the_best_of_all_choices_is_found():
    rng = np.random.default_rng(0)
    for unsure in ([0, 4, 3, 2, 1, 8], [0, 12, 11, 16, 20, 19], rng.permutation(NUM_KEYPOINTS)[:7]):
        uv = np.repeat(rng.uniform(0, 100, (NUM_KEYPOINTS, 1, 2)), 3, axis=1)
        evidence = np.repeat(rng.normal(0, 3, (NUM_KEYPOINTS, 1)), 3, axis=1)
        evidence[:, 1:] -= 100
        for keypoint in unsure:
            uv[keypoint], evidence[keypoint] = rng.uniform(0, 100, (3, 2)), rng.normal(0, 3, 3)
        best = max(
            (
                np.bincount(unsure, np.array(which), NUM_KEYPOINTS).astype(int)
                for which in itertools.product(range(3), repeat=len(unsure))
            ),
            key=lambda choice: _energy(uv, evidence, 60.0, choice),
        )
        found = pictorial.best_tree(uv[None].astype(np.float32), evidence[None].astype(np.float32), 60.0)
        np.testing.assert_array_equal(np.array(found)[0], best)


def test_flat_and_empty_maps_stay_finite():
    for value in (0.0, 0.5):
        maps = np.full((2, SIZE, SIZE, NUM_KEYPOINTS), value, "f")
        uv, confidence, *_ = pictorial.decode(maps, CROP, EXTENT)
        assert np.isfinite(uv).all() and ((0 <= np.array(confidence)) & (np.array(confidence) <= 1)).all()


def test_layer_saves_and_loads(tmp_path):
    maps = keras.Input((SIZE, SIZE, NUM_KEYPOINTS))
    model = keras.Model(maps, pictorial.DecodeTree(CROP, EXTENT, "probability", 3)(maps))
    model.save(tmp_path / "decode.keras")
    again = keras.saving.load_model(tmp_path / "decode.keras")
    values = maps_of(hand()) / maps_of(hand()).sum((1, 2), keepdims=True)
    for one, other in zip(model(values), again(values), strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))
