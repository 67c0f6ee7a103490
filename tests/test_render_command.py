"""The renderer's command: what it checks first, its messages, and whole runs that are interrupted.

No OpenGL but in processes of slow tests.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
from test_render_shards import contents  # noqa: E402

from pipelines.progress import Progress, duration
from pipelines.render import __main__ as command
from pipelines.render import context, provenance, shards, workers

DRIVER = """
import sys
from pipelines.render import __main__ as command, shards
if __name__ == "__main__":
    shards.SAMPLES_PER_SHARD = 2
    sys.exit(command.main(sys.argv[1:]))
"""
COMMON = "--count 6 --split training --size 64 --format both"


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


def child(process):
    """A rendering process of the program, as soon as there is one."""
    while process.poll() is None:
        found = subprocess.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True)
        if found.stdout:
            return int(found.stdout.split()[0])
        time.sleep(0.02)
    raise AssertionError(process.communicate())


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
    os.kill(child(process), signal.SIGKILL)
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


@pytest.mark.slow
def test_benchmark(capsys):
    pytest.importorskip("moderngl")
    from experiments import benchmark_render

    options = "--count 4 --workers 2 --warm-up 0 --size 64 --independent 1 --device software"
    assert benchmark_render.main(options.split()) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["samples"] == 4 and report["wall_ratio"] > 1 and report["memory_mb"] < 2000
