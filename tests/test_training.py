import keras
import numpy as np
import pytest
from keras import layers, ops
from toy_samples import FLAT_HAND

from hand3d import scoremaps
from hand3d.augment import Augment
from hand3d.networks import lifting
from hand3d.skeleton import NUM_KEYPOINTS
from hand3d.training import HandSegNetTraining, KeypointMedian, LiftingTraining, PoseNetTraining
from hand3d.views import Views, random_rotation

SIDE, SIZE, BATCH = 40, 32, 4


def toy_posenet(with_side=True):
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(image)
    maps = [layers.Conv2D(NUM_KEYPOINTS, 1, name=f"maps{k}")(x) for k in (1, 2)]
    if not with_side:
        return keras.Model(image, maps)
    side = layers.Dense(2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, {"score_maps": maps, "side": side})


def toy_batch(rng):
    return {
        "picture": rng.integers(0, 255, (BATCH, SIDE, SIDE, 5)).astype(np.uint8),
        "background": rng.integers(0, 255, (BATCH, SIZE, SIZE, 3)).astype(np.uint8),
        "uv": rng.uniform(8, 32, (BATCH, NUM_KEYPOINTS, 2)).astype(np.float32),
        "visible": rng.random((BATCH, NUM_KEYPOINTS)) < 0.8,
        "side": rng.integers(0, 2, BATCH).astype(np.int32),
    }


def toy_poses(rng, count=8):
    xyz = FLAT_HAND + rng.normal(0, 0.003, (count, NUM_KEYPOINTS, 3)) + (0, 0, 0.5)
    side = rng.integers(0, 2, count)
    xyz[side == 1, :, 0] *= -1
    return {
        "xyz": xyz.astype(np.float32),
        "side": side.astype(np.int32),
        "visible": np.ones((count, NUM_KEYPOINTS), bool),
    }


def write_toy_poses(folder):
    """40 toy poses of each split in files of `pipelines.poses`: what --data takes."""
    from pipelines.poses import write_poses

    for split in ("training", "evaluation"):
        poses = toy_poses(np.random.default_rng(0), 40)
        poses |= {"action": ["flat"] * 40, "character": np.arange(40)}
        write_poses(str(folder / f"{split}.npz"), poses, split)
    return f"{folder}/training.npz,{folder}/evaluation.npz"


@pytest.mark.parametrize(
    "loss, with_side", [("position", True), pytest.param("paper", False, marks=pytest.mark.slow)]
)
def test_posenet_learns_a_batch(loss, with_side):
    keras.utils.set_random_seed(0)
    augment = Augment(
        SIZE, 1.25, crop_factor=1.0, roll=0, roll_any=0, mirror=0, shift=0, scale=(1, 1), colour=0
    )
    model = PoseNetTraining(toy_posenet(with_side), augment, loss=loss)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    batch = toy_batch(np.random.default_rng(0))
    before = model.evaluate(batch, batch_size=BATCH, return_dict=True, verbose=0)
    model.fit(batch, batch_size=BATCH, epochs=15, verbose=0)
    after = model.evaluate(batch, batch_size=BATCH, return_dict=True, verbose=0)
    assert after["loss"] < before["loss"]
    assert {"loss", "epe_px", "pck_5"} <= set(after)
    assert 0 <= after["pck_5"] <= 1


def test_the_papers_loss_and_decoding_have_one_grid():
    model = PoseNetTraining(toy_posenet(False), Augment(SIZE, 1.25), loss="paper")
    uv = np.random.default_rng(0).uniform(8, 23, (BATCH, NUM_KEYPOINTS, 2)).astype(np.float32)
    ones = np.ones((BATCH, NUM_KEYPOINTS), np.float32)

    def loss(uv_drawn):
        maps = scoremaps.encode(uv_drawn, ones, SIZE // 4, SIZE)
        outputs = {"score_maps": [maps], "uv": uv, "weight": ones, "side": None}
        return float(model.compute_loss(y_pred=outputs))

    assert loss(uv) < min(loss(uv - 1.5), loss(uv + 1.5))


def test_perfect_maps_have_no_error_and_mirrored_sides_swap():
    augment = Augment(SIZE, 1.25, crop_factor=1.0, mirror=1.0)
    model = PoseNetTraining(toy_posenet(), augment)
    batch = toy_batch(np.random.default_rng(1))
    outputs = model(batch, training=True)
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs["side_true"]), 1 - batch["side"])
    outputs = model(batch, training=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs["side_true"]), batch["side"])
    grid = np.arange(8) * 4 + 1.5
    uv = np.clip(ops.convert_to_numpy(outputs["uv"]), 3, SIZE - 4)
    square = [(grid[None, :, None] - uv[:, None, :, axis]) ** 2 for axis in (0, 1)]
    logits = -(square[1][:, :, None] + square[0][:, None]) / 32
    outputs |= {"score_maps": [ops.convert_to_tensor(logits, "float32")], "uv": ops.convert_to_tensor(uv)}
    error, weight = model.measure(outputs)["epe_px"]
    error = ops.convert_to_numpy(error)[ops.convert_to_numpy(weight) > 0]
    assert error.max() < 0.5


