import numpy as np
import pytest
from keras import ops

from hand3d import augment_pixels as pixels
from hand3d import geometry
from hand3d.augment import Augment

BATCH, SIDE, SIZE = 8, 40, 24


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def spot_pictures(points):
    """(B, 2) -> (B, SIDE, SIDE, 5) uint8 with a smooth spot at each point, covers full."""
    grid = np.arange(SIDE)
    u, v = points[:, 0, None, None], points[:, 1, None, None]
    spot = 250 * np.exp(-((grid[None, None] - u) ** 2 + (grid[None, :, None] - v) ** 2) / 12)
    return np.stack([spot] * 3 + [np.full_like(spot, 255)] * 2, -1).round().astype(np.uint8)


def centre_of_mass(images):
    weight = np.maximum(images - 0.05, 0)
    grid = np.arange(images.shape[1])
    total = weight.sum((1, 2))
    return np.stack([(weight.sum(1) * grid).sum(1) / total, (weight.sum(2) * grid).sum(1) / total], -1)


def test_labels_follow_the_pixels():
    rng = np.random.default_rng(0)
    points = rng.uniform(16, 23, (BATCH, 2)).astype(np.float32)
    matrix = pixels.similarity(
        ops.convert_to_tensor(rng.uniform(-3, 3, BATCH).astype(np.float32)),
        ops.convert_to_tensor(rng.uniform(0.9, 1.3, BATCH).astype(np.float32)),
        ops.convert_to_tensor(rng.uniform(-2, 2, (BATCH, 2)).astype(np.float32)),
        ops.convert_to_tensor(rng.random(BATCH) < 0.5),
        SIZE,
        SIDE,
    )
    warped, inside = pixels.warp(ops.convert_to_tensor(spot_pictures(points)), matrix, SIZE)
    found = centre_of_mass(numpy(warped)[..., 0] / 255)
    moved = numpy(pixels.apply_inverse(matrix, ops.convert_to_tensor(points[:, None])))[:, 0]
    np.testing.assert_allclose(found, moved, atol=0.35)
    assert set(np.unique(numpy(inside))) <= {0.0, 1.0}


def test_mirror_keeps_rows_and_reverses_columns():
    picture = np.random.default_rng(0).integers(0, 255, (1, SIDE, SIDE, 5)).astype(np.uint8)
    zero, one = ops.zeros((1,)), ops.ones((1,))
    matrix = pixels.similarity(zero, one, ops.zeros((1, 2)), ops.ones((1,), "bool"), SIDE, SIDE)
    warped, _ = pixels.warp(ops.convert_to_tensor(picture), matrix, SIDE)
    np.testing.assert_allclose(numpy(warped), picture[:, :, ::-1], atol=0.6)


def test_still_is_the_centred_crop():
    layer = Augment(SIZE, reach=SIDE / SIZE, crop_factor=1.0)
    picture = np.random.default_rng(0).integers(0, 255, (2, SIDE, SIDE, 5)).astype(np.uint8)
    image, covers, drawn = layer(picture, np.zeros((2, SIZE, SIZE, 3), np.uint8))
    margin = (SIDE - SIZE) // 2
    middle = picture[:, margin:-margin, margin:-margin] / 255
    np.testing.assert_allclose(numpy(image), middle[..., :3] - 0.5, atol=2e-3)
    np.testing.assert_allclose(numpy(covers), middle[..., 3:], atol=2e-3)
    uv = np.array([[[margin, margin], [0, 0]]] * 2, np.float32)
    uv_crop, weight = layer.move_keypoints(uv, np.ones((2, 2), bool), drawn, 0.5)
    np.testing.assert_allclose(numpy(uv_crop)[:, 0], 0, atol=1e-4)
    np.testing.assert_array_equal(numpy(weight), [[1, 0]] * 2)


