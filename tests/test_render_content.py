"""What the rendered set holds: shares of actions, fingers apart, things held, bones of human proportions."""

import numpy as np
import pytest

from hand3d.skeleton import INDEX, ROOT, SIDES
from pipelines.render import actions, hand_pose, hand_samples, hand_solver, posing, things
from pipelines.render.body import load_body
from pipelines.render.character import CHARACTERS_TRAINING, make_character

TOO_DEEP = 0.005  # metres


@pytest.fixture(scope="module")
def people():
    return [make_character(load_body(), seed) for seed in CHARACTERS_TRAINING[:6]]


@pytest.fixture(scope="module")
def chain(people):
    return hand_pose.make_chain(people[1].hands)


def solved(chain, rng, *played):
    samples = [hand_samples.sample_hand(rng, action) for action in played]
    angles = hand_solver.solve(chain, np.stack([s[0] for s in samples]), [s[1] for s in samples])
    return hand_pose.forward(chain, angles)


def test_the_share_of_hands_with_fingers_of_their_own():
    """All but straight and all but folded at once, neighbours unlike: never of an action that is a fist."""

    def unlike(share):
        rng = np.random.default_rng(4)
        pip = np.array([hand_samples.sample_hand(rng, "fist", share)[0][8::4] for _ in range(400)])
        return (np.ptp(pip, axis=1) > np.radians(60)).mean()

    assert unlike(0.0) < 0.1
    assert unlike(1.0) > 0.6
    assert unlike(0.0) < unlike(0.5) < unlike(1.0)


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_every_action_has_its_share_of_the_hands(split):
    """`render_sample` draws the actions once, before it looks for a view: what is drawn comes out."""
    rng = np.random.default_rng(0)
    hands = [action for _ in range(15_000) for action in actions.sample_actions(rng, split)]
    names, counts = np.unique(hands, return_counts=True)
    assert set(names) == set(actions.ACTIONS_TRAINING if split == "training" else actions.ACTIONS_EVALUATION)
    share = counts / counts.mean()
    assert share.min() > 0.8 and share.max() < 1.2
    pairs = [actions.sample_actions(rng, split) for _ in range(2000)]
    assert all(a == b for a, b in pairs if a in actions.PAIRS or b in actions.PAIRS)


def fingers_in_fingers(people, count):
    """Largest overlap of each of `count` people's hands, metres, actions in turn."""
    rng, names = np.random.default_rng(3), list(actions.ACTIONS)
    chains = [hand_pose.make_chain(person.hands) for person in people]
    depths = []
    for number in range(count):
        chain = chains[number % len(chains)]
        kinematics = solved(chain, rng, names[number % len(names)], names[(7 * number) % len(names)])
        depths.append(hand_solver.penetration(chain, kinematics)[0].max(1))
    return np.concatenate(depths)


def test_no_fingertip_is_inside_another_part(people):
    assert fingers_in_fingers(people, 40).max() < TOO_DEEP


@pytest.mark.slow
def test_no_fingertip_is_inside_another_part_of_many(people):
    assert fingers_in_fingers(people, 1500).max() < TOO_DEEP


def test_pinches_stay_closed(chain):
    """Fingers are taken out of one another without letting go."""
    for name, finger in (("ok", 1), ("pinch_middle", 2), ("ring_down", 3), ("pinch_little", 4)):
        wanted = np.tile(actions.pose_angles(name), (len(SIDES), 1))
        contacts = [[actions.CONTACTS[c] for c in actions.POSES[name]["contacts"]]] * len(SIDES)
        kinematics = hand_pose.forward(chain, hand_solver.solve(chain, wanted, contacts))
        ends = kinematics.joints[:, [0, finger], 3]
        assert (np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1) < 0.03).all(), name


def test_folded_fingers_are_not_always_clenched():
    """The last joint of a folded finger is anything from nearly straight to well bent."""
    rng = np.random.default_rng(0)
    bent = []
    for _ in range(300):
        fingers = hand_samples.sample_hand(rng, "fist")[0][6:].reshape(4, 4)
        bent += list(np.degrees(fingers[fingers[:, 2] > hand_samples.FOLDED, 3]))
    low, high = np.quantile(bent, [0.1, 0.9])
    assert low < 25 and high > 50


def test_bones_have_human_proportions(people):
    """Shares of the middle finger's length, MCP to tip, against tables of bone lengths (0.48, 0.29, 0.23)."""
    chain = hand_pose.join_chains([hand_pose.make_chain(person.hands) for person in people])
    hands = posing.keypoints_of(hand_pose.forward(chain, np.zeros((len(chain.sign), len(hand_pose.ANGLES)))))

    def bone(a, b):
        return np.median(np.linalg.norm(hands[:, INDEX[a]] - hands[:, INDEX[b]], axis=-1))

    length = sum(
        bone(f"middle_{a}", f"middle_{b}") for a, b in (("mcp", "pip"), ("pip", "dip"), ("dip", "tip"))
    )
    assert bone("middle_mcp", "middle_pip") / length == pytest.approx(0.48, abs=0.03)
    assert bone("middle_pip", "middle_dip") / length == pytest.approx(0.28, abs=0.03)
    assert bone("index_mcp", "index_pip") / length == pytest.approx(0.43, abs=0.03)
    palm = np.median(np.linalg.norm(hands[:, INDEX["middle_mcp"]] - hands[:, ROOT], axis=-1))
    assert 0.7 < palm / length < 0.95


def test_things_fill_the_room_between_the_fingers(chain):
    """Most grasps hold something, and no joint of the hand is inside it."""
    rng = np.random.default_rng(0)
    for action, (_, share) in things.HELD.items():
        held = 0
        for _ in range(4):
            kinematics = solved(chain, rng, action, action)
            for hand in range(len(SIDES)):
                thing = things.hold(rng, action, chain, kinematics, hand)
                if thing is None:
                    continue
                held += 1
                assert np.isfinite(thing.vertices).all() and thing.faces.max() < len(thing.vertices)
                assert thing.rest.shape == thing.vertices.shape
                corner = thing.vertices[thing.faces]
                normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
                if action in ("cylinder_grasp", "sphere_grasp"):  # convex: behind every face
                    joints = kinematics.joints[hand].reshape(-1, 3)
                    outside = ((joints[:, None] - corner[:, 0]) * normal).sum(-1) * _outwards(thing, normal)
                    assert (outside.max(1) > 0).all()
        assert held >= (share >= 0.7 and action != "key_pinch"), action
    assert things.hold(rng, "wave", chain, kinematics, 0) is None


def _outwards(thing, normal):
    """(F,) signs that turn the normals of a convex thing's faces outwards."""
    arm = thing.vertices[thing.faces].mean(1) - thing.vertices.mean(0)
    return np.sign((arm * normal).sum(-1))
