"""The baselines that are networks: targets and losses by hand; on toy hands each does what its paper says."""

import dataclasses
import os

import keras
import numpy as np
import pytest
from keras import ops

from experiments.baselines import cpm, deepmodel, deeppose, learning
from experiments.baselines.interface import Hands, Training
from hand3d import kinematics
from hand3d.skeleton import NUM_KEYPOINTS, ROOT


def posed(count, seed=0):
    """Hands of the mean hand in poses inside the limits, turned a little: xyz_relative (N, 21, 3), left."""
    rng = np.random.default_rng(seed)
    low, high = kinematics.LIMITS.T
    xyz = np.asarray(
        deepmodel.HandOfAngles()(rng.uniform(0.6 * low, 0.6 * high, (count, 22)).astype("float32"))
    )
    angle = rng.normal(0, 0.4, count)
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros(count), np.ones(count)
    turn = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return np.einsum("nki,nij->nkj", xyz, turn).astype(np.float32)


def toy_hands(count, seed=0, size=128):
    """Dots on grey, red by finger and green by joint, at the keypoints of `posed`; half of them right."""
    rng = np.random.default_rng(seed)
    xyz = posed(count, seed)
    extent = np.ptp(xyz[..., :2], axis=1).max(-1)
    middle = (xyz[..., :2].max(1) + xyz[..., :2].min(1)) / 2
    uv = (xyz[..., :2] - middle[:, None]) * (0.69 * size / extent)[:, None, None] + (size - 1) / 2
    uv += rng.uniform(-6, 6, (count, 1, 2))
    grid = np.arange(size)
    colour = np.array(
        [[255, 255, 255]] + [[50 * f, 80 * j, 0] for f in range(1, 6) for j in range(4)], np.uint8
    )
    image = np.full((count, size, size, 3), 127, np.uint8)
    for k in range(NUM_KEYPOINTS):
        near = (np.abs(grid[None] - uv[:, k, :1]) < 4)[:, None] & (np.abs(grid[None] - uv[:, k, 1:]) < 4)[
            :, :, None
        ]
        image = np.where(near[..., None], colour[k], image)
    side = (np.arange(count) % 2).astype(np.int32)
    hands = Hands(
        image=image,
        cover=np.full((count, size, size), 255, np.uint8),
        uv_crop=uv.astype(np.float32),
        xyz_relative=xyz,
        scale_mm=np.full(count, 44, np.float32),
        side=np.zeros(count, np.int32),
        visible=np.ones((count, NUM_KEYPOINTS), bool),
        in_3d=np.ones(count, bool),
        window=np.tile(np.float32([160, 160, 128]), (count, 1)),
        detected_uv=uv.astype(np.float32),
        detected_score=np.ones((count, NUM_KEYPOINTS), np.float32),
    )
    mirrored = dataclasses.replace(
        hands, side=np.ones(count, np.int32)
    ).as_left()  # those of side 1 in a mirror
    right = side == 1
    values = {}
    for name, value in vars(hands).items():
        if value is not None:
            other = getattr(mirrored, name)
            values[name] = np.where(right.reshape((-1,) + (1,) * (value.ndim - 1)), other, value)
    return Hands(**values | {"side": side})


def error(prediction, hands):
    return float(np.linalg.norm(prediction.uv_crop - hands.uv_crop, axis=-1).mean())


def mean_error(hands):
    """Of the mean keypoints, sides apart: chance."""
    left = hands.as_left().uv_crop
    return float(np.linalg.norm(left - left.mean(0), axis=-1).mean())


def test_belief_maps_have_a_peak_per_keypoint_and_the_rest_is_background():
    uv = np.full((1, NUM_KEYPOINTS, 2), 33.5, np.float32)  # centre of cell 8
    weight = np.ones((1, NUM_KEYPOINTS), np.float32)
    weight[0, 3] = 0
    target = ops.convert_to_numpy(cpm.belief_target(uv, weight))
    assert target.shape == (1, 16, 16, NUM_KEYPOINTS + 1)
    np.testing.assert_allclose(target[0, 8, 8, :3], 1)
    assert (target[0, ..., 3] == 0).all()
    np.testing.assert_allclose(target[0, 8, 8, -1], 0)
    np.testing.assert_allclose(target[0, 0, 0, -1], 1, atol=1e-4)
    # two stages, one exact and one off by 1 at one cell in one map: 1, however large the maps
    wrong = target.copy()
    wrong[0, 2, 2, 5] += 1
    assert float(cpm.loss([target, wrong], uv, weight)) == pytest.approx(1)
    found, confidence = cpm.read(target)
    np.testing.assert_allclose(ops.convert_to_numpy(found)[0, 0], 33.5, atol=0.05)
    assert float(confidence[0, 0]) == pytest.approx(1, abs=1e-3) and float(confidence[0, 3]) == 0


