"""hand3d.video and `hand3d video`: files as they come, good and bad."""

import json
import sys
from fractions import Fraction

import numpy as np
import pytest

from hand3d.cli import main
from hand3d.video import Frames, VideoError, VideoWriter, camera_address


def frames(count, height=48, width=64):
    """Grey frames, each brighter than the one before."""
    return [np.full((height, width, 3), 40 + 10 * n, np.uint8) for n in range(count)]


def write(path, pictures, times=None):
    with VideoWriter(path) as writer:
        for number, picture in enumerate(pictures):
            writer.write(picture, number / 25 if times is None else times[number])
    return str(path)


@pytest.fixture
def av():
    return pytest.importorskip("av", reason="needs PyAV, the extra `video`")


@pytest.fixture
def clip(av, tmp_path):
    return write(tmp_path / "clip.mp4", frames(6))


def read(path):
    source = Frames(path)
    pixels, seconds = zip(*source, strict=True)
    source.close()
    return pixels, seconds, source


def test_frames_and_times_come_back(clip):
    pixels, seconds, source = read(clip)
    np.testing.assert_allclose(seconds, np.arange(6) / 25, atol=1e-4)
    np.testing.assert_allclose([p.mean() for p in pixels], [40 + 10 * n for n in range(6)], atol=3)
    assert pixels[0].shape == (48, 64, 3) and source.problem is None and source.total == 6


def test_a_varying_rate_and_odd_sizes(av, tmp_path):
    times = [0, 0.1, 0.15, 0.5, 0.51]
    pixels, seconds, _ = read(write(tmp_path / "odd.mp4", frames(5, 47, 63), times))
    np.testing.assert_allclose(seconds, times, atol=1e-3)
    assert pixels[0].shape == (48, 64, 3)


def test_frames_of_another_size_are_fitted_when_written(av, tmp_path):
    pixels, _, _ = read(write(tmp_path / "sizes.mp4", [*frames(2), *frames(2, 96, 96)]))
    assert {p.shape for p in pixels} == {(48, 64, 3)} and len(pixels) == 4


def test_a_changing_size_is_read_as_it_is(av, tmp_path):
    path = str(tmp_path / "sizes.mpg")  # two streams of pictures one after another, as a broadcast may have
    data = b""
    for height, width in ((48, 64), (96, 80)):
        part = tmp_path / "part.mpg"
        with av.open(str(part), "w", format="mpeg2video") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            for picture in frames(4, height, width):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        data += part.read_bytes()
    with open(path, "wb") as file:
        file.write(data)
    pixels, seconds, _ = read(path)
    assert {p.shape[:2] for p in pixels} == {(48, 64), (96, 80)}
    assert (np.diff(seconds) > 0).all()


def test_a_video_that_is_cut_off_gives_the_frames_before(av, tmp_path):
    path = str(tmp_path / "long.ts")  # MPEG transport streams can be cut anywhere
    rng = np.random.default_rng(0)
    with av.open(path, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(40):
            picture = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    pixels, _, _ = read(path)
    assert 5 < len(pixels) < 35


def test_bad_files_are_named(av, clip, tmp_path):
    empty, text, half, sound = (
        tmp_path / name for name in ("empty.mp4", "text.mp4", "half.mp4", "sound.wav")
    )
    empty.write_bytes(b"")
    text.write_text("no video")
    with open(clip, "rb") as file:
        half.write_bytes(file.read()[:400])
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sample = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sample.sample_rate, sample.pts, sample.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(sample))
    expected = {empty: "empty", text: "not a video", half: "cut off", sound: "no pictures"}
    for path, words in (expected | {tmp_path: "is a folder", tmp_path / "no.mp4": "no such file"}).items():
        with pytest.raises(VideoError, match=words) as error:
            Frames(path)
        assert str(path) in str(error.value)
    with pytest.raises(VideoError, match="camera 97: cannot be opened"):
        Frames(camera=97)
    with pytest.raises(ValueError, match="one of the two"):
        Frames()


def test_a_video_without_a_frame(av, tmp_path):
    path = str(tmp_path / "none.avi")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match="none.avi"):
        Frames(path)


def test_an_unplugged_camera_ends_the_frames(clip):
    source = Frames(clip)

    def gone():
        raise OSError(19, "No such device")
        yield

    source._decoded = gone()
    assert len(list(source)) == 1 and "No such device" in source.problem


def test_nothing_is_left_of_a_video_without_frames(av, tmp_path):
    with VideoWriter(tmp_path / "none.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        with VideoWriter(tmp_path / "missing" / "a.mp4"):
            pass


def test_camera_address():
    assert str(3) in camera_address(3)[0]
    for value in (-1, 1.0, True, "0"):
        with pytest.raises(VideoError, match="camera is"):
            camera_address(value)


def test_command(clip, tiny_weights, tmp_path, capsys):
    out, lines, page = tmp_path / "out.mp4", tmp_path / "out.jsonl", tmp_path / "out.html"
    options = ["--weights", str(tiny_weights), "--out", str(out), "--json", str(lines), "--html", str(page)]
    assert main(["video", clip, *options, "--max-hands", "1"]) == 0
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(6))
    assert records[2]["time"] == pytest.approx(0.08) and records[0]["width"] == 64
    for record in records:
        for hand in record["hands"]:
            assert len(hand["keypoints_uv"]) == 21 and isinstance(hand["track"], int)
    assert len(read(str(out))[0]) == 6
    assert page.read_text().count("data:image/jpeg") == 6
    assert "6/6 frames" in capsys.readouterr().err


@pytest.mark.slow
def test_command_without_smoothing(clip, tiny_weights, capsys):
    assert (
        main(["video", clip, "--weights", str(tiny_weights), "--json", "-", "--frames", "2", "--no-smooth"])
        == 0
    )
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_wrong_commands(clip, tiny_weights, tmp_path, capsys, monkeypatch):
    assert main(["video"]) == 2 and main(["video", clip, "--camera", "0"]) == 2
    assert main(["video", clip, "--out", clip]) == 2 and "is the video itself" in capsys.readouterr().err
    assert main(["video", str(tmp_path / "no.mp4"), "--json", "-"]) == 1
    assert "no such file" in capsys.readouterr().err
    weights = ["--weights", str(tiny_weights)]
    assert main(["video", clip, "--out", str(tmp_path / "no" / "a.mp4"), *weights]) == 2
    assert main(["video", clip, "--json", "-", "--weights", str(tmp_path)]) == 2
    assert "--weights" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["video", clip, "--json", "-"]) == 2
    assert "pip install 'hand3d-keras[video]'" in capsys.readouterr().err
