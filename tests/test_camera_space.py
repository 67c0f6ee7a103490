"""hand3d.camera_space: exact on exact input, close on noisy input, clear about bad input."""

from types import SimpleNamespace

import numpy as np
import pytest

from hand3d import skeleton
from hand3d.camera_space import hand_length, median_bone_lengths, to_camera, with_bone_lengths

K = np.array([[600.0, 0, 330], [0, 610, 250], [0, 0, 1]])
SCALE = 0.041


@pytest.fixture
def placed():
    """A made-up hand in metres and what the estimator would return of it."""
    rng = np.random.default_rng(5)
    xyz = np.cumsum(rng.normal(0, 0.6, (skeleton.NUM_KEYPOINTS, 3)), 0)
    xyz -= xyz[skeleton.ROOT]
    start, end = skeleton.SCALE_BONE
    xyz /= np.linalg.norm(xyz[end] - xyz[start])
    xyz_camera = SCALE * xyz + (0.05, -0.08, 0.6)
    uv = xyz_camera @ K.T
    hand = SimpleNamespace(
        keypoints_xyz=xyz, keypoints_uv=uv[:, :2] / uv[:, 2:], keypoint_scores=np.full(len(xyz), 0.9)
    )
    return hand, xyz_camera


def test_exact_input_gives_the_exact_place(placed):
    hand, xyz_camera = placed
    found = to_camera(hand, K, bone_length_mm=1000 * SCALE)
    np.testing.assert_allclose(found.xyz_camera, xyz_camera, atol=1e-7)
    assert found.reprojection_error < 1e-4 and "41 mm" in found.scale_source
    length_mm = 1000 * SCALE * hand_length(hand.keypoints_xyz)
    by_hand = to_camera(hand, K, hand_length_mm=length_mm) if length_mm < 400 else found
    np.testing.assert_allclose(by_hand.xyz_camera, xyz_camera, atol=1e-7)


def test_scale_and_depth_go_together(placed):
    hand, xyz_camera = placed
    twice = to_camera(hand, K, bone_length_mm=2000 * SCALE)
    np.testing.assert_allclose(twice.xyz_camera, 2 * xyz_camera, atol=1e-6)


def test_constant_bones_of_a_clip(placed):
    hand, xyz_camera = placed
    rng = np.random.default_rng(0)
    true = np.linalg.norm(
        [hand.keypoints_xyz[child] - hand.keypoints_xyz[p] for p, child in skeleton.BONES], axis=1
    )
    clip = [
        SimpleNamespace(
            **vars(hand) | {"keypoints_xyz": with_bone_lengths(hand.keypoints_xyz, true * stretch)}
        )
        for stretch in rng.uniform(0.8, 1.2, (99, len(true)))
    ]
    bones = median_bone_lengths(clip)
    np.testing.assert_allclose(bones, true, rtol=0.1)
    found = [
        to_camera(one, K, bone_length_mm=1000 * SCALE, bone_lengths=bones).xyz_camera for one in clip[:5]
    ]
    lengths = [np.linalg.norm([xyz[c] - xyz[p] for p, c in skeleton.BONES], axis=1) for xyz in found]
    np.testing.assert_allclose(lengths, np.tile(SCALE * bones, (5, 1)), atol=1e-9)
    np.testing.assert_allclose(median_bone_lengths([hand.keypoints_xyz]), true)
    with pytest.raises(ValueError, match="hands is empty"):
        median_bone_lengths([])


def test_weak_keypoints_do_not_count(placed):
    hand, xyz_camera = placed
    hand.keypoints_uv[3] += 400
    hand.keypoint_scores[3] = 0.1
    found = to_camera(hand, K, bone_length_mm=1000 * SCALE)
    np.testing.assert_allclose(found.xyz_camera, xyz_camera, atol=1e-6)
    hand.keypoint_scores[3] = 0.9
    assert to_camera(hand, K, bone_length_mm=1000 * SCALE).reprojection_error > 50


def test_noise_of_a_pixel_costs_millimetres(placed):
    hand, xyz_camera = placed
    hand.keypoints_uv = hand.keypoints_uv + np.random.default_rng(0).normal(0, 1, hand.keypoints_uv.shape)
    found = to_camera(hand, K, bone_length_mm=1000 * SCALE)
    off = np.abs(found.translation - xyz_camera[skeleton.ROOT])
    assert 0 < off[:2].max() < 0.002 and off[2] < 0.02
    assert 0.7 < found.reprojection_error < 2


def test_bones_get_their_lengths(placed):
    hand, _ = placed
    lengths = np.linspace(0.5, 1.5, len(skeleton.BONES))
    xyz = with_bone_lengths(hand.keypoints_xyz, lengths)
    for (parent, child), length in zip(skeleton.BONES, lengths, strict=True):
        bone, before = xyz[child] - xyz[parent], hand.keypoints_xyz[child] - hand.keypoints_xyz[parent]
        assert np.isclose(np.linalg.norm(bone), length)
        assert np.isclose(bone @ before, length * np.linalg.norm(before))  # parallel
    own = [np.linalg.norm(hand.keypoints_xyz[c] - hand.keypoints_xyz[p]) for p, c in skeleton.BONES]
    np.testing.assert_allclose(with_bone_lengths(hand.keypoints_xyz, own), hand.keypoints_xyz, atol=1e-12)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"K": np.eye(4)}, "K: a camera matrix"),
        ({"K": np.diag([-600.0, 600, 1])}, "K: a camera matrix"),
        ({"bone_length_mm": 0.04}, "bone_length_mm is 0.04; millimetres"),
        ({"hand_length_mm": 0.18}, "hand_length_mm is 0.18; millimetres"),
        ({"bone_length_mm": 40, "hand_length_mm": 180}, "not both"),
        ({"least_score": 0.95}, "least_score=0.95"),
        ({"bone_lengths": [1.0] * 3}, "bone_lengths"),
        ({"bone_lengths": [0.0] * 20}, "bone_lengths"),
    ],
)
def test_bad_arguments(placed, changes, words):
    arguments = {"K": K} | changes
    with pytest.raises(ValueError, match=words):
        to_camera(placed[0], arguments.pop("K"), **arguments)


def test_keypoints_that_fit_no_hand(placed):
    hand, _ = placed
    hand.keypoints_uv = 2 * K[:2, 2] - hand.keypoints_uv  # seen through a pinhole: upside down, behind
    with pytest.raises(ValueError, match="before the camera"):
        to_camera(hand, K)
