"""The released code's glue (PAPER.md 2), recomputed in NumPy: the graph agrees with it to the pixel.

The networks are miniatures of the authors' files, converted as a user does it; the recomputation runs on the
arrays that the files were made from (`foreign_weights`) and shares no code with hand3d.
"""

import pickle

import keras
import numpy as np
import pytest
from foreign_weights import (
    WIDTH,
    handsegnet,
    handsegnet_table,
    named,
    posenet,
    posenet_weights,
    poseprior,
    poseprior_weights,
    row,
    viewpoint,
    viewpoint_weights,
)
from PIL import Image
from scipy import ndimage

from hand3d import crops, legacy, scoremaps
from weights.convert.__main__ import main

FRAME = (240, 320)
RNG = np.random.default_rng(5)


def picture(height, width):
    """A photograph-like picture with a bright patch off the centre, the same for the same size."""
    random = np.random.default_rng(height)
    v, u = np.mgrid[:height, :width] / max(height, width)
    image = np.stack([200 * u, 180 * v, 255 * (1 - u) * (1 - v)], -1)
    image += ndimage.gaussian_filter(random.normal(0, 400, (height, width, 3)), (4, 4, 0))
    image[(u - 0.7) ** 2 + (v - 0.3) ** 2 < 0.01] += (90, 60, 20)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def weights():
    """Arrays of the four networks; HandSegNet takes a tenth of the picture for a hand."""
    made = {
        "seg": row(RNG, handsegnet_table()),
        "pose": posenet_weights(RNG),
        "prior": poseprior_weights(RNG),
        "view": viewpoint_weights(RNG),
    }
    logits = handsegnet(made["seg"], picture(*FRAME) / 255 - 0.5)
    bias = made["seg"]["conv6_2"][1]
    bias[1] -= np.quantile(logits[..., 1] - logits[..., 0], 0.9)
    return made


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    base = tmp_path_factory.mktemp("legacy")
    arrays = {
        key: value
        for part, scope in zip(weights, ("HandSegNet", "PoseNet2D", "PosePrior", "ViewpointNet"), strict=True)
        for key, value in named(scope, weights[part]).items()
    }
    (base / "all.pickle").write_bytes(pickle.dumps(arrays, 2))
    out = str(base / "out")
    assert main(["hand3d", str(base / "all.pickle"), "--out", out, "--width", str(WIDTH)]) == 0
    return out


def enlarge(x, size):
    """TensorFlow 1's bilinear resize: the source coordinate is the target's times the ratio."""
    rows, columns = (np.arange(n) * (m / n) for n, m in zip(size, x.shape[:2], strict=True))
    top, left = rows.astype(int), columns.astype(int)
    low, right = np.minimum(top + 1, x.shape[0] - 1), np.minimum(left + 1, x.shape[1] - 1)
    a, b = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = x[top][:, left] * (1 - b) + x[top][:, right] * b
    lower = x[low][:, left] * (1 - b) + x[low][:, right] * b
    return upper * (1 - a) + lower * a


