"""Conversions, continued: VGG, and files that do not fit."""

import os

import keras
import numpy as np
import pytest
from foreign_weights import WIDTH, conv, max_pool, named, row
from test_weight_convert import IMAGE, PERSON, POSE, RNG, SLOW, load, outputs, run, theirs

from weights.convert.__main__ import main


@pytest.mark.parametrize("kind", ["vgg16", pytest.param("vgg19", marks=SLOW)])
def test_vgg(kind, tmp_path, capsys):
    """Keras' names, Caffe's colours; scaled but otherwise the same function, through VGG-16's identities."""
    depth = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[kind]
    sizes = (64, 128, 256, 512, 512)
    table = [
        (f"block{b}_conv{n + 1}", 3, size)
        for b, (size, count) in enumerate(zip(sizes, depth, strict=True), 1)
        for n in range(count)
    ]
    weights = row(RNG, table)
    np.savez(
        tmp_path / "vgg.npz",
        **{
            f"{layer}/{layer}_{kind_}": values
            for layer, pair in weights.items()
            for kind_, values in zip(("W_1:0", "b_1:0"), pair, strict=True)
        },
    )
    folder = run("vgg", tmp_path, tmp_path / "vgg.npz")
    report = capsys.readouterr().out
    assert report.count("identity + zero") == (3 if kind == "vgg16" else 0)  # 3_4 twice, HandSegNet's 4_4
    entry, model = load(folder, "handsegnet")
    assert entry["random"] == ["conv5_2", "conv6_1", "conv6_2"]
    assert load(folder, "posenet")[0]["random"][0] == "conv4_3"

    head = keras.Model(model.inputs, model.get_layer("conv5_1_leaky").output)
    (ours,) = outputs(head, IMAGE / 255 - 0.5)
    means = np.array([103.939, 116.779, 123.68])
    x = IMAGE[..., ::-1] - means
    outside = 127.5 - means
    for layer, *_ in table[: 1 + sum(depth[:4])]:
        block, number = int(layer[5]), int(layer[-1])
        x = np.maximum(y := conv(x, *weights[layer], outside=outside), 0.01 * y)
        outside = 0.0
        last = number == depth[block - 1]
        if last and kind == "vgg16" and block in (3, 4):
            x = np.maximum(x, 0.01 * x)  # the identity's own leaky ReLU
        if last and block < 4:
            x = max_pool(x)
    ratio = np.linalg.norm(x) / np.linalg.norm(ours)
    np.testing.assert_allclose(ours * ratio, x, atol=1e-4 * np.abs(x).max())
    assert 0.2 < np.sqrt(np.mean(ours**2)) < 5


def changed(arrays, name, values):
    return arrays | {name: values}


def test_bad_weights_name_the_entry(tmp_path, capsys):
    good = theirs(seg=PERSON)
    kernel = good["HandSegNet/conv4_1/weights"]
    nan = kernel.copy()
    nan[1, 1, 2, 3] = np.nan
    cases = [
        (
            changed(good, "HandSegNet/conv4_1/weights", nan),
            "conv4_1/weights has 1 values that are not finite",
        ),
        (
            changed(
                good, "HandSegNet/conv1_1/weights", good["HandSegNet/conv1_1/weights"].transpose(3, 2, 0, 1)
            ),
            "conv1_1/weights has shape (8, 3, 3, 3), expected (3, 3, 3, 8) for HandSegNet/conv1_1; "
            "the kernel is transposed",
        ),
        (
            changed(good, "HandSegNet/conv5_2/biases", np.zeros(7, np.float32)),
            "has shape (7,), expected (16,)",
        ),
        ({k: v for k, v in good.items() if "conv5" not in k}, "lacks 2 of its 16 layers: conv5_1, conv5_2"),
        (
            {k: v for k, v in good.items() if k != "HandSegNet/conv2_1/biases"},
            "no bias of HandSegNet/conv2_1",
        ),
        (named("HandSegNet", POSE), "conv4_3/weights has shape"),  # swapped networks
        (named("", PERSON), "no array is named after one of HandSegNet"),
    ]
    for number, (arrays, words) in enumerate(cases):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **arrays)
        run("hand3d", tmp_path, path, fails=True)
        error = capsys.readouterr().err
        assert error.startswith("error: ") and f"{number}.npz: " in error and words in error, error
    path = tmp_path / "good.npz"
    np.savez(path, **good)
    run("hand3d", tmp_path, path, options=["--width", "1"], fails=True)
    assert "expected (3, 3, 3, 64)" in capsys.readouterr().err
    run("hand3d", tmp_path, path, path, fails=True)
    assert "HandSegNet was in a source before" in capsys.readouterr().err
    run("hand3d", tmp_path, tmp_path / "missing.npz", fails=True)
    folder = run("hand3d", tmp_path, path)
    before = sorted(os.listdir(folder))
    assert main(["hand3d", str(path), "--out", str(folder), "--width", str(WIDTH)]) == 1
    assert "exists already" in capsys.readouterr().err and sorted(os.listdir(folder)) == before


@SLOW
def test_transposed_layout_can_be_asked_for(tmp_path):
    arrays = {k: v.transpose(3, 2, 0, 1) if v.ndim == 4 else v for k, v in theirs(seg=PERSON).items()}
    np.savez(tmp_path / "torch.npz", **arrays)
    _, model = load(
        run("hand3d", tmp_path, tmp_path / "torch.npz", options=["--layout", "oihw"]), "handsegnet"
    )
    np.testing.assert_array_equal(model.get_layer("conv4_3").get_weights()[0], PERSON["conv4_3"][0])
