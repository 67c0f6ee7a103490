import numpy as np
import pytest
from toy_samples import toy_sample, write_toy_records

from hand3d.skeleton import INDEX, NUM_KEYPOINTS

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
tf = pytest.importorskip("tensorflow")
from pipelines import inputs  # noqa: E402
from pipelines.poses import write_poses  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy_records(tmp_path_factory.mktemp("records"))


def test_cut_square_keeps_the_pixel_rule():
    # a linear ramp: its value tells where a pixel was taken from
    v, u = np.mgrid[:60, :80].astype(np.float32)
    ramp = np.stack([2 * u, 3 * v, 0 * u], -1).astype(np.uint8)
    covers = np.stack([u >= 40, v >= 30], -1)
    for cut in ((40.0, 30.0, 32.0), (35.5, 28.25, 40.0)):
        side = 16
        out = inputs.cut_square(ramp, covers, tf.constant(cut), side).numpy().astype(float)
        centres = np.arange(side) * cut[2] / side + cut[2] / side / 2 - 0.5 - (cut[2] - 1) / 2
        np.testing.assert_allclose(out[5, :, 0], 2 * (cut[0] + centres), atol=0.51)
        np.testing.assert_allclose(out[:, 5, 1], 3 * (cut[1] + centres), atol=0.51)
    outside = inputs.cut_square(ramp, covers, tf.constant((0.0, 0.0, 40.0)), 16).numpy()
    np.testing.assert_array_equal(outside[0, 0], (128, 128, 128, 0, 0))


def test_posenet_batches(folder):
    batches = list(
        inputs.posenet_batches(folder, "evaluation", batch=4, training=False, side=96, crop_size=64)
    )
    assert batches[0]["picture"].shape == (4, 96, 96, 5) and batches[0]["picture"].dtype == tf.uint8
    assert batches[0]["background"].shape == (4, 64, 64, 3)
    uv = np.concatenate([batch["uv"] for batch in batches])
    side = np.concatenate([batch["side"] for batch in batches])
    cut = np.concatenate([batch["cut"] for batch in batches])
    hands = np.concatenate([batch["picture"] for batch in batches])[..., 4]
    assert 6 < len(uv) <= 12 and set(side) == {0, 1}
    # labels of the first sample, moved by hand
    truth = toy_sample(1000)["uv"][side[0] * NUM_KEYPOINTS :][:NUM_KEYPOINTS].astype(float)
    truth[0] = (truth[0] + truth[INDEX["middle_mcp"]]) / 2
    np.testing.assert_allclose((uv[0] - 47.5) * cut[0, 2] / 96 + cut[0, :2], truth, atol=1e-2)
    # the keypoints lie on the hand: blobs are painted there (the palm's lies between two)
    for points, hand in zip(uv[:, 1:], hands, strict=True):
        inside = (points > 0).all(1) & (points < 95).all(1)
        column, row = np.rint(points[inside]).astype(int).T
        assert (hand[row, column] > 100).mean() > 0.6
    # visible pixels fill the box: reach 1.6
    extent = [max(np.ptp(np.nonzero(hand > 127)[axis]) + 1 for axis in (0, 1)) for hand in hands]
    np.testing.assert_allclose(extent, 96 / 1.6, atol=3)


def test_training_batches_repeat_and_follow_the_seed(folder):
    def first(seed):
        data = inputs.posenet_batches(
            folder,
            "training",
            batch=8,
            training=True,
            side=32,
            crop_size=16,
            limit=10,
            seed=seed,
            background_count=8,
        )
        return [batch["picture"].numpy() for batch in data.take(3)]

    one, again, other = first(1), first(1), first(2)
    np.testing.assert_array_equal(one, again)
    assert np.any(one[0] != other[0])


def test_handsegnet_batches(folder):
    (batch,) = inputs.handsegnet_batches(
        folder, "evaluation", batch=64, training=False, side=64, crop_size=64
    )
    assert 6 < batch["picture"].shape[0] <= 18
    whole = inputs.handsegnet_batches(folder, "evaluation", batch=64, training=False, side=64, zooms=False)
    (whole,) = whole
    assert whole["picture"].shape == (6, 64, 64, 5)
    mask = toy_sample(1000)["mask"]
    np.testing.assert_allclose(whole["picture"][0, ..., 4].numpy().mean() / 255, (mask > 1).mean(), atol=0.01)
    shares = batch["picture"].numpy()[..., 4].mean((1, 2)) / 255
    assert shares.max() > 1.5 * (mask > 1).mean()  # hands fill more of a zoom


def test_lifting_batches(folder):
    (batch,) = inputs.lifting_batches(folder, "evaluation", batch=64, training=False)
    assert batch["xyz"].shape == (12, NUM_KEYPOINTS, 3)
    xyz = toy_sample(1000)["xyz"][NUM_KEYPOINTS:]
    np.testing.assert_allclose(batch["xyz"][1, 0], (xyz[0] + xyz[INDEX["middle_mcp"]]) / 2, rtol=1e-5)
    training = inputs.lifting_batches([folder, folder], "training", batch=5, training=True)
    assert [b["xyz"].shape[0] for b in training.take(12)] == [5] * 12


def test_poses_from_files_and_records(folder, tmp_path):
    path = str(tmp_path / "poses.npz")
    hands = {"xyz": np.ones((3, NUM_KEYPOINTS, 3)), "side": [0, 1, 1]}
    hands |= {"action": ["fist"] * 3, "character": [1] * 3}
    hands["xyz"][:, 0] = 3
    write_poses(path, hands, "evaluation")
    found = inputs.load_poses([folder, path], "evaluation")
    assert found["xyz"].shape == (15, NUM_KEYPOINTS, 3) and found["visible"].shape == (15, NUM_KEYPOINTS)
    np.testing.assert_array_equal(found["xyz"][-1, 0], (2, 2, 2))  # the palm
    np.testing.assert_array_equal(found["side"][-3:], hands["side"])
    assert len(inputs.load_poses([path, folder], "training")["side"]) == 24  # the file has none
    with pytest.raises(ValueError, match="no labelled hand"):
        inputs.load_poses(path, "training")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="bad.npz"):
        inputs.load_poses(str(tmp_path / "bad.npz"), "training")
