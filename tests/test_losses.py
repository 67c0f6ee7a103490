"""Losses against independent numpy code."""

import numpy as np
import pytest
from keras import ops

from hand3d import losses

RNG = np.random.default_rng(0)


def value(x):
    return float(ops.convert_to_numpy(x))


def test_posenet_loss():
    target = RNG.uniform(0, 1, (2, 16, 16, 21)).astype("float32")
    stages = [RNG.uniform(0, 1, (2, 16, 16, 21)).astype("float32") for _ in range(3)]
    visible = (RNG.uniform(0, 1, (2, 21)) > 0.4).astype("float32")
    expected = sum(
        (visible * np.sqrt(((stage - target) ** 2).mean((1, 2)))).sum() / (visible.sum() + 0.001)
        for stage in stages
    )
    assert value(losses.posenet_loss(target, stages, visible)) == pytest.approx(expected, rel=1e-5)
    assert value(losses.posenet_loss(target, stages, np.zeros((2, 21)))) == 0
    hidden = target.copy()
    hidden[visible[:, None, None].repeat(16, 1).repeat(16, 2) == 0] = 9
    assert value(losses.posenet_loss(target, [hidden], visible)) == pytest.approx(0, abs=1e-5)


def test_small_maps_are_enlarged_on_the_grid_asked_for():
    small = RNG.uniform(0, 1, (1, 4, 4, 21)).astype("float32")
    enlarged = small.repeat(2, 1).repeat(2, 2)
    enlarged[:, 1::2] = (small + np.concatenate([small[:, 1:], small[:, -1:]], 1)).repeat(2, 2) / 2
    enlarged[:, :, 1::2] = (enlarged[:, :, ::2] + np.roll(enlarged, -2, 2)[:, :, ::2]) / 2
    enlarged[:, :, -1] = enlarged[:, :, -2]
    assert value(ops.max(losses.rmse_per_map(enlarged, small))) < 1e-5
    assert value(ops.max(losses.rmse_per_map(enlarged, small, grid="half_pixel"))) > 0.05
    with pytest.raises(ValueError, match="grid"):
        losses.rmse_per_map(enlarged, small, grid="old")


def test_segmentation_cross_entropy():
    logits = RNG.normal(size=(2, 5, 6, 2)).astype("float32")
    mask = RNG.integers(0, 2, (2, 5, 6))
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(probability, mask[..., None], -1)).mean()
    assert value(losses.segmentation_cross_entropy(mask, logits)) == pytest.approx(expected, rel=1e-5)


def test_position_cross_entropy():
    logits = RNG.normal(size=(2, 6, 6, 21)).astype("float32")
    target = RNG.uniform(size=(2, 6, 6, 21)).astype("float32")
    target /= target.sum((1, 2), keepdims=True)
    weight = RNG.uniform(size=(2, 21)).astype("float32")
    log_probability = logits - np.log(np.exp(logits).sum((1, 2), keepdims=True))
    entropy = -(target * log_probability).sum((1, 2))
    expected = (weight * entropy).sum() / (weight.sum() + 0.001)
    assert value(losses.position_cross_entropy(logits, target, weight)) == pytest.approx(expected, rel=1e-4)


def test_lifting_losses():
    shapes = {name: (2, 21, 3) for name in ("xyz_relative", "xyz_local", "xyz_canonical")}
    shapes["rotation"] = (2, 3, 3)
    targets = {name: RNG.normal(size=shape) for name, shape in shapes.items()}
    outputs = {name: RNG.normal(size=shape) for name, shape in shapes.items()}
    squared = {name: ((targets[name] - outputs[name]) ** 2).mean() for name in shapes}
    expected = {
        "direct": squared["xyz_relative"],
        "bottleneck": squared["xyz_relative"],
        "local": squared["xyz_local"],
        "local_w_xyz_loss": squared["xyz_relative"],
        "proposed": squared["xyz_canonical"] + squared["rotation"],
    }
    for variant, number in expected.items():
        assert value(losses.lifting_loss(variant, targets, outputs)) == pytest.approx(number, rel=1e-5)
    with pytest.raises(ValueError, match="variant"):
        losses.lifting_loss("other", targets, outputs)
