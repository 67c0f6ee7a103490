"""Conversions that are interrupted, damaged, or given the wrong folder; bad samples in RHD's layout."""

import os
import pickle
import re
import subprocess
import sys

import miniature
import numpy as np
import pytest
from converting import convert, left_out
from PIL import Image

from pipelines import records
from pipelines.convert import run as runner
from pipelines.convert.__main__ import main
from pipelines.lock import locked

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")


@pytest.fixture
def rhd(tmp_path):
    """A small set in RHD's layout: (folder, labels)."""
    folder = tmp_path / "rhd"
    miniature.write_rhd(folder, samples=miniature.renders()[:6])
    return folder, pickle.loads((folder / "training" / "anno_training.pickle").read_bytes())


def relabel(folder, labels):
    (folder / "training" / "anno_training.pickle").write_bytes(pickle.dumps(labels, 2))


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
    with locked(tmp_path / "three"), pytest.raises(OSError, match="three is in use by another run"):
        convert("rhd", folder, tmp_path / "three")
    assert not list((tmp_path / "three").iterdir())


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
    assert "exchanged are not found" in report["not_verified"]
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
