import numpy as np
import pytest
from keras import ops

from hand3d.networks.lite import handsegnet_lite, posenet_lite
from hand3d.networks.standardised import RELU_GAIN, StandardisedConv2D, fold, unfold
from hand3d.skeleton import NUM_KEYPOINTS


def test_posenet_lite_gives_maps_at_a_quarter_and_a_side():
    out = posenet_lite(0.25, stages=3)(np.zeros((2, 64, 64, 3), "float32"))
    assert [tuple(maps.shape) for maps in out["score_maps"]] == [(2, 16, 16, NUM_KEYPOINTS)] * 3
    assert tuple(out["side"].shape) == (2, 2)


def test_handsegnet_lite_takes_any_multiple_of_32():
    network = handsegnet_lite(0.25)
    for height, width in ((64, 64), (32, 96)):
        logits = network(np.zeros((1, height, width, 3), "float32"))
        assert tuple(logits.shape) == (1, height // 4, width // 4, 2)


@pytest.mark.parametrize("build", [posenet_lite, handsegnet_lite])
def test_folding_keeps_the_output(build):
    trained, plain = build(0.25, folded=False), build(0.25, folded=True)
    random = np.random.default_rng(0)
    for weight in trained.trainable_variables:  # gains and biases away from their initial values
        noise = random.standard_normal(weight.shape).astype("float32")
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * noise)
    crop = random.random((2, 64, 64, 3), "float32") - 0.5
    before = trained(crop)
    fold(trained, plain)
    after = plain(crop)
    first, second = (x["score_maps"][-1] if isinstance(x, dict) else x for x in (before, after))
    first, second = ops.convert_to_numpy(first), ops.convert_to_numpy(second)
    assert np.abs(first).max() > 0.1
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_folding_refuses_another_network():
    with pytest.raises(ValueError, match="stage2"):
        fold(posenet_lite(0.25, stages=2, folded=False), posenet_lite(0.25, stages=1))


def test_standardised_kernel_has_zero_mean_and_the_variance_that_a_relu_needs():
    layer = StandardisedConv2D(8, 3)
    layer.build((None, 8, 8, 16))
    kernel = ops.convert_to_numpy(layer.standardised_kernel())
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(kernel.var((0, 1, 2)) * 3 * 3 * 16, RELU_GAIN**2, rtol=1e-3)


def test_standardised_convolution_keeps_the_variance_through_depth():
    random = np.random.default_rng(1)
    x = np.maximum(random.standard_normal((1, 16, 16, 32)), 0).astype("float32")
    for _ in range(8):
        x = np.maximum(ops.convert_to_numpy(StandardisedConv2D(32, 1)(x)), 0)
    assert 0.3 < x.std() < 3


def test_weights_in_training_form_come_back_with_their_gains(tmp_path):
    saved, loaded = posenet_lite(0.25, folded=False), posenet_lite(0.25, folded=False)
    gain = saved.get_layer("stem_res_1").gain
    gain.assign(ops.convert_to_numpy(gain) * 3)
    saved.save_weights(tmp_path / "x.weights.h5")
    loaded.load_weights(tmp_path / "x.weights.h5")
    crop = np.random.default_rng(0).random((1, 64, 64, 3), "float32") - 0.5
    expected, found = (ops.convert_to_numpy(model(crop)["score_maps"][-1]) for model in (saved, loaded))
    np.testing.assert_array_equal(found, expected)


def test_a_third_level_starts_silent_and_is_trained():
    two, three = posenet_lite(0.25, stages=1, folded=False), posenet_lite(0.25, 1, 3, folded=False)
    names = {layer.name for layer in two.layers if layer.weights}
    for layer in three.layers:
        if layer.name in names:
            layer.set_weights(two.get_layer(layer.name).get_weights())
    crop = np.random.default_rng(0).random((1, 64, 64, 3), "float32") - 0.5
    before, after = (ops.convert_to_numpy(model(crop)["score_maps"][-1]) for model in (two, three))
    np.testing.assert_allclose(after, before, atol=1e-5)
    lateral = three.get_layer("stage1_up3_lateral")
    lateral.gain.assign(np.ones_like(lateral.gain))  # what the first step of a training does
    assert np.abs(ops.convert_to_numpy(three(crop)["score_maps"][-1]) - before).max() > 1e-3


def test_levels_are_two_or_three():
    with pytest.raises(ValueError, match="levels must be 2 or 3, got 4"):
        posenet_lite(0.25, levels=4)


def test_unfolding_gives_a_network_that_folds_back_to_the_same():
    plain = posenet_lite(0.25, stages=1)
    random = np.random.default_rng(2)
    for weight in plain.weights:
        weight.assign(0.1 * random.standard_normal(weight.shape).astype("float32"))
    for layer in plain.layers:  # what was folded has kernels of zero mean
        if layer.name not in ("stage1_maps", "side") and layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel - kernel.mean((0, 1, 2)), bias])
    larger = posenet_lite(0.25, stages=2, folded=False)
    new = unfold(plain, larger)
    assert new and all(name.startswith("stage2") for name in new)
    same = posenet_lite(0.25, stages=1, folded=False)
    assert unfold(plain, same) == []
    again = fold(same, posenet_lite(0.25, stages=1))
    for expected, found in zip(plain.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
