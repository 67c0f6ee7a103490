"""Image operations against tensorflow-addons 0.23.0, whose outputs are stored (`make_addons_golden.py`).

Where ours differ on purpose, at borders and in the weights of colours, the difference itself is tested.
"""

import os

import numpy as np
import pytest
from keras import ops
from scipy import ndimage

from hand3d import augment_pixels, crops, segmentation

TOLERANCE = 1e-4
LUMA = np.array([0.299, 0.587, 0.114])  # YIQ's weights of red, green and blue


@pytest.fixture(scope="module")
def golden():
    path = os.path.join(os.path.dirname(__file__), "fixtures", "addons.npz")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def numpy(value):
    return ops.convert_to_numpy(value)


def places(matrix, size):
    """Source coordinates (..., H, W, 2) of a crop's pixels."""
    v, u = np.mgrid[:size, :size]
    return np.einsum("...ij,jhw->...hwi", matrix, np.stack([u, v, np.ones_like(u)]))


def inside(matrix, size, margin=0.0):
    """Pixels whose source lies inside the image: there nothing is made up."""
    source = places(matrix, size)
    return ((source >= margin) & (source <= size - 1 - margin)).all(-1)


def test_affine_and_dense_warp(golden):
    """tfa.image.transform puts zero outside and blends towards it, ours holds the border and reports it."""
    image, matrix = golden["image"], golden["affine"]
    size = image.shape[1]
    ours, covered = (numpy(value) for value in augment_pixels.warp(image, matrix, size))
    seen = inside(matrix, size, 0.01)
    assert seen.mean() > 0.3
    np.testing.assert_allclose(ours[seen], golden["transformed"][seen], atol=TOLERANCE)
    # the dense warp holds the border as ours does
    near = inside(matrix, size, -0.49)
    np.testing.assert_allclose(ours[near], golden["warped"][near], atol=2e-3)  # ours stops 0.001 pixel early
    np.testing.assert_allclose(ours[seen], golden["warped"][seen], atol=TOLERANCE)
    assert covered[seen].all() and not covered[~inside(matrix, size, -0.51)].any()


def test_rotation(golden):
    """Our roll turns the content clockwise, tfa.image.rotate counter-clockwise."""
    image = golden["image"][:1]
    size = image.shape[1]
    for angle, expected in zip(golden["angles"], golden["rotated"], strict=True):
        one, none = np.float32([1]), np.zeros((1, 2), np.float32)
        matrix = augment_pixels.similarity(np.float32([-angle]), one, none, np.array([False]), size, size)
        ours, _ = augment_pixels.warp(image, matrix, size)
        seen = inside(numpy(matrix)[0], size, 0.01)
        np.testing.assert_allclose(numpy(ours)[0][seen], expected[seen], atol=TOLERANCE)


def test_translation_is_a_crop(golden):
    image, (du, dv) = golden["image"], golden["shift"]
    size = image.shape[1]
    centre = np.tile(np.float32([(size - 1) / 2 - du, (size - 1) / 2 - dv]), (len(image), 1))
    side = np.full(len(image), size, np.float32)
    ours = numpy(crops.crop_and_resize(image, centre, side, size, antialias=False))
    matrix = np.array([[1, 0, -du], [0, 1, -dv]])
    seen = inside(matrix, size, 0.01)
    np.testing.assert_allclose(ours[:, seen], golden["translated"][:, seen], atol=TOLERANCE)
    assert not ours[:, ~inside(matrix, size, -1.01)].any()  # zero outside, as there
    np.testing.assert_allclose(ours, golden["translated"], atol=TOLERANCE)  # and the same blend between


def test_blur(golden):
    """The same Gaussian; at the border ours is normalised, tfa's fades to zero."""
    sigma = float(golden["sigma"])
    image = golden["image"]
    ours = numpy(augment_pixels.blur(image, np.full((len(image), 2), sigma, np.float32)))
    margin = 7
    middle = slice(margin, -margin)
    np.testing.assert_allclose(ours[:, middle, middle], golden["blurred"][:, middle, middle], atol=TOLERANCE)
    ones = np.ones_like(image[:1])
    weight = ndimage.gaussian_filter(ones[0, ..., 0], sigma, mode="constant", radius=margin)
    np.testing.assert_allclose(ours * weight[None, ..., None], golden["blurred"], atol=TOLERANCE)


def test_colours(golden):
    """Both are linear, leave grey to the value alone, and turn the other colours by the same angle.

    They differ in what they keep: ours the mean of the channels, YIQ's the luma, so that the planes in which
    the colours turn are not parallel.
    """
    image = golden["image"][0].reshape(-1, 3).astype(float)
    for (hue, saturation, value), expected in zip(golden["hsv"], golden["recoloured"], strict=True):
        arguments = np.float32([hue]), np.float32([saturation]), np.full((1, 3), value, np.float32)
        ours = numpy(augment_pixels.colour_matrix(*arguments))[0]
        theirs, residue, *_ = np.linalg.lstsq(image, expected.reshape(-1, 3), rcond=None)
        assert residue.max() < 1e-4  # linear
        for matrix, kept in ((ours, np.ones(3) / 3), (theirs, LUMA)):
            np.testing.assert_allclose(np.ones(3) @ matrix, value * np.ones(3), atol=2e-3)
            np.testing.assert_allclose(matrix @ kept, value * kept, atol=2e-3)
        # a scale of the value for grey, a turn and a scale of both for the colours
        turned = value * saturation * np.exp(1j * abs(hue))
        for matrix in (ours, theirs):
            found = sorted(np.linalg.eigvals(matrix), key=lambda number: (round(number.imag, 3), number.real))
            wanted = sorted([value, turned, np.conj(turned)], key=lambda n: (round(n.imag, 3), n.real))
            np.testing.assert_allclose(found, wanted, atol=5e-3)
        # red turns to the same side
        assert np.sign(ours[0, 1] - ours[0, 2]) == np.sign(theirs[0, 1] - theirs[0, 2]) or hue == 0
        if hue == 0:  # then the difference is in closed form
            lost = value * (1 - saturation) * np.outer(LUMA - 1 / 3, np.ones(3))
            np.testing.assert_allclose(ours + lost, theirs, atol=3e-3)  # YIQ's numbers are rounded


def test_connected_components(golden):
    """With a reach of one pixel the object that grows from the highest value is that label's region."""
    blobs, labels = golden["blobs"], golden["components"]
    ours = numpy(segmentation.hand_component(blobs, reach=1))
    for mask, probability, label in zip(ours, blobs, labels, strict=True):
        seed = np.unravel_index(probability.argmax(), probability.shape)
        np.testing.assert_array_equal(mask > 0, label == label[seed])
    assert (ours.sum((1, 2)) > 50).all() and not np.array_equal(ours[0], ours[1])
    # corners touch for ours (8 neighbours), not for tfa's (4 neighbours), and the paper's reach bridges gaps
    touching = np.zeros((1, 8, 8), np.float32)
    touching[0, :4, :4], touching[0, 4:, 4:] = 0.9, 0.6
    assert numpy(segmentation.hand_component(touching, reach=1)).sum() == 32


def test_distances(golden):
    """The Euclidean distance transform in use, SciPy's (`pipelines.render.skin`), is the same as tfa's."""
    ours = ndimage.distance_transform_edt(golden["holes"])
    np.testing.assert_allclose(ours, golden["distances"], atol=TOLERANCE)
