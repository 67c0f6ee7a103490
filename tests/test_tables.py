"""Tables 1 and 3 and segmentation: protocols against hand-computed cases, and the programs on toy records."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from toy_samples import toy_sample, write_toy_records

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import measure, segmentation, table1, table3, tables  # noqa: E402
from experiments.truth import Errors, Truth  # noqa: E402
from hand3d import geometry  # noqa: E402
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SCALE_BONE, TIPS  # noqa: E402

ARGUMENTS = SimpleNamespace(frame="320", root="palm")


def toy_batch(count=2, **changes):
    """Toy samples as `records.decode_pictures` gives them."""
    samples = [toy_sample(1000 + seed) for seed in range(count)]
    batch = {key: np.stack([s[key] for s in samples]) for key in ("mask", "uv", "xyz", "visible", "present")}
    batch |= {"mask": batch["mask"][..., None], "present_xyz": batch["present"]}
    return batch | {"root": np.zeros(count, int), "mask_kind": np.full(count, 2)} | changes


def perfect(truth, errors, image, hand, shift=(0, 0)):
    xyz, _ = geometry.normalise(truth.xyz_mm[image, hand] / 1000)
    errors.add(truth, image, hand, truth.uv[image, hand] + shift, keras.ops.convert_to_numpy(xyz), hand)


def rows_of(made):
    return {row["name"]: row for row in made["rows"]}


def test_frames_and_roots_of_the_protocols():
    batch = toy_batch(1, height=np.array([96]), width=np.array([128]))
    truth, errors = Truth(batch), Errors()
    perfect(truth, errors, 0, 0, shift=(3, 4))
    assert errors.errors_px("native")[0][0] == pytest.approx(np.full(NUM_KEYPOINTS, 5), rel=1e-5)
    assert errors.errors_px("320")[0][0] == pytest.approx(np.full(NUM_KEYPOINTS, 12.5), rel=1e-5)
    # 128 x 96 stretched to 320 x 240 keeps its shape, 128 x 128 does not
    assert errors.errors_px("240x320")[0][0] == pytest.approx(np.full(NUM_KEYPOINTS, 12.5), rel=1e-5)
    square = Errors()
    perfect(Truth(toy_batch(1)), square, 0, 0, shift=(3, 4))
    expected = np.hypot(3 * 320 / 128, 4 * 240 / 128)
    assert square.errors_px("240x320")[0][0] == pytest.approx(np.full(NUM_KEYPOINTS, expected), rel=1e-5)
    # against the wrist, the root is off by the distance from palm to wrist, and nothing else is
    wrist = square.errors_px("native", "wrist")[0][0]
    off = truth.uv[0, 0, ROOT] + (3, 4) - batch["uv"][0, ROOT]
    assert wrist[ROOT] == pytest.approx(np.linalg.norm(off), rel=1e-5) and abs(wrist[ROOT] - 5) > 0.2
    assert wrist[1:] == pytest.approx(np.full(NUM_KEYPOINTS - 1, 5), rel=1e-5)
    with pytest.raises(ValueError, match="frame 'big'"):
        errors.errors_px("big")


def test_the_dominant_hand_is_that_with_more_pixels():
    truth = Truth(toy_batch(), "dominant")
    pixels = truth.pixels.sum((2, 3))
    assert truth.counts.sum(1).tolist() == [1, 1]
    assert truth.counts.argmax(1).tolist() == np.where(pixels[:, 0] > pixels[:, 1], 0, 1).tolist()


def test_table1_counts_missing_hands_as_errors():
    truth, found = Truth(toy_batch()), measure.Measured()
    for image in (0, 1):
        perfect(truth, found.crop, image, 0)
    perfect(truth, found.chain, 0, 0, shift=(1, 0))
    found.chain.add(truth, 1, 0)
    made = table1.table(found, ARGUMENTS)
    rows = rows_of(made)
    assert rows["GT crop"]["values"]["auc_0_30px"] == 1 and rows["GT crop"]["values"]["hands_found"] == 1
    net = rows["Net crop"]["values"]
    assert net["hands_found"] == 0.5 and net["epe_px"] == pytest.approx(2.5, rel=1e-4)
    assert net["auc_0_30px"] < 0.51  # half of the hands is missing
    assert {"Net crop, index tip", "GT crop, palm", "GT crop, occluded keypoints"} <= set(rows)
    assert set(table1.figures(made)) == {"pck", "keypoints"}


def test_table1_of_fingertips_and_of_nothing():
    batch = toy_batch()
    only = np.isin(np.arange(batch["present"].shape[1]) % NUM_KEYPOINTS, TIPS)
    batch |= {key: batch[key] & only for key in ("present", "visible", "present_xyz")}
    truth, found = Truth(batch), measure.Measured()
    perfect(truth, found.crop, 0, 0)
    rows = rows_of(table1.table(found, ARGUMENTS))
    assert rows["GT crop"]["values"]["epe_px"] == pytest.approx(0, abs=1e-4)
    assert rows["GT crop, palm"]["missing"]["epe_px"] == "no such keypoint is labelled"
    assert rows["Net crop"]["missing"]["auc_0_30px"] == tables.NO_HAND
    unseen = Truth(batch | {"visible": np.zeros_like(batch["visible"])})
    assert not unseen.counts.any()


def test_table3_aligns_and_says_where_there_is_no_3d():
    truth, found = Truth(toy_batch()), measure.Measured()
    perfect(truth, found.chain, 0, 0)
    found.chain.xyz[0] = 2 * found.chain.xyz[0]  # a wrong scale, which Procrustes takes out
    rows = rows_of(table3.table(found, ARGUMENTS))
    start, end = SCALE_BONE
    points = truth.xyz_mm[0, 0]
    lengths = np.linalg.norm(points - points[ROOT], axis=-1)[truth.visible[0, 0]]
    exact = rows["whole chain, root and scale"]["values"]
    assert exact["epe_mm"] == pytest.approx(lengths.mean(), rel=1e-4)  # each is off by its own distance
    assert rows["whole chain, Procrustes"]["values"]["epe_mm"] == pytest.approx(0, abs=1e-3)
    flat = Truth(toy_batch(present_xyz=np.zeros((2, 42), bool)))
    other = measure.Measured()
    perfect(flat, other.chain, 0, 0)
    made = table3.table(other, ARGUMENTS)
    assert made["rows"][0]["missing"]["epe_mm"] == tables.NO_3D
    assert table3.figures(made | {"data": {"name": "toy"}}) == {}
    assert table3.table(measure.Measured(), ARGUMENTS)["rows"][0]["missing"]["epe_mm"] == tables.NO_HAND


def test_masks_and_boxes_against_hand_computed_cases():
    masks, found, true = measure.Masks(), np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    found[0, :2], true[0, 1:3], true[1, 0, 0] = True, True, True
    masks.add(found, true)  # 4 of 8 and 8 in the first image; 0 of 0 and 1 in the second
    assert masks.ious().tolist() == [4 / 12, 0] and masks.iou_pooled() == 4 / 13
    assert masks.precision_recall() == (4 / 8, 4 / 9)
    assert measure.box_iou(found[0], true[0]) == pytest.approx(4 / 12)
    assert measure.box_iou(found[0], found[1]) == 0
    row = segmentation.table(measure.Measured(masks=masks, images=2), ARGUMENTS)["rows"][0]
    assert row["values"]["precision"] == 0.5 and row["missing"]["box_iou"] == tables.NO_HAND
    empty = segmentation.table(measure.Measured(images=2), ARGUMENTS)["rows"][0]
    assert empty["missing"]["iou"] == "the data set has no masks"


def test_programs_report_what_is_missing(tiny_weights, tmp_path, capsys):
    assert table1.main(["--data", str(tmp_path), "--weights", str(tiny_weights)]) == 1
    assert "info.json" in capsys.readouterr().err
    assert table1.main(["--data", str(tmp_path), "--weights", "no such set"]) == 1
    assert "no such set" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tables.main(["--data", str(tmp_path), "--name", "x"])
    assert "several results" in capsys.readouterr().err


@pytest.mark.slow
def test_all_tables_from_one_pass(tiny_weights, tmp_path, capsys):
    folder, out = write_toy_records(tmp_path), tmp_path / "out"
    assert tables.main(["--data", folder, "--weights", str(tiny_weights), "--out", str(out)]) == 0
    made = {
        name: json.loads((out / f"{name}.json").read_text()) for name in ("table1", "table3", "segmentation")
    }
    for result in made.values():
        assert result["data"]["samples"] == 6 and result["weights"]["name"] == "tiny"
    assert (out / "table3-pck.png").exists() and (out / "segmentation-iou.pdf").exists()
    assert made["table1"]["rows"][0]["values"]["hands"] > 0
    one = [
        "--data",
        folder,
        "--weights",
        str(tiny_weights),
        "--limit",
        "1",
        "--out",
        str(out),
        "--name",
        "one",
    ]
    assert table3.main(one) == 0  # a single sample
    assert json.loads((out / "one.json").read_text())["data"]["samples"] == 1
    assert "Procrustes" in capsys.readouterr().out
