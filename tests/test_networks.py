"""The paper's networks: parameter counts, layer names, outputs, and that they save and load."""

import keras
import numpy as np
import pytest
from keras import ops

from hand3d import geometry, losses
from hand3d.networks import handsegnet, lifting, posenet, poseprior, viewpoint

RNG = np.random.default_rng(0)
COUNTS = {
    handsegnet: 13_601_986,
    posenet: 17_518_847,
    poseprior: 1_637_279,
    viewpoint: 2_238_403,
}
TENSORS = {handsegnet: 32, posenet: 62, poseprior: 18, viewpoint: 22}
LIFTING_COUNTS = {
    "direct": 1_637_279,
    "bottleneck": 1_622_303,
    "local": 1_637_279,
    "local_w_xyz_loss": 1_637_279,
    "proposed": 3_875_682,
}


def weighted(model):
    return {layer.name: layer for layer in model.layers if layer.weights}


def lifting_batch(count=2):
    maps = RNG.uniform(0, 1, (count, 32, 32, 21)).astype("float32")
    return [maps, np.eye(2, dtype="float32")[np.arange(count) % 2]]


@pytest.mark.parametrize("build", COUNTS, ids=lambda build: build.__name__)
def test_published_parameter_counts(build):
    model = build()
    assert model.count_params() == COUNTS[build]
    assert len(model.weights) == TENSORS[build]


@pytest.mark.parametrize("variant", LIFTING_COUNTS)
def test_lifting_variants(variant):
    model = lifting(variant)
    assert model.count_params() == LIFTING_COUNTS[variant]
    outputs = {name: ops.convert_to_numpy(x) for name, x in model(lifting_batch()).items()}
    assert set(losses.LIFTING_TARGETS[variant]) <= set(outputs)
    assert outputs["xyz_relative"].shape == (2, 21, 3)
    if variant == "proposed":
        expected = geometry.from_canonical(outputs["xyz_canonical"], outputs["rotation"], np.arange(2))
        np.testing.assert_allclose(outputs["xyz_relative"], ops.convert_to_numpy(expected), atol=1e-5)
    if variant == "local":
        expected = geometry.from_local_bones(outputs["xyz_local"])
        np.testing.assert_allclose(outputs["xyz_relative"], ops.convert_to_numpy(expected), atol=1e-5)


def test_unknown_variant_and_width_are_reported():
    with pytest.raises(ValueError, match="variant"):
        lifting("nn")
    with pytest.raises(ValueError, match="width"):
        posenet(width=0)


def test_published_layer_names_and_shapes():
    seg, pose, prior, view = (weighted(build()) for build in COUNTS)
    assert list(seg)[-4:] == ["conv5_1", "conv5_2", "conv6_1", "conv6_2"] and len(seg) == 16
    assert pose["conv6_1"].kernel.shape == (7, 7, 149, 128)
    assert pose["conv7_7"].kernel.shape == (1, 1, 128, 21) and len(pose) == 31
    assert prior["fc_rel0"].kernel.shape == (2050, 512)
    assert {"conv_pose_0_1", "conv_pose_2_2", "fc_rel1", "fc_xyz"} <= set(prior)
    assert view["fc_vp0"].kernel.shape == (4098, 256)
    assert {"conv_vp_0_1", "fc_vp1", "fc_vp_ux", "fc_vp_uy", "fc_vp_uz"} <= set(view)
    assert "fc_bottleneck" in weighted(lifting("bottleneck"))


def test_initial_bias_and_slope():
    model = posenet(width=1 / 8)
    np.testing.assert_allclose(ops.convert_to_numpy(model.get_layer("conv1_1").bias), 1e-4)
    leaky = model.get_layer("conv1_1_leaky")
    np.testing.assert_allclose(ops.convert_to_numpy(leaky(np.float32([[-1, 1]]))), [[-0.01, 1]])


def test_image_networks_at_any_size():
    image = RNG.uniform(-0.5, 0.5, (2, 48, 64, 3)).astype("float32")
    for grid in ("legacy", "half_pixel"):
        logits = ops.convert_to_numpy(handsegnet(width=1 / 8, grid=grid)(image))
        assert logits.shape == (2, 48, 64, 2)
    maps = posenet(width=1 / 8)(image)
    assert [tuple(x.shape) for x in maps] == [(2, 6, 8, 21)] * 3


