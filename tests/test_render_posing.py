"""Posed people: labels that fit the surface, limits, contacts, collisions, determinism."""

import numpy as np
import pytest

from hand3d import skeleton
from pipelines.render import actions, hand_pose, hand_samples, hand_solver, posing
from pipelines.render.body import load_body
from pipelines.render.character import make_character


@pytest.fixture(scope="module")
def person():
    return make_character(load_body(), 3)


@pytest.fixture(scope="module")
def poses(person):
    """Every action once, on both hands."""
    return {
        name: posing.pose_person(person, name, name, np.random.default_rng([1, k]))
        for k, name in enumerate(actions.ACTIONS)
    }


def hands(posed):
    return [posed.keypoints[part] for part in skeleton.HAND_SLICES.values()]


def test_actions_are_rhds_numbers():
    assert len(actions.ACTIONS_TRAINING) == 31 and len(actions.ACTIONS_EVALUATION) == 8
    assert not set(actions.ACTIONS_TRAINING) & set(actions.ACTIONS_EVALUATION)
    for sequence in actions.ACTIONS.values():
        assert all(name in actions.POSES for name in sequence)
    rng = np.random.default_rng(0)
    assert {actions.sample_action(rng, "evaluation") for _ in range(200)} == set(actions.ACTIONS_EVALUATION)
    with pytest.raises(ValueError, match="split"):
        actions.sample_action(rng, "test")


def test_every_action_gives_a_finite_body(person, poses):
    for posed in poses.values():
        assert np.isfinite(posed.vertices).all() and np.isfinite(posed.keypoints).all()
        assert posed.vertices.dtype == np.float32 and posed.keypoints.dtype == np.float32
        assert posed.keypoints.shape == (2 * skeleton.NUM_KEYPOINTS, 3)
        assert posed.vertices.shape == (len(person.body.uv), 3)
        assert len(posed.faces) == len(posed.material) == len(posed.part)


def test_bones_keep_their_lengths(poses):
    bones = np.array(skeleton.BONES)
    lengths = [
        [np.linalg.norm(h[bones[:, 0]] - h[bones[:, 1]], axis=1) for h in hands(p)] for p in poses.values()
    ]
    assert np.ptp(np.array(lengths), axis=0).max() < 1e-5


def test_angles_stay_inside_the_limits(poses):
    for posed in poses.values():
        angles = posed.info["angles"]
        low, high = hand_pose.LIMITS.T
        assert (angles >= low - 1e-9).all() and (angles <= high + 1e-9).all()
    with pytest.raises(ValueError, match="action"):
        hand_samples.sample_hand(np.random.default_rng(0), "no such action")


def test_part_ids_fit_the_keypoints(poses):
    """The mesh nearest to a keypoint has its RHD id, on every hand that is not too folded to tell."""
    wrong = total = 0
    for name in ("open_close", "flat_hand", "wave", "victory"):
        posed = poses[name]
        centres = posed.vertices[posed.faces].mean(1)
        for side, hand in enumerate(hands(posed)):
            first = 2 + 16 * side
            mine = (posed.part >= first) & (posed.part < first + 16)
            for finger in range(5):
                for joint in range(4):
                    point = hand[1 + 4 * finger + joint]
                    near = np.argsort(np.linalg.norm(centres[mine] - point, axis=1))[:20]
                    ids = posed.part[mine][near]
                    allowed = {first + 3 * finger + min(joint, 2), first + 3 * finger + max(joint - 1, 0)}
                    if joint == 3:
                        allowed.add(first + 15)
                    total += 1
                    wrong += np.isin(ids, list(allowed)).mean() < 0.5
            assert np.linalg.norm(centres[posed.part == first + 15] - hand[0], axis=1).min() < 0.03
    assert wrong / total < 0.03, f"{wrong} of {total}"


