"""One instant of an action, by chance: what the fingers of a hand should do."""

import numpy as np

from pipelines.render.actions import (
    ACTIONS,
    ACTIONS_EVALUATION,
    ACTIONS_TRAINING,
    BACK,
    CONTACTS,
    FINGER_STATES,
    PAIRS,
    POSES,
    SPREAD,
    THUMB_STATES,
    pose_angles,
)
from pipelines.render.hand_pose import ANGLES

FOLDED = np.radians(70)  # flexion of the PIP joint
INDEPENDENT = 0.3  # share of the hands whose fingers are bent each on its own
CLEAR = 0.7  # of these: each finger plainly straight or plainly folded, the thumb often on a folded one
_FOLDED = ("fold", "tuck", "down", "grip")
# of the other hands: states of a finger, and how often
_KINDS = ("up", "lean", "back", "fold", "tuck", "down", "grip", "half", "hook", "claw", "loose")
_SHARES = (0.36, 0.05, 0.05, 0.1, 0.1, 0.1, 0.08, 0.06, 0.03, 0.03, 0.04)
# up to here, of the others: between two poses of the action; blended with a pose of another action
BETWEEN, BLENDED = 2 / 7, 0.4
# action -> the poses of all actions of its split, which may be blended in
_POSES_BESIDE = {
    action: sorted({pose for each in split for pose in ACTIONS[each]})
    for split in (ACTIONS_TRAINING, ACTIONS_EVALUATION)
    for action in split
}


def sample_hand(rng, action, independent=INDEPENDENT):
    """One instant of an action: wanted angles (22,), contacts, wrist flexion and deviation (2,), all radians.

    independent: share of the hands, 0..1, with fingers that are bent each on its own: every combination of
    folded and straight fingers turns up.  Of the others some are an instant between two poses of the action,
    some blended with a pose of another action of the same split.
    """
    if action not in ACTIONS:
        raise ValueError(f"action must be one of {', '.join(ACTIONS)}; got {action!r}")
    poses = ACTIONS[action]
    step = rng.integers(len(poses))
    name, other = poses[step], poses[(step + 1) % len(poses)]
    angles, contacts = pose_angles(name), list(POSES[name]["contacts"])
    wrist = np.radians(POSES[name]["wrist"])
    kind = rng.random()
    rest = (kind - independent) / max(1 - independent, 1e-9)
    if rest < 0 and action not in PAIRS:
        angles, contacts = _independent(rng)
    elif rest < BETWEEN:
        t = rng.uniform(0.1, 0.9)
        angles, contacts = (1 - t) * angles + t * pose_angles(other), []
    elif rest < BLENDED and action not in PAIRS:
        names = _POSES_BESIDE[action]
        other = pose_angles(names[rng.integers(len(names))])
        t = rng.uniform(0.15, 0.6)
        angles, contacts = (1 - t) * angles + t * other, []
    angles = _clench(angles + _jitter(rng), rng)
    wrist = wrist + np.radians(rng.normal([0, 0], [18, 7]))
    wrist = np.clip(wrist, np.radians([-65, -18]), np.radians([65, 28]))
    return angles, [_shift(CONTACTS[name], angles, rng) for name in contacts], wrist


def _jitter(rng):
    """Radians (22,): a scale common to the hand, more on the knuckles; DIPs go along with PIPs."""
    scale = np.radians(rng.choice([2.0, 5.0, 9.0], p=[0.3, 0.45, 0.25]))
    noise = rng.normal(0, scale, len(ANGLES))
    for k in range(4):
        first = 6 + 4 * k
        noise[first + 1] *= 0.6
        noise[first + 3] = 0.55 * noise[first + 2] + 0.5 * noise[first + 3]
    noise[:6] *= (1.0, 1.0, 1.0, 1.0, 0.3, 1.2)
    return noise


def _clench(angles, rng):
    """Folded fingers pressed into the palm, or loosely down with nearly straight tips."""
    fingers = angles[6:].reshape(4, 4).copy()
    folded = fingers[:, 2] > FOLDED
    tightness = np.clip(rng.uniform(0.15, 1.15) + rng.normal(0, 0.15, 4), 0, 1.3)
    fingers[:, 3] = np.where(folded, fingers[:, 3] * tightness, fingers[:, 3])
    fingers[:, 2] += folded * np.radians(12) * (tightness - 0.8)
    return np.concatenate([angles[:6], fingers.ravel()])


def _shift(contact, angles, rng):
    """A contact of the thumb with the back of a folded finger, elsewhere along it or on its neighbour."""
    thumb, finger, where, weight = contact[:4], contact[4], contact[5:8], contact[8]
    if where[2] != BACK:
        return contact
    beside = [f for f in (finger - 1, finger + 1) if 1 <= f <= 3 and angles[4 + 4 * f] > FOLDED]
    if beside and rng.random() < 0.3:
        finger = int(rng.choice(beside))
    place = (1, rng.uniform(0.3, 1.0)) if rng.random() < 0.7 else (2, rng.uniform(0.05, 0.6))
    return (*thumb, finger, *place, BACK, weight)


def _independent(rng):
    """Angles and contacts of a hand each of whose fingers is straight, folded or in between by itself."""
    clear = rng.random() < CLEAR
    states = _clear_states(rng) if clear else [rng.choice(_KINDS, p=_SHARES) for _ in range(4)]
    spread = rng.uniform(-2, 13)
    folded = [k for k, s in enumerate(states) if s in _FOLDED]
    free, on_back = (0.4, 0.75) if clear else (0.45, 0.85)
    contacts = []
    roll = rng.random()
    if roll < free or not folded:
        thumb = rng.choice(
            ["up", "out", "side", "loose", "round", "ahead"], p=[0.3, 0.2, 0.12, 0.18, 0.08, 0.12]
        )
    else:
        finger = int(rng.choice(folded))
        if roll < on_back and finger < 3:
            thumb, contacts = "over", ["on_" + ("index", "middle", "ring")[finger]]
        elif roll < on_back and rng.random() < 0.5:
            thumb = "palm"  # it does not reach over the little finger
        else:
            thumb, contacts = "oppose", [("index", "middle", "ring", "little")[finger]]
            states[finger] = "pinch"
    angles = list(THUMB_STATES[thumb])
    for k, state in enumerate(states):
        mcp, pip, dip = FINGER_STATES[state]
        angles += [mcp, SPREAD[k] * spread, pip, dip]
    return np.radians(angles), contacts


def _clear_states(rng):
    """States of four fingers, each plainly straight or plainly folded, neither all of them.

    Numbers and letters of signs are such hands.  Every one of the 14 patterns comes as often.
    """
    pattern = int(rng.integers(1, 2**4 - 1))
    straight = rng.choice(["up", "back", "lean"], size=4, p=[0.7, 0.15, 0.15])
    folded = rng.choice(_FOLDED, size=4, p=[0.3, 0.2, 0.35, 0.15])
    return [str((folded if pattern >> k & 1 else straight)[k]) for k in range(4)]