def test_handsegnet_enlarges_on_the_legacy_grid():
    model = handsegnet(width=1 / 8)
    image = RNG.uniform(-0.5, 0.5, (1, 32, 32, 3)).astype("float32")
    small = keras.Model(model.input, model.get_layer("conv6_2").output)(image)
    np.testing.assert_allclose(model(image)[:, ::8, ::8], small, atol=1e-5)


def test_viewpoint_puts_out_rotations():
    rotation = ops.convert_to_numpy(viewpoint()(lifting_batch()))
    identity = rotation @ rotation.transpose(0, 2, 1)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-4)


def test_lifting_from_large_maps_averages_them():
    maps, side = lifting_batch()
    large = maps.repeat(8, 1).repeat(8, 2)
    small, pooled = lifting("direct", dropout=False), lifting("direct", dropout=False, pool=8)
    pooled.set_weights(small.get_weights())
    np.testing.assert_allclose(
        small([maps, side])["xyz_relative"], pooled([large, side])["xyz_relative"], atol=1e-5
    )


def test_dropout_acts_in_training_only():
    batch = lifting_batch()
    model = poseprior()
    same = [ops.convert_to_numpy(model(batch, training=False)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert np.abs(ops.convert_to_numpy(model(batch, training=True)) - same[0]).max() > 1e-4
    off = poseprior(dropout=False)
    assert not [layer for layer in off.layers if isinstance(layer, keras.layers.Dropout)]


def test_heads_are_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        models = [handsegnet(width=1 / 8), posenet(width=1 / 8), lifting()]
    finally:
        keras.config.set_dtype_policy(policy)
    for model in models:
        assert {x.dtype for x in model.outputs} == {"float32"}
    assert models[1].get_layer("conv4_3").compute_dtype == "bfloat16"


@pytest.mark.parametrize("loss", ["paper", "positions"])
def test_training_step_moves_every_weight_and_stays_finite(loss):
    from hand3d import scoremaps

    uv, visible = RNG.uniform(0, 64, (2, 21, 2)), np.ones((2, 21), "float32")
    image = RNG.uniform(-0.5, 0.5, (2, 64, 64, 3)).astype("float32")

    @keras.saving.register_keras_serializable("hand3d_tests")
    class Trained(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if loss == "paper":
                return losses.posenet_loss(scoremaps.encode(uv, visible, 16, 64), y_pred, visible)
            target = scoremaps.target_distribution(uv, visible, 8, 64)
            return sum(losses.position_cross_entropy(maps, target, visible) for maps in y_pred)

    model = posenet(width=1 / 8)
    trained = Trained(model.inputs, model.outputs)
    trained.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    before = [w.copy() for w in trained.get_weights()]
    trained.train_on_batch(image, np.zeros((2,)))
    after = trained.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert all((a != b).any() for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("variant", ["local_w_xyz_loss", "proposed"])
def test_lifting_trains_through_compile(variant):
    model, batch = lifting(variant, dropout=False), lifting_batch()
    names = losses.LIFTING_TARGETS[variant]
    model.compile(optimizer="sgd", loss={name: "mse" for name in names}, jit_compile=False)
    shapes = {"rotation": (2, 3, 3)}
    targets = {name: RNG.normal(size=shapes.get(name, (2, 21, 3))).astype("float32") for name in names}
    expected = float(ops.convert_to_numpy(losses.lifting_loss(variant, targets, model(batch))))
    result = float(np.ravel(model.train_on_batch(batch, targets))[0])
    assert result == pytest.approx(expected, rel=1e-4)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize("name", ["handsegnet", "posenet", "local", "proposed"])
def test_models_save_and_load(tmp_path, name):
    if name in LIFTING_COUNTS:
        model, batch = lifting(name), lifting_batch()
    else:
        model = {"handsegnet": handsegnet, "posenet": posenet}[name](width=1 / 8)
        batch = RNG.uniform(-0.5, 0.5, (1, 32, 32, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected, result = model.predict(batch, verbose=0), loaded.predict(batch, verbose=0)
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(result), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