def test_random_changes_follow_the_seed():
    picture = np.random.default_rng(0).integers(0, 255, (BATCH, SIDE, SIDE, 5)).astype(np.uint8)
    background = np.zeros((BATCH, SIZE, SIZE, 3), np.uint8)

    def run(seed, times=1):
        layer = Augment(SIZE, reach=1.6, seed=seed)
        return [numpy(layer(picture, background, training=True)[0]) for _ in range(times)]

    one, two = run(1, 2)
    assert one.shape == (BATCH, SIZE, SIZE, 3) and one.min() >= -0.5 and one.max() <= 0.5
    np.testing.assert_allclose(one, run(1)[0], atol=1e-6)
    assert np.abs(one - two).mean() > 0.01 and np.abs(one - run(2)[0]).mean() > 0.01


def test_background_replaces_all_but_the_person():
    layer = Augment(SIZE, reach=1.6, replace=1.0, behind=0, front=0, colour=0, blur=0, noise=0, roll_any=0)
    picture = np.full((BATCH, SIDE, SIDE, 5), 255, np.uint8)
    picture[:, :, :, 3] = 0
    background = np.zeros((BATCH, SIZE, SIZE, 3), np.uint8)
    image, _, drawn = layer(picture, background, training=True)
    np.testing.assert_allclose(numpy(image), -0.5, atol=1e-5)
    assert np.all(numpy(drawn["replace"]) == 1)


def test_hidden_keypoints_weigh_less():
    layer = Augment(SIZE, reach=1.6, front=1.0)
    drawn = layer.draw(BATCH, SIDE)
    still = ops.zeros((BATCH,)), ops.ones((BATCH,)), ops.zeros((BATCH, 2)), ops.zeros((BATCH,), "bool")
    drawn["matrix"] = pixels.similarity(*still, SIZE, SIZE)
    uv = drawn["front"][:, None, :2]  # the middle of what is in front
    _, weight = layer.move_keypoints(uv, np.ones((BATCH, 1), bool), drawn, 0.25)
    np.testing.assert_allclose(numpy(weight)[numpy(weight) > 0], 0.25)


def test_blur_keeps_the_mean_and_widens():
    image = np.zeros((1, SIZE, SIZE, 1), np.float32)
    image[0, 12, 12] = 1
    out = numpy(pixels.blur(ops.convert_to_tensor(image), ops.convert_to_tensor([[1.0, 2.0]])))[0, ..., 0]
    grid = np.arange(SIZE) - 12
    assert out.sum() == pytest.approx(1, abs=1e-3)
    assert (out.sum(0) * grid**2).sum() == pytest.approx(1, rel=0.02)
    assert (out.sum(1) * grid**2).sum() == pytest.approx(4, rel=0.02)


def test_colour_matrix_keeps_grey():
    matrix = numpy(pixels.colour_matrix(ops.ones((1,)), ops.convert_to_tensor([0.5]), ops.ones((1, 3))))[0]
    np.testing.assert_allclose(np.ones(3) @ matrix, 1, atol=1e-5)
    assert np.abs(np.array([1.0, 0, 0]) @ matrix - np.array([1, 0, 0])).max() > 0.1


