"""networks.mirrored: a mirrored crop gives mirrored maps and the other side, exactly."""

import keras
import numpy as np
import pytest

from hand3d import networks
from hand3d.networks.lite import posenet_lite
from hand3d.networks.mirrored import average_mirrored


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).uniform(-0.5, 0.5, (3, 64, 64, 3)).astype(np.float32)


def test_what_it_says_turns_with_the_image(crops):
    model = average_mirrored(posenet_lite(width=0.25, stages=2))
    there, back = model(crops), model(crops[:, :, ::-1].copy())
    maps = keras.ops.convert_to_numpy(there["score_maps"])
    assert maps.shape == (3, 16, 16, 21)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(back["score_maps"])[:, :, ::-1], maps, atol=1e-4 * np.abs(maps).max()
    )
    side, other = (keras.ops.convert_to_numpy(outputs["side"]) for outputs in (there, back))
    np.testing.assert_allclose(other[:, ::-1], side, atol=1e-4 * np.abs(side).max())


def test_it_is_the_mean_of_two_looks(crops):
    posenet = posenet_lite(width=0.25, stages=1)
    looks = [
        keras.ops.convert_to_numpy(posenet(np.ascontiguousarray(view))["score_maps"][-1])
        for view in (crops, crops[:, :, ::-1])
    ]
    found = keras.ops.convert_to_numpy(average_mirrored(posenet)(crops)["score_maps"])
    np.testing.assert_allclose(found, (looks[0] + looks[1][:, :, ::-1]) / 2, atol=1e-4 * np.abs(found).max())


def test_a_posenet_without_side_and_saving(crops, tmp_path):
    model = average_mirrored(networks.posenet(width=1 / 32))
    outputs = model(crops)
    assert list(outputs) == ["score_maps"]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")(crops)
    maps = (keras.ops.convert_to_numpy(found["score_maps"]) for found in (again, outputs))
    np.testing.assert_allclose(*maps, atol=1e-6)
