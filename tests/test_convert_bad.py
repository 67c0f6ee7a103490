"""Files of data sets that are damaged or contradict each other: an error or a counted skip by name."""

import json

import miniature
import numpy as np
import pytest
from converting import convert, left_out
from PIL import Image
from scipy.io import savemat

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")


def test_stb_files(tmp_path):
    miniature.write_stb(tmp_path, frames=2, cameras=("SK",))
    path = tmp_path / "labels" / "B1Counting_SK.mat"
    whole = path.read_bytes()
    for content, words in (({"other": np.zeros((3, 21, 2))}, "no variable handPara, only other"),
                           ({"handPara": np.zeros((3, 20, 2))}, r"\(3, 20, 2\)")):  # fmt: skip
        savemat(path, content)
        with pytest.raises(ValueError, match=f"B1Counting_SK.mat.*{words}"):
            convert("stb", tmp_path, tmp_path / "out", "evaluation", "--cameras", "SK")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="B1Counting_SK.mat: no readable .mat"):
        convert("stb", tmp_path, tmp_path / "out", "evaluation", "--cameras", "SK")
    path.write_bytes(whole)
    images = tmp_path / "images" / "B1Random"
    (images / "SK_color_0.png").unlink()
    Image.open(images / "SK_color_1.png").resize((320, 240)).save(images / "SK_color_1.png")
    report = convert("stb", tmp_path, tmp_path / "out", "evaluation", "--cameras", "SK")
    reasons = left_out(report)
    assert report["samples"] == 2 and "is missing" in reasons["B1Random/SK_color_0"]
    assert "320 x 240 pixels" in reasons["B1Random/SK_color_1"]


def test_freihand_files(tmp_path):
    miniature.write_freihand(tmp_path)
    K = json.loads((tmp_path / "training_K.json").read_text())
    K[1] = [[1, 2], [3, 4]]
    (tmp_path / "training_K.json").write_text(json.dumps(K))
    (tmp_path / "training" / "rgb" / "00000002.jpg").unlink()
    masks = tmp_path / "training" / "mask"
    other = np.roll(np.asarray(Image.open(masks / "00000003.jpg")), (96, 96), (0, 1))
    Image.fromarray(other).save(masks / "00000003.jpg")
    reasons = left_out(convert("freihand", tmp_path, tmp_path / "out"))
    assert "00000003.jpg: does not fit the keypoints" in reasons.pop("training/00000003")
    assert "training_K.json, entry 1: shape (2, 2)" in reasons["training/00000001"]
    assert "00000002.jpg is missing" in reasons["training/00000002"] and len(reasons) == 2
    (tmp_path / "training_K.json").write_text(json.dumps(K[:-1]))
    with pytest.raises(ValueError, match="23 entries, training_xyz.json 24"):
        convert("freihand", tmp_path, tmp_path / "other")
    (tmp_path / "training_K.json").write_text(json.dumps(K)[:-9])
    with pytest.raises(ValueError, match="training_K.json: no JSON, or truncated"):
        convert("freihand", tmp_path, tmp_path / "other")


def test_dexter_files(tmp_path):
    miniature.write_dexter(tmp_path, sequences=("Grasp1",))
    labels = tmp_path / "data" / "Grasp1" / "annotations"
    lines = (labels / "Grasp13D.txt").read_text().splitlines()
    shifted = "\n".join(lines[5:] + lines[:5])
    for text, words in (
        ("\n".join(lines[1:]), "23 frames in 3D.txt, 24 in 2D.txt"),
        ("\n".join([lines[0][:30], *lines[1:]]), "line 1: .* expected 8 points"),
        (shifted, "do not belong together"),
    ):
        (labels / "Grasp13D.txt").write_text(text)
        with pytest.raises(ValueError, match=words):
            convert("dexter", tmp_path, tmp_path / "out", "evaluation")
    (labels / "Grasp13D.txt").write_text("\n".join(lines))
    next((tmp_path / "data" / "Grasp1" / "color").iterdir()).unlink()
    with pytest.raises(ValueError, match="23 images for 24 labels"):
        convert("dexter", tmp_path, tmp_path / "out", "evaluation")


def test_coco_files(tmp_path):
    miniature.write_coco(tmp_path, masks=False)
    path = tmp_path / "hands.json"
    content = json.loads(path.read_text())

    def attempt(change):
        broken = json.loads(json.dumps(content))
        change(broken)
        path.write_text(json.dumps(broken))
        return convert("coco", tmp_path, tmp_path / "out", "training", "--evaluation-share", "0")

    for change, words in (
        (lambda c: c["images"][3].update(id=100), "images: the id 100 occurs twice"),
        (lambda c: c["annotations"][2].pop("id"), "annotations, entry 2: no id"),
        (lambda c: c["categories"][0]["keypoints"].pop(), "20 keypoint names"),
        (lambda c: c["categories"][0]["keypoints"].__setitem__(3, "elbow"), "'elbow' is not understood"),
        (lambda c: c.pop("annotations"), "no list 'annotations'"),
    ):
        with pytest.raises(ValueError, match=words):
            attempt(change)

    def small_faults(c):
        c["annotations"][0]["keypoints"].pop()
        c["annotations"][1]["image_id"] = 7
        c["annotations"][2]["keypoints"][0] = float("nan")
        c["annotations"][3]["keypoints"][:3] = [500, 500, 2]
        c["images"][-1]["width"] = 100

    report = attempt(small_faults)
    reasons = "; ".join(left_out(report).values())
    for words in (
        "62 keypoint numbers",
        "image 7 is not in the file",
        "NaN",
        "lies off the",
        "the file says 100 x",
    ):
        assert words in reasons
    assert report["left_out"] == 5


def test_csv_files(tmp_path):
    miniature.write_csv(tmp_path, split=False)
    path = tmp_path / "labels.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace("visible", "seen"), *lines[1:]]))
    with pytest.raises(ValueError, match="labels.csv: no column 'visible'; columns found: path"):
        convert("csv", tmp_path, tmp_path / "out", "training", "--table", "labels.csv")
    first = {line.split(",")[0]: number for number, line in reversed(list(enumerate(lines)))}
    rows = [first[f"{image}.jpg"] for image in range(6)]
    faults = {0: (",left,", ",both,"), 1: ("root", "elbow"), 2: (",root,", ",index_tip,")}
    for number, (old, new) in faults.items():
        lines[rows[number]] = (
            lines[rows[number]].replace(old, new).replace(",right," if number == 0 else "\0", new)
        )
    lines[rows[3]] = ",".join(lines[rows[3]].split(",")[:3] + ["inf", "5", "1"])
    lines[rows[4]] = ",".join(lines[rows[4]].split(",")[:3] + ["900", "5", "1"])
    lines[rows[5]] = ",".join(lines[rows[5]].split(",")[:5] + ["maybe"])
    path.write_text("\n".join(lines))
    report = convert("csv", tmp_path, tmp_path / "out", "training", "--evaluation-share", "0")
    reasons = left_out(report)
    for number, words in enumerate(
        (
            "side is 'both'",
            "'elbow' is not known",
            "occurs twice",
            "u is inf",
            "lies off the",
            "'maybe', expected 1",
        )
    ):
        assert words in reasons[f"{number}.jpg"] and (
            number == 4 or "labels.csv, line" in reasons[f"{number}.jpg"]
        )
    assert report["samples"] == 18
