"""Writing rendered samples: layouts, resuming, repairs, errors.  No OpenGL."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from toy_samples import toy_sample

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
from pipelines import records  # noqa: E402
from pipelines.lock import locked  # noqa: E402
from pipelines.render import rhd_layout, shards  # noqa: E402

LAYOUTS = ("tfrecord", "rhd")


def write_toy(out, part):
    """What `shards.write_part` does, with toy samples."""
    samples = [toy_sample(part.seed + k, 64) for k in range(part.count)]
    if "tfrecord" in part.paths:
        records.write_shard(part.paths["tfrecord"], samples)
    if "rhd" in part.paths:
        writer = rhd_layout.PartWriter(out, part.split, part.first)
        for sample in samples:
            writer.add(sample)
        writer.finish(part.paths["rhd"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """(path, parts): five toy samples in both layouts, three parts."""
    monkeypatch.setattr(shards, "SAMPLES_PER_SHARD", 2)
    out = str(tmp_path)
    parts = shards.plan(out, "training", 5, 3, LAYOUTS)
    rhd_layout.make_folders(out, "training")
    for part in parts:
        write_toy(out, part)
    return out, parts


def contents(out):
    files = sorted(path for path in Path(out).rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_plan_covers_every_sample_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SAMPLES_PER_SHARD", 4)
    parts = shards.plan(str(tmp_path), "evaluation", 10, 2, LAYOUTS)
    assert [(part.first, part.count) for part in parts] == [(0, 4), (4, 4), (8, 2)]
    assert parts[1].seed == 2 * shards.SEED_STRIDE + 4
    assert parts[2].paths["tfrecord"].endswith("evaluation-00002-of-00003.tfrecord")


def test_whole_parts_are_kept(folder):
    out, parts = folder
    for part in parts:
        job, notes = shards.missing(out, part)
        assert not job.paths and not notes


@pytest.mark.parametrize(
    ("file", "layout", "number"),
    [
        ("training-00001-of-00003.tfrecord", "tfrecord", 1),
        ("parts/training-00000-of-00003.labels", "rhd", 0),
        ("training/color/00003.png", "rhd", 1),
        ("training/mask/00004.png", "rhd", 2),
        ("training/depth/00000.png", "rhd", 0),
    ],
)
def test_damage_is_found_and_repaired(folder, file, layout, number):
    out, parts = folder
    before, path = contents(out), Path(out, file)
    whole = path.read_bytes()

    def change():
        path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])

    for damage in (path.unlink, lambda: path.write_bytes(whole[:-9]), lambda: path.write_bytes(b""), change):
        damage()
        for part in parts:
            job, notes = shards.missing(out, part)
            assert list(job.paths) == ([layout] if part is parts[number] else [])
            assert all(file.split("/")[-1] in note for note in notes)
            write_toy(out, job)
        assert contents(out) == before


def test_shard_that_lost_samples_is_found(folder):
    out, parts = folder
    records.write_shard(parts[0].paths["tfrecord"], [toy_sample(1, 64)])
    with pytest.raises(ValueError, match="1 samples instead of 2"):
        shards.check(out, parts[0], "tfrecord")


def test_rhd_layout_is_read_by_its_converter(folder):
    rhd = pytest.importorskip("pipelines.convert.rhd")
    out, parts = folder
    rhd_layout.write_annotations(out, "training", [part.paths["rhd"] for part in parts])
    listing = rhd.list_items(out, "training", None)
    assert len(listing.items) == 5 and not listing.skipped and not listing.notes
    for number, item in enumerate(listing.items):
        found, wanted = rhd.load(item), toy_sample(3 * shards.SEED_STRIDE + number, 64)
        for key in ("image", "mask", "visible"):
            np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)
        for key in ("uv", "xyz", "K"):
            np.testing.assert_array_equal(found[key], wanted[key].astype(np.float32), err_msg=key)
        np.testing.assert_allclose(found["depth"], wanted["depth"], atol=0.5 * 5 / 65535 + 1e-6)


def test_annotations_are_those_of_the_published_set(folder):
    out, parts = folder
    paths = [part.paths["rhd"] for part in parts]
    rhd_layout.write_annotations(out, "training", paths)
    path = Path(out, "training", "anno_training.pickle")
    content, stamp = path.read_bytes(), path.stat().st_mtime_ns
    labels = pickle.loads(content)
    assert list(labels) == list(range(5))
    assert {key: value.shape for key, value in labels[4].items()} == {
        "uv_vis": (42, 3),
        "xyz": (42, 3),
        "K": (3, 3),
    }
    assert b"numpy._core" not in content  # NumPy before 2 has no such module
    rhd_layout.write_annotations(out, "training", paths)
    assert path.stat().st_mtime_ns == stamp


def test_depth_code():
    depth = np.array([[0.0, 5.0, 7.0, 0.4321]], np.float32)
    code = rhd_layout.encode_depth(depth).astype(int)
    metres = (code[..., 0] * 256 + code[..., 1]) / 65535 * 5
    np.testing.assert_allclose(metres, np.minimum(depth, 5), atol=4e-5)
    assert code.shape == (1, 4, 3) and not code[..., 2].any()


def test_other_arguments_are_refused(folder):
    out, _ = folder
    with pytest.raises(ValueError, match="info.json is missing"):
        shards.read_generators(out, ("tfrecord",))
    with pytest.raises(ValueError, match="rhd.json is missing"):
        shards.read_generators(out, ("rhd",))
    generator = {"seed": 3, "size": 64}
    shards.Ledger(out, {"training": shards.plan(out, "training", 5, 3, LAYOUTS)}, {"training": generator})
    found = shards.read_generators(out, LAYOUTS)
    shards.check_generators(out, found, {"training": generator, "evaluation": generator | {"seed": 4}})
    with pytest.raises(ValueError, match="made with seed 3, not 4"):
        shards.check_generators(out, found, {"training": generator | {"seed": 4}})
    Path(out, shards.RHD_INFO).write_text("{")
    with pytest.raises(ValueError, match="rhd.json is damaged"):
        shards.read_generators(out, LAYOUTS)


def test_ledger_writes_the_annotations_last(folder):
    out, parts = folder
    ledger = shards.Ledger(out, {"training": parts}, {"training": {"seed": 3}})
    annotations = Path(out, "training", "anno_training.pickle")
    for part in reversed(parts):
        assert not annotations.exists()
        with pytest.raises(ValueError, match="the split 'training' is incomplete"):
            records.shard_paths(out, "training")
        ledger.enter(part, LAYOUTS)
    assert len(pickle.loads(annotations.read_bytes())) == 5
    assert list(records.read_info(out)["splits"]["training"]["shards"].values()) == [2, 2, 1]
    records.check_shards(out, "training")


def test_only_one_run_writes_to_a_folder(tmp_path):
    with locked(str(tmp_path / "new")):
        with pytest.raises(OSError, match="in use by another run"), locked(str(tmp_path / "new")):
            pass
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write to .*give another --out"):
        with locked(str(tmp_path / "file" / "out")):
            pass


def test_leftovers_of_a_killed_run_go(folder):
    out, _ = folder
    before = contents(out)
    for name in ("tmpabc.partial", "training/color/.hand3d-x.part", "parts/.hand3d-y.part"):
        Path(out, name).touch()
    shards.sweep(out, ["training", "evaluation"])
    assert contents(out) == before
