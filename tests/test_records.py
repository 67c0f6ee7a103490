import os
import subprocess
import sys

import numpy as np
import pytest
from toy_samples import toy_sample, write_toy_records

from pipelines import records, tfrecord_io

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy_records(tmp_path_factory.mktemp("records"))


def test_example_equals_tensorflows():
    features = {
        "bytes": b"\x00abc",
        "floats": np.array([[1.5, -2]], np.float32),
        "ints": [3, -4],
        "flags": [True],
    }
    example = tf.train.Example.FromString(tfrecord_io.encode_example(features)).features.feature
    assert example["bytes"].bytes_list.value[0] == b"\x00abc"
    assert list(example["floats"].float_list.value) == [1.5, -2]
    assert list(example["ints"].int64_list.value) == [3, -4]
    assert list(example["flags"].int64_list.value) == [1]
    with pytest.raises(TypeError, match="'words'"):
        tfrecord_io.encode_example({"words": ["a"]})


def test_frames_equal_tensorflows(tmp_path):
    payloads = [b"", b"a", os.urandom(1000)]
    assert tfrecord_io.write_tfrecord(tmp_path / "ours", payloads) == 3
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in payloads:
            writer.write(payload)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert list(tfrecord_io.read_tfrecord(tmp_path / "ours")) == payloads


def test_round_trip(folder):
    read = list(records.read_records(folder, "evaluation").as_numpy_iterator())
    assert len(read) == records.read_info(folder)["splits"]["evaluation"]["samples"] == 6
    assert len({sample["id"] for sample in read}) == 6
    for seed, parsed in enumerate(read, 1000):
        sample = toy_sample(seed)
        decoded = records.decode_pictures(parsed)
        np.testing.assert_array_equal(decoded["mask"][..., 0], sample["mask"])
        error = np.abs(decoded["image"].numpy().astype(int) - sample["image"]).mean()
        assert decoded["image"].dtype == tf.uint8
        assert error < 12  # JPEG of hard edges and noise
        for key in ("uv", "xyz", "visible", "present", "K"):
            np.testing.assert_array_equal(parsed[key], sample[key])
        np.testing.assert_allclose(records.decode_depth(parsed), sample["depth"], atol=1e-4)


def test_png_is_exact_and_depth_optional(tmp_path):
    sample = toy_sample(0, 64)
    del sample["depth"]
    records.write_shard(tmp_path / "a.tfrecord", [sample], image_format="png")
    records.write_info(tmp_path, "a", {"a.tfrecord": 1}, licence="CC0-1.0", generator={})
    (parsed,) = records.read_records(tmp_path, "a")
    np.testing.assert_array_equal(records.decode_pictures(parsed)["image"], sample["image"])
    assert not records.decode_depth(parsed).numpy().any()


def test_splits_keep_their_licences_and_unfinished_ones_are_refused(tmp_path):
    for split, licence in (("training", "A"), ("evaluation", "B"), ("training", "C")):
        more = {"complete": split == "training"}
        records.write_info(tmp_path, split, {}, licence=licence, generator={}, further=more)
    assert records.read_info(tmp_path)["licence"] == "B; C"
    assert records.shard_paths(tmp_path, "training") == []
    with pytest.raises(ValueError, match="'evaluation' is incomplete; run what made it again"):
        records.read_records(tmp_path, "evaluation", check=False)


def test_shuffle_depends_on_seed_and_pass(folder):
    def order(dataset):
        return [bytes(sample["id"]) for sample in dataset.as_numpy_iterator()]

    first, again, other = (
        records.read_records(folder, "training", shuffle=True, seed=seed) for seed in (1, 1, 2)
    )
    one = order(first)
    assert one == order(again) != order(other)
    assert one != order(first) and sorted(one) == sorted(order(first))


def test_writer_needs_no_tensorflow(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "sys.path[:0] = ['tests']\n"
        "from toy_samples import toy_sample\n"
        "from pipelines.records import write_shard\n"
        f"write_shard(r'{tmp_path / 'x.tfrecord'}', [toy_sample(0, 32)])\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=os.path.dirname(os.path.dirname(__file__)))


@pytest.mark.parametrize("damage, words", [("cut", "truncated"), ("flip", "corrupt"), ("drop", "missing")])
def test_damage_is_named(tmp_path, damage, words):
    folder = write_toy_records(tmp_path, splits=(("training", 4),), size=32)
    path = tmp_path / records.shard_name("training", 1, 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= damage == "flip"
    path.write_bytes(content[:-10] if damage == "cut" else content)
    if damage == "drop":
        path.unlink()
    with pytest.raises(ValueError, match=f"{path.name}.*{words}"):
        records.read_records(folder, "training")


def test_short_shard_and_wrong_version_are_named(tmp_path):
    folder = write_toy_records(tmp_path, splits=(("training", 4),), size=32)
    name = records.shard_name("training", 0, 2)
    records.write_shard(tmp_path / name, [toy_sample(0, 32)])
    with pytest.raises(ValueError, match="holds 1 samples, info.json says 2"):
        records.read_records(folder, "training")
    with pytest.raises(ValueError, match="no split 'test'"):
        records.shard_paths(folder, "test")
    (tmp_path / "info.json").write_text('{"schema_version": 99}')
    with pytest.raises(ValueError, match="schema_version 99"):
        records.read_info(folder)


def test_failed_write_leaves_nothing(tmp_path):
    def samples():
        yield toy_sample(0, 32)
        yield toy_sample(1, 32) | {"uv": np.zeros((3, 2))}

    with pytest.raises(ValueError, match="x/00001: uv has shape"):
        records.write_shard(tmp_path / "x.tfrecord", samples())
    assert not list(tmp_path.iterdir())
