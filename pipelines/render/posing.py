"""Pose a person: an action for each hand in, vertices and keypoints out."""

import dataclasses
import weakref

import numpy as np

from pipelines.render import arms as arms_
from pipelines.render import hand_pose, hand_solver, things
from pipelines.render.actions import PAIRS
from pipelines.render.hand_rig import frame
from pipelines.render.hand_samples import INDEPENDENT, sample_hand

SIDES = "LR"
ATTEMPTS = 12  # places for the hands
HEAD = (0.12, 0.165, 0.15)  # metres: half the room for the head, which turns, and for the flesh of a hand
_prepared = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Posed:
    """A person in a pose.

    vertices (R, 3) float32 metres, y up, facing +z; faces (Fv, 3) int32, material (Fv,) uint8 and part (Fv,)
    uint8 of the triangles that are drawn; keypoints (42, 3) float32 metres, RHD order, left hand
    first, 0 and 21 the wrists; info: dict, joint angles of hands (2, 22) and arms, for tests and statistics;
    things: `things.Thing` in the hands, world axes, of any number.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    part: np.ndarray
    keypoints: np.ndarray
    info: dict
    things: tuple = ()


def pose_person(character, action_left, action_right, rng, independent=INDEPENDENT, given=None):
    """Pose a person with one action per hand; all chance comes from `rng`.

    An action of `actions.PAIRS` on either side takes both hands.  independent: as of `sample_hand`.
    given: None, or {side: joint angles (22,)} of hands that play no action, with straight wrists and empty.
    Raises ValueError for an unknown action.
    """
    (hands,) = _pose_hands([(character, action_left, action_right, rng)], independent, given)
    prepared, kinematics, angles, local, placed = hands
    posed = _assemble(character, prepared, kinematics, angles, placed, local, rng)
    held = []
    for hand, (action, arm) in enumerate(zip(played(action_left, action_right), placed, strict=True)):
        if given and hand in given:
            continue
        thing = things.hold(rng, action, prepared.chain, kinematics, hand)
        if thing is not None:
            held.append(dataclasses.replace(thing, vertices=arm.wrist + thing.vertices @ arm.hand.T))
    return dataclasses.replace(posed, things=tuple(held))


def pose_keypoints(people, independent=INDEPENDENT):
    """Keypoints of many people without their skin, several times as fast as one `pose_person` after another.

    people: list of (character, action_left, action_right, rng).  independent: as of `sample_hand`.
    Returns (P, 42, 3) float32 metres as in `Posed`.  One person alone gets exactly the keypoints of
    `pose_person`; among others a finger may end some millimetres away, since the solver goes on until the
    last contact is settled.
    """
    return np.stack([_keypoints(placed, local) for *_, local, placed in _pose_hands(people, independent)])


def played(action_left, action_right):
    """The actions that the two hands really play: one of `actions.PAIRS` on either side takes both."""
    together = [name for name in (action_left, action_right) if name in PAIRS]
    return (together[0], together[0]) if together else (action_left, action_right)


def _pose_hands(people, independent=INDEPENDENT, given=None):
    """(prepared, kinematics, angles, local keypoints, arms) per person; all fingers are solved at once.

    given: as of `pose_person`, for every person.
    """
    drawn, samples = [], []
    for character, action_left, action_right, rng in people:
        actions = played(action_left, action_right)
        hands = [sample_hand(rng, action, independent) for action in actions]
        for side, angles in (given or {}).items():
            hands[side] = (np.asarray(angles, np.float64), [], np.zeros(2))
        together = None if given or actions[0] not in PAIRS else actions[0]
        drawn.append((_prepare(character), together, hands, rng))
        samples += hands
    chain = hand_pose.join_chains([prepared.chain for prepared, *_ in drawn])
    angles = hand_solver.solve(chain, np.stack([s[0] for s in samples]), [s[1] for s in samples])
    kinematics = hand_pose.forward(chain, angles)
    local = keypoints_of(kinematics)
    for number, (prepared, together, hands, rng) in enumerate(drawn):
        mine = slice(len(SIDES) * number, len(SIDES) * (number + 1))
        if together:
            placed = _place_pair(prepared, together, local[mine], rng)
        else:
            placed = _place_apart(prepared, hands, local[mine], rng)
        yield prepared, kinematics.part(mine), angles[mine], local[mine], placed


def _keypoints(placed, local):
    """(42, 3) float32, world axes, from arms in place and keypoints in the hands' frames."""
    hands = [arm.wrist + local[k] @ arm.hand.T for k, arm in enumerate(placed)]
    return np.concatenate(hands).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    chain: hand_pose.HandChain
    rests: tuple
    head: np.ndarray
    drawn: tuple


def _prepare(character):
    if character not in _prepared:
        body = character.body
        rests = tuple(arms_.arm_rest(body, character.heads, rig) for rig in character.hands)
        head = character.heads[body.bone("head")] + np.array([0, 0.08, 0.03])
        drawn = tuple(a[character.drawn] for a in (body.faces, character.material, body.part))
        _prepared[character] = _Prepared(hand_pose.make_chain(character.hands), rests, head, drawn)
    return _prepared[character]


def keypoints_of(kinematics):
    """(H, 21, 3) keypoints in the hand frames, RHD order, from kinematics; the wrist is the origin."""
    joints = kinematics.joints[:, :, ::-1].copy()  # tip to base
    joints[:, :, 0] += (1 - hand_pose.TIP) * (joints[:, :, 1] - joints[:, :, 0])
    count = len(joints)
    return np.concatenate([np.zeros((count, 1, 3)), joints.reshape(count, -1, 3)], axis=1)


