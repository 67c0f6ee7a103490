"""Writing rendered samples: layouts, resuming, repairs, errors.  No OpenGL but in processes of slow tests."""

import errno
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toy_samples import toy_sample

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
from pipelines import records  # noqa: E402
from pipelines.progress import Progress, duration  # noqa: E402
from pipelines.render import __main__ as command  # noqa: E402
from pipelines.render import context, provenance, rhd_layout, shards, workers  # noqa: E402

DRIVER = """
import sys
from pipelines.render import __main__ as command, shards
if __name__ == "__main__":
    shards.SAMPLES_PER_SHARD = 2
    sys.exit(command.main(sys.argv[1:]))
"""
COMMON = "--count 6 --split training --size 64 --format both"
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
        ledger.enter(part, LAYOUTS)
    assert len(pickle.loads(annotations.read_bytes())) == 5
    assert list(records.read_info(out)["splits"]["training"]["shards"].values()) == [2, 2, 1]
    records.check_shards(out, "training")


def test_only_one_run_writes_to_a_folder(tmp_path):
    with shards.locked(str(tmp_path / "new")):
        with pytest.raises(OSError, match="in use by another run"), shards.locked(str(tmp_path / "new")):
            pass
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write to .*give another --out"):
        with shards.locked(str(tmp_path / "file" / "out")):
            pass


def test_leftovers_of_a_killed_run_go(folder):
    out, _ = folder
    before = contents(out)
    for name in ("tmpabc.partial", "training/color/.hand3d-x.part", "parts/.hand3d-y.part"):
        Path(out, name).touch()
    shards.sweep(out, ["training", "evaluation"])
    assert contents(out) == before


def test_messages():
    full = OSError(errno.ENOSPC, "No space left on device", "x.tfrecord")
    assert "make room on the disk" in command.message(full, "go on")
    assert command.message(ValueError("as it is"), "go on") == "as it is"


def test_background_folder_is_checked(tmp_path):
    from PIL import Image

    with pytest.raises(OSError, match="cannot be read .* give a folder of photographs"):
        provenance.check_backgrounds(str(tmp_path / "none"), "training")
    with pytest.raises(FileNotFoundError, match="no picture"):
        provenance.check_backgrounds(str(tmp_path), "training")
    (tmp_path / "training").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "training" / "a.png")
    first = provenance.check_backgrounds(str(tmp_path), "training")
    assert first.startswith("1 pictures")
    Image.new("RGB", (9, 9)).save(tmp_path / "training" / "b.png")
    assert provenance.check_backgrounds(str(tmp_path), "training") != first
    (tmp_path / "training" / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="b.png is no readable picture"):
        provenance.check_backgrounds(str(tmp_path), "training")


def test_choice_of_the_device(monkeypatch):
    names = ["llvmpipe (LLVM 15)", "NVIDIA H100/PCIe", None]

    class Context:
        def __init__(self, name):
            self.info = {"GL_RENDERER": name}

        def release(self):
            pass

    def standalone(number):
        if number >= len(names):
            raise RuntimeError(f"requested device index {number}, but found {len(names)} devices")
        if names[number] is None:
            raise RuntimeError("eglInitialize failed")
        return Context(names[number])

    monkeypatch.setattr(context, "_standalone", standalone)
    assert context.find_device("auto") == (1, names[1])
    assert context.find_device("software") == (0, names[0])
    assert context.find_device(1) == (1, names[1])
    with pytest.raises(context.GraphicsUnavailable, match="no EGL device 2, only: 0 llvmpipe"):
        context.find_device(2)
    names[1] = None
    assert context.find_device("auto") == (0, names[0])
    names[0] = None
    with pytest.raises(context.GraphicsUnavailable, match="install the packages libegl1"):
        context.find_device("auto")


def test_progress_line():
    now = [0.0]
    progress = Progress(200, open(os.devnull, "w"), lambda: now[0])
    now[0] = 10.0
    progress.show(50)
    assert progress.line() == "[######..................] 50/200 samples, 5.0 samples/s, 30 s left"
    assert duration(8000) == "2 h 13 min" and duration(75) == "1 min"


def test_a_killed_process_does_not_hang_the_pool():
    with workers.Pool(1, {}) as pool:
        future = pool.submit(os._exit, 9)
        with pytest.raises(workers.WorkerKilled, match="fewer --workers"):
            workers.result(future)


# ---------------------------------------------------------------- the whole program


def start(tmp_path, arguments):
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    path = os.pathsep.join([str(Path(shards.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(driver), *COMMON.split(), *arguments.split()],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(tmp_path, arguments):
    process = start(tmp_path, arguments)
    output, error = process.communicate()
    if "OpenGL" in error or "moderngl" in error:
        pytest.skip(error)
    return process.returncode, output, error


def wait_for(out, pictures, process):
    """Until so many samples are written."""
    while process.poll() is None and len(list(Path(out).glob("training/depth/*.png"))) < pictures:
        time.sleep(0.02)
    assert process.poll() is None


def children(process):
    found = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
def test_interrupted_runs_end_with_the_same_bytes(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    code, _, error = finish(tmp_path, f"--out {whole} --workers 2")
    assert code == 0, error

    process = start(tmp_path, f"--out {cut} --workers 2")
    wait_for(cut, 1, process)
    process.kill()  # kill -9
    process.communicate()

    process = start(tmp_path, f"--out {cut} --workers 1")
    wait_for(cut, 2, process)
    os.kill(children(process)[0], signal.SIGKILL)
    assert "fewer --workers" in process.communicate()[1] and process.returncode == 1

    process = start(tmp_path, f"--out {cut} --workers 1")
    wait_for(cut, 3, process)
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
    assert "run the same command again" in process.communicate()[1] and process.returncode == 130

    code, _, error = finish(tmp_path, f"--out {cut} --workers 1")
    assert code == 0, error
    assert contents(cut) == contents(whole)

    shard = cut / "training-00001-of-00003.tfrecord"
    shard.write_bytes(shard.read_bytes()[:1000])
    (cut / "training" / "color" / "00005.png").unlink()
    code, _, error = finish(tmp_path, f"--out {cut} --workers 2")
    assert code == 0 and "tfrecord" in error and "00005.png is missing; rendering it again" in error
    assert contents(cut) == contents(whole)
    code, output, _ = finish(tmp_path, f"--out {cut}")
    assert code == 0 and "already" in output