def grow(probability):
    """single_obj_scoremap: from the highest pixel, 32 grey dilations by 21 x 21, cut by the detection."""
    detection = np.round(probability)
    grown = np.zeros_like(detection)
    grown.flat[probability.argmax()] = 1
    for _ in range(max(probability.shape) // 10):
        reached = ndimage.maximum_filter(grown, 21, mode="constant", cval=-np.inf) + 1 / 441
        grown = np.round(reached * detection)
    return grown


def box(component):
    rows, columns = np.nonzero(component == 1)
    if len(rows) == 0:
        return np.array([160.0, 160.0]), 100.0
    low, high = np.array([rows.min(), columns.min()]), np.array([rows.max(), columns.max()])
    return (low + high) / 2, float((high - low).max())


def crop_out(image, centre, scale, side=256):
    """crop_image_from_xy and tf.image.crop_and_resize, (row, column)."""
    window = side / scale
    place = []
    for middle, length in zip(centre, image.shape[:2], strict=True):
        first = middle - window // 2
        low, high = first / length, (first + window) / length
        place.append(low * (length - 1) + np.arange(side) * (high - low) * (length - 1) / (side - 1))
    out = np.zeros((side, side, image.shape[2]))
    inside = [(p >= 0) & (p <= length - 1) for p, length in zip(place, image.shape[:2], strict=True)]
    rows, columns = place[0][inside[0]], place[1][inside[1]]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    low, right = np.ceil(rows).astype(int), np.ceil(columns).astype(int)
    a, b = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = image[top][:, left] * (1 - b) + image[top][:, right] * b
    lower = image[low][:, left] * (1 - b) + image[low][:, right] * b
    out[np.ix_(*inside)] = upper * (1 - a) + lower * a
    return out


def released_chain(weights, image):
    """Image (240, 320, 3) 0..255 -> what the released program works out; xyz for both sides of the hand."""
    x = image / 255 - 0.5
    logits = enlarge(handsegnet(weights["seg"], x), FRAME)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    probability = (shifted / shifted.sum(-1, keepdims=True))[..., 1:].max(-1)
    component = grow(probability)
    centre, size = box(component)
    scale = np.clip(256 / (1.25 * size), 0.25, 5.0)
    crop = crop_out(x, centre, scale)
    maps = posenet(weights["pose"], crop)[-1]
    large = enlarge(maps, (256, 256))
    best = [np.unravel_index(large[..., k].argmax(), (256, 256)) for k in range(21)]
    xyz = []
    for side, flip in ((np.array([1.0, 0.0]), 1), (np.array([0.0, 1.0]), -1)):
        canonical = poseprior(weights["prior"], maps, side).reshape(21, 3) * (1, 1, flip)
        xyz.append(canonical @ viewpoint(weights["view"], maps, side))
    return {
        "mask": probability,
        "component": component,
        "box_centre": centre[::-1],
        "box_side": 256 / scale,
        "crop": 255 * crop + 127.5,
        "score_maps": maps,
        "keypoints_uv": ((np.array(best) - 128) / scale + centre)[:, ::-1],
        "keypoints_xyz": np.array(xyz),
        "enlarged": large,
    }


TOLERANCE = {"mask": 1e-4, "box_side": 1e-3, "crop": 0.05, "score_maps": 1e-3, "keypoints_xyz": 1e-3}


def same_pixels(uv, expected):
    """Keypoints are equal; where random maps have two peaks alike to rounding, either one will do."""
    equal = np.abs(uv - expected["keypoints_uv"]).max(-1) < 1e-3
    assert equal.sum() >= 19, uv - expected["keypoints_uv"]
    zoom = 256 / expected["box_side"]
    for keypoint in np.nonzero(~equal)[0]:
        u, v = np.round((uv[keypoint] - expected["box_centre"]) * zoom + 128).astype(int)
        values = expected["enlarged"][..., keypoint]
        assert values[v, u] > values.max() - 1e-5


def test_the_whole_chain(weights, folder):
    from hand3d import HandPoseEstimator

    with pytest.raises(ValueError, match="small_hands: the weights .* are of the published kind"):
        HandPoseEstimator(folder, small_hands=True)
    estimator = HandPoseEstimator(folder, side="right")
    assert not estimator.tells_side
    image = picture(*FRAME)
    ours = estimator._run(np.stack([image] * 2).astype(np.float32), np.eye(2, dtype=np.float32))
    expected = released_chain(weights, image.astype(float))
    assert 0.01 < expected["component"].mean() < 0.9
    for side in (0, 1):
        same_pixels(ours["keypoints_uv"][side], expected)
        for name in ("mask", "component", "box_centre", "box_side", "crop", "score_maps"):
            atol = TOLERANCE.get(name, 1e-4)
            np.testing.assert_allclose(ours[name][side], expected[name], atol=atol, err_msg=name)
    np.testing.assert_allclose(ours["keypoints_xyz"], expected["keypoints_xyz"], atol=1e-3)

    # a photograph of another shape is stretched to the frame; what comes back lies in its own pixels
    photo = picture(150, 400)
    stretched = np.asarray(Image.fromarray(photo).resize(FRAME[::-1], Image.Resampling.BILINEAR), np.float32)
    ours = estimator._run(np.stack([stretched] * 2), np.eye(2, dtype=np.float32))
    (hand,) = estimator(photo)
    assert hand.side == "right"
    uv = (ours["keypoints_uv"][1] + 0.5) * (400 / 320, 150 / 240) - 0.5
    np.testing.assert_allclose(hand.keypoints_uv, uv, atol=1e-3)
    xyz = ours["keypoints_xyz"][1]
    np.testing.assert_allclose(hand.keypoints_xyz, xyz - xyz[0], atol=1e-4)


def test_windows_of_all_kinds():
    """Small, large, off the picture, empty, one pixel: centre, side and crop as recomputed."""
    image = RNG.random((*FRAME, 2)).astype(np.float32)
    maps = np.zeros((6, *FRAME), np.float32)
    maps[0, 100:131, 50:90] = 1
    maps[1] = 1
    maps[2, 0:4, 0:3] = 1
    maps[3, 200:, 290:] = 1
    maps[5, 17, 200] = 1
    centre, side = (keras.ops.convert_to_numpy(value) for value in legacy.crop_window(maps, 256))
    drawn = keras.ops.convert_to_numpy(
        legacy.crop_and_resize(np.stack([image] * 6), centre.astype(np.float32), side, 256)
    )
    points = RNG.uniform(0, 255, (6, 21, 2)).astype(np.float32)
    back = keras.ops.convert_to_numpy(legacy.crop_to_image(points, centre, side, 256))
    for number, object_map in enumerate(maps):
        middle, size = box(object_map)
        scale = np.clip(256 / (1.25 * max(size, 1e-9)), 0.25, 5)
        np.testing.assert_allclose(centre[number], middle[::-1])
        np.testing.assert_allclose(side[number], 256 / scale, rtol=1e-6)
        np.testing.assert_allclose(drawn[number], crop_out(image, middle, scale), atol=1e-3)
        np.testing.assert_allclose(back[number], (points[number] - 128) / scale + middle[::-1], atol=1e-3)


def test_tensorflow_has_the_same_operations():
    tf = pytest.importorskip("tensorflow")
    image = RNG.random((2, 30, 40, 3)).astype(np.float32)
    resized = tf.compat.v1.image.resize_bilinear(image, (240, 320), half_pixel_centers=False)
    ours = keras.ops.convert_to_numpy(crops.legacy_resize(image, (240, 320)))
    np.testing.assert_allclose(ours, resized, atol=1e-5)
    np.testing.assert_allclose(enlarge(image[0], (240, 320)), resized[0], atol=1e-5)
    centre, side = np.float32([[20, 11], [3, 29]]), np.float32([17.3, 52.0])
    first = (centre - np.floor(side / 2)[:, None])[:, ::-1]
    boxes = np.concatenate([first, first + side[:, None]], 1) / (30, 40, 30, 40)
    expected = tf.image.crop_and_resize(image, boxes.astype(np.float32), [0, 1], (64, 64))
    ours = keras.ops.convert_to_numpy(legacy.crop_and_resize(image, centre, side, 64))
    np.testing.assert_allclose(ours, expected, atol=2e-4)


def test_an_impulse_peaks_at_its_cell_times_eight():
    """PAPER.md 9, number 3: the legacy grid puts cell k at pixel 8 k, the half-pixel grid at 8 k + 3.5."""
    maps = np.zeros((1, 32, 32, 21), np.float32)
    cells = RNG.integers(0, 32, (21, 2))
    for keypoint, (row_, column) in enumerate(cells):
        maps[0, row_, column, keypoint] = 0.8
    old, score = scoremaps.decode(maps, 256, grid="legacy")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(old)[0], 8 * cells[:, ::-1])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(score), 0.8)
    new, _ = scoremaps.decode(maps, 256)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(new)[0], 8 * cells[:, ::-1] + 3.5, atol=1e-3)
    with pytest.raises(ValueError, match="grid: one of .* expected, got 'old'"):
        scoremaps.decode(maps, 256, grid="old")


@pytest.mark.slow
def test_the_command(folder, tmp_path, capsys):
    """`hand3d predict --weights DIR` runs the converted networks; without --side it says what it assumes."""
    from hand3d import cli

    Image.fromarray(picture(120, 200)).save(tmp_path / "a.png")
    arguments = ["predict", str(tmp_path / "a.png"), "--weights", folder, "--json", "-", "--no-picture"]
    assert cli.main([*arguments, "--side", "right"]) == 0
    assert '"side": "right"' in capsys.readouterr().out
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert '"side": "left"' in printed.out and "cannot tell left from right" in printed.err