def test_config_round_trip():
    layer = Augment(SIZE, reach=1.5, replace=0.1, seed=4)
    again = Augment.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_absent_hands_leave_neither_pixels_nor_cover():
    """The share asked for, half of it without the person; everything else as it was."""
    batch = 400
    picture = np.full((batch, SIDE, SIDE, 5), 255, np.uint8)
    picture[:, :, : SIDE // 2, 4] = 0  # the left half is person, the right half is hand
    nothing = dict(behind=0, front=0, colour=0, blur=0, noise=0, roll=0, roll_any=0, mirror=0, shift=0)
    layer = Augment(SIDE, 1.0, crop_factor=1.0, scale=(1, 1), replace=0, absent=0.5, seed=3, **nothing)
    image, covers, _ = layer(picture, np.zeros((batch, SIDE, SIDE, 3), np.uint8), training=True)
    image, covers = numpy(image), numpy(covers)
    bright = image[:, SIDE // 2, [2, SIDE - 3], 0] > 0  # person, hand
    np.testing.assert_allclose(covers[:, SIDE // 2, 2, 0], bright[:, 0], atol=1e-3)
    np.testing.assert_allclose(covers[:, SIDE // 2, SIDE - 3, 1], bright[:, 1], atol=1e-3)
    only_person, all_there, nobody = (
        (bright == pair).all(1).mean() for pair in ([True, False], [True, True], [False, False])
    )
    assert abs(all_there - 0.5) < 0.08 and abs(only_person - 0.25) < 0.08 and abs(nobody - 0.25) < 0.08


def test_upright_hands_point_up_but_for_the_roll():
    rng = np.random.default_rng(0)
    uv = rng.uniform(5, 35, (400, 21, 2)).astype(np.float32)
    layer = Augment(SIZE, SIDE / SIZE, roll=0, roll_any=0, upright=0.7, seed=5)
    drawn = layer.draw(400, SIDE, geometry.up_direction(uv))
    uv_crop, _ = layer.move_keypoints(uv, np.ones((400, 21), bool), drawn, 0.5)
    up = numpy(geometry.up_direction(uv_crop))
    assert abs((up[:, 1] < -0.999).mean() - 0.7) < 0.08
    with pytest.raises(ValueError, match="upright is 0.7; that takes `up`"):
        layer.draw(400, SIDE)


def test_pale_pictures_keep_their_hue_and_lose_colour():
    def saturation(**options):
        drawn = Augment(SIZE, SIDE / SIZE, colour=0, seed=3, **options).draw(64, SIDE)
        red = numpy(drawn["colour"])[:, 0]  # what pure red becomes
        return red[:, 0] - red[:, 1:].mean(1)

    np.testing.assert_allclose(saturation(), 1, atol=1e-5)
    some = saturation(pale=0.5)
    kept = np.isclose(some, 1, atol=1e-5)
    assert 0.3 < kept.mean() < 0.7
    assert 0.35 < some[~kept].mean() < 0.65
    assert some.min() > -1e-5


def test_local_contrast_raises_ratios_to_a_power_and_leaves_even_areas_alone():
    image = np.full((3, 32, 32, 3), -0.1, np.float32)
    image[:, 12:20, 12:20] = 0.1  # 0.6 in surroundings of 0.4
    gain = np.array([0.0, 1.0, -1.0], np.float32)
    sigma = np.full((3, 2), 3, np.float32)
    changed = numpy(pixels.local_contrast(ops.convert_to_tensor(image), sigma, gain))
    around = numpy(pixels.blur(ops.convert_to_tensor(image + 0.5), sigma))
    np.testing.assert_array_equal(changed[0], image[0])
    np.testing.assert_allclose(changed[1] + 0.5, np.minimum((image[1] + 0.5) ** 2 / around[1], 1), rtol=1e-4)
    np.testing.assert_allclose(changed[2] + 0.5, around[2], rtol=1e-4)
    np.testing.assert_allclose(changed[:, 0, 0], -0.1, atol=1e-3)


def test_local_contrast_is_drawn_up_to_its_option():
    drawn = Augment(SIZE, SIDE / SIZE, local_contrast=0.8, seed=3).draw(64, SIDE)
    gain, surroundings = numpy(drawn["local_contrast"]), numpy(drawn["surroundings"])
    assert gain.min() >= 0 and 0.6 < gain.max() <= 0.8 and 0.3 < gain.mean() < 0.5
    assert (surroundings[:, 0] == surroundings[:, 1]).all()
    assert surroundings.min() >= 2 * SIZE / 128 and surroundings.max() <= 14 * SIZE / 128
    assert "local_contrast" not in Augment(SIZE, SIDE / SIZE, seed=3).draw(4, SIDE)