def test_handsegnet_learns_a_batch():
    keras.utils.set_random_seed(0)
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(image)
    model = HandSegNetTraining(
        keras.Model(image, layers.Conv2D(2, 1)(x)), Augment(SIZE, 1.0, crop_factor=1.0)
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    batch = {key: toy_batch(np.random.default_rng(0))[key] for key in ("picture", "background")}
    hand = np.zeros((BATCH, SIDE, SIDE), bool)
    hand[:, 10:30, 8:24] = True
    batch["picture"] = np.where(hand[..., None], (230, 180, 150, 255, 255), (20, 60, 90, 255, 0)).astype(
        np.uint8
    )
    before = model.evaluate(batch, batch_size=BATCH, return_dict=True, verbose=0)
    often = {key: np.tile(value, (20, 1, 1, 1)) for key, value in batch.items()}
    model.fit(often, batch_size=BATCH, epochs=3, verbose=0)
    after = model.evaluate(batch, batch_size=BATCH, return_dict=True, verbose=0)
    assert after["loss"] < before["loss"] and after["iou"] > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["proposed", pytest.param("local", marks=pytest.mark.slow)])
def test_lifting_learns_a_batch(variant):
    keras.utils.set_random_seed(0)
    model = LiftingTraining(lifting(variant, dropout=False), Views(any_view=0.0), variant=variant)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    poses = toy_poses(np.random.default_rng(0))
    before = model.evaluate(poses, batch_size=8, return_dict=True, verbose=0)
    model.fit(poses, batch_size=8, epochs=12, verbose=0)
    after = model.evaluate(poses, batch_size=8, return_dict=True, verbose=0)
    assert after["epe_mm/root_scale"] < before["epe_mm/root_scale"]
    assert 0 < after["epe_median_mm/root_scale"] < 250


def test_an_angle_that_ran_away_comes_back():
    model = LiftingTraining(lifting("proposed", dropout=False), Views(any_view=0.0), variant="proposed")
    viewpoint = model.network.get_layer("ViewpointNet")
    bias = viewpoint.get_layer("fc_vp_ux").bias
    batch = toy_poses(np.random.default_rng(0))
    model(batch, training=True)
    assert float(sum(model.losses)) == 0
    bias.assign([12.0])
    model(batch, training=False)
    assert not model.losses  # nothing in use
    model.compile(optimizer=keras.optimizers.Adam(0.5), jit_compile=False)
    for layer in viewpoint.layers:
        layer.trainable = layer.name == "fc_vp_ux"
    model.network.get_layer("PosePrior").trainable = False
    model.fit(batch, batch_size=8, epochs=25, verbose=0)
    assert abs(float(bias[0])) < 2 * np.pi + 0.5


def test_keypoint_median_is_the_papers():
    rng = np.random.default_rng(0)
    errors = [rng.gamma(2.0, 6.0, (count, NUM_KEYPOINTS)).astype(np.float32) for count in (40, 31)]
    metric = KeypointMedian(name="median")
    for batch in errors:
        metric.update_state(batch)
    expected = np.median(np.concatenate(errors), axis=0).mean()
    assert float(metric.result()) == pytest.approx(expected, abs=0.1)
    metric.reset_state()
    metric.update_state(np.full((3, NUM_KEYPOINTS), 1e4, np.float32))  # beyond the last class
    assert float(metric.result()) == pytest.approx(250, abs=0.1)


def test_views_are_of_the_same_kind_of_hand():
    poses = toy_poses(np.random.default_rng(0))
    still = Views()(poses["xyz"], poses["side"], poses["visible"])
    np.testing.assert_array_equal(ops.convert_to_numpy(still["xyz_camera"]), poses["xyz"])
    uv = ops.convert_to_numpy(still["uv_crop"])
    extent = np.ptp(uv, axis=1).max(1)
    np.testing.assert_allclose(extent, 256 / 1.25, rtol=1e-4)
    seen = Views(proportions=0.0, seed=1)(poses["xyz"], poses["side"], poses["visible"], training=True)
    xyz, side = (ops.convert_to_numpy(seen[key]) for key in ("xyz_camera", "side"))
    # rigid but for the mirror: distances stay, and the chirality goes with the side
    for ours, theirs in zip(xyz, poses["xyz"], strict=True):
        distances = [np.linalg.norm(hand[:, None] - hand[None], axis=-1) for hand in (ours, theirs)]
        np.testing.assert_allclose(*distances, atol=1e-4)
    triple = [np.linalg.det(hand[:, [5, 12, 17]] - hand[:, [20]]) for hand in (xyz, poses["xyz"])]
    same = np.sign(triple[0]) == np.sign(triple[1])
    np.testing.assert_array_equal(same, side == poses["side"])
    maps = ops.convert_to_numpy(seen["score_maps"])
    assert maps.shape == (8, 32, 32, NUM_KEYPOINTS) and 0 <= maps.min() and maps.max() <= 1


def test_random_rotations_are_rotations():
    turns = ops.convert_to_numpy(
        random_rotation(np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32))
    )
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-5)
    np.testing.assert_allclose(turns.mean(0), 0, atol=0.06)  # uniform