def _place_apart(prepared, samples, local, rng):
    """Arms for two hands of their own; tries again where they, the head or the trunk would meet."""
    for attempt in range(ATTEMPTS):
        placed = []
        for side, rest in enumerate(prepared.rests):
            style = "reach" if attempt > ATTEMPTS // 2 else None  # there is room before the person
            target, swivel, pronation, _ = arms_.sample_place(rng, rest, prepared.head, style)
            placed.append(arms_.place_arm(rest, target, swivel, pronation, samples[side][2]))
        points = [arm.wrist + local[k] @ arm.hand.T for k, arm in enumerate(placed)]
        if _free(prepared, points):
            break
    return placed


def _free(prepared, points):
    between = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1).min()
    both = np.concatenate(points)
    head = np.linalg.norm((both - prepared.head) / HEAD, axis=1).min()
    shoulders = [rest.shoulder for rest in prepared.rests]
    middle = np.mean(shoulders, axis=0)
    half = abs(shoulders[0][0] - shoulders[1][0]) / 2
    below = both[:, 1] < middle[1] + 0.03
    trunk = (np.linalg.norm((both - middle)[:, [0, 2]] / [half + 0.06, 0.17], axis=1) < 1) & below
    return between > 0.035 and head > 1 and not trunk.any()


def _place_pair(prepared, action, local, rng):
    """Both hands in front of the chest, turned to one another; a keypoint of each meets the middle plane."""
    middle = np.mean([rest.shoulder for rest in prepared.rests], axis=0)
    centre = middle + np.array([rng.normal(0, 0.04), rng.uniform(-0.18, 0.12), rng.uniform(0.3, 0.42)])
    gap = rng.uniform(0.04, 0.22) if action == "clap" else 0.0
    lean, tilt = rng.normal(0.25, 0.25), rng.normal(0, 0.1)
    frames, placed, goals = [], [], []
    for side, rest in enumerate(prepared.rests):
        out = np.array([-rest.sign, 0, 0])
        up = np.array([0, np.cos(lean), np.sin(lean)])
        if action in ("prayer", "clap"):
            hand, anchor, offset = frame(up - 0.05 * out, out), 12, 0.017 + gap / 2
        elif action == "steeple":
            hand, anchor, offset = frame(up - 0.55 * out, out + 0.55 * up), 9, 0.007
        else:
            hand, anchor, offset = frame(up - 0.75 * out, out * 0.6 + np.array([0, 0.5, -0.5])), 6, 0.009
        hand = arms_.rodrigues(np.array([0, 0, tilt])) @ hand
        goal = centre + out * offset
        arm = arms_.best_swivel(rest, goal - hand @ local[side, anchor], hand)
        frames.append((out, hand, anchor))
        goals.append(goal)
        placed.append(arm)
    for _ in range(4):  # for the frames that the limits allow, and apart if the hands meet too soon
        for side, (out, hand, anchor) in enumerate(frames):
            target = goals[side] - placed[side].hand @ local[side, anchor]
            placed[side] = arms_.place_arm(prepared.rests[side], target, placed[side].swivel, hand_frame=hand)
            goals[side] = goals[side] + 0.008 * out
        points = [arm.wrist + local[k] @ arm.hand.T for k, arm in enumerate(placed)]
        if np.linalg.norm(points[0][:, None] - points[1][None], axis=-1).min() > 0.014:
            break
    return placed


def _assemble(character, prepared, kinematics, angles, placed, local, rng):
    body = character.body
    count = len(body.bones)
    rotations = np.tile(np.eye(3), (count, 1, 1))
    fixed = np.zeros(count, bool)
    turn = rng.normal([0, 0, 0], [0.16, 0.3, 0.08])
    for name, share in (("neck01", 0.25), ("neck02", 0.5), ("neck03", 0.75), ("head", 1.0)):
        rotations[body.bone(name)] = arms_.rodrigues(share * turn)
        fixed[body.bone(name)] = True
    pivots = character.heads.copy()
    places = np.full((count, 3), np.nan)
    for side, (rig, arm) in enumerate(zip(character.hands, placed, strict=True)):
        for name, matrix in arm.rotations.items():
            bone = body.bone(f"{name}.{SIDES[side]}")
            rotations[bone], fixed[bone] = matrix, True
        pivots[rig.bones] = rig.pivots
        frames = arm.hand @ kinematics.frames[side].reshape(15, 3, 3)
        rotations[rig.bones[5:]] = frames @ rig.frames[5:].transpose(0, 2, 1)
        fixed[rig.bones[5:]] = True
        places[rig.bones[5:]] = arm.wrist + kinematics.joints[side, :, :3].reshape(15, 3) @ arm.hand.T
        places[rig.bones[0]] = arm.wrist
    positions = np.zeros((count, 3))
    for bone, parent in enumerate(body.parents):
        if parent < 0:
            positions[bone] = pivots[bone]
            continue
        if not fixed[bone]:
            rotations[bone] = rotations[parent]
        if np.isnan(places[bone, 0]):
            positions[bone] = positions[parent] + rotations[parent] @ (pivots[bone] - pivots[parent])
        else:
            positions[bone] = places[bone]
    moves = np.concatenate(
        [rotations, (positions - (rotations @ pivots[..., None])[..., 0])[..., None]], axis=2
    ).astype(np.float32)
    blended = (body.skin @ moves.reshape(count, 12)).reshape(-1, 3, 4)
    control = (blended[:, :, :3] @ character.control.astype(np.float32)[..., None])[..., 0] + blended[:, :, 3]
    vertices = body.refine @ control
    faces, material, part = prepared.drawn
    info = {"angles": angles, "arms": [arm.joint_angles for arm in placed]}
    return Posed(vertices.astype(np.float32), faces, material, part, _keypoints(placed, local), info)
