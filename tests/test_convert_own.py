"""People's own annotations, COCO's JSON and tables, convert whole, and their labels come out right."""

import json

import miniature
import numpy as np
import pytest
from converting import LEFT, RIGHT, converted
from PIL import Image

from hand3d.skeleton import NUM_KEYPOINTS
from pipelines.convert import coco, common
from pipelines.convert.stb import FROM_STB

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")


@pytest.mark.parametrize("names", [None, "mediapipe"])
def test_coco(tmp_path, names):
    if names:
        fingers = ("index_finger", "middle_finger", "ring_finger", "pinky")
        names = ["WRIST"] + [f"THUMB_{joint}".upper() for joint in ("cmc", "mcp", "ip", "tip")]
        names += [f"{finger}_{joint}" for finger in fingers for joint in ("mcp", "pip", "dip", "tip")]
    truth = miniature.write_coco(tmp_path, names)
    samples, _ = converted("coco", tmp_path, "training", "--evaluation-share", "0")
    assert len(samples) == len(truth)
    compared = 0
    for sample in samples:
        true = truth[int(sample["id"].decode().split(".")[0])]
        for part in (LEFT, RIGHT):
            present = sample["present"][part]
            np.testing.assert_allclose(sample["uv"][part][present], true["uv"][part][present], atol=1e-4)
            inside = ((true["uv"][part] > -0.5) & (true["uv"][part] < 191.5)).all(1)
            if present.any():
                np.testing.assert_array_equal(present, inside)
                np.testing.assert_array_equal(sample["visible"][part], true["visible"][part])
                box = sample["box"][part.start // NUM_KEYPOINTS]
                seen = true["uv"][part][true["visible"][part]]
                assert (seen > box[:2] - 4).all() and (seen < box[2:] + 4).all()
                compared += 1
        assert not sample["present_xyz"].any() and not sample["K"].any() and sample["source"] == "coco"
        hands = sample["mask"] > 1
        assert (hands == (true["mask"] > 1)).mean() > 0.98 and sample["mask_kind"] == "hands"
    assert compared > 24


def test_coco_order_side_and_polygons(tmp_path):
    samples = miniature.write_coco(tmp_path, masks=False, boxes=False)
    content = json.loads((tmp_path / "hands.json").read_text())
    for category in content["categories"]:
        category |= {"name": "hand", "keypoints": []}
    for entry in content["annotations"]:
        entry["segmentation"] = [[10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 10.0, 60.0]]
    (tmp_path / "hands.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="give --order"):
        converted("coco", tmp_path, "training")
    with pytest.raises(ValueError, match="give --side"):
        converted("coco", tmp_path, "training", "--order", "outwards")
    options = ("--order", "outwards", "--side", "right", "--evaluation-share", "0")
    found, _ = converted("coco", tmp_path, "training", *options)
    assert len(found) > len(samples)  # the second right hand of an image is a sample of its own
    assert not any(sample["present"][LEFT].any() for sample in found)
    mask = found[0]["mask"]
    assert mask[40, 25] == 33 and mask[5, 5] == 0 and abs((mask > 0).sum() - 30 * 40) < 120


def test_run_lengths_packed_and_plain():
    mask = np.zeros((7, 5), bool)
    mask[2:5, 1:4] = mask[6, 4] = True
    counts = [9, 3, 4, 3, 4, 3, 8, 1]
    np.testing.assert_array_equal(coco.run_lengths(counts, 7, 5), mask)
    packed = ""
    for number, count in enumerate(counts):  # COCO's text: from the fourth on, the change against two before
        value = count - counts[number - 2] if number > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            more = not (value == 0 and not bits & 16 or value == -1 and bits & 16)
            packed += chr((bits | 32 if more else bits) + 48)
            if not more:
                break
    np.testing.assert_array_equal(coco.run_lengths(packed, 7, 5), mask)


@pytest.mark.parametrize("delimiter, with_3d", [(",", True), (";", False)])
def test_csv(tmp_path, delimiter, with_3d):
    truth = miniature.write_csv(tmp_path, with_3d, delimiter)
    count = 0
    for split in ("training", "evaluation"):
        samples, _ = converted("csv", tmp_path, split)
        for sample in samples:
            number = int(sample["id"].decode().split(".")[0])
            assert (number % 4 == 0) == (split == "evaluation")
            true = truth[number]
            for part in (LEFT, RIGHT):
                present = sample["present"][part]
                if present.any():
                    assert present.all()
                    np.testing.assert_allclose(sample["uv"][part], true["uv"][part], atol=1e-3)
                    np.testing.assert_array_equal(sample["visible"][part], true["visible"][part])
                    assert sample["present_xyz"][part].all() == with_3d
                    if with_3d:
                        np.testing.assert_allclose(sample["xyz"][part], true["xyz"][part], atol=1e-5)
            count += 1
    assert count == len(truth)


def test_large_photographs_are_reduced_with_their_labels(tmp_path):
    miniature.write_csv(tmp_path)
    options = ("--max-side", "96", "--K", "200", "200", "95.5", "95.5")
    samples, _ = converted("csv", tmp_path, "training", *options)
    truth = miniature.renders()
    for sample in samples:
        true = truth[int(sample["id"].decode().split(".")[0])]
        assert sample["image"].shape == (96, 96, 3)
        seen = sample["present"]
        np.testing.assert_allclose(sample["uv"][seen], (true["uv"][seen] + 0.5) / 2 - 0.5, atol=1e-3)
        np.testing.assert_allclose(sample["K"], [[100, 0, 47.5], [0, 100, 47.5], [0, 0, 1]])


def test_turned_photographs_are_shown_upright(tmp_path):
    miniature.write_csv(tmp_path)
    for path in sorted(tmp_path.glob("*.jpg")):
        image = Image.open(path)
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its side
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    samples, _ = converted("csv", tmp_path, "training")
    truth = miniature.renders()
    for sample in samples:
        true = truth[int(sample["id"].decode().split(".")[0])]
        assert np.abs(sample["image"].astype(int) - true["image"]).mean() < 6


def test_names_of_keypoints():
    from hand3d.skeleton import KEYPOINT_NAMES

    assert [common.keypoint_index(name) for name in KEYPOINT_NAMES] == list(range(NUM_KEYPOINTS))
    for name, index in (
        ("Wrist", 0), ("PINKY_TIP", 17), ("forefinger1", 8), ("Index Finger MCP", 8), ("thumb4", 1),
        ("left_ring_finger_pip", 15), ("THUMB_CMC", 4), ("elbow", None), ("ring", None), ("thumb_5", None),
    ):  # fmt: skip
        assert common.keypoint_index(name) == index, name
    assert sorted(FROM_STB) == list(range(NUM_KEYPOINTS)) and FROM_STB[1] == 20
