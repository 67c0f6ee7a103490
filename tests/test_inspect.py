import json

import miniature
import numpy as np
import pytest
from PIL import Image

from hand3d.skeleton import HAND_SLICES, NUM_KEYPOINTS
from pipelines import inspect_hands
from pipelines.inspect import inspect, main

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")


def flat_hand(side):
    """(21, 3): a flat hand half a metre away, fingers up, its palm towards the camera."""
    from toy_samples import FLAT_HAND

    hand = FLAT_HAND * (
        1,
        1,
        0,
    )  # as the back of a left hand or the palm of a right one has it, x to the right
    return hand * (-1 if side == 0 else 1, 1, 1) + (0, 0, 0.5)


def test_seen_from():
    for side in (0, 1):
        palm = flat_hand(side)
        back = palm * (-1, 1, 1)
        seen = inspect_hands.seen_from(palm, side), inspect_hands.seen_from(back, side)
        # look at your own left hand, fingers up: with its back to you, the thumb is on your right
        thumb_right = palm[4, 0] > palm[20, 0]
        assert seen == (("back", "palm") if thumb_right == (side == 0) else ("palm", "back"))
        up = (palm - (0, 0, 0.5)) @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]] + (0, 0, 0.5)
        assert inspect_hands.seen_from(up, side) in ("fingertips", "wrist")
        towards = up[12, 2] < up[0, 2]
        assert inspect_hands.seen_from(up, side) == ("fingertips" if towards else "wrist")


def test_extended_fingers():
    hand = flat_hand(0)
    assert len(inspect_hands.extended(hand)) == 5
    hand[5:8] = hand[8] + [
        [0.001, 0, 0.02],
        [0.001, -0.01, 0.025],
        [0, -0.02, 0.01],
    ]  # the index finger, bent
    assert inspect_hands.extended(hand) == ["thumb", "middle", "ring", "little"]


def test_records(tmp_path):
    report = inspect(miniature.RENDERS, "evaluation", str(tmp_path / "out"))
    truth = miniature.renders()
    assert report["samples"] == report["looked_at"] == len(truth) == report["with_mask"] == report["with_K"]
    assert report["image_sizes"] == {"192x192": len(truth)}
    shown = sum(
        bool(((s["uv"][part] > -0.5) & (s["uv"][part] < 191.5)).all(1).any())
        for s in truth
        for part in HAND_SLICES.values()
    )
    assert report["hands"] == shown
    for title, values in report["histograms"].items():
        assert sum(values.values()) == shown, title
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == report
    sheet = Image.open(tmp_path / "out" / "evaluation-samples.png")
    assert sheet.size == (6 * inspect_hands.TILE, 4 * inspect_hands.TILE)
    assert Image.open(tmp_path / "out" / "evaluation-histograms.png").size[0] > 800


def test_skeleton_and_mask_are_drawn_where_they_are():
    sample = miniature.renders()[0]
    drawn = inspect_hands.draw_hands(sample | {"mask": None}, 384).astype(int)
    plain = np.asarray(Image.fromarray(sample["image"]).resize((384, 384), Image.Resampling.BICUBIC)).astype(
        int
    )
    changed = np.abs(drawn - plain).sum(-1) > 30
    for u, v in sample["uv"][sample["visible"]]:
        assert changed[round((v + 0.5) * 2 - 0.5), round((u + 0.5) * 2 - 0.5)]
    assert changed.mean() < 0.1
    tinted = np.abs(inspect_hands.draw_hands(sample, 384).astype(int) - drawn).sum(-1) > 0
    hand = np.asarray(Image.fromarray(sample["mask"]).resize((384, 384), Image.Resampling.NEAREST)) > 1
    assert (tinted & hand).sum() > 0.8 * hand.sum() and not (tinted & ~hand).any()
    absent = sample | {"present": np.zeros(2 * NUM_KEYPOINTS, bool), "mask": None}
    assert np.abs(inspect_hands.draw_hands(absent, 384).astype(int) - plain).max() <= 1


@pytest.mark.slow
def test_downloads_and_the_command(tmp_path, capsys):
    miniature.write_dexter(tmp_path / "dexter", sequences=("Grasp1",))
    miniature.write_rhd(tmp_path / "rhd", samples=miniature.renders()[:4])
    (tmp_path / "coco").mkdir()
    miniature.write_coco(tmp_path / "coco")
    out = ["--out", str(tmp_path / "out")]
    for name, words in (
        (
            "dexter",
            "evaluation: 24 samples, 24 looked at, 24 hands; 0 with a mask, 24 with a camera; 640x480 (24)",
        ),
        ("rhd", "training: 4 samples"),
        ("coco", "192x192"),
    ):
        assert main([str(tmp_path / name), *out]) == 0
        assert words in capsys.readouterr().out
        assert (tmp_path / "out" / f"{'evaluation' if name == 'dexter' else 'training'}-samples.png").exists()
    assert main([str(tmp_path / "dexter"), *out, "--side", "right"]) == 0
    assert "left      0" in capsys.readouterr().out
    for arguments, words in (
        ([str(tmp_path / "none")], "does not exist"),
        ([str(tmp_path)], "holds neither records nor one of rhd"),
        ([str(tmp_path / "rhd"), "--split", "test"], "no split 'test', only training"),
    ):
        assert main([*arguments, *out]) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(tmp_path / "rhd"), "--limit", "0"])