def test_thumb_is_on_its_own_side(poses):
    """Fingers bend to the palm's side of wrist, index and little knuckles; the thumb is at the index."""
    posed = poses["fist"]
    for side, hand in enumerate(hands(posed)):
        index, little, wrist = (hand[skeleton.INDEX[k]] for k in ("index_mcp", "little_mcp", "root"))
        normal = np.cross(index - wrist, little - wrist) * (1 if side == 1 else -1)
        thumb = hand[skeleton.INDEX["thumb_cmc"]] - wrist
        assert thumb @ (index - little) > 0
        middle = hand[skeleton.INDEX["middle_pip"]] - hand[skeleton.INDEX["middle_mcp"]]
        flexion = posed.info["angles"][side][hand_pose.ANGLES.index("middle_mcp_flex")]
        assert flexion > 0.5 and middle @ normal > 0


def test_keypoints_lie_inside_the_fingers(poses):
    """A tip is within a finger's thickness of its own skin and no farther from it than 12 mm."""
    for name in ("flat_hand", "fist"):
        posed = poses[name]
        centres = posed.vertices[posed.faces].mean(1)
        for side, hand in enumerate(hands(posed)):
            for finger, tip in enumerate(skeleton.TIPS):
                mine = posed.part == 2 + 16 * side + 3 * finger
                assert np.linalg.norm(centres[mine] - hand[tip], axis=1).min() < 0.012


def test_fingers_do_not_pass_through_one_another(person):
    chain = hand_pose.make_chain(person.hands)
    depths = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        posed = posing.pose_person(person, actions.sample_action(rng, "training"), "fist", rng)
        depth = hand_solver.penetration(chain, hand_pose.forward(chain, posed.info["angles"]))[0]
        depths.append(depth.max())
    assert np.median(depths) < 0.006 and np.quantile(depths, 0.9) < 0.012


def test_pinch_touches(person):
    chain = hand_pose.make_chain(person.hands)
    wanted = np.tile(actions.pose_angles("ok"), (2, 1))
    contacts = [[actions.CONTACTS["index"]]] * 2
    kinematics = hand_pose.forward(chain, hand_solver.solve(chain, wanted, contacts))
    gap = np.linalg.norm(kinematics.joints[:, 0, 3] - kinematics.joints[:, 1, 3], axis=-1)
    assert (gap < 0.03).all()


def test_jacobian_is_the_derivative(person):
    chain = hand_pose.make_chain(person.hands)
    angles = np.tile(actions.pose_angles("claw"), (2, 1))
    k = hand_pose.forward(chain, angles)
    finger, level = np.arange(5), np.full(5, 2)
    exact = hand_pose.point_jacobian(k, k.joints[:, :, 3], finger, level)
    for j in range(len(hand_pose.ANGLES)):
        moved = angles.copy()
        moved[:, j] += 1e-6
        numeric = (hand_pose.forward(chain, moved).joints[:, :, 3] - k.joints[:, :, 3]) / 1e-6
        np.testing.assert_allclose(exact[..., j], numeric, atol=1e-5)


def test_same_rng_same_pose(person):
    first, second = (posing.pose_person(person, "ok", "fist", np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.keypoints, second.keypoints)


def test_poses_of_the_evaluation_are_not_blended_into_training(monkeypatch):
    drawn, pose_angles = set(), actions.pose_angles
    monkeypatch.setattr(hand_samples, "pose_angles", lambda name: drawn.add(name) or pose_angles(name))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        hand_samples.sample_hand(rng, actions.sample_action(rng, "training"))
    own = {pose for name in actions.ACTIONS_TRAINING for pose in actions.ACTIONS[name]}
    assert drawn == own
    assert set(actions.POSES) == {pose for poses in actions.ACTIONS.values() for pose in poses}


def test_all_combinations_of_fingers_turn_up():
    rng = np.random.default_rng(0)
    seen = {}
    for _ in range(4000):
        angles = hand_samples.sample_hand(rng, actions.sample_action(rng, "training"))[0]
        up = tuple(angles[6 + 4 * k] + angles[8 + 4 * k] < 0.6 for k in range(4)) + (bool(angles[0] < 0),)
        seen[up] = seen.get(up, 0) + 1
    assert len(seen) == 32 and min(seen.values()) >= 10
