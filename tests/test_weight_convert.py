"""Conversions, run as a user runs them, against the same networks in plain NumPy (`foreign_weights`)."""

import json
import os
import pickle

import keras
import numpy as np
import pytest
from foreign_weights import (
    WIDTH,
    caffemodel,
    conv,
    handsegnet,
    handsegnet_table,
    in_a_row,
    max_pool,
    named,
    posenet,
    posenet_table,
    posenet_weights,
    poseprior,
    poseprior_weights,
    python2_pickle,
    row,
    viewpoint,
    viewpoint_weights,
)
from scipy import signal

from hand3d import manifest
from weights.convert import reference
from weights.convert.__main__ import main

RNG = np.random.default_rng(1)
SLOW = pytest.mark.slow  # the second of two alike, mostly
PERSON = row(RNG, handsegnet_table())
POSE = posenet_weights(RNG)
TAKEN = {
    "handsegnet": [name for name in PERSON if not name.startswith("conv6")],
    "posenet": [name for name in POSE if name[4] in "1234" or name == "conv5_1"],
}
IMAGE = RNG.integers(0, 256, (32, 40, 3)).astype(np.float32)


def run(kind, tmp_path, *sources, options=(), fails=False, out="out"):
    """The command; returns the folder written."""
    folder = tmp_path / out
    width = [] if "--width" in options else ["--width", str(WIDTH)]
    status = main([kind, *map(str, sources), "--out", str(folder), *width, *options])
    assert status == int(fails)
    if fails:
        assert not folder.exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".convert-")]
    return folder


def load(folder, role):
    weight_set = manifest.find(folder)
    entry = manifest.network_entries(weight_set)[role]
    return entry, manifest.load_network(entry, manifest.verify(weight_set, role))


def outputs(model, *inputs):
    made = model([value[None].astype(np.float32) for value in inputs] if inputs[1:] else inputs[0][None])
    return [keras.ops.convert_to_numpy(value)[0] for value in keras.tree.flatten(made)]


def cpm_name(layer):
    """Wei et al.'s names: a suffix on what VGG does not have."""
    return (
        layer if layer in PERSON and layer[4] in "123" or layer in ("conv4_1", "conv4_2") else f"{layer}_CPM"
    )


