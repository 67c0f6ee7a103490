"""Several hands or none, mirror images, calibrated confidence."""

import copy
import os

import keras
import numpy as np
import pytest
from PIL import Image

from hand3d import HandPoseEstimator, networks
from hand3d.candidates import BestRegions, distinct
from hand3d.graph import full_graph
from hand3d.layers import Curve
from tests.test_candidates import skin_detector

OPTIONS = dict(segment_size=96, crop_size=64, map_mode="probability", reencode=True)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def hands_at(*boxes):
    """(1, M, 21, 2) keypoints that fill boxes (x0, y0, x1, y1)."""
    share = np.linspace(0, 1, 21)[:, None]
    return np.array([[np.array(b[:2]) * (1 - share) + np.array(b[2:]) * share for b in boxes]], np.float32)


def test_one_hand_in_two_regions_counts_once():
    uv = hands_at((0, 0, 40, 40), (10, 10, 30, 30), (100, 0, 140, 40), (30, 30, 80, 80))
    np.testing.assert_allclose(numpy(distinct([[0.5, 0.6, 0.4, 0.3]], uv)), [[0, 0.6, 0.4, 0.3]])
    np.testing.assert_allclose(numpy(distinct([[0.6, 0.5, 0.4, 0.3]], uv)), [[0.6, 0, 0.4, 0.3]])
    # of equal scores the first one stays; without a score nothing covers anything
    np.testing.assert_allclose(numpy(distinct([[0.5, 0.5, 0, 0]], uv)), [[0.5, 0, 0, 0]])
    # a hand that goes covers no other: 1 goes for 0, so 2, which only 1 overlaps, stays
    chain = hands_at((0, 0, 40, 40), (18, 0, 58, 40), (36, 0, 76, 40))
    np.testing.assert_allclose(numpy(distinct([[0.9, 0.8, 0.7]], chain)), [[0.9, 0, 0.7]], atol=1e-6)


def test_the_best_regions_in_order():
    score = np.array([0.1, 0.4, 0.9, 0.2, 0, 0], np.float32)
    values = np.arange(6, dtype=np.float32)
    assert numpy(BestRegions(3, 2)([score, values])).tolist() == [2, 1, 3, 4]


def sharp(posenet):
    """`posenet` with maps that have peaks: in the flat maps of an untrained one rounding decides."""
    crops = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 64, 64, 3)).astype(np.float32)
    spread = numpy(posenet(crops)[-1]).std(axis=(1, 2)).mean()
    maps = [keras.layers.Rescaling(5 / spread)(stage) for stage in posenet.outputs]
    return keras.Model(posenet.inputs, maps)


@pytest.fixture(scope="module")
def graphs():
    lifting = networks.poseprior(map_size=8), networks.viewpoint(map_size=8)
    parts = skin_detector(), sharp(networks.posenet(width=1 / 32)), *lifting
    curves = {"within_10_px": [[0.0, 0.2], [1.0, 0.4]], "visible": [[0.0, 0.0], [1.0, 1.0]]}
    return {
        "one": full_graph(*parts, candidates=2, **OPTIONS),
        "two": full_graph(*parts, max_hands=2, calibration=curves, **OPTIONS),
        "follow": full_graph(*parts, known_crop=True, max_hands=2, **OPTIONS),
    }


@pytest.fixture(scope="module")
def found(graphs):
    images = np.zeros((3, 96, 96, 3), np.float32)
    images[0, 8:40, 8:40, 0], images[0, 56:88, 52:84, 0] = 200, 230  # two objects
    images[1, 56:88, 52:84, 0] = 230  # one; in the last none, but no flat picture, whose maps would be ties
    images[2, ..., 2] = np.random.default_rng(0).uniform(0, 255, (96, 96))
    side = np.zeros((3, 2), np.float32)
    one, two = (graphs[key]([images, side]) for key in ("one", "two"))
    return images, *({key: numpy(value) for key, value in outputs.items()} for outputs in (one, two))


def test_two_objects_are_two_hands_and_none_is_none(found):
    _, one, two = found
    assert (two["score"][0] > 0).all() and two["score"][0, 0] >= two["score"][0, 1]
    assert two["score"][1, 0] > 0 and two["score"][1, 1] == 0 and (two["score"][2] == 0).all()
    centres = sorted(two["box_centre"][0].tolist())
    np.testing.assert_allclose(centres, [[23.5, 23.5], [67.5, 71.5]], atol=0.6)
    for key, value in one.items():  # the first hand is the one that is found alone
        if key not in ("mask", "keypoint_scores"):
            np.testing.assert_allclose(two[key][:, 0], value, atol=1e-4, err_msg=key)
        assert two[key].shape[1:] == (value.shape[1:] if key == "mask" else (2, *value.shape[1:]))


