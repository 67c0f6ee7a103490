"""Conversions that are interrupted, damaged, or given the wrong thing: an error or a counted skip by name."""

import json
import os
import pickle
import re
import subprocess
import sys

import miniature
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipelines import records
from pipelines.convert import run as runner
from pipelines.convert.__main__ import main
from pipelines.inspect import defaults

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")


@pytest.fixture
def rhd(tmp_path):
    """A small set in RHD's layout: (folder, labels)."""
    folder = tmp_path / "rhd"
    miniature.write_rhd(folder, samples=miniature.renders()[:6])
    return folder, pickle.loads((folder / "training" / "anno_training.pickle").read_bytes())


def relabel(folder, labels):
    (folder / "training" / "anno_training.pickle").write_bytes(pickle.dumps(labels, 2))


def convert(name, folder, out, split="training", *options):
    return runner.run(name, str(folder), str(out), split, workers=1, options=defaults(name, options))


def left_out(report):
    return {entry["id"]: entry["reason"] for entry in report["samples_left_out"]}


def test_resumes_and_is_the_same(rhd, tmp_path, monkeypatch):
    folder, _ = rhd
    monkeypatch.setattr(runner, "SAMPLES_PER_SHARD", 2)
    convert("rhd", folder, tmp_path / "whole")
    work, calls = runner.convert_shard, []

    def twice(job):
        calls.append(job["path"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(job)

    monkeypatch.setattr(runner, "convert_shard", twice)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        convert("rhd", folder, out)
    with pytest.raises(ValueError, match="'training' is incomplete"):
        records.shard_paths(out, "training")
    (out / "xyz.partial").touch()  # what a killed process leaves
    stamp = (out / records.shard_name("training", 0, 3)).stat().st_mtime_ns
    report = convert("rhd", folder, out)
    assert len(calls) == 4 and report["samples"] == 6  # only the third shard was made again
    assert (out / records.shard_name("training", 0, 3)).stat().st_mtime_ns == stamp
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "whole").iterdir()) and ".parts" not in names
    for path in out.glob("*.tfrecord"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert convert("rhd", folder, out) == report  # complete: nothing is done
    with pytest.raises(ValueError, match="made with .*give another --out"):
        runner.run("rhd", str(folder), str(out), "training", workers=1, image_format="png")


def test_processes_agree_and_one_at_a_time(rhd, tmp_path, monkeypatch):
    folder, _ = rhd
    monkeypatch.setattr(runner, "SAMPLES_PER_SHARD", 3)
    convert("rhd", folder, tmp_path / "one")
    runner.run("rhd", str(folder), str(tmp_path / "two"), "training", workers=2)
    for path in (tmp_path / "one").glob("*.tfrecord"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    if runner.fcntl:
        os.makedirs(tmp_path / "three" / ".parts")
        with runner._only_one(tmp_path / "three"), pytest.raises(ValueError, match="another conversion"):
            convert("rhd", folder, tmp_path / "three")


def test_rhd_samples_that_are_left_out(rhd, tmp_path):
    folder, labels = rhd
    color, mask = folder / "training" / "color", folder / "training" / "mask"
    (color / "00000.png").unlink()
    (color / "00001.png").write_bytes((color / "00001.png").read_bytes()[:2000])
    labels[2]["xyz"] = labels[2]["xyz"] * np.nan
    labels[3]["K"] = labels[3]["K"][:2]
    other = np.roll(np.asarray(Image.open(mask / "00004.png")), (96, 96), (0, 1))  # not this image's
    Image.fromarray(other).save(mask / "00004.png")
    (color / "00099.png").write_bytes(b"")
    relabel(folder, labels)
    report = convert("rhd", folder, tmp_path / "out")
    reasons = left_out(report)
    assert report["samples"] == 1 and report["left_out"] == 5
    for number, words in enumerate(
        (
            "color/00000.png is missing",
            "00001.png: damaged",
            "sample 2: xyz.*NaN",
            "sample 3: K: shape (2, 3)",
        )
    ):
        assert re.search(words.replace("(", r"\(").replace(")", r"\)"), reasons[f"training/{number:05d}"])
    assert "00004.png: does not fit the keypoints" in reasons["training/00004"]
    assert any("00099.png" in note for note in report["notes"])
    assert records.read_info(tmp_path / "out")["splits"]["training"]["left_out"] == 5


def test_rhd_labels_that_contradict_each_other(rhd, tmp_path):
    folder, labels = rhd
    labels[0]["K"] = labels[0]["K"] * [[1.3], [1.3], [1]]
    labels[1]["xyz"] = labels[1]["xyz"] * 1000  # millimetres
    labels[2]["uv_vis"] = labels[2]["uv_vis"][:21]
    labels[3] = [1, 2]
    relabel(folder, labels)
    reasons = left_out(convert("rhd", folder, tmp_path / "out"))
    for number, words in enumerate(("px from uv", "mm long", "uv_vis: shape (21, 3)", "expected a dict")):
        assert words in reasons[f"training/{number:05d}"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "posix.system"),
        (pickle.dumps([1, 2]), "expected a dict"),
        (pickle.dumps({"a": 1}), "no sample number"),
        (b"", "damaged"),
    ],
)
def test_rhd_pickles_that_are_refused(rhd, tmp_path, content, words):
    folder, _ = rhd
    (folder / "training" / "anno_training.pickle").write_bytes(content)
    with pytest.raises(ValueError, match=f"anno_training.pickle.*{words}"):
        convert("rhd", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_an_error(rhd, tmp_path):
    folder, labels = rhd
    relabel(folder, {number + 50: label for number, label in labels.items()})
    with pytest.raises(ValueError, match="no usable sample.*first of 6.*00050.png is missing"):
        convert("rhd", folder, tmp_path / "out")


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
    reasons = left_out(convert("freihand", tmp_path, tmp_path / "out"))
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


def test_damage_after_writing_is_found(rhd, tmp_path, monkeypatch):
    folder, _ = rhd
    write = runner.write_tfrecord

    def careless(path, payloads):
        count = write(path, payloads)
        content = bytearray(open(path, "rb").read())
        content[len(content) // 2] ^= 1
        open(path, "wb").write(content)
        return count

    monkeypatch.setattr(runner, "write_tfrecord", careless)
    with pytest.raises(
        ValueError, match="training-00000-of-00001.tfrecord: corrupt record.*record [0-9].*at byte"
    ):
        convert("rhd", folder, tmp_path / "out")
    with pytest.raises(ValueError, match="incomplete"):
        records.shard_paths(tmp_path / "out", "training")


def test_folders_that_are_something_else(rhd, tmp_path, capsys):
    folder, _ = rhd
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        (["stb", "--source", str(folder)], "is no stb folder; it looks like rhd"),
        (["rhd", "--source", str(tmp_path / "empty")], "is no rhd folder: expected training/anno"),
        (["csv", "--source", str(tmp_path / "none")], "does not exist"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
        assert words in capsys.readouterr().err
    for arguments in (
        ["mpii"],
        ["rhd", "--source", "x"],
        ["rhd", "--source", "x", "--out", "y", "--workers", "0"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)


def test_converting_needs_no_tensorflow():
    code = (
        "import sys\nfrom pipelines import convert, inspect, mix\nimport pipelines.convert.run\n"
        "for name in convert.SOURCES: convert.source(name)\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=os.path.dirname(os.path.dirname(__file__)))
