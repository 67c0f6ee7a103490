"""Every source converts a miniature set in the original format whole, and its labels come out right."""

import json
import os

import miniature
import numpy as np
import pytest
from PIL import Image

from hand3d.skeleton import HAND_SLICES, NUM_KEYPOINTS, TIPS
from pipelines import convert, records
from pipelines.convert import coco, common
from pipelines.convert.__main__ import main
from pipelines.convert.run import Unsound, run
from pipelines.convert.stb import FROM_STB
from pipelines.inspect import defaults

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
DATA = os.path.join(os.path.dirname(__file__), "..", "..", "shared", "data")
LEFT, RIGHT = HAND_SLICES["left"], HAND_SLICES["right"]


def converted(name, folder, split, *options):
    """(samples, report) of the converted split."""
    out = os.path.join(folder, "out")
    report = run(name, folder, out, split, workers=1, options=defaults(name, options))
    info = records.read_info(out)["splits"][split]
    assert info["complete"] and info["samples"] == report["samples"]
    return miniature.read_all(out, split), report


def check_uv(sample, part, tolerance=0.02):
    """Labels of a hand: uv is what K makes of xyz, to float32's precision."""
    which = sample["present"][part] & sample["present_xyz"][part]
    projected = common.project(sample["xyz"][part][which], sample["K"])
    np.testing.assert_allclose(projected, sample["uv"][part][which], atol=tolerance)


def skin_at(image, uv):
    """(N, 3) float, colours at keypoints."""
    columns, rows = np.rint(uv).astype(int).T
    return image[rows, columns].astype(float)


def test_rhd(tmp_path):
    truth = miniature.write_rhd(tmp_path)
    samples, report = converted("rhd", tmp_path, "training")
    assert report["left_out"] == 0 and len(samples) == len(truth) >= 20
    for sample, true in zip(samples, truth, strict=True):
        for key in ("xyz", "K", "mask", "visible"):
            np.testing.assert_array_equal(sample[key], true[key], err_msg=key)
        before = true["xyz"][:, 2] > 0  # a hand behind the camera is nowhere in the image
        np.testing.assert_array_equal(sample["uv"], np.where(before[:, None], true["uv"], 0))
        np.testing.assert_array_equal(sample["present"], before)
        assert sample["present_xyz"].all()
        assert np.abs(sample["image"].astype(int) - true["image"]).mean() < 4  # JPEG of noise
        assert (sample["root"], sample["source"], sample["mask_kind"]) == ("wrist", "rhd", "full")
        depth = miniature.pictures.decode(sample["depth"]) * records.DEPTH_UNIT
        assert not depth[sample["mask"] == 0].any()
        np.testing.assert_allclose(depth[sample["mask"] > 0], true["xyz"][:, 2].max(), atol=2e-4)


def test_stb(tmp_path):
    truth = miniature.write_stb(tmp_path, frames=4)
    samples, report = converted("stb", tmp_path, "evaluation")
    assert len(samples) == 24 and report["left_out"] == 0
    by_name = {sample["id"].decode(): sample for sample in samples}
    for (sequence, view), hands in truth.items():
        for frame, xyz in enumerate(hands):
            sample = by_name[f"{sequence}/{view}_{frame}"]
            np.testing.assert_allclose(sample["xyz"][LEFT], xyz, atol=2e-6)
            assert not sample["present"][RIGHT].any() and sample["root"] == "palm"
            check_uv(sample, LEFT)
    # image and labels belong together: what is under the keypoints has one colour, what is far does not
    near = far = 0
    for sample in samples:
        if b"left" in sample["id"]:
            seen = skin_at(sample["image"], sample["uv"][LEFT][sample["visible"][LEFT]])
            near += np.median(np.abs(seen - np.median(seen, 0)).sum(1))
            shifted = sample["uv"][LEFT][sample["visible"][LEFT]] * 0.5 + (0, 20)
            seen = skin_at(sample["image"], shifted.clip(0, 470))
            far += np.median(np.abs(seen - np.median(seen, 0)).sum(1))
    assert near < 0.7 * far


def test_stb_cameras_and_split(tmp_path):
    miniature.write_stb(tmp_path, frames=2, cameras=("SK",))
    samples, _ = converted("stb", tmp_path, "evaluation", "--cameras", "SK")
    assert len(samples) == 4 and all(b"SK_color" in sample["id"] for sample in samples)
    with pytest.raises(ValueError, match="B2Counting_BB.mat does not exist"):
        run("stb", tmp_path, tmp_path / "o", "training", workers=1, options=defaults("stb"))
    assert convert.source("stb").EXPECTED == {"training": 45_000, "evaluation": 9_000}


