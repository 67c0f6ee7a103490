"""hand3d.manifest: weight sets come back as they were saved, and damage is named."""

import json
import os

import numpy as np
import pytest

from hand3d import manifest
from hand3d.manifest import WeightsError

CONFIG = {"width": 0.125, "folded": False}


@pytest.fixture
def saved(tmp_path):
    """A folder with one set of one small network, and the network."""
    model = manifest.build_network("handsegnet_lite", CONFIG)
    for weight in model.weights:  # batch norm statistics that float16 would lose
        if "variance" in weight.name:
            weight.assign(np.full(weight.shape, 1e-9, np.float32))
    entry = manifest.save_network(model, str(tmp_path), "handsegnet.h5", "handsegnet_lite", CONFIG)
    manifest.write_manifest(str(tmp_path), {"tiny": {"networks": {"handsegnet": entry}}})
    return tmp_path, model


def edit(folder, change):
    content = json.loads((folder / "manifest.json").read_text())
    change(content["sets"]["tiny"]["networks"]["handsegnet"], content)
    (folder / "manifest.json").write_text(json.dumps(content))


def test_round_trip(saved):
    folder, model = saved
    loaded = manifest.load(manifest.find(folder))["handsegnet"]
    assert sorted(os.listdir(folder)) == ["handsegnet.h5", "manifest.json"]
    for before, after in zip(model.weights, loaded.weights, strict=True):
        before, after = np.asarray(before), np.asarray(after)
        assert after.dtype == np.float32
        expected = before.astype(np.float16) if before.ndim >= 2 else before
        np.testing.assert_array_equal(after, expected.astype(np.float32))
    overhead = 3000 * len(model.weights)  # HDF5's own
    assert (folder / "handsegnet.h5").stat().st_size < 2 * model.count_params() + overhead


def test_same_weights_same_file(saved, tmp_path):
    folder, model = saved
    entry = manifest.save_network(model, str(tmp_path / "again"), "b/c.h5", "handsegnet_lite", CONFIG)
    assert entry["file"] == "b/c.h5"
    expected = json.loads((folder / "manifest.json").read_text())["sets"]["tiny"]["networks"]["handsegnet"]
    assert {**entry, "file": 0} == {**expected, "file": 0}


def test_unknown_name():
    with pytest.raises(WeightsError, match="'no-such-set': neither a shipped set"):
        manifest.find("no-such-set")


def test_shipped_manifest_is_whole():
    for name in manifest.names():
        weight_set = manifest.find(name)
        assert set(weight_set.entry["networks"]) >= set(manifest.ROLES), name
        for role in weight_set.entry["networks"]:
            manifest.verify(weight_set, role)
        for key in ("recipe", "data", "seed", "scores", "licence"):
            assert key in weight_set.entry, (name, key)


def test_damaged_file(saved):
    folder, _ = saved
    path = folder / "handsegnet.h5"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        WeightsError, match=f"{path}: damaged .*sha256 is [0-9a-f]{{64}}, expected [0-9a-f]{{64}}; "
    ):
        manifest.load(manifest.find(folder))
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        manifest.load(manifest.find(folder))


@pytest.mark.parametrize("file", ["../outside.h5", "/etc/hostname"])
def test_path_outside(saved, file):
    folder, _ = saved
    edit(folder, lambda network, _: network.update(file=file))
    with pytest.raises(WeightsError, match="outside"):
        manifest.load(manifest.find(folder))


def test_wrong_manifests(saved):
    folder, _ = saved
    cases = [
        (lambda network, _: network.update(builder="os:system"), "builder 'os:system' is unknown"),
        (lambda network, _: network.update(config={"colour": 1}), "does not take the config"),
        (
            lambda network, _: network.update(config={"width": 0.5}) or network.pop("parameters"),
            "do not fit",
        ),
        (lambda network, _: network.pop("sha256"), "lacks .'sha256'"),
        (lambda _, content: content.update(schema=2), "schema is 2"),
        (lambda _, content: content["sets"].update(second={}), "has 2 sets"),
        (lambda _, content: content.update(sets=[]), "expected an object"),
        (lambda _, content: content.update(sets={"tiny": 1}), "expected an object"),
    ]
    original = (folder / "manifest.json").read_text()
    for change, words in cases:
        edit(folder, change)
        with pytest.raises(WeightsError, match=words):
            manifest.load(manifest.find(folder))
        (folder / "manifest.json").write_text(original)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="not JSON"):
        manifest.find(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        manifest.find(folder)


def test_what_cannot_be_saved(tmp_path):
    model = manifest.build_network("handsegnet_lite", CONFIG)
    kernel = next(weight for weight in model.weights if len(weight.shape) == 4)
    kernel.assign(np.full(kernel.shape, 1e5, np.float32))
    with pytest.raises(ValueError, match="float16"):
        manifest.save_network(model, str(tmp_path), "a.h5", "handsegnet_lite", CONFIG)
    with pytest.raises(ValueError, match="not what builder 'handsegnet_lite' makes"):
        manifest.save_network(model, str(tmp_path), "a.h5", "handsegnet_lite", {"width": 0.5})
    assert os.listdir(tmp_path) == []
