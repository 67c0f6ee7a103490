"""`python -m weights.verify`, shards, and what a manifest from a stranger can get wrong."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from hand3d import manifest, weight_files
from hand3d.manifest import WeightsError
from hand3d.set_options import set_options
from weights.verify.__main__ import main

CONFIG = {"width": 0.125}


@pytest.fixture
def saved(tmp_path):
    """A folder with one set of one small network, and the network."""
    keras.utils.set_random_seed(3)
    model = manifest.build_network("handsegnet", CONFIG)
    entry = manifest.save_network(model, str(tmp_path), "seg.h5", "handsegnet", CONFIG)
    extra = {
        "licence": "CC0",
        "scores": {"part": {"iou": 0.5}},
        "data": {"records": [{"training": {"samples": 7}}, {"training": {"samples": 5}}]},
    }
    manifest.write_manifest(str(tmp_path), {"tiny": {"networks": {"seg": entry}, **extra}})
    return tmp_path, model


def change(folder, edit):
    content = json.loads((folder / "manifest.json").read_text())
    edit(content["sets"]["tiny"])
    (folder / "manifest.json").write_text(json.dumps(content))


def rewrite(folder, edit):
    """Changes the weight file and the manifest's sha256 with it, as a forger would."""
    with h5py.File(folder / "seg.h5", "r+") as file:
        edit(file)
    digest = manifest.file_sha256(folder / "seg.h5")
    change(folder, lambda entry: entry["networks"]["seg"].update(sha256=digest))


def test_a_good_set(saved, capsys):
    folder, model = saved
    assert main([str(folder)]) == 0
    printed = capsys.readouterr()
    table = printed.out.splitlines()
    assert table[0].split()[:4] == ["set", "network", "width", "parameters"]
    for word in (
        "tiny",
        "seg (handsegnet)",
        "0.125",
        f"{model.count_params():,}",
        "MiB",
        "7 + 5 rendered",
        "CC0",
    ):
        assert word in table[1]
    assert table[2] == "tiny: part: iou 0.5" and printed.err == ""