def test_patches_are_the_pixels_around_the_keypoints():
    crop = np.random.default_rng(0).normal(size=(2, 40, 50, 3)).astype(np.float32)
    uv = np.full((2, NUM_KEYPOINTS, 2), 20.0, np.float32)
    uv[1, 4] = (12.4, 30.6)
    uv[0, 7] = (0, 0)
    patches = ops.convert_to_numpy(deeppose.Patches(6)([crop, uv])).reshape(2, NUM_KEYPOINTS, 6, 6, 3)
    np.testing.assert_array_equal(patches[0, 0], crop[0, 17:23, 17:23])
    np.testing.assert_array_equal(patches[1, 4], crop[1, 28:34, 9:15])
    np.testing.assert_array_equal(patches[0, 7, 0, 0], crop[0, 0, 0])  # beyond the border: the border's pixel


def test_a_refiner_that_knows_the_displacement_finds_the_keypoint():
    truth = np.random.default_rng(1).uniform(20, 100, (3, NUM_KEYPOINTS, 2)).astype(np.float32)

    def oracle(inputs):
        return (truth - inputs[1]) / deeppose.PATCH

    (found,) = deeppose.refine(oracle, None, truth + 5.3)
    np.testing.assert_allclose(ops.convert_to_numpy(found), truth, atol=1e-4)
    weight = np.ones(truth.shape[:2], np.float32)
    exact = (truth - (deeppose.CROP - 1) / 2) / deeppose.CROP
    assert float(deeppose.loss(exact, truth, weight)) == pytest.approx(0, abs=1e-6)
    off = exact + np.float32([1, 0])  # by one crop's side, each of them
    assert float(deeppose.loss(off, truth, weight)) == pytest.approx(NUM_KEYPOINTS, rel=1e-5)


def test_crops_move_with_their_labels():
    """A dot stays under its label, mirrored or not, shifted, enlarged or resized."""
    hands = toy_hands(2)
    examples = learning.crop_examples(hands)
    for size in (64, 128):
        for training in (False, True):
            crop, uv = learning.Jitter(size, colour=0.0)(
                examples["picture"], examples["uv"], training=training
            )
            at = np.round(ops.convert_to_numpy(uv)).astype(int)
            for number in range(2):
                u, v = at[number, ROOT]
                assert ops.convert_to_numpy(crop)[number, v, u].min() > 0.45  # white
    plain = ops.convert_to_numpy(learning.network_crops(hands.image, 64))
    still, _ = learning.Jitter(64)(hands.image, hands.uv_crop)
    np.testing.assert_allclose(plain[:, 4:-4, 4:-4], ops.convert_to_numpy(still)[:, 4:-4, 4:-4], atol=2e-3)


