"""The paper's rules for labels on numbers worked out by hand, and the anatomy that proves an order wrong."""

import os

import numpy as np
import pytest

from hand3d.skeleton import CHAINS, INDEX, NUM_KEYPOINTS
from pipelines import anatomy, rules

DATA = os.path.join(os.path.dirname(__file__), "..", "..", "shared", "data")
POINTS = np.arange(NUM_KEYPOINTS * 3, dtype=np.float32).reshape(NUM_KEYPOINTS, 3) ** 2
TURNED = [0] + [k for chain in CHAINS.values() for k in reversed(chain)]


def test_palm_is_the_mean_of_wrist_and_middle_mcp():
    palm = rules.palm_from_wrist(POINTS)
    np.testing.assert_array_equal(palm[0], (POINTS[0] + POINTS[12]) / 2)
    np.testing.assert_array_equal(palm[1:], POINTS[1:])
    np.testing.assert_allclose(rules.palm_from_wrist(np.stack([POINTS] * 2)[None])[0, 1], palm)
    geometry = pytest.importorskip("hand3d.geometry")  # the networks' version of the same rule
    np.testing.assert_allclose(np.asarray(geometry.wrist_to_palm(POINTS)), palm)


def test_palm_is_visible_if_either_is_and_present_if_both_are():
    flags = np.zeros((4, NUM_KEYPOINTS), bool)
    flags[1, 0] = flags[2, 12] = flags[3, [0, 12]] = True
    assert rules.palm_visible(flags).tolist() == [False, True, True, True]
    assert rules.palm_present(flags).tolist() == [False, False, False, True]


def test_the_hand_with_more_pixels_dominates():
    mask = np.zeros((10, 10), np.uint8)
    assert rules.dominant_side(mask) == 1  # equal: the right one
    mask[:2], mask[2:4] = 17, 18
    assert rules.dominant_side(mask) == 1
    mask[4, 0] = 2
    assert rules.dominant_side(mask) == 0
    mask[5, :2], mask[6:] = 33, 1
    assert rules.dominant_side(mask) == 1


def test_t5_the_unit_is_the_first_bone_of_the_middle_finger():
    assert rules.scale_length(POINTS) == pytest.approx(np.linalg.norm(POINTS[12] - POINTS[11]))
    assert (INDEX["middle_mcp"], INDEX["middle_pip"]) == (12, 11)


def test_t8_stb_wrist_is_taken_from_the_ring_finger():
    wrist = rules.stb_wrist(POINTS)
    np.testing.assert_array_equal(wrist[0], POINTS[16] + 2 * (POINTS[0] - POINTS[16]))
    np.testing.assert_array_equal(wrist[1:], POINTS[1:])
    assert np.abs(rules.palm_from_wrist(wrist)[0] - POINTS[0]).max() > 1  # not the inverse of the palm's rule


def test_in_image():
    uv = np.array([[-0.4, 0], [-0.6, 0], [9.4, 4.4], [9.6, 0], [0, 4.6]])
    assert rules.in_image(uv, 10, 5).tolist() == [True, False, True, False, False]


# ---------------------------------------------------------------- anatomy


def recorded():
    """{name: (xyz (N, 21, 3) in our order, sides (N,))} of the recordings that are there."""
    hands = {}
    path = os.path.join(DATA, "rhd_sample", "annotations.npz")
    if os.path.exists(path):
        hands["rhd_sample"] = np.load(path)["xyz"].reshape(-1, NUM_KEYPOINTS, 3), np.tile([0, 1], 7)
    path = os.path.join(DATA, "poses", "dex_right", "joints_m.npy")
    if os.path.exists(path):  # from base to tip, as MediaPipe has it
        joints = np.load(path)
        hands["dex_right"] = joints[:, TURNED], np.ones(len(joints), int)
    from miniature import renders

    xyz = np.stack([sample["xyz"] for sample in renders()]).reshape(-1, NUM_KEYPOINTS, 3)
    return hands | {"renders": (xyz, np.tile([0, 1], len(xyz) // 2))}


@pytest.mark.parametrize("name", ["rhd_sample", "dex_right", "renders"])
def test_anatomy_accepts_hands_and_finds_every_wrong_order(name):
    if name not in recorded():
        pytest.skip(f"{name} is not there")
    xyz, sides = recorded()[name]
    assert anatomy.problems(xyz, sides, "wrist") == []
    assert anatomy.root_kind(rules.palm_from_wrist(xyz)) == "palm"
    assert (anatomy.apparent_side(xyz) == sides).mean() > 0.85

    def fingers(*names):
        return [0] + [k for finger in names for k in CHAINS[finger]]

    wrong = {
        "tips and bases": TURNED,
        "wrong order": fingers("little", "ring", "middle", "index", "thumb"),
        "knuckles": fingers("thumb", "ring", "middle", "index", "little"),
        "little finger's side": fingers("thumb", "little", "ring", "middle", "index"),
    }
    for words, order in wrong.items():
        assert words in "; ".join(anatomy.problems(xyz[:, order], sides)), words
    assert "sides exchanged" in anatomy.problems(xyz * (-1, 1, 1), sides)[0]
    assert "palm, not the wrist" in anatomy.problems(rules.palm_from_wrist(xyz), sides, "wrist")[0]
    present = np.ones(NUM_KEYPOINTS, bool)
    assert all(anatomy.impossible_bone(hand, present) is None for hand in xyz)
    for scale in (1000, 0.1, 0.01):  # millimetres, decimetres, ... taken for metres
        assert "mm long" in anatomy.impossible_bone(xyz[0] * scale, present)
    assert anatomy.impossible_bone(xyz[0] * 1000, np.zeros(NUM_KEYPOINTS, bool)) is None
