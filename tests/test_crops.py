"""Crops and resizing: the pixel rule, exact inverses, agreement with other code."""

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from hand3d import crop_layers, crops


def array(x):
    return ops.convert_to_numpy(x)


def ramp(height=40, width=60):
    """Image whose two channels are its own u and v, (1, H, W, 2)."""
    v, u = np.mgrid[:height, :width].astype("float32")
    return np.stack([u, v], -1)[None]


# a triangle filter of fractional width reproduces a ramp only to within a few hundredths of a pixel
@pytest.mark.parametrize("side, tolerance", [(8.0, 2e-3), (16.0, 2e-3), (21.3, 0.08)])
def test_a_crop_shows_what_the_coordinates_say(side, tolerance):
    images = np.repeat(ramp(), 2, 0)
    centre = np.array([[30.0, 20.0], [27.3, 18.6]], "float32")
    crop = array(crops.crop_and_resize(images, centre, np.full(2, side), 16))
    v, u = np.mgrid[:16, :16]
    uv_crop = np.stack([u, v], -1).reshape(1, -1, 2).repeat(2, 0)
    expected = array(crops.crop_to_image(uv_crop, centre, np.full(2, side), 16))
    np.testing.assert_allclose(crop.reshape(2, -1, 2), expected, atol=tolerance)


def test_a_crop_of_the_same_scale_copies_pixels_and_pads_with_zero():
    image = np.random.default_rng(0).integers(0, 255, (1, 10, 12, 3)).astype("uint8")
    # the 8 pixels from column -2 and row 5 on
    crop = array(crops.crop_and_resize(image, np.array([[1.5, 8.5]]), np.array([8.0]), 8))
    expected = np.zeros((8, 8, 3))
    expected[:5, 2:] = image[0, 5:10, 0:6]
    np.testing.assert_allclose(crop[0], expected, atol=1e-3)


def test_coordinates_are_inverse():
    rng = np.random.default_rng(1)
    uv, centre, side = rng.uniform(0, 300, (3, 21, 2)), rng.uniform(50, 250, (3, 2)), rng.uniform(20, 200, 3)
    uv_crop = crops.image_to_crop(uv, centre, side, 128)
    np.testing.assert_allclose(array(crops.crop_to_image(uv_crop, centre, side, 128)), uv, atol=1e-3)
    # the crop's corner pixels' outer edges are the box
    corner = array(crops.image_to_crop(centre[:, None] - side[:, None, None] / 2, centre, side, 128))
    np.testing.assert_allclose(corner, -0.5, atol=1e-4)


def unit(degrees):
    """Unit vectors (B, 2) of the image, clockwise from up."""
    angle = np.radians(degrees)
    return np.stack([np.sin(angle), -np.cos(angle)], -1).astype("float32")


@pytest.mark.parametrize("size", [16, 17])
def test_a_turned_crop_shows_what_the_coordinates_say(size):
    up = unit([0.0, 30.0, -90.0, 180.0])
    images = np.repeat(ramp(), 4, 0)
    centre, side = np.tile([[30.0, 20.0]], (4, 1)), np.full(4, 20.0)
    crop = array(crops.crop_and_resize(images, centre, side, size, up=up))
    v, u = np.mgrid[:size, :size]
    uv_crop = np.stack([u, v], -1).reshape(1, -1, 2).repeat(4, 0)
    expected = array(crops.crop_to_image(uv_crop, centre, side, size, up))
    np.testing.assert_allclose(crop.reshape(4, -1, 2), expected, atol=0.1)
    np.testing.assert_allclose(crop[0], crops.crop_and_resize(images, centre, side, size)[0], atol=1e-3)
    # what lies towards `up` is above the middle
    ahead = array(crops.image_to_crop((centre + 5 * up)[:, None], centre, side, size, up))[:, 0]
    middle = (size - 1) / 2
    np.testing.assert_allclose(ahead, np.tile([middle, middle - 5 * size / 20], (4, 1)), atol=1e-3)
    back = crops.image_to_crop(expected, centre, side, size, up)
    np.testing.assert_allclose(array(back), uv_crop, atol=1e-3)