def test_shipped_sets():
    """The files in the checkout, in a process of their own, as one would type it."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "-m", "weights.verify", "--help"]
    assert "stored" in subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in manifest.names():
        weight_set = manifest.find(name)
        for role in manifest.network_entries(weight_set):
            for path in manifest.verify(weight_set, role):
                assert os.path.getsize(path) < weight_files.SHARD_BYTES


def test_a_changed_weight_shows(saved, capsys):
    folder, _ = saved

    def nudge(file):
        values = file["conv3_1/kernel"][()]
        values[1, 1] *= 1.5
        file["conv3_1/kernel"][...] = values

    rewrite(folder, nudge)
    assert main([str(folder)]) == 1
    assert "for the stored input its output differs by" in capsys.readouterr().err


def test_what_is_wrong_is_named(saved, capsys):
    folder, _ = saved
    original = (folder / "manifest.json").read_text(), (folder / "seg.h5").read_bytes()

    def set_nan(file):
        file["conv3_1/bias"][2] = np.nan

    def transpose(file):
        values = file["conv2_1/kernel"][()]
        del file["conv2_1/kernel"]
        file["conv2_1/kernel"] = values.transpose(3, 2, 0, 1)

    def external(file):
        del file["conv2_1/bias"]
        file.create_dataset("conv2_1/bias", (16,), "f4", external=[("other.bin", 0, 64)])

    def drop(file):
        del file["example"]

    network = {
        "sha256": (lambda entry: entry.update(sha256="0" * 64), "sha256 is [0-9a-f]{64}, expected 0{64}"),
        "outside": (lambda entry: entry.update(file="../seg.h5"), "'../seg.h5' lies outside"),
        "parameters": (lambda entry: entry.update(parameters=5), "says 5 parameters, handsegnet .* has 2"),
        "swapped": (
            lambda entry: entry.update(builder="posenet") or entry.pop("parameters"),
            "do not fit posenet",
        ),
        "huge": (
            lambda entry: entry.update(config={"width": 1e9}),
            "width is 1000000000.0, expected a number up",
        ),
        "type": (lambda entry: entry.update(config=[1]), r"has \[1\] as 'config', expected dict"),
        "missing": (lambda entry: entry.pop("file"), r"lacks \['file'\]"),
    }
    files = {
        "nan": (set_nan, "conv3_1/bias has values that are not finite"),
        "transposed": (transpose, r"conv2_1/kernel has shape \(16, 8, 3, 3\) in the file, \(3, 3, 8, 16\)"),
        "elsewhere": (external, "conv2_1/bias: its data lie outside the file"),
        "no example": (drop, "no example stored"),
    }
    for name, (edit, words) in {**network, **files}.items():
        if name in network:
            change(folder, lambda entry, edit=edit: edit(entry["networks"]["seg"]))
        else:
            rewrite(folder, edit)
        assert main([str(folder)]) == 1
        error = capsys.readouterr().err
        assert re.search(words, error), (name, error)
        (folder / "manifest.json").write_text(original[0])
        (folder / "seg.h5").write_bytes(original[1])
    (folder / "seg.h5").write_bytes(original[1][:-999])
    digest = manifest.file_sha256(folder / "seg.h5")
    change(folder, lambda entry: entry["networks"]["seg"].update(sha256=digest))
    with pytest.raises(WeightsError, match="seg.h5: weights do not fit"):
        manifest.load(manifest.find(folder))


@pytest.mark.parametrize(
    "key, value",
    [
        ("min_score", "high"),
        ("min_score", True),
        ("min_score", 2),
        ("canvas", 320),
        ("canvas", ["320"]),
        ("canvas", []),
        ("canvas", [10**9]),
        ("frame", [240]),
        ("frame", "240x320"),
        ("graph", [1]),
    ],
)
def test_options_of_a_wrong_type(key, value):
    weight_set = manifest.WeightSet("mine", ".", {key: value})
    with pytest.raises(WeightsError, match=f"weights 'mine': \"{key}\" is .* in the manifest, expected"):
        set_options(weight_set)


def test_shards(saved, tmp_path):
    """A network over several files: each below the limit, together bit-equal; a lost shard is told."""
    _, model = saved
    arrays = weight_files.stored_values(model, "float32") | weight_files.make_example(model)
    paths = weight_files.write_shards(arrays, str(tmp_path / "big.h5"), shard_bytes=200_000)
    assert len(paths) > 3 and paths[0].endswith(f"big-1-of-{len(paths)}.h5")
    assert max(map(os.path.getsize, paths)) < 200_000
    again = manifest.build_network("handsegnet", CONFIG)
    weight_files.read_weights(again, paths[::-1])
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert weight_files.example_difference(again, paths) < 1e-5
    with pytest.raises(ValueError, match="the file lacks conv"):
        weight_files.read_weights(again, paths[:-2])
    with pytest.raises(ValueError, match="in two files"):
        weight_files.read_weights(again, [paths[0], *paths])
    with pytest.raises(ValueError, match="do not fit into a shard of 1000"):
        weight_files.write_shards(arrays, str(tmp_path / "small.h5"), shard_bytes=1000)
    shards = [{"file": os.path.basename(path), "sha256": manifest.file_sha256(path)} for path in paths]
    entry = {"builder": "handsegnet", "config": CONFIG, "shards": shards}
    (tmp_path / "again").mkdir()
    folder = tmp_path
    manifest.write_manifest(str(folder), {"sharded": {"networks": {"seg": entry}}})
    loaded = manifest.load(manifest.find(folder))["seg"]
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


BACKENDS = """
import sys
from hand3d import manifest, weight_files
mode, *folders = sys.argv[1:]
for folder in folders:
    if mode == "write":
        import keras
        keras.utils.set_random_seed(5)
        model = manifest.build_network("handsegnet_lite", {"width": 0.125})
        entry = manifest.save_network(model, folder, "seg.h5", "handsegnet_lite", {"width": 0.125})
        manifest.write_manifest(folder, {"set": {"networks": {"seg": entry}}})
    else:
        weight_set = manifest.find(folder)
        paths = manifest.verify(weight_set, "seg")
        model = manifest.load_network(manifest.network_entries(weight_set)["seg"], paths)
        print(weight_files.example_difference(model, paths))
"""


@pytest.mark.slow
def test_other_backends(tmp_path):
    """Weights saved on one backend load on any other, which puts out the same for the stored input."""
    backends = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
    if len(backends) < 2:
        pytest.skip(f"one backend is installed: {', '.join(backends)}")
    folders = {backend: str(tmp_path / backend) for backend in backends}
    for folder in folders.values():
        os.mkdir(folder)

    def on(backend, mode, *given):
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": root}
        command = [sys.executable, "-c", BACKENDS, mode, *given]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, (backend, result.stderr[-2000:])
        return [float(line) for line in result.stdout.split()]

    for writer, folder in folders.items():
        on(writer, "write", folder)
    for reader in backends:
        others = [folder for writer, folder in folders.items() if writer != reader]
        differences = on(reader, "read", *others)
        assert len(differences) == len(others) and max(differences) < 1e-3, reader
