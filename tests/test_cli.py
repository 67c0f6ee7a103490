"""hand3d.cli: the command line as users type it, its output files and its exit status."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hand3d import cli
from hand3d.estimator import BATCH
from hand3d.skeleton import NUM_KEYPOINTS


@pytest.fixture
def run(estimator, tiny_weights, tmp_path, monkeypatch, capsys):
    """Run `hand3d predict` in an empty folder: arguments -> (status, stdout, stderr).

    The estimator is the shared one, since compiling a new one for every call would take seconds.
    """
    import hand3d.estimator

    def shared(weights, side, min_score, max_hands, mirrored, small_hands, one_look):
        assert weights.name == "tiny" and max_hands is None and not (mirrored or small_hands or one_look)
        estimator.min_score = 0.0 if min_score is None else min_score
        estimator.side = side
        return estimator

    monkeypatch.setattr(hand3d.estimator, "HandPoseEstimator", shared)
    monkeypatch.chdir(tmp_path)

    def predict(*arguments):
        capsys.readouterr()
        try:
            status = cli.main(["predict", "--weights", str(tiny_weights), *map(str, arguments)])
        except SystemExit as exit:  # argparse
            status = exit.code
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        assert not [name for name in os.listdir(".") if name.startswith(".hand3d-")]
        return status, output.out, output.err

    yield predict
    estimator.min_score, estimator.side = 0.0, "auto"


def records(path):
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def save(name, photo):
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
    Image.fromarray(photo).save(name)
    return name


def test_one_image(run, photo):
    save("a.png", photo)
    status, out, err = run("a.png")
    assert (status, out, err) == (0, "", "")
    assert sorted(os.listdir("hand3d-out")) == ["a.hand3d.png", "predictions.jsonl"]
    (record,) = records("hand3d-out/predictions.jsonl")
    assert list(record) == ["path", "width", "height", "hands"]
    assert (record["path"], record["width"], record["height"]) == ("a.png", 80, 60)
    (hand,) = record["hands"]
    assert list(hand) == ["side", "score", "box", "keypoints_uv", "keypoint_scores", "keypoints_xyz"]
    assert hand["side"] in ("left", "right") and 0 <= hand["score"] <= 1 and len(hand["box"]) == 4
    assert np.shape(hand["keypoints_uv"]) == (NUM_KEYPOINTS, 2)
    assert np.shape(hand["keypoints_xyz"]) == (NUM_KEYPOINTS, 3)
    assert len(hand["keypoint_scores"]) == NUM_KEYPOINTS
    Image.open("hand3d-out/a.hand3d.png").load()


def test_options(run, photo):
    save("a.png", photo)
    status, out, _ = run("a.png", "--json", "-", "--no-picture", "--side", "right")
    assert status == 0 and json.loads(out)["hands"][0]["side"] == "right"
    assert os.listdir(".") == ["a.png"]  # no folder without need
    assert run("a.png", "--json", "b.jsonl", "--no-picture", "--score", "1")[0] == 0
    assert records("b.jsonl")[0]["hands"] == []
    assert run("a.png", "--out", "c/d", "--no-picture")[0] == 0
    assert os.listdir("c/d") == ["predictions.jsonl"]


def test_folders_and_bad_files(run, photo):
    for number in range(9):  # more than a batch
        save(f"many/{number}.png", photo)
    save("other/1.jpg", photo)
    os.makedirs("none")
    open("many/4.png", "w").close()
    status, _, err = run("many", "other", "none", "missing.jpg", "many/0.png")
    lines = records("hand3d-out/predictions.jsonl")
    paths = [os.path.join("many", f"{number}.png") for number in range(9)]
    assert [line["path"] for line in lines] == [*paths, os.path.join("other", "1.jpg"), "none", "missing.jpg"]
    bad = {line["path"]: line["error"] for line in lines if "error" in line}
    assert status == 1 and list(bad) == [paths[4], "none", "missing.jpg"]
    assert all(list(line) == ["path", "error"] for line in lines if "error" in line)
    assert "empty" in bad[paths[4]] and "no images" in bad["none"] and "no such file" in bad["missing.jpg"]
    for message in bad.values():
        assert message in err
    assert "[12/12]" not in err and "[10/12]" in err
    assert len([name for name in os.listdir("hand3d-out") if name.endswith(".png")]) == 9


def test_inputs_are_never_overwritten(run, photo):
    save("a.png", photo)
    before = open("a.png", "rb").read()
    assert run("a.png", "--out", ".")[0] == 0
    assert run(".", "--out", ".")[0] == 0  # its own picture is no input
    assert open("a.png", "rb").read() == before
    assert sorted(os.listdir(".")) == ["a.hand3d.png", "a.png", "predictions.jsonl"]


def test_odd_images(run, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save("turned.jpg", exif=exif)
    Image.new("L", (1, 1)).save("dot.png")
    Image.new("CMYK", (50, 40)).save("cmyk.jpg")
    Image.new("1", (20000, 30)).save("wide.png")
    Image.fromarray(photo).save("moving.gif", save_all=True, append_images=[Image.fromarray(photo[::-1])])
    status, _, err = run("turned.jpg", "dot.png", "cmyk.jpg", "wide.png", "moving.gif")
    sizes = [(line["width"], line["height"]) for line in records("hand3d-out/predictions.jsonl")]
    assert status == 0 and sizes == [(60, 80), (1, 1), (50, 40), (20000, 30), (80, 60)]
    assert "first of 2 frames" in err


def test_bad_arguments(run, photo, tiny_weights, tmp_path):
    save("a.png", photo)
    (tmp_path / "file").touch()
    for arguments, words in [
        ([], "PATH"),
        (["a.png", "--score", "2"], "0..1"),
        (["a.png", "--score", "nan"], "0..1"),
        (["a.png", "--side", "both"], "both"),
        (["a.png", "--weights", "no-such-set"], "no-such-set"),
        (["a.png", "--out", "file"], "--out file"),
        (["a.png", "--out", "file/below"], "--out file/below"),
        (["a.png", "--json", "no/such/folder.jsonl"], "--json no/such/folder.jsonl"),
        (["a.png", "--json", "./a.png"], "is one of the images"),
    ]:
        status, out, err = run(*arguments)
        assert status == 2 and out == "" and words in err, (arguments, err)
    assert sorted(os.listdir(".")) == ["a.png", "file"]  # nothing was made
    Image.open("a.png").load()


def test_interruption_keeps_finished_lines(run, photo, estimator, monkeypatch):
    for number in range(10):
        save(f"many/{number}.png", photo)
    predict, calls = estimator._predict_batch, []

    def interrupted(prepared):
        calls.append(len(prepared))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(prepared)

    monkeypatch.setattr(estimator, "_predict_batch", interrupted)
    status, _, err = run("many", "--no-picture")
    assert status == 130 and "interrupted" in err
    assert len(records("hand3d-out/predictions.jsonl")) == BATCH


def test_full_disk(run, photo, monkeypatch):
    save("a.png", photo)

    def no_space(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hand3d.files.write_atomic", no_space)
    status, _, err = run("a.png")
    assert status == 1 and "a.hand3d.png: cannot be written: No space left" in err
    if os.path.exists("/dev/full"):
        status, _, err = run("a.png", "--json", "/dev/full", "--no-picture")
        assert status == 1 and "/dev/full: cannot be written" in err


@pytest.mark.slow
def test_the_real_command(tiny_weights, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "hand3d"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}

    def run(*arguments):
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    done = run("predict", "a.png", "--weights", str(tiny_weights), "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == "a.png"  # nothing else on stdout
    assert done.stderr == ""  # TensorFlow is silent
    weights = tmp_path / "weights"
    weights.mkdir()
    for file in tiny_weights.iterdir():
        (weights / file.name).write_bytes(file.read_bytes())
    (weights / "posenet.h5").write_bytes(b"damaged")
    bad = run("predict", "a.png", "--weights", "weights", "--no-picture")
    assert bad.returncode == 2 and "posenet.h5: damaged" in bad.stderr and "Traceback" not in bad.stderr
    assert run("--version").stdout.startswith("hand3d ")
    script = "import sys, hand3d.cli; hand3d.cli.parser(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0  # fast --help