@pytest.mark.parametrize(
    "wrong, words",
    [
        (dict(palm=False), "root seems to be the wrist, not the palm"),
        (dict(order=list(range(NUM_KEYPOINTS))), "wrong order"),  # as if it were in RHD's order
        pytest.param(dict(order=miniature.OUTWARDS), "wrong order", marks=pytest.mark.slow),
    ],
)
def test_stb_in_a_wrong_order_is_refused(tmp_path, wrong, words):
    miniature.write_stb(tmp_path, frames=10, cameras=("SK",), **wrong)
    with pytest.raises(Unsound, match=words):
        converted("stb", tmp_path, "evaluation", "--cameras", "SK")
    with pytest.raises(ValueError, match="incomplete"):
        records.shard_paths(tmp_path / "out", "evaluation")
    assert json.loads((tmp_path / "out" / "report-evaluation.json").read_text())["problems"]


def test_freihand(tmp_path):
    truth = miniature.write_freihand(tmp_path, variants=2)
    samples, report = converted("freihand", tmp_path, "training")
    assert len(samples) == 2 * len(truth) and report["left_out"] == 0
    for number, sample in enumerate(samples):
        np.testing.assert_allclose(sample["xyz"][RIGHT], truth[number % len(truth)], atol=1e-6)
        check_uv(sample, RIGHT)
        assert sample["mask_kind"] == "hands" and set(np.unique(sample["mask"])) == {0, 33}
        assert sample["image"].shape == (192, 192, 3)
    # JPEG files go into the records as they are
    (path,) = records.shard_paths(tmp_path / "out", "training")
    raw = next(miniature.read_tfrecord(path))
    assert (tmp_path / "training" / "rgb" / "00000000.jpg").read_bytes() in raw


@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1)])
def test_dexter(tmp_path, signs):
    truth = miniature.write_dexter(tmp_path, signs=signs)
    samples, report = converted("dexter", tmp_path, "evaluation")
    assert len(samples) == len(truth) >= 20
    assert any("Occlusion is missing" in note for note in report["notes"])
    tips = list(TIPS)
    for number, (sample, xyz) in enumerate(zip(samples, truth, strict=True)):
        present = sample["present"][LEFT]
        assert not np.delete(present, tips).any() and not sample["present"][RIGHT].any()
        labelled = present[tips]
        assert labelled.sum() == (4 if number % (len(truth) // 2) == 0 else 5)  # one without a depth
        np.testing.assert_allclose(sample["xyz"][LEFT][tips][labelled], xyz[labelled], atol=2e-5)
        np.testing.assert_array_equal(sample["present"], sample["present_xyz"])
        check_uv(sample, LEFT)
        assert len(json.loads(sample["meta"])["cuboid_xyz"]) == 3


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


def test_frames_of_the_real_rhd(tmp_path):
    """The seven real frames, put into RHD's layout with made-up masks, come out as they are annotated."""
    path = os.path.join(DATA, "rhd_sample", "annotations.npz")
    if not os.path.exists(path):
        pytest.skip("rhd_sample is not there")
    truth, samples = np.load(path), []
    for number, frame in enumerate(truth["frame"]):
        image = np.asarray(
            Image.open(os.path.join(DATA, "rhd_sample", "color", f"{frame:05d}.png")).convert("RGB")
        )
        visible = ((truth["uv"][number] > 4) & (truth["uv"][number] < 315)).all(-1)
        mask = np.ones(image.shape[:2], np.uint8)
        for keypoint in np.flatnonzero(visible):
            u, v = np.rint(truth["uv"][number, keypoint]).astype(int)
            mask[v - 3 : v + 4, u - 3 : u + 4] = 17 if keypoint < NUM_KEYPOINTS else 33
        samples.append({"image": image, "mask": mask, "visible": visible})
        samples[-1] |= {key: truth[key][number] for key in ("xyz", "uv", "K")}
    miniature.write_rhd(tmp_path, "evaluation", samples)
    found, report = converted("rhd", tmp_path, "evaluation")
    assert len(found) == 7 and report["left_out"] == 0 and not report["problems"]
    for number, sample in enumerate(found):
        for part in (LEFT, RIGHT):
            check_uv(sample, part)
        np.testing.assert_array_equal(sample["xyz"], truth["xyz"][number])
        assert np.abs(sample["image"].astype(int) - samples[number]["image"]).mean() < 4


def test_the_command(tmp_path, capsys):
    miniature.write_freihand(tmp_path / "download", masks=False)
    source, out = str(tmp_path / "download"), str(tmp_path / "records")
    assert main(["freihand", "--source", source, "--out", out, "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "training: 24 samples written and verified, 0 left out" in shown and "does not have this" in shown
    info = records.read_info(out)
    assert (
        "research only" in info["licence"]
        and "base to tip" in info["splits"]["training"]["read_from"]["order"]
    )
    assert main(["freihand", "--source", source, "--out", out, "--workers", "1"]) == 0
    assert "is complete" in capsys.readouterr().out
    assert main(["rhd", "--source", source, "--out", out]) == 1
    assert "it looks like freihand" in capsys.readouterr().err
