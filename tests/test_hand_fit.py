"""The hand model, its fit to keypoints, and the graph with it, on toy hands whose pose is known."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.spatial.transform import Rotation
from toy_hands import toy_poses, toy_views

from experiments.hand_model import learn, network
from hand3d import fitting, hand_model
from hand3d.graph import full_graph
from hand3d.networks import hand_fit, handsegnet, posenet, poseprior, viewpoint
from hand3d.networks.hand_fit import fit_keypoints
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SCALE_BONE
from hand3d.tracing import traced

SIZE, PEAKS = 128, 3


@pytest.fixture(scope="module")
def model():
    return learn(toy_poses(1500))


@pytest.fixture(scope="module")
def fit(model):
    return traced(network(model, SIZE, PEAKS)[0])


def scene(count=16, seed=1):
    """Toy hands: uv (N, 21, 2), xyz (N, 21, 3), side one-hot, and a wrong guess of xyz, turned and unbent."""
    poses = toy_poses(count, seed)
    mean = toy_poses(400, 5, tilt=0)
    flat = mean["xyz_relative"][mean["side"] == 0].mean(0)
    upright = toy_poses(count, seed, tilt=0)["xyz_relative"]
    guess = []
    for xyz, straight, side, turn in zip(
        poses["xyz_relative"],
        upright,
        poses["side"],
        Rotation.random(count, random_state=seed).as_rotvec(),
        strict=True,
    ):
        onto = Rotation.align_vectors(xyz, straight)[0] * Rotation.from_rotvec(0.08 * turn)
        guess.append(onto.apply(flat * np.array([1 - 2 * side, 1, 1])))
    return toy_views(poses, SIZE), poses["xyz_relative"], np.eye(2, dtype="f")[poses["side"]], np.array(guess)


def run(fit, uv, guess, side, confidence=None, peaks=None, masses=None):
    confidence = np.ones(uv.shape[:2]) if confidence is None else confidence
    peaks = np.repeat(uv[:, :, None], PEAKS, 2) if peaks is None else peaks
    masses = np.repeat(confidence[..., None], PEAKS, 2) if masses is None else masses
    return fit(uv, confidence, peaks, masses, guess, side)


def away(one, other):
    return np.linalg.norm(one - other, axis=-1)


def test_slopes_are_differences(model):
    rest = np.random.default_rng(0).normal(0, 0.3, (3, hand_model.PLACE + len(model.pose) + len(model.shape)))
    rest[:, 3] = 2.5
    rest, orientation = rest.astype("f"), Rotation.random(3, random_state=0).as_matrix().astype("f")
    uv, slopes, _ = map(np.array, hand_model.project(model, orientation, rest))
    step = 1e-3
    for variable in range(slopes.shape[-1]):
        change = np.zeros((3, slopes.shape[-1]), "f")
        change[:, variable] = step
        moved = hand_model.turned(orientation, change[:, :3]), rest + change[:, 3:]
        other = np.array(hand_model.project(model, *moved)[0])
        np.testing.assert_allclose(slopes[..., variable], (other - uv) / step, atol=3e-2)


def test_coefficients_give_the_skeleton_back(model):
    rng = np.random.default_rng(0)
    z, b = rng.normal(0, 0.7, (4, len(model.pose))), rng.normal(0, 1, (4, len(model.shape)))
    xyz, _ = hand_model.joints(model, z.astype("f"), b.astype("f"))
    again, _ = hand_model.joints(model, *hand_model.coefficients(model, xyz))
    assert np.abs(np.array(again) - np.array(xyz)).max() < 0.15  # directions are renormalised: not exact
    bone, known = (away(np.array(each)[:, 12], np.array(each)[:, 11]) for each in (again, xyz))
    np.testing.assert_allclose(bone, known, 1e-3)


def test_conjugate_gradients_solve():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 6, 6))
    matrix = (root @ root.transpose(0, 2, 1) + np.eye(6)).astype("f")
    right = rng.normal(size=(5, 6)).astype("f")
    exact = np.linalg.solve(matrix, right[..., None])[..., 0]
    found = np.array(fitting.conjugate_gradients(matrix, right, 8))
    np.testing.assert_allclose(found, exact, atol=1e-3)
    off = [
        np.abs(np.array(fitting.conjugate_gradients(matrix, right, steps)) - exact).mean() for steps in (1, 3)
    ]
    assert off[1] < off[0]


def test_brings_hand_and_keypoints_together(fit):
    uv, xyz, side, guess = scene()
    guess = guess / np.linalg.norm(guess[:, 12] - guess[:, 11], axis=-1)[:, None, None]
    found_uv, found = run(fit, uv, guess, side)
    assert np.median(away(found, xyz)) < 0.6 * np.median(away(guess, xyz))
    assert np.median(away(found_uv, uv)) < 1.5  # pixels; half-way to the hand
    first, last = SCALE_BONE
    np.testing.assert_allclose(found[:, ROOT], 0, atol=1e-6)
    np.testing.assert_allclose(away(found[:, last], found[:, first]), 1, atol=1e-4)


def test_keypoints_of_one_place_each(model, fit):
    uv, _, side, guess = scene(4)
    known = np.random.default_rng(0).uniform(0.2, 1, uv.shape[:2])
    found = fit_keypoints(network(model, SIZE, PEAKS)[0], uv, known, guess, side)
    for one, other in zip(found, run(fit, uv, guess, side, known), strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(one), other, atol=2e-3)


def test_fills_in_and_outvotes(fit):
    uv, _, side, guess = scene()
    wrong, confidence = uv.copy(), np.ones(uv.shape[:2])
    wrong[:, 5] += 40  # an outlier; and a keypoint of which nothing is known
    wrong[:, 13], confidence[:, 13] = 0, 0
    found, _ = run(fit, wrong, guess, side, confidence)
    hand = 2 * found - wrong  # the model's own keypoints
    assert np.median(away(hand[:, 13], uv[:, 13])) < 0.3 * np.median(away(wrong[:, 13], uv[:, 13]))
    assert np.median(away(hand[:, 5], uv[:, 5])) < 0.3 * np.median(away(wrong[:, 5], uv[:, 5]))


def test_chooses_the_peak_that_fits(fit):
    uv, _, side, guess = scene()
    first = uv.copy()
    first[:, 8] += (35, -20)  # the map's highest peak is wrong, the second right
    peaks = np.stack([first, uv, uv + 60], 2)
    masses = np.tile(np.array([0.5, 0.3, 0.2], "f"), (*uv.shape[:2], 1))
    kept, _ = run(fit, first, guess, side)
    found, _ = run(fit, first, guess, side, 0.5 * np.ones(uv.shape[:2]), peaks, masses)
    assert np.median(away(found[:, 8], uv[:, 8])) < 8 < np.median(away(kept[:, 8], uv[:, 8]))


def test_a_mirrored_hand_gives_the_mirrored_answer(fit):
    uv, _, side, guess = scene()
    found_uv, found = run(fit, uv, guess, side)
    mirrored = uv.copy()
    mirrored[..., 0] = SIZE - uv[..., 0]  # about the middle of the unit that the fit works in
    other_uv, other = run(fit, mirrored, guess * [-1, 1, 1], side[:, ::-1])
    np.testing.assert_allclose(other * [-1, 1, 1], found, atol=2e-3)
    np.testing.assert_allclose(SIZE - other_uv[..., 0], found_uv[..., 0], atol=0.05)


@pytest.mark.parametrize("value", [0.0, 64.0])
def test_nothing_to_go_by_stays_finite(fit, value):
    uv, nothing = np.full((2, NUM_KEYPOINTS, 2), value), np.zeros((2, NUM_KEYPOINTS))
    for confidence in (nothing, nothing + 1):
        for guess in (np.zeros((2, NUM_KEYPOINTS, 3)), scene(2)[3]):
            for output in run(fit, uv, guess, np.eye(2), confidence):
                assert np.isfinite(output).all()


def test_saves_loads_and_is_not_trained(model, tmp_path):
    made, config = network(model, SIZE, PEAKS)
    assert made.count_params() == sum(part.size for part in vars(model).values())
    assert not made.trainable_variables and config["peaks"] == PEAKS
    made.save(tmp_path / "fit.keras")
    again = keras.saving.load_model(tmp_path / "fit.keras")
    uv, _, side, guess = scene(3)
    inputs = uv, np.ones((3, 21)), np.repeat(uv[:, :, None], PEAKS, 2), np.ones((3, 21, PEAKS)), guess, side
    inputs = [ops.convert_to_tensor(each, "float32") for each in inputs]
    for one, other in zip(made(inputs), again(inputs), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


def test_in_the_graph(model):
    fit, _ = network(model, 64, 2)
    lifting = dict(poseprior=poseprior(map_size=8), viewpoint=viewpoint(map_size=8))
    nets = dict(handsegnet=handsegnet(width=0.125), posenet=posenet(width=0.125), **lifting)
    options = dict(segment_size=64, crop_size=64, peaks=2)
    graph = full_graph(**nets, hand_fit=fit, max_hands=2, reencode=True, **options)
    images = np.random.default_rng(0).uniform(0, 255, (2, 70, 80, 3))
    outputs = traced(graph)(images, np.zeros((2, 2)))
    assert outputs["keypoints_uv"].shape == (2, 2, 21, 2) and outputs["keypoints_xyz"].shape == (2, 2, 21, 3)
    np.testing.assert_allclose(outputs["keypoints_xyz"][:, :, ROOT], 0, atol=1e-6)
    assert np.isfinite(outputs["keypoints_uv"]).all()
    with pytest.raises(ValueError, match="peaks is 1"):
        full_graph(**nets, hand_fit=fit, segment_size=64, crop_size=64)
    with pytest.raises(ValueError):
        full_graph(**nets, hand_fit=hand_fit(64, peaks=3), **options)