@pytest.mark.slow
def test_an_interrupted_training_goes_on(tmp_path, monkeypatch):
    """Killed while it saves its second epoch of four it does the other three, from where the first ended."""
    backup = learning.SaveState
    save, run = backup.on_epoch_end, str(tmp_path)
    examples = learning.crop_examples(toy_hands(20, size=16))

    def begin(epochs=4):
        crop = keras.Input((8, 8, 3))
        x = keras.layers.Dense(2 * NUM_KEYPOINTS)(keras.layers.Flatten()(crop))
        network = keras.Model(crop, keras.layers.Reshape((NUM_KEYPOINTS, 2))(x))

        def loss(outputs, uv, weight):
            return ops.mean(weight[..., None] * ops.square(outputs - uv))

        model = learning.CropTraining(network, 8, loss, lambda outputs: outputs)
        learning.learn(model, learning.Recipe(epochs, 3, batch=8), run, examples)
        return model

    def killed(self, epoch, logs=None):
        save(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(backup, "on_epoch_end", killed)
    with pytest.raises(KeyboardInterrupt):
        begin()
    assert not os.path.exists(tmp_path / learning.LAST)
    monkeypatch.setattr(backup, "on_epoch_end", save)
    model = begin()
    assert int(model.optimizer.iterations) == 12
    log = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    assert log["epoch"].tolist() == [0, 1, 2, 3] and log["loss"][3] < log["loss"][0]
    assert os.path.exists(tmp_path / learning.LAST)
    with pytest.raises(ValueError, match="remove the folder"):
        begin(epochs=5)


def test_the_penalty_counts_what_is_beyond_the_limits():
    xyz = np.zeros((2, NUM_KEYPOINTS, 3), np.float32)
    angles = np.zeros((2, 22), np.float32)
    assert float(deepmodel.loss({"angles": angles, "xyz_relative": xyz}, xyz)) == 0
    angles[1, 6] = kinematics.LIMITS[6, 1] + 0.5
    assert float(deepmodel.loss({"angles": angles, "xyz_relative": xyz}, xyz)) == pytest.approx(0.25)
    assert float(deepmodel.loss({"angles": 0 * angles, "xyz_relative": xyz + 2}, xyz)) == pytest.approx(4)


def test_deepmodel_needs_detections(tmp_path):
    with pytest.raises(ValueError, match="detected_uv"):
        deepmodel.DeepModel().predict(dataclasses.replace(toy_hands(1), detected_uv=None))


@pytest.fixture(scope="module")
def toys():
    return toy_hands(600), toy_hands(80, seed=9)


def covered(hands, seed):
    """`hands` behind a grey square each, larger than what one cell of CPM's first stage sees of a finger."""
    rng, size = np.random.default_rng(seed), hands.image.shape[1]
    image = hands.image.copy()
    for picture, uv in zip(image, hands.uv_crop, strict=True):
        (u, v), side = uv[rng.integers(1, NUM_KEYPOINTS)].astype(int), int(0.3 * size)
        top, left = (max(0, middle - side // 2) for middle in (v, u))
        picture[top : top + side, left : left + side] = 127
    return dataclasses.replace(hands, image=image)


@pytest.mark.slow
def test_cpm_gets_better_with_its_stages(toys, tmp_path):
    """Where something hides keypoints, the other ones tell later stages where these are."""
    train, test = (covered(hands, seed) for seed, hands in enumerate(toys))
    system = cpm.ConvolutionalPoseMachine()
    system.train(Training(train, None, effort=0.08), str(tmp_path))
    system.load(str(tmp_path))
    rows = system.variants(test) | {"": system.predict(test)}
    assert list(rows) == [", stage 1", ", stage 2", ""]
    first, _, last = (error(row, test) for row in rows.values())
    assert last < 0.95 * first and last < 0.5 * mean_error(test)
    assert np.isfinite(rows[""].xyz_relative).all() and rows[""].xyz_relative.shape == (80, NUM_KEYPOINTS, 3)


def test_deeppose_goes_as_far_as_held_out_hands_say():
    """Stage 1 is 10 pixels off; the refiner moves keypoints by 20, the first of them the wrong way."""
    true = np.full((4, NUM_KEYPOINTS, 2), 40, np.float32)
    examples = {"picture": np.zeros((4, deeppose.CROP, deeppose.CROP, 3), np.uint8), "uv": true}
    direction = np.where(np.arange(NUM_KEYPOINTS) == 0, -1, 1).astype(np.float32)[:, None]

    class First:
        def predict(self, crops, **_):
            return np.full((4, NUM_KEYPOINTS, 2), (30 - (deeppose.CROP - 1) / 2) / deeppose.CROP, np.float32)

    class Second:
        def predict(self, inputs, **_):
            return np.broadcast_to(20 * direction / deeppose.PATCH, (4, NUM_KEYPOINTS, 2))

    found = deeppose.gain(First(), Second(), examples)
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], 0.5, atol=0.03)


@pytest.mark.slow
def test_deepposes_refinement_helps_and_a_second_training_goes_on(toys, tmp_path):
    train, test = toys
    system = deeppose.DeepPose()
    system.train(Training(train, None, effort=0.05), str(tmp_path))
    system.load(str(tmp_path))
    first, last = error(system.variants(test)[", stage 1"], test), error(system.predict(test), test)
    assert last < 0.9 * first and last < 0.7 * mean_error(test)
    log = os.path.join(tmp_path, "stage2", "log.csv")
    with open(log) as file:
        before = file.read()
    system.train(Training(train, None, effort=0.05), str(tmp_path))  # complete: nothing is trained again
    with open(log) as file:
        assert file.read() == before


@pytest.mark.slow
def test_deepmodels_angles_stay_inside_their_limits(tmp_path):
    root = np.tile(np.float32([0, 0, 13]), (400, 1))
    poses = {"xyz_relative": posed(400), "root": root, "side": np.zeros(400, np.int32)}
    system, test = deepmodel.DeepModel(), toy_hands(80, seed=9)
    system.train(Training(None, poses, effort=0.08), str(tmp_path))
    system.load(str(tmp_path))
    beyond = ops.convert_to_numpy(kinematics.outside_limits(system.outputs(test)["angles"]))
    assert (beyond > np.radians(5)).mean() < 0.01
    found = system.predict(test).xyz_relative
    left = posed(400)
    chance = np.linalg.norm(test.as_left().xyz_relative - left.mean(0), axis=-1).mean()
    assert np.linalg.norm(found - test.xyz_relative, axis=-1).mean() < 0.8 * chance
    assert "within their limits" in system.notes(test)[0] and system.parameters > 0