def test_confidence_goes_through_the_curves(found):
    _, one, two = found
    np.testing.assert_allclose(two["keypoint_visible"][:, 0], one["keypoint_scores"], atol=1e-5)
    np.testing.assert_allclose(two["keypoint_scores"][:, 0], 0.2 + 0.2 * one["keypoint_scores"], atol=1e-5)
    np.testing.assert_allclose(two["confidence"][:, 0], one["keypoint_scores"].mean(-1), atol=1e-5)


def test_a_known_crop_gives_what_the_search_gave(graphs, found):
    images, one, _ = found
    side = np.zeros((3, 2), np.float32)
    follow = graphs["follow"]([images, one["box_centre"], one["box_side"], side])
    for key, value in follow.items():
        np.testing.assert_allclose(numpy(value), one[key], atol=2e-3, err_msg=key)


def test_curve():
    curve = Curve([[0.2, 0.1], [0.4, 0.5], [0.8, 0.5]])
    values = np.array([[0.0, 0.2, 0.3, 0.4], [0.6, 0.8, 0.9, 1.0]], np.float32)
    np.testing.assert_allclose(numpy(curve(values)), [[0.1, 0.1, 0.3, 0.5], [0.5] * 4], atol=1e-6)
    again = Curve.from_config(curve.get_config())
    np.testing.assert_array_equal(numpy(again(values)), numpy(curve(values)))
    for points in ([[0, 0]], [[0, 0.5], [1, 0.2]], [[0.5, 0], [0.5, 1]], [[0, 0], [1, 2]], "ab", [1, 2]):
        with pytest.raises(ValueError, match="points is"):
            Curve(points)


def test_bad_arguments(tiny_weights):
    for value in (0, 1.5, True, "2", 17):
        with pytest.raises(ValueError, match="max_hands is"):
            HandPoseEstimator(tiny_weights, max_hands=value)
    lifting = networks.poseprior(map_size=8), networks.viewpoint(map_size=8)
    parts = skin_detector(), networks.posenet(width=1 / 32), *lifting
    with pytest.raises(ValueError, match="calibration is"):
        full_graph(*parts, calibration={"visible": [[0, 0], [1, 1]]}, **OPTIONS)


def test_a_mirrored_estimator_says_the_other_side_and_nothing_else(estimator, photo):
    mirrored = copy.copy(estimator)
    mirrored.mirrored = True
    (hand,), (other,) = estimator(photo)[:1], mirrored(photo)[:1]
    assert {hand.side, other.side} == {"left", "right"} and hand.side_score == other.side_score
    np.testing.assert_array_equal(hand.keypoints_uv, other.keypoints_uv)
    np.testing.assert_array_equal(hand.keypoints_xyz, other.keypoints_xyz)
    # a side that is given is the person's
    sided = copy.copy(estimator)
    sided.side, mirrored.side = "right", "left"
    (hand,), (other,) = sided(photo)[:1], mirrored(photo)[:1]
    assert (hand.side, other.side) == ("right", "left")
    np.testing.assert_array_equal(hand.keypoints_xyz, other.keypoints_xyz)


def test_a_stream_is_in_order_and_survives_bad_images(estimator, photo, photo_file, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")
    sizes = [photo, photo[:, :70], photo.repeat(2, 0)] * 14
    images = [photo_file, str(broken), *sizes]
    results = list(estimator.stream(images, errors=True))
    assert len(results) == len(images) and "broken.jpg" in str(results[1])
    shapes = [(r.height, r.width) for r in results[2:]]
    assert shapes == [image.shape[:2] for image in sizes]
    (alone,) = estimator.predict([photo[:, :70]])
    np.testing.assert_allclose(results[3].hands[0].keypoints_uv, alone.hands[0].keypoints_uv, atol=2e-2)


@pytest.mark.slow
def test_flipping_a_photograph_flips_side_and_x_and_little_else():
    """PoseNet sees both looks; HandSegNet and the lifting networks are only nearly symmetric."""
    with Image.open(os.path.join(os.path.dirname(__file__), "fixtures", "hand.jpg")) as file:
        photo = np.asarray(file.convert("RGB"))
    estimator = HandPoseEstimator("lite")
    (hand,), (other,) = estimator([photo, np.ascontiguousarray(photo[:, ::-1])])
    assert {hand.side, other.side} == {"left", "right"} and abs(hand.score - other.score) < 0.05
    back = other.keypoints_uv * (-1, 1) + (photo.shape[1] - 1, 0)
    extent = np.ptp(hand.keypoints_uv, axis=0).max()
    assert np.median(np.linalg.norm(back - hand.keypoints_uv, axis=-1)) < 0.01 * extent
    back = other.keypoints_xyz * (-1, 1, 1)
    assert np.median(np.linalg.norm(back - hand.keypoints_xyz, axis=-1)) < 0.3
    # two hands in one picture are two hands, each the other's mirror image
    both = estimator(np.concatenate([photo, photo[:, ::-1]], 1))
    assert sorted(hand.side for hand in both) == ["left", "right"]
