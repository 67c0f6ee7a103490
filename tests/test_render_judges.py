"""The judges of rendered sets, `experiments.judge_render` and `experiments.pose_diversity`, on toy input."""

import numpy as np
import pytest

from experiments import judge_render, pose_diversity
from hand3d.skeleton import NUM_KEYPOINTS, SIDES


def sample(rng, visible=True):
    uv = np.stack([rng.uniform(60, 140, (NUM_KEYPOINTS, 2)), np.full((NUM_KEYPOINTS, 2), -50.0)])
    mask = np.zeros((320, 320), np.uint8)
    mask[60:140, 60:140] = 5
    return {
        "image": np.zeros((320, 320, 3), np.uint8),
        "mask": mask,
        "uv": uv,
        "visible": np.full((len(SIDES), NUM_KEYPOINTS), visible),
    }


def test_a_perfect_finder_is_perfect_and_a_shifted_one_is_not():
    samples = [sample(np.random.default_rng(k)) for k in range(3)]
    boxes = iter([box for s in samples for _, box in judge_render.single_hands(s)] * 2)
    truth = iter([s["uv"][0] for s in samples] * 2)

    def find(crop, shift=0.0, side=0):
        assert crop.shape == (judge_render.CROP, judge_render.CROP, 3)
        left, top, extent = next(boxes)
        return (next(truth) - (left, top) + shift) / extent * judge_render.CROP - 0.5, side

    numbers = judge_render.summary(judge_render.judge(samples, find))
    assert numbers["hands"] == 3 and numbers["found"] == 1 and numbers["side_agrees"] == 1
    assert numbers["median_px_at_320"] == pytest.approx(0, abs=1e-6)
    numbers = judge_render.summary(judge_render.judge(samples, lambda crop: find(crop, 3.0, 1)))
    assert numbers["median_px_at_320"] == pytest.approx(3 * 2**0.5) and numbers["side_agrees"] == 0
    numbers = judge_render.summary(judge_render.judge(samples, lambda crop: None))
    assert numbers == {"hands": 3, "found": 0.0}


def test_only_single_visible_hands_count():
    rng = np.random.default_rng(0)
    assert not list(judge_render.single_hands(sample(rng, visible=False)))
    crowded = sample(rng)
    crowded["mask"][50:150, 120:200] = 20
    assert not list(judge_render.single_hands(crowded))
    assert [side for side, _ in judge_render.single_hands(sample(rng))] == [0]


def test_the_crop_shows_what_the_box_says():
    image = np.zeros((320, 320, 3), np.uint8)
    image[100, 150] = 255
    crop = judge_render.cut(image, (110.0, 60.0, 80.0))
    v, u = np.unravel_index(crop[..., 0].argmax(), crop.shape[:2])
    assert u == pytest.approx((150 - 110 + 0.5) * 4 - 0.5 - 2, abs=2.5) and v == pytest.approx(160, abs=2.5)


def test_poses_do_not_depend_on_side_place_or_size():
    rng = np.random.default_rng(0)
    hand = rng.normal(size=(1, NUM_KEYPOINTS, 3))
    turn = pose_diversity.rotation_about(rng.normal(size=3), 1.1)
    expected = pose_diversity.pose_vectors(hand, [0])
    np.testing.assert_allclose(pose_diversity.pose_vectors(3 * hand @ turn.T + 1, [0]), expected, atol=1e-9)
    np.testing.assert_allclose(pose_diversity.pose_vectors(hand * [-1, 1, 1], [1]), expected, atol=1e-9)


def test_coverage_of_equal_and_of_far_poses():
    rng = np.random.default_rng(0)
    people = {name: rng.normal(0, 10, (40, 45)) for name in ("a", "b")}
    same, _ = pose_diversity.compare(people, np.concatenate(list(people.values())))
    assert same["covered"] == 1 and same["to_rendered_median_mm"] == pytest.approx(0, abs=1e-9)
    far, curves = pose_diversity.compare(people, rng.normal(500, 10, (50, 45)))
    assert far["covered"] == 0 and len(curves["to_rendered"]) == 80
    assert far["between_people_mm"] == same["between_people_mm"] > 0


def test_poses_no_hand_can_take_are_told_apart():
    """A thumb behind the hand, one up the arm and a knuckle bent straight back, beside a flat hand."""
    flat = np.zeros((4, 5, 3, 3))
    flat[..., 1] = np.cumsum(pose_diversity.LENGTHS, axis=1)
    flat[1, 0, -1, 2] = -pose_diversity.BEHIND - 1
    flat[2, 3, 0] = 0, 0, -pose_diversity.LENGTHS[3, 0]
    flat[3, 0, -1, 1] = -pose_diversity.BEHIND - 1
    assert pose_diversity.possible(flat.reshape(4, -1)).tolist() == [True, False, False, False]


def test_bvh_chain(tmp_path):
    """Two bones of 10, the second turned by 90 degrees about x; further fingers alike."""
    fingers = "".join(
        f"JOINT r{f}1 {{ OFFSET {k} 0 0\nCHANNELS 3 Zrotation Yrotation Xrotation\n"
        f"JOINT r{f}2 {{ OFFSET 0 0 10\nCHANNELS 3 Zrotation Yrotation Xrotation\n"
        f"JOINT r{f}3 {{ OFFSET 0 0 10\nCHANNELS 3 Zrotation Yrotation Xrotation\n"
        "End Site { OFFSET 0 0 10\n}\n}\n}\n}\n"
        for k, f in enumerate(("Thumb", "Index", "Mid", "Ring", "Pinky"))
    )
    numbers = [0] * 6 + [0, 0, 0, 0, 0, 90, 0, 0, 0] * 5
    path = tmp_path / "hand.bvh"
    path.write_text(
        "HIERARCHY\nROOT rHand {\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation "
        f"Xrotation\n{fingers}}}\nMOTION\nFrames: 1\nFrame Time: 0.1\n" + " ".join(map(str, numbers)) + "\n"
    )
    hand = pose_diversity.read_bvh(path)
    assert hand.shape == (1, NUM_KEYPOINTS, 3)
    np.testing.assert_allclose(
        hand[0, [4, 3, 2, 1]], [[0, 0, 0], [0, 0, 10], [0, -10, 10], [0, -20, 10]], atol=1e-9
    )
    path.write_text("HIERARCHY\n")
    with pytest.raises(ValueError, match="hand.bvh"):
        pose_diversity.read_bvh(path)
