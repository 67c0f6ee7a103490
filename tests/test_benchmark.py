"""hand3d.benchmark and `hand3d bench`: what is measured, and peers that are not there."""

import json
import sys
import time

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("operations are counted in TensorFlow's graphs", allow_module_level=True)

from hand3d import benchmark, cli, measuring


@pytest.mark.slow
def test_every_stage_is_timed(tiny_weights, photo_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "MATRIX", 64)
    out = tmp_path / "bench.json"
    arguments = ["bench", "--weights", str(tiny_weights), "--image", photo_file, "--runs", "1"]
    arguments += ["--batch", "2", "--json", str(out)]
    assert cli.main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["canvas"] == [96, 96] and result["photo"] == [80, 60]
    assert {"read and fit photo", "posenet", "lifting", "whole graph", "estimator"} <= set(result["ms"])
    assert all(value["median"] > 0 for value in result["ms"].values())
    assert set(result["networks"]) == {"handsegnet", "posenet", "lifting", "whole graph"}
    assert set(result["images_per_s"]) == {"float32", "bfloat16"}
    assert all(set(speeds) == {"batch 2"} for speeds in result["images_per_s"].values())
    assert "by f32" in capsys.readouterr().out


def test_operations_are_counted():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    gflop = measuring.Compiled(keras.Model(image, x), (4, 6)).gflop()
    assert gflop * 1e9 == pytest.approx(2 * (4 * 6 * 8 * 9 * 3 + 4 * 6 * 8 * 9 + 8 * 5))


def test_peers_that_cannot_run(photo_file, tmp_path):
    with pytest.raises(benchmark.PeerError, match="expected one of"):
        benchmark.Peer("other", photo_file)
    with pytest.raises(benchmark.PeerError, match="could not be run with /no/such/python"):
        benchmark.Peer("mediapipe", photo_file, "/no/such/python")
    peer = benchmark.Peer("mediapipe", photo_file, script(tmp_path, "raise SystemExit('no module')"))
    with pytest.raises(benchmark.PeerError, match="no module"):
        peer()
    peer.close()


def test_a_peer_takes_turns_with_us(photo_file, tmp_path):
    answer = '{"ms": [250.0], "hands": %s, "version": "9"}'
    peer = benchmark.Peer(
        "mediapipe",
        photo_file,
        script(tmp_path, f"import sys\nfor _ in sys.stdin: print('{answer}' % sys.argv[-1], flush=True)"),
        max_hands=2,
    )
    taken = benchmark.image_to_hands(
        lambda pixels: [], {"x": lambda pixels: time.sleep(0.02)}, photo_file, 3, peer
    )
    peer.close()
    assert taken["mediapipe"] == {"median": 250, "least": 250, "ratio": 1, "hands": 2, "version": "9"}
    assert 0 < taken["x"]["ratio"] < 1 and set(taken) == {"estimator", "x", "mediapipe"}


def script(folder, text):
    """Path of a program that stands in for Python."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_wrong_arguments(capsys):
    for arguments, words in [
        (["--weights", "no-such-set"], "no-such-set"),
        (["--image", "missing.jpg"], "missing.jpg"),
    ]:
        assert cli.main(["bench", *arguments]) == 2
        assert words in capsys.readouterr().err
