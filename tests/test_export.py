"""hand3d.export: decoding inside the graph, and SavedModels in a process without this package."""

import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("SavedModels need the TensorFlow backend", allow_module_level=True)

import tensorflow as tf

from hand3d import HandPoseEstimator, canvas, cli, images
from hand3d.export import decoding, savedmodel, warmup

CLIENT = """
import json, sys
import numpy as np
import tensorflow as tf
assert "hand3d" not in sys.modules
model = tf.saved_model.load(sys.argv[1])
data = dict(np.load(sys.argv[2], allow_pickle=True))
results = {}
for name, key in (("serving_default", "image_bytes"), ("uint8_images", "images")):
    out = model.signatures[name](**{key: tf.constant(list(data[key]) if key == "image_bytes" else data[key])})
    results |= {f"{name}/{output}": value.numpy() for output, value in out.items()}
np.savez(sys.argv[3], **results)
"""


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (15, 20, 3), np.uint8)).resize((120, 90), Image.BICUBIC)


@pytest.fixture(scope="module")
def decode():
    return tf.function(
        lambda files: decoding.decode_batch(files, (64, 96)),
        [tf.TensorSpec((None,), tf.string)],
        autograph=False,
    )


def test_good_and_bad_files_in_one_batch(decode, picture, tmp_path):
    turned = Image.Exif()
    turned[decoding.ORIENTATION_TAG] = 6
    clear = picture.convert("RGBA")
    clear.putalpha(100)
    jpeg, png = encoded(picture, "JPEG", quality=95), encoded(picture.resize((40, 30)), "PNG")
    bomb = png[:16] + (60000).to_bytes(4, "big") * 2 + png[24:]
    wrong_sum = png[:60] + bytes([png[60] ^ 255]) + png[61:]
    good = [jpeg, png, encoded(picture, "JPEG", exif=turned), encoded(clear, "PNG")]
    good += [encoded(picture.convert(mode), "JPEG") for mode in ("CMYK", "L")]
    bad = {
        decoding.UNKNOWN_FORMAT: [b"", b"text", encoded(picture, "GIF")],
        decoding.DAMAGED: [jpeg[: len(jpeg) // 2], png[: len(png) // 2], wrong_sum, jpeg[:3], png[:8]],
        decoding.TOO_LARGE: [bomb],
    }
    files = [*good[:3], *sum(bad.values(), []), *good[3:]]
    expected = [0] * 3 + sum(([status] * len(of) for status, of in bad.items()), []) + [0] * (len(good) - 3)
    canvases, canvas_size, areas, sizes, status = (x.numpy() for x in decode(tf.constant(files)))
    assert status.tolist() == expected
    for number in np.flatnonzero(status == decoding.DONE):
        path = tmp_path / "file"
        path.write_bytes(files[number])
        loaded = images.load_image(str(path))
        side = 64 if max(loaded.width, loaded.height) <= 64 else 96
        wanted, area = canvas.fit(loaded.pixels, side)
        assert sizes[number].tolist() == [loaded.width, loaded.height]
        assert canvas_size[number].tolist() == [side] * 2 and areas[number].tolist() == list(area)
        assert np.abs(canvases[number][:side, :side] - wanted).max() <= 2
    assert decode(tf.constant([b"nothing"]))[4].numpy().tolist() == [decoding.UNKNOWN_FORMAT]


@pytest.mark.parametrize("tag", range(1, 9))
def test_orientation(picture, tag, tmp_path):
    exif = Image.Exif()
    exif[decoding.ORIENTATION_TAG] = tag
    path = tmp_path / "turned.jpg"
    picture.save(path, exif=exif)
    pixels, status = decoding.decode(tf.constant(path.read_bytes()))
    np.testing.assert_allclose(pixels, images.load_image(str(path)).pixels, atol=1)
    assert status == decoding.DONE


def test_orientation_of_damaged_exif():
    for block in (b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40):
        data = b"\xff\xd8\xff\xe1\0\x40Exif\0\0" + block
        assert int(decoding.orientation(tf.constant(data))) == 1


def test_wrong_arguments(tmp_path, capsys):
    out = str(tmp_path / "model")
    assert cli.main(["export", "--to", "savedmodel", "--out", out, "--weights", "no-such-set"]) == 2
    assert "no-such-set" in capsys.readouterr().err
    assert not os.path.exists(out)


@pytest.mark.slow
def test_a_saved_model_without_this_package(tmp_path):
    estimator = HandPoseEstimator("lite")  # networks that know nothing have score maps with peaks alike
    picture = Image.open(os.path.join(os.path.dirname(__file__), "fixtures", "hand.jpg")).convert("RGB")
    version = savedmodel.export(estimator, str(tmp_path / "hand3d"), "lite")
    assert os.path.basename(version) == "1"
    assert sorted(os.listdir(os.path.join(version, "assets"))) == ["LICENSE", "hand3d.json"]
    card = json.load(open(os.path.join(version, "assets", "hand3d.json")))
    assert len(card["keypoints"]) == 21 and card["min_score"] == estimator.min_score
    with pytest.raises(ValueError, match="this version exists"):
        savedmodel.export(estimator, str(tmp_path / "hand3d"), "lite", 1)
    assert savedmodel.next_version(str(tmp_path / "hand3d")) == 2

    small = picture.resize((picture.width // 2, picture.height // 2))
    files = [encoded(picture, "PNG"), b"no image", encoded(small, "PNG")]
    pixels = [np.asarray(picture), np.asarray(small)]
    np.savez(tmp_path / "in.npz", image_bytes=np.array(files, object), images=pixels[0][None])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", CLIENT, version, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = dict(np.load(tmp_path / "out.npz"))
    assert results["serving_default/status"].tolist() == [0, 1, 0]
    assert results["serving_default/score"][1].max() == 0
    for name, number, image in [
        ("serving_default", 0, pixels[0]),
        ("serving_default", 2, pixels[1]),
        ("uint8_images", 0, pixels[0]),
    ]:
        hands = estimator(image)
        assert hands
        for place, hand in enumerate(hands):
            got = {key: results[f"{name}/{key}"][number][place] for key in ("score", "side", *FIELDS)}
            assert got["score"] == pytest.approx(hand.score, abs=0.01)
            assert hand.side == card["sides"][int(np.argmax(got["side"]))]
            for key, tolerance in FIELDS.items():
                np.testing.assert_allclose(got[key], getattr(hand, key), atol=tolerance, err_msg=key)

    # the warm-up file replays, and TensorFlow Serving's own classes read it
    model = tf.saved_model.load(version)
    requests = warmup.read(os.path.join(version, warmup.FILE))
    assert {name for name, _ in requests} == {"serving_default", "uint8_images", "float_images"}
    for name, inputs in requests:
        out = model.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        assert (out["status"].numpy() == decoding.DONE).all()


FIELDS = {"box": 0.6, "keypoints_uv": 0.6, "keypoint_scores": 0.01, "keypoints_xyz": 0.05}


def test_warm_up_files(tmp_path):
    path = str(tmp_path / "requests")
    asked = [
        ("a", {"x": np.arange(6.0).reshape(2, 3)}),
        ("b", {"image_bytes": np.array([b"1", b"22"], object)}),
    ]
    warmup.write(path, asked)
    for (name, inputs), (got_name, got) in zip(asked, warmup.read(path), strict=True):
        assert got_name == name and list(got) == list(inputs)
        np.testing.assert_array_equal(*[each[key] for each in (got, inputs) for key in inputs])
    official = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    for (name, inputs), record in zip(asked, tf.data.TFRecordDataset(path).as_numpy_iterator(), strict=True):
        request = official.PredictionLog.FromString(record).predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == ("hand3d", name)
        assert list(request.inputs) == list(inputs)
