"""Forward kinematics: the renderer's own joints, mirror images, gradients, limits."""

import numpy as np
import pytest
from keras import ops

from hand3d import geometry, kinematics
from hand3d.skeleton import INDEX, PARENTS, SCALE_BONE
from pipelines.render import hand_pose


def angles_inside(count, seed=0):
    low, high = kinematics.LIMITS.T
    return np.random.default_rng(seed).uniform(low, high, (count, len(kinematics.ANGLES))).astype(np.float32)


@pytest.fixture(scope="module")
def rigs():
    """The two hands of a person, as the renderer has them."""
    from pipelines.render.body import load_body
    from pipelines.render.character import make_character

    return hand_pose.make_chain(make_character(load_body(), 3).hands)


def test_the_joints_are_the_renderers(rigs):
    from pipelines.render.posing import keypoints_of

    angles = angles_inside(len(rigs.sign))
    fields = (rigs.sign, rigs.base, rigs.origin, rigs.lengths, rigs.thumb_mcp)
    found = ops.convert_to_numpy(kinematics.forward(angles, kinematics.Chain(*fields)))
    expected = keypoints_of(hand_pose.forward(rigs, angles))
    assert sorted(rigs.sign) == [-1, 1]
    assert np.abs(found - expected).max() < 1e-6  # metres


def test_angles_and_limits_are_the_renderers():
    assert kinematics.ANGLES == hand_pose.ANGLES and kinematics.TIP == hand_pose.TIP
    np.testing.assert_allclose(kinematics.LIMITS, hand_pose.LIMITS, atol=1e-6)


def test_the_mean_hand_is_like_a_rendered_one(rigs):
    mean, left = kinematics.mean_hand(), list(rigs.sign).index(-1)
    unit = rigs.lengths[left, 2, 0]
    assert mean.lengths[2, 0] == 1
    np.testing.assert_allclose(mean.lengths, rigs.lengths[left] / unit, atol=0.25)
    np.testing.assert_allclose(mean.origin, rigs.origin[left] / unit, atol=0.3)
    np.testing.assert_allclose(mean.base[0], rigs.base[left, 0], atol=0.1)
    np.testing.assert_allclose(mean.base[1:], rigs.base[left, 1:], atol=1e-6)
    np.testing.assert_allclose(
        mean.base @ np.swapaxes(mean.base, -1, -2), np.eye(3)[None].repeat(5, 0), atol=1e-3
    )


def test_bones_keep_their_lengths_and_the_straight_hand_points_up():
    mean = kinematics.mean_hand()
    xyz = ops.convert_to_numpy(kinematics.forward(angles_inside(20), mean))
    bones = np.linalg.norm(xyz - xyz[:, list(PARENTS)], axis=-1)
    assert np.ptp(bones, axis=0).max() < 2e-4  # the rest frame has four digits
    assert np.allclose(bones[:, SCALE_BONE[1]], 1)
    straight = ops.convert_to_numpy(kinematics.forward(np.zeros((1, 22), np.float32), mean))[0]
    assert straight[INDEX["middle_tip"], 1] > straight[INDEX["middle_mcp"], 1] + 2


def test_flexion_bends_all_fingers_to_the_palm():
    """Each flexion alone brings the tip nearer to the wrist, and all tips to the same side of the palm."""
    flexions = [(f, j) for f in ("index", "middle", "ring", "little") for j in ("mcp", "pip", "dip")]
    angles = np.zeros((1 + len(flexions), 22), np.float32)
    for row, (finger, joint) in enumerate(flexions, 1):
        angles[row, kinematics.ANGLES.index(f"{finger}_{joint}_flex")] = 1.0
    straight, *bent = ops.convert_to_numpy(kinematics.forward(angles, kinematics.mean_hand()))
    for (finger, _), hand in zip(flexions, bent, strict=True):
        tip = INDEX[f"{finger}_tip"]
        assert np.linalg.norm(hand[tip]) < np.linalg.norm(straight[tip])
        assert hand[tip, 2] < straight[tip, 2] - 0.2
        others = [k for k in range(21) if k not in range(tip, tip + 3)]
        np.testing.assert_allclose(hand[others], straight[others], atol=1e-6)


def test_gradient_finds_the_angles_of_a_pose():
    """Differentiable: plain gradient steps from the middle of the limits come back to a pose."""
    tf = pytest.importorskip("tensorflow")
    import keras

    if keras.config.backend() != "tensorflow":
        pytest.skip("takes TensorFlow's gradients")
    mean, wanted = kinematics.mean_hand(), angles_inside(8, seed=1)
    target = kinematics.forward(wanted, mean)
    angles = tf.Variable(np.tile(kinematics.LIMITS.mean(1), (8, 1)).astype(np.float32))
    optimizer = keras.optimizers.Adam(0.05)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            error = ops.mean(ops.square(kinematics.forward(angles, mean) - target))
        optimizer.apply([tape.gradient(error, angles)], [angles])
        return error

    optimizer.build([angles])
    first = float(step())
    for _ in range(100):
        last = float(step())
    assert last < 2e-3 < 0.05 < first


def test_outside_limits():
    inside = angles_inside(5)
    assert ops.convert_to_numpy(kinematics.outside_limits(inside)).max() == 0
    beyond = inside.copy()
    beyond[:, 3], beyond[:, 7] = kinematics.LIMITS[3, 1] + 0.1, kinematics.LIMITS[7, 0] - 0.2
    found = ops.convert_to_numpy(kinematics.outside_limits(beyond))
    np.testing.assert_allclose(found[:, 3], 0.1, atol=1e-6)
    np.testing.assert_allclose(found[:, 7], 0.2, atol=1e-6)
    assert (np.delete(found, (3, 7), axis=1) == 0).all()


def test_the_palm_frame_is_a_left_hand():
    """Its canonical coordinates are those of a left hand: fingers bend as in `pipelines.anatomy`."""
    from pipelines.anatomy import apparent_side

    angles = np.clip(angles_inside(50), 0.2, None) * (kinematics.LIMITS[:, 1] > 0.3)
    xyz = geometry.wrist_to_palm(kinematics.forward(angles, kinematics.mean_hand()))
    assert (apparent_side(ops.convert_to_numpy(xyz)) == 0).mean() > 0.9
