"""networks.mirrored: a mirrored crop gives mirrored maps and the other side, exactly."""

import keras
import numpy as np
import pytest

from hand3d import geometry, networks
from hand3d.networks.lite import posenet_lite
from hand3d.networks.mirrored import average_mirrored, lifter


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


@pytest.fixture(scope="module")
def lifting():
    """PosePrior and viewpoint network with random weights large enough to turn hands round."""
    random = np.random.default_rng(1)
    made = networks.poseprior(), networks.viewpoint()
    for network in made:
        for weight in network.weights:
            weight.assign(weight + 0.02 * random.standard_normal(weight.shape).astype(np.float32))
    maps = random.uniform(0, 1, (3, 32, 32, 21)).astype(np.float32)
    return made, maps, np.eye(2, dtype=np.float32)[[0, 1, 1]]


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_the_lifted_hand_of_a_mirror_image_is_the_mirrored_hand(lifting):
    made, maps, side = lifting
    both = lifter(*made, mirror=True)
    seen = numpy(both([maps, side]))
    other = numpy(both([np.ascontiguousarray(maps[:, :, ::-1]), np.ascontiguousarray(side[:, ::-1])]))
    assert seen.shape == (3, 21, 3) and np.abs(seen).max() > 0.01
    np.testing.assert_allclose(other * [-1, 1, 1], seen, atol=1e-4 * np.abs(seen).max())


def test_the_lifted_hand_is_the_mean_of_two_looks(lifting):
    made, maps, side = lifting
    one = lifter(*made)
    views = (maps, side), (np.ascontiguousarray(maps[:, :, ::-1]), np.ascontiguousarray(side[:, ::-1]))
    looks = [numpy(one(list(view))) for view in views]
    rotation, canonical = (numpy(network([maps, side])) for network in (made[1], made[0]))
    alone = numpy(geometry.from_canonical(canonical, rotation, side))
    np.testing.assert_allclose(looks[0], alone, atol=1e-5)
    mean = (looks[0] + looks[1] * [-1, 1, 1]) / 2
    assert np.abs(looks[0] - mean).max() > 1e-3
    np.testing.assert_allclose(numpy(lifter(*made, mirror=True)([maps, side])), mean, atol=1e-4)


def test_a_hand_of_unknown_side_is_a_left_one_and_its_mirror_image_a_right_one(lifting):
    made, maps, _ = lifting
    unknown = np.full((3, 2), 0.5, np.float32)
    both = numpy(lifter(*made, mirror=True)([maps, unknown]))
    flipped = np.ascontiguousarray(maps[:, :, ::-1])
    parts = []
    for seen, side in ((maps, 0), (flipped, 1)):
        canonical, rotation = (numpy(network([seen, unknown])) for network in made)
        parts.append(numpy(geometry.from_canonical(canonical, rotation, np.full(3, side))))
    np.testing.assert_allclose(both, (parts[0] + parts[1] * [-1, 1, 1]) / 2, atol=1e-4)
