"""hand3d.estimator: coordinates, batches, arguments; accuracy is not its matter."""

import copy
import json

import keras
import numpy as np
import pytest
from PIL import Image

from hand3d import HandPoseEstimator
from hand3d.estimator import canvas_to_image, fit
from hand3d.images import GREY, ImageError, load_image
from hand3d.manifest import WeightsError
from hand3d.skeleton import NUM_KEYPOINTS, ROOT
from hand3d.tracing import traced


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (200, 100), (1, 1), (3, 400)])
def test_fit_and_back(size):
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[-1, -1] = 255
    canvas, area = fit(pixels, 96)
    assert canvas.shape == (96, 96, 3) and area[0] >= 0 and area[0] + area[2] <= 96 and max(area[2:]) == 96
    edges = np.array([[area[0] - 0.5, area[1] - 0.5], [area[0] + area[2] - 0.5, area[1] + area[3] - 0.5]])
    back = canvas_to_image(edges, area, size[::-1])
    np.testing.assert_allclose(back, [[-0.5, -0.5], [size[1] - 0.5, size[0] - 0.5]], atol=1e-4)


def test_a_dot_comes_back_to_its_pixel():
    for height, width in ((300, 400), (30, 40), (96, 96)):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[20:23, 30:33] = 255  # centred at (31, 21)
        canvas, area = fit(pixels, 96)
        weight = np.where((canvas == GREY).all(-1), 0, canvas[..., 0]).astype(float)
        v, u = np.mgrid[:96, :96]
        centroid = np.array([[(u * weight).sum(), (v * weight).sum()]]) / weight.sum()
        np.testing.assert_allclose(canvas_to_image(centroid, area, (width, height)), [[31, 21]], atol=0.15)
        same, _ = fit(Image.fromarray(pixels), 96)
        np.testing.assert_array_equal(same, canvas)


def test_whole_numbers_of_pixels_are_averaged():
    pixels = np.random.default_rng(0).integers(0, 256, (144, 288, 3)).astype(np.uint8)
    canvas, area = fit(pixels, 96)
    assert area == (0, 24, 96, 48)
    mean = pixels.reshape(48, 3, 96, 3, 3).mean((1, 3))
    assert np.abs(canvas[24:72] - mean).max() < 0.6


def test_bytes_go_into_the_graph_as_numbers_do():
    image = keras.Input((None, None, 3), dtype="float32")
    call = traced(keras.Model(image, 0.5 * image - 200))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    for given in (pixels, pixels.astype(np.float32), pixels.astype(float)[:1]):
        np.testing.assert_array_equal(call(given), 0.5 * given.astype(np.float32) - 200)


def test_hand(estimator, photo):
    (hand,) = estimator(photo)
    assert hand.side in ("left", "right") and 0 < hand.score <= 1 and 0.5 <= hand.side_score <= 1
    assert hand.keypoints_uv.shape == (NUM_KEYPOINTS, 2) and hand.keypoint_scores.shape == (NUM_KEYPOINTS,)
    assert hand.keypoints_xyz.shape == (NUM_KEYPOINTS, 3) and np.isfinite(hand.keypoints_xyz).all()
    assert (hand.keypoints_xyz[ROOT] == 0).all()
    x0, y0, x1, y1 = hand.box
    assert 0 <= x0 < x1 <= 79 and 0 <= y0 < y1 <= 59
    assert hand.draw(photo).shape == photo.shape


def test_small_hands_are_looked_for_at_more_pixels(tiny_weights, photo, tmp_path, monkeypatch):
    from hand3d import cli

    monkeypatch.setattr("hand3d.estimator.FINE_SIZE", 96)
    fine = HandPoseEstimator(tiny_weights, small_hands=True)
    assert fine.model.get_layer("fine_image").output.shape[1:3] == (96, 96)
    (prediction,) = fine.predict([photo])
    assert prediction.mask.shape == (48, 64)  # of the first look, still
    Image.fromarray(photo).save(tmp_path / "a.png")
    options = ["--weights", str(tiny_weights), "--out", str(tmp_path), "--small-hands", "--no-picture"]
    assert cli.main(["predict", *options, str(tmp_path / "a.png")]) == 0
    (line,) = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [hand.to_dict() for hand in prediction.hands] == json.loads(line)["hands"]


def test_prediction_in_pixels_of_picture_and_crop(estimator, photo):
    (prediction,) = estimator.predict([photo])
    hand = prediction.hands[0]
    assert prediction.mask.shape == (48, 64) and prediction.mask.max() > 0.5  # the picture's part of 64 x 64
    # the same keypoint marks the same colour in the crop and in the image
    crop, uv_crop = prediction.crop, np.round(prediction.crop_uv).astype(int)
    checked = 0
    for uv, (u, v) in zip(np.round(hand.keypoints_uv).astype(int), uv_crop, strict=True):
        inside = (uv >= 4).all() and (uv < np.array([80, 60]) - 4).all()
        if inside and 4 <= min(u, v) and max(u, v) < 60:
            checked += np.abs(crop[v, u].astype(int) - photo[uv[1], uv[0]]).max() < 40
    assert checked >= 1


def test_batch_equals_single(estimator, photo, photo_file):
    images = [photo, photo[:30], photo_file, photo[::-1], photo.repeat(2, 0)]
    together = estimator(images)
    assert len(together) == len(images)
    for image, (hand,) in zip(images, together, strict=True):
        (alone,) = estimator(image)
        np.testing.assert_allclose(hand.keypoints_uv, alone.keypoints_uv, atol=2e-2)
        np.testing.assert_allclose(hand.score, alone.score, atol=1e-4)
    assert estimator([]) == []


def test_more_images_than_a_batch(estimator, photo):
    assert len(estimator([photo] * 10)) == 10


def test_reduced_image_gives_original_pixels(estimator, photo):
    large = photo.repeat(4, 0).repeat(4, 1)
    full = estimator.predict([load_image(large)])[0]
    reduced = estimator.predict([load_image(large, max_side=160)])[0]
    assert (reduced.width, reduced.height) == (320, 240)
    np.testing.assert_allclose(full.hands[0].box, reduced.hands[0].box, atol=8)


def test_side_and_score(estimator, photo):
    for side in ("left", "right"):
        one_sided = copy.copy(estimator)  # shares the compiled graph
        one_sided.side = side
        (hand,) = one_sided(photo)
        assert hand.side == side and hand.side_score == 1.0
    strict = copy.copy(estimator)
    strict.min_score = 1.0
    assert strict(photo) == []


def test_odd_sizes(estimator):
    for shape in ((1, 1, 3), (1, 500, 3), (500, 2, 3)):
        for hand in estimator(np.zeros(shape, np.uint8)):
            x0, y0, x1, y1 = hand.box
            assert 0 <= x0 <= x1 <= shape[1] - 1 and 0 <= y0 <= y1 <= shape[0] - 1


def test_bad_arguments(tiny_weights, estimator, photo, tmp_path):
    with pytest.raises(ValueError, match="side is 'both'"):
        HandPoseEstimator(tiny_weights, side="both")
    with pytest.raises(ValueError, match="min_score is 2"):
        HandPoseEstimator(tiny_weights, min_score=2)
    with pytest.raises(WeightsError, match="no-such-set"):
        HandPoseEstimator("no-such-set")
    with pytest.raises(TypeError, match="float64"):
        estimator(photo / 255)
    with pytest.raises(ImageError, match="no such file"):
        estimator(tmp_path / "missing.jpg")
