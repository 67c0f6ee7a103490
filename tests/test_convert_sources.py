"""Published data sets: a miniature of each converts whole, and its labels come out right."""

import json
import os

import miniature
import numpy as np
import pytest
from converting import LEFT, RIGHT, check_uv, converted
from PIL import Image

from hand3d.skeleton import NUM_KEYPOINTS, TIPS
from pipelines import convert, records
from pipelines.convert.__main__ import main
from pipelines.convert.run import Unsound, run
from pipelines.inspect import defaults

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
DATA = os.path.join(os.path.dirname(__file__), "..", "..", "shared", "data")


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
    command = ["freihand", "--source", source, "--out", out, "--check-pictures", "none"]
    assert main([*command, "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "training: 24 samples written and verified, 0 left out" in shown and "does not have this" in shown
    info = records.read_info(out)
    assert (
        "research only" in info["licence"]
        and "base to tip" in info["splits"]["training"]["read_from"]["order"]
    )
    assert main([*command, "--workers", "1"]) == 0
    assert "is complete" in capsys.readouterr().out
    assert main(["rhd", "--source", source, "--out", out]) == 1
    assert "it looks like freihand" in capsys.readouterr().err
