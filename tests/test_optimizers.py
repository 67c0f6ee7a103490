"""Muon for convolutions against its definition in NumPy, and what it leaves to AdamW."""

import keras
import numpy as np
import pytest

from hand3d.optimizers import ConvMuon

RATE, MOMENTUM = 0.01, 0.95


def variable(shape, path, seed=0):
    value = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    made = keras.Variable(value, name=path.split("/")[-1])
    made._path = path
    return made, value


def step(path, shape, **options):
    """(value before, gradient, value after one step)."""
    made, before = variable(shape, path)
    gradient = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    optimizer = ConvMuon(RATE, weight_decay=None, adam_weight_decay=None, **options)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [made])
    return before, gradient, keras.ops.convert_to_numpy(made)


@pytest.mark.parametrize("shape", [(3, 3, 8, 24), (1, 1, 16, 4), (32, 8)])
def test_a_kernel_moves_along_the_orthogonal_matrix_nearest_to_its_momentum(shape):
    before, gradient, after = step("conv/kernel", shape)
    u, _, v = np.linalg.svd(gradient.reshape(-1, shape[-1]).astype(np.float64), full_matrices=False)
    moved = (before - after).reshape(-1, shape[-1]) / (
        RATE * 0.2 * np.sqrt(max(gradient.reshape(-1, shape[-1]).shape))
    )
    # five steps of the iteration take singular values to between 0.68 and 1.14, not to 1
    along = np.einsum("ir,ij,jr->r", u, moved, v.T)
    assert (along > 0.6).all() and (along < 1.2).all()
    np.testing.assert_allclose(moved, u * along @ v, atol=2e-3)


@pytest.mark.parametrize(
    "path, shape",
    [
        ("conv/bias", (8,)),
        ("conv/gain", (8,)),
        ("stem/kernel", (3, 3, 3, 8)),
        ("stage1_maps/kernel", (1, 1, 8, 21)),
    ],
)
def test_what_is_no_hidden_kernel_moves_as_with_adam(path, shape):
    before, gradient, after = step(path, shape, exclude_layers=["^stage1_maps/"])
    np.testing.assert_allclose(before - after, RATE * np.sign(gradient), rtol=1e-2)


def test_its_configuration_makes_it_again():
    made = ConvMuon(0.02, exclude_layers=["^side/"], least_inputs=5, momentum=0.9, ns_steps=4)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert isinstance(again, ConvMuon) and again.get_config() == made.get_config()


def test_a_network_of_convolutions_learns_with_it():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, activation="relu", padding="same")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(2, name="side")(x))
    model.compile(ConvMuon(0.02, exclude_layers=["^side/"]), loss="mse")
    images = np.random.default_rng(0).normal(size=(64, 8, 8, 4)).astype(np.float32)
    target = np.stack([images[..., 0].mean((1, 2)), images[..., 1].std((1, 2))], -1)
    losses = model.fit(images, target, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]