def test_turned_crops_of_a_compiled_model_are_those_of_an_eager_call():
    """TensorFlow's optimiser of graphs once lost the batch of the turned coordinates' products."""
    images = np.random.default_rng(0).uniform(0, 255, (3, 40, 60, 3)).astype("float32")
    centre, side = np.full((3, 2), 20.0, "float32"), np.full(3, 25.0, "float32")
    where = keras.Input((2,)), keras.Input(()), keras.Input((2,))
    inputs = [keras.Input((40, 60, 3)), *where]
    model = keras.Model(inputs, crop_layers.CropImages(16)(inputs))
    given = [images, centre, side, unit([0.0, 30.0, -90.0])]
    np.testing.assert_allclose(model.predict(given, verbose=0), array(model(given)), atol=1e-3)


def test_points_in_3d_turn_with_the_crop():
    xyz = np.random.default_rng(0).normal(size=(2, 21, 3)).astype("float32")
    up = unit([40.0, -120.0])
    turned = array(crops.turn_back(xyz, up))
    np.testing.assert_allclose(turned[..., 2], xyz[..., 2])
    where = np.zeros((2, 2)), np.ones(2), 1, up
    np.testing.assert_allclose(turned[..., :2], array(crops.crop_to_image(xyz[..., :2], *where)), atol=1e-5)


def test_crop_intrinsics():
    from hand3d import geometry

    K = np.array([[[300, 0, 160], [0, 300, 120], [0, 0, 1]]], "float32")
    xyz = np.random.default_rng(2).normal(0, 0.05, (1, 21, 3)) + [0, 0, 0.5]
    centre, side = np.array([[150.0, 100.0]]), np.array([90.0])
    through_crop = geometry.project(xyz, crops.crop_intrinsics(K, centre, side, 64))
    expected = crops.image_to_crop(geometry.project(xyz, K), centre, side, 64)
    np.testing.assert_allclose(array(through_crop), array(expected), atol=1e-3)


@pytest.mark.parametrize("step", [1.0, 1.5, 2.7, 5.0])
def test_rows_inside_the_image_sum_to_one(step):
    matrix = array(crops.interpolation_matrix(np.array([7.3]), np.array([step]), 4, 40))
    np.testing.assert_allclose(matrix.sum(-1), 1, atol=1e-5)
    outside = array(crops.interpolation_matrix(np.array([-50.0]), np.array([1.0]), 4, 40))
    assert (outside == 0).all()
    with pytest.raises(ValueError, match="edge"):
        crops.interpolation_matrix(np.zeros(1), np.ones(1), 2, 2, edge="mirror")


@pytest.mark.parametrize("size", [(20, 30), (80, 90), (13, 17)])
def test_resize_agrees_with_pillow(size):
    image = np.random.default_rng(3).uniform(0, 255, (40, 60)).astype("float32")
    expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    result = array(crops.resize(image[None, :, :, None], size))[0, :, :, 0]
    np.testing.assert_allclose(result, np.asarray(expected), atol=0.01)


def test_legacy_resize_keeps_cell_k_at_pixel_8k():
    maps = np.zeros((1, 32, 32, 1), "float32")
    maps[0, 5, 9] = 1
    legacy = array(crops.legacy_resize(maps, 256))[0, :, :, 0]
    assert np.unravel_index(legacy.argmax(), legacy.shape) == (40, 72)
    assert legacy[44, 72] == pytest.approx(0.5)
    # the half-pixel grid puts the same peak at 8k + 3.5
    modern = array(crops.resize(maps, 256))[0, :, :, 0]
    assert modern[43, 75] == modern[44, 76] == modern.max()
    # beyond the last cell the old grid repeats it
    maps[:] = np.arange(32)[None, :, None, None]
    assert array(crops.legacy_resize(maps, 256))[0, -1, 0, 0] == 31
