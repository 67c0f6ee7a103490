"""Component selection and boxes against the paper's facts and a plain reimplementation."""

import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from hand3d import segmentation


def array(x):
    return ops.convert_to_numpy(x)


def blobs(*boxes, shape=(96, 128)):
    """Probability map with a rectangle (row0, row1, column0, column1, value) each, (1, H, W)."""
    mask = np.full(shape, 0.1, "float32")
    for row0, row1, column0, column1, value in boxes:
        mask[row0:row1, column0:column1] = value
    return mask[None]


def reference(mask):
    """The released algorithm's growth with scipy's dilation."""
    detected = mask > 0.5
    grown = np.zeros_like(detected)
    grown[np.unravel_index(mask.argmax(), mask.shape)] = True
    for _ in range(max(mask.shape) // 10):
        grown = ndimage.binary_dilation(grown, np.ones((21, 21))) & detected
    return grown


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_only_the_object_with_the_maximum_survives(stride):
    mask = blobs((40, 60, 10, 50, 0.7), (40, 50, 80, 90, 0.9))  # 30 pixels apart, the smaller one is surer
    component = array(segmentation.hand_component(mask, stride=stride))
    assert component.shape == mask.shape and component.dtype == np.float32
    np.testing.assert_array_equal(component[0] == 1, blobs((40, 50, 80, 90, 1))[0] == 1)


@pytest.mark.parametrize("gap, linked", [(9, True), (10, False)])
def test_gaps_of_up_to_9_pixels_are_bridged(gap, linked):
    mask = blobs((40, 60, 10, 50, 0.7), (40, 60, 50 + gap, 90, 0.9))
    component = array(segmentation.hand_component(mask))[0]
    assert (component[50, 30] == 1) == linked
    assert component[50, 52] == 0  # the gap itself is no hand


def test_growth_equals_the_released_algorithm():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(4, 96, 128)), (0, 5, 5))
    mask = (1 / (1 + np.exp(-60 * noise + 2))).astype("float32")
    component = array(segmentation.hand_component(mask))
    for number in range(len(mask)):
        np.testing.assert_array_equal(component[number] == 1, reference(mask[number]))


def test_box_of_an_object():
    mask = blobs((40, 61, 10, 50, 1.0))
    centre, size = (array(x) for x in segmentation.mask_to_box(segmentation.hand_component(mask)))
    np.testing.assert_allclose(centre, [[29.5, 50.0]])  # (u, v)
    np.testing.assert_allclose(size, [39.0])


def test_an_empty_mask_gives_the_papers_fallback():
    mask = np.concatenate([blobs(), blobs((0, 4, 0, 4, 0.9))])
    component = segmentation.hand_component(mask)
    assert array(component)[0].sum() == 0
    centre, size = (array(x) for x in segmentation.mask_to_box(component))
    np.testing.assert_allclose(centre, [[160, 160], [1.5, 1.5]])
    np.testing.assert_allclose(size, [100, 3])
    low, high, found = (array(x) for x in segmentation.mask_corners(component))
    assert found.tolist() == [False, True]
    assert low[0].tolist() == [0, 0] and high[0].tolist() == [-1, -1]


def test_crop_side():
    side = array(segmentation.crop_side(np.array([10.0, 100.0, 1000.0])))
    np.testing.assert_allclose(side, [256 / 5, 125, 256 / 0.25])
    np.testing.assert_allclose(array(segmentation.crop_side(np.array([1000.0]), zoom=(None, None))), 1250)


def test_a_stride_that_does_not_fit_is_reported():
    with pytest.raises(ValueError, match="stride=7"):
        segmentation.hand_component(blobs(), stride=7)


def test_box_of_keypoints():
    """A rectangle of 40 x 20 pixels whose longer side is where the hand points, turned by 30 degrees."""
    along, across = np.array([np.sin(np.pi / 6), -np.cos(np.pi / 6)]), np.array([np.cos(np.pi / 6), 0.5])
    rng = np.random.default_rng(0)
    where = rng.uniform(-1, 1, (21, 2)) * [20, 10]
    where[1:5], where[[0, 12]] = [[20, 10], [20, -10], [-20, 10], [-20, -10]], [[-15, 0], [10, 0]]
    uv = [50.0, 70.0] + where[:, :1] * along + where[:, 1:] * across
    centre, side, up = map(array, segmentation.keypoint_box(uv[None], upright=True))
    np.testing.assert_allclose(centre, [[50, 70]], atol=1e-3)
    np.testing.assert_allclose(side, [40], atol=1e-3)
    np.testing.assert_allclose(up, [along], atol=1e-5)
    centre, side = map(array, segmentation.keypoint_box(uv[None]))
    np.testing.assert_allclose(centre, [(uv.min(0) + uv.max(0)) / 2], atol=1e-3)
    np.testing.assert_allclose(side, [np.ptp(uv, axis=0).max()], atol=1e-3)
    nowhere = np.zeros((1, 21, 2))  # a hand that points at the camera is not turned
    np.testing.assert_allclose(array(segmentation.keypoint_box(nowhere, upright=True)[2]), [[0, -1]])
