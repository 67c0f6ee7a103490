"""Geometry against independent numpy code."""

import numpy as np
import pytest
from keras import ops

from hand3d import geometry, skeleton


@pytest.fixture
def hands():
    """Random left-like hands in metres in front of a camera, (8, 21, 3)."""
    rng = np.random.default_rng(0)
    return (rng.normal(0, 0.05, (8, skeleton.NUM_KEYPOINTS, 3)) + [0, 0, 0.6]).astype("float32")


def array(x):
    return ops.convert_to_numpy(x)


def test_project(hands):
    K = np.array([[300, 0, 159.5], [0, 310, 120], [0, 0, 1]], "float32")
    uv = array(geometry.project(hands, K))
    expected_u = 300 * hands[..., 0] / hands[..., 2] + 159.5
    expected_v = 310 * hands[..., 1] / hands[..., 2] + 120
    np.testing.assert_allclose(uv, np.stack([expected_u, expected_v], -1), atol=1e-3)
    batched = array(geometry.project(hands, np.repeat(K[None], len(hands), 0)))
    np.testing.assert_allclose(batched, uv, atol=1e-3)


def test_axis_angle_to_matrix_is_a_rotation_with_the_usual_entries():
    from scipy.spatial.transform import Rotation

    vectors = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")
    matrices = array(geometry.axis_angle_to_matrix(vectors))
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-5)
    np.testing.assert_allclose(array(geometry.axis_angle_to_matrix(np.zeros(3))), np.eye(3), atol=1e-4)


def test_normalise(hands):
    relative, scale = (array(x) for x in geometry.normalise(hands))
    bone = np.linalg.norm(hands[:, 12] - hands[:, 11], axis=-1)
    np.testing.assert_allclose(scale, bone, rtol=1e-5)
    np.testing.assert_allclose(relative, (hands - hands[:, :1]) / bone[:, None, None], rtol=1e-4, atol=1e-5)


def test_palm_and_wrist_are_inverse(hands):
    palm = array(geometry.wrist_to_palm(hands))
    np.testing.assert_allclose(palm[:, 0], (hands[:, 0] + hands[:, 12]) / 2, atol=1e-6)
    np.testing.assert_array_equal(palm[:, 1:], hands[:, 1:])
    np.testing.assert_allclose(array(geometry.palm_to_wrist(palm)), hands, atol=1e-6)
    visible = np.zeros((2, skeleton.NUM_KEYPOINTS), bool)
    visible[0, 12] = visible[1, 3] = True
    assert array(geometry.palm_visible(visible))[:, 0].tolist() == [True, False]


@pytest.mark.parametrize("one_hot", [False, True])
def test_canonical_frame(hands, one_hot):
    relative, _ = geometry.normalise(hands)
    side = np.arange(len(hands)) % 2
    given = np.eye(2, dtype="float32")[side] if one_hot else side
    canonical, rotation = geometry.to_canonical(relative, given)
    restored = array(geometry.from_canonical(canonical, rotation, given))
    canonical, rotation, relative = array(canonical), array(rotation), array(relative)
    np.testing.assert_allclose(restored, relative, atol=1e-5)
    np.testing.assert_allclose(canonical[:, 0], 0, atol=1e-6)
    distance = np.linalg.norm(relative[:, 12], axis=-1)
    np.testing.assert_allclose(
        canonical[:, 12], np.stack([0 * distance, -distance, 0 * distance], -1), atol=1e-5
    )
    np.testing.assert_allclose(canonical[:, 20, 2], 0, atol=1e-5)
    assert (canonical[:, 20, 0] > 0).all()
    np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)
    # xyz = canonical @ rotation holds as it stands for left hands, after the flip for right ones
    flip = np.where(side == 1, -1, 1)[:, None]
    unflipped = canonical.copy()
    unflipped[..., 2] *= flip
    np.testing.assert_allclose(unflipped @ rotation, relative, atol=1e-5)


def test_a_mirrored_hand_has_the_same_canonical_coordinates(hands):
    relative = hands - hands[:, :1]
    left, _ = geometry.to_canonical(relative, np.zeros(len(hands)))
    right, _ = geometry.to_canonical(relative * np.float32([-1, 1, 1]), np.ones(len(hands)))
    np.testing.assert_allclose(array(left), array(right), atol=1e-5)


def reference_local(xyz):
    """(21, 3) by 3x3 matrices in numpy, one bone after the other."""

    def undo(ax, ay):
        rx = np.array([[1, 0, 0], [0, np.cos(ax), np.sin(ax)], [0, -np.sin(ax), np.cos(ax)]])
        ry = np.array([[np.cos(ay), 0, -np.sin(ay)], [0, 1, 0], [np.sin(ay), 0, np.cos(ay)]])
        return rx, ry

    local = np.zeros((21, 3))
    for base in (4, 8, 12, 16, 20):
        frame, previous = np.eye(3), np.zeros(3)
        for keypoint in range(base, base - 4, -1):
            bone = frame @ (xyz[keypoint] - previous)
            ay = np.arctan2(bone[0], bone[2])
            turned = undo(0, ay)[1] @ bone
            ax = np.arctan2(-turned[1], turned[2])
            local[keypoint] = np.linalg.norm(bone), ax, ay
            frame, previous = undo(ax, 0)[0] @ undo(0, ay)[1] @ frame, xyz[keypoint]
    return local


def test_local_bones_and_back(hands):
    relative = array(geometry.normalise(hands)[0])
    local = array(geometry.local_bones(relative))
    expected = np.stack([reference_local(xyz.astype("float64")) for xyz in relative])
    np.testing.assert_allclose(local, expected, atol=2e-4)
    np.testing.assert_allclose(array(geometry.from_local_bones(local)), relative, atol=1e-4)


def test_gradients_are_finite_where_angles_vanish():
    import keras

    class Angles(keras.layers.Layer):
        """A weight sent through every formula with a root or an arc tangent in it."""

        def build(self, _):
            self.xyz = self.add_weight(shape=(1, skeleton.NUM_KEYPOINTS, 3), initializer="zeros")

        def call(self, x):
            local = geometry.local_bones(self.xyz + x)
            rotation = geometry.axis_angle_to_matrix(self.xyz[:, 0])
            return geometry.from_local_bones(local) @ rotation

    x = np.zeros((1, skeleton.NUM_KEYPOINTS, 3), "float32")
    x[:, 12, 2] = 1
    model = keras.Sequential([keras.Input(x.shape[1:]), Angles()])
    model.compile(optimizer="sgd", loss="mse", jit_compile=False)
    model.train_on_batch(x, x + 1)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_straight_finger_has_no_angles():
    xyz = np.zeros((21, 3), "float32")
    for step, keypoint in enumerate((8, 7, 6, 5)):
        xyz[keypoint] = np.array([0.1, -0.3, 0.2]) * (step + 1)
    local = array(geometry.local_bones(xyz))
    np.testing.assert_allclose(local[[5, 6, 7], 1:], 0, atol=1e-3)
    assert np.isfinite(local).all()