def test_the_references_convolve_alike():
    """Window views, shifted products and SciPy's correlation agree, at stride 2 and on odd sizes too."""
    for height, width, side, stride in ((8, 6, 3, 1), (8, 6, 3, 2), (7, 9, 3, 2), (9, 8, 7, 1), (4, 4, 1, 1)):
        x, kernel, bias = (
            RNG.normal(size=(height, width, 4)),
            RNG.normal(size=(side, side, 4, 5)),
            RNG.normal(size=5),
        )
        pads = [max((-(-n // stride) - 1) * stride + side - n, 0) for n in (height, width)]
        padded = np.pad(x, [(pad // 2, pad - pad // 2) for pad in pads] + [(0, 0)])
        expected = [
            signal.correlate(padded, kernel[..., k], "valid")[::stride, ::stride, 0] for k in range(5)
        ]
        expected = np.stack(expected, -1) + bias
        np.testing.assert_allclose(conv(x, kernel, bias, stride), expected, atol=1e-9)
        np.testing.assert_allclose(reference.convolve(x, kernel, bias, stride), expected, atol=1e-4)


@pytest.mark.parametrize(
    "role, old",
    [
        ("handsegnet", True),
        pytest.param("posenet", False, marks=SLOW),
        pytest.param("handsegnet", False, marks=SLOW),
        pytest.param("posenet", True, marks=SLOW),
    ],
)
def test_caffe_models_of_cpm(role, old, tmp_path, capsys):
    """OIHW kernels, BGR / 256 - 0.5, names with _CPM, one file a network."""
    weights = PERSON if role == "handsegnet" else POSE
    later = {"Mconv1_stage2": weights["conv6_1"]}
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(weights | later, old, cpm_name))
    folder = run("cpm", tmp_path, path)
    entry, model = load(folder, role)
    assert set(manifest.network_entries(manifest.find(folder))) == {role}
    assert entry["random"] == [name for name in weights if name not in TAKEN[role]]

    last = TAKEN[role][-1]
    head = keras.Model(model.inputs, model.get_layer(f"{last}_leaky").output)
    (ours,) = outputs(head, IMAGE / 255 - 0.5)
    seen = (IMAGE / 256 - 0.5)[..., ::-1]
    grey = np.full(3, 127.5 / 256 - 0.5)  # our zeros around the picture, in Caffe's range
    expected = in_a_row(seen, weights, TAKEN[role], outside=grey, ceil=True)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    zeros = in_a_row(seen, weights, TAKEN[role], ceil=True)
    assert 0 < np.abs(zeros - expected).max() < 0.05 * np.abs(expected).max()  # what the border makes
    # the plain ReLU that CPM has is another network: the slope is seen
    assert np.abs(in_a_row(seen, weights, TAKEN[role], slope=0, ceil=True) - expected).max() > 1e-3

    report = capsys.readouterr().out
    assert "its first layer sees BGR x 256th - 0.5" in report
    for layer in TAKEN[role]:
        line = next(line for line in report.splitlines() if f"/{layer} " in line)
        source = f"{cpm_name(layer)}/weights + {cpm_name(layer)}/biases -> "
        assert source in line and str(weights[layer][0].shape) in line and "crc32" in line
    assert "not used: Mconv1_stage2_CPM/weights" in report or "not used: Mconv1_stage2" in report
    assert "source in NumPy against Keras: largest difference" in report


def test_pooling_of_odd_sizes():
    """Caffe pools 9 to 5, TensorFlow 9 to 4: on sizes that 8 divides, which we ask for, they are the same."""
    for size in (8, 9):
        x = RNG.normal(size=(size, size, 2)).astype(np.float32)
        keras_pool = np.asarray(keras.layers.MaxPooling2D(2, 2)(x[None]))[0]
        ceil = max_pool(x, ceil=True)
        np.testing.assert_array_equal(reference.pool(x, ceil=True), ceil)
        np.testing.assert_array_equal(reference.pool(x), keras_pool)
        np.testing.assert_array_equal(ceil[:4, :4], keras_pool)
        assert len(ceil) == -(-size // 2) and len(keras_pool) == size // 2


def cpm_checkpoint_names():
    arrays = {}
    for scope, weights in (("CPM/PersonNet", PERSON), ("CPM/PoseNet", POSE)):
        for layer, pair in weights.items():
            name = layer if layer[4] in "123" or layer in ("conv4_1", "conv4_2") else f"{layer}_CPM"
            name = (
                name.replace("conv7", "Mconv7").replace("conv6", "Mconv6")
                if scope.endswith("PoseNet")
                else name
            )
            arrays |= named(f"{scope}/{name}".rsplit("/", 1)[0], {name: pair})
    return arrays


@pytest.mark.parametrize("kind", ["checkpoint", pytest.param("npz", marks=SLOW)])
def test_checkpoint_of_cpm(kind, tmp_path):
    """Both networks from one file; colours as the release used them, RGB / 255 - 0.5."""
    arrays = cpm_checkpoint_names()
    path = tmp_path / "cpm-model-mpii"
    if kind == "checkpoint":
        tf = pytest.importorskip("tensorflow")
        tf.raw_ops.Save(
            filename=str(path), tensor_names=list(arrays), data=list(map(tf.constant, arrays.values()))
        )
    else:
        path = tmp_path / "cpm.npz"
        np.savez(path, **arrays)
    folder = run("cpm", tmp_path, path)
    for role, weights in (("handsegnet", PERSON), ("posenet", POSE)):
        entry, model = load(folder, role)
        assert entry["random"] == [name for name in weights if name not in TAKEN[role]]
        for layer in TAKEN[role]:
            for ours, theirs in zip(model.get_layer(layer).get_weights(), weights[layer], strict=True):
                np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(
        manifest.WeightsError, match="only an initialisation, without the layers conv6_1, conv6_2"
    ):
        manifest.load(manifest.find(folder))


def theirs(**parts):
    scopes = {"seg": "HandSegNet", "pose": "PoseNet2D", "prior": "PosePrior", "view": "ViewpointNet"}
    return {
        key: value for part, weights in parts.items() for key, value in named(scopes[part], weights).items()
    }


def test_the_authors_pickles(tmp_path, capsys):
    """All four networks from two pickles, outputs within 1e-4 of plain NumPy; unknown entries are listed."""
    prior, view = poseprior_weights(RNG), viewpoint_weights(RNG)
    odd = {"HandSegNet/conv6_2/weights/Adam": np.zeros(3, np.float32), "global_step": np.int64(40000)}
    first, second = tmp_path / "handsegnet-rhd.pickle", tmp_path / "posenet3d-rhd-stb.pickle"
    first.write_bytes(pickle.dumps(theirs(seg=PERSON) | odd, 2))
    second.write_bytes(python2_pickle(theirs(pose=POSE, prior=prior, view=view)))
    folder = run("hand3d", tmp_path, first, second)
    report = capsys.readouterr().out
    assert "not used: HandSegNet/conv6_2/weights/Adam (3,)" in report and "not used: global_step" in report
    assert report.count("crc32") == 16 + 31 + 9 + 11
    networks = manifest.load(manifest.find(folder))

    image = (IMAGE / 255 - 0.5).astype(np.float32)
    (ours,) = outputs(networks["handsegnet"], image)
    np.testing.assert_allclose(
        ours[::8, ::8], handsegnet(PERSON, image), atol=1e-4
    )  # legacy grid: cell k at 8 k
    for one, other in zip(outputs(networks["posenet"], image), posenet(POSE, image), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    maps, side = RNG.random((32, 32, 21)), np.array([1.0, 0.0])
    (xyz,) = outputs(networks["poseprior"], maps, side)
    np.testing.assert_allclose(xyz.reshape(-1), poseprior(prior, maps, side), atol=1e-4)
    (rotation,) = outputs(networks["viewpoint"], maps, side)
    np.testing.assert_allclose(rotation, viewpoint(view, maps, side), atol=1e-4)

    entry = manifest.find(folder).entry
    assert entry["graph"] == {"segment_size": [240, 320], "crop_size": 256, "grid": "legacy"}
    assert [source["file"] for source in entry["data"]["converted_from"]] == [first.name, second.name]
    assert str(tmp_path) not in json.dumps(entry)


@SLOW
@pytest.mark.parametrize("variant", ["direct", "bottleneck", "local", "local_w_xyz_loss"])
def test_lifting_variants(variant, tmp_path):
    weights = poseprior_weights(RNG, bottleneck=variant == "bottleneck")
    name = f"lifting-{variant}.pickle" if variant != "direct" else "renamed.pickle"
    (tmp_path / name).write_bytes(pickle.dumps(theirs(prior=weights), 2))
    if variant == "direct":
        run("hand3d", tmp_path, tmp_path / name, fails=True)  # three variants have these shapes
    options = ["--variant", variant] if variant == "direct" else []
    _, model = load(run("hand3d", tmp_path, tmp_path / name, options=options), "lifting")
    maps, side = RNG.random((32, 32, 21)), np.array([0.0, 1.0])
    made = model([maps[None].astype(np.float32), side[None].astype(np.float32)])
    ours = made["xyz_local" if variant.startswith("local") else "xyz_relative"]
    np.testing.assert_allclose(np.asarray(ours).reshape(-1), poseprior(weights, maps, side), atol=1e-4)


def test_tables_are_the_papers():
    """The miniature's tables have the published layers and parameter counts at full width."""
    count = sum(k * k * i * abs(o) + abs(o) for k, i, o in _sizes(handsegnet_table()))
    assert count == 13_601_986
    assert sum(k * k * i * abs(o) + abs(o) for k, i, o in _sizes(posenet_table())) == 9_187_541


def _sizes(table):
    inputs = 3
    for _, side, count in table:
        yield side, inputs, count
        inputs = abs(count)
