"""The named actions as data: 31 to train, 8 to evaluate, as many as RHD has.

A pose names the state of every finger, thumb first, then options.  An action is a sequence of poses that a
hand goes through.  Angles are degrees here, in the order of `hand_pose.FINGER_ANGLES` and `THUMB_ANGLES`.
"""

import numpy as np

from pipelines.render.hand_solver import PAD

# finger: mcp_flex, pip_flex, dip_flex
FINGER_STATES = {
    "up": (2, 6, 4),
    "back": (-14, 2, 2),
    "loose": (18, 28, 16),
    "easy": (28, 40, 22),
    "half": (38, 55, 30),
    "claw": (5, 68, 45),
    "hook": (8, 92, 50),
    "bent": (72, 12, 8),
    "round": (38, 42, 26),
    "wide": (18, 38, 22),
    "grip": (62, 82, 45),
    "fold": (84, 103, 58),
    "tuck": (72, 100, 42),
    "down": (64, 94, 22),
    "pinch": (48, 52, 28),
    "beak": (58, 28, 12),
    "lean": (30, 10, 6),
}
# thumb: cmc_flex, cmc_abd, cmc_rot, mcp_flex, mcp_abd, ip_flex
THUMB_STATES = {
    "up": (-20, -12, 0, 2, 4, -8),
    "out": (-14, -22, 0, 6, 4, 0),
    "side": (16, -28, 0, 8, 0, 2),
    "loose": (6, 0, 6, 14, 0, 16),
    "across": (32, 20, 20, 40, 0, 46),
    "over": (30, 18, 18, 34, 0, 36),
    "oppose": (26, 16, 26, 18, 0, 22),
    "round": (8, 18, 16, 12, 0, 22),
    "ahead": (2, 29, 12, 8, 0, 14),
    "key": (24, -14, 6, 22, 0, 20),
    "wrap": (22, 30, 20, 22, 0, 24),
    "palm": (40, 4, 22, 34, 0, 30),
}
SPREAD = np.array([1.0, 0.25, -0.6, -1.5])  # abduction of the fingers per degree of spread

BACK = (0.0, 0.0, 1.0)
_BACK_INDEX = (1, 1, 0.55, BACK)
_BACK_MIDDLE = (2, 1, 0.45, BACK)
_BACK_RING = (3, 1, 0.5, BACK)
_SIDE_INDEX = (1, 1, 0.7, (-1.0, 0.0, 0.0))


def _touch(*where, weight=1.0):
    return (0, *PAD, *where, weight)


def _tip(finger, weight=1.0):
    """Thumb pad against a finger's pad."""
    return (0, 2, 0.7, (0.0, 0.0, -1.0), finger, 2, 0.65, (0.0, 0.0, -1.0), weight)


CONTACTS = {
    "index": _tip(1),
    "middle": _tip(2),
    "ring": _tip(3),
    "little": _tip(4),
    "on_index": _touch(*_BACK_INDEX),
    "on_middle": _touch(*_BACK_MIDDLE),
    "on_ring": _touch(*_BACK_RING),
    "key": _touch(*_SIDE_INDEX),
}


def _pose(states, spread=4.0, contacts="", wrist=(0.0, 0.0)):
    return {
        "states": tuple(states.split()),
        "spread": spread,
        "contacts": tuple(contacts.split()),
        "wrist": wrist,
    }


POSES = {
    "open": _pose("up up up up up", 7),
    "flat": _pose("side up up up up", 0),
    "spread": _pose("up back back back back", 13),
    "stop": _pose("out up up up up", 3, wrist=(-45, 0)),
    "relaxed": _pose("loose loose easy easy half", 4),
    "rest": _pose("loose easy easy half half", 2),
    "fist": _pose("across fold fold fold fold", 0, "on_middle"),
    "fist_side": _pose("key fold fold fold fold", 0, "key"),
    "thumb": _pose("up fold fold fold fold", 0),
    "thumb_index": _pose("up up fold fold fold", 2),
    "index": _pose("over up fold fold fold", 2, "on_middle"),
    "index_open": _pose("loose up grip grip grip", 2),
    "two": _pose("over up up tuck tuck", 9, "on_ring"),
    "two_closed": _pose("over up up fold fold", 0, "on_ring"),
    "thumb_two": _pose("up up up fold fold", 8),
    "three": _pose("over up up up fold", 7, "little"),
    "three_pads": _pose("oppose up up up grip", 7, "little"),
    "four": _pose("palm up up up up", 8),
    "horns": _pose("over up fold fold up", 5, "on_middle"),
    "horns_ring": _pose("over up down down up", 5, "on_ring"),
    "love": _pose("up up tuck tuck up", 6),
    "call": _pose("up fold fold fold up", 8),
    "little": _pose("over fold fold fold up", 3, "on_middle"),
    "ring_down": _pose("oppose up up pinch up", 6, "ring"),
    "ring_folded": _pose("over up up down up", 7, "on_ring"),
    "middle_folded": _pose("oppose up pinch up up", 6, "middle"),
    "middle_up": _pose("over fold up fold fold", 2, "on_index"),
    "ok": _pose("oppose pinch lean up up", 8, "index"),
    "ok_flat": _pose("oppose pinch up up up", 4, "index"),
    "pinch": _pose("oppose pinch half grip grip", 3, "index"),
    "pinch_middle": _pose("oppose up pinch up up", 5, "middle"),
    "pinch_ring": _pose("oppose up up pinch up", 5, "ring"),
    "pinch_little": _pose("oppose up up up pinch", 5, "little"),
    "tripod": _pose("oppose pinch pinch grip grip", 1, "index middle"),
    "pen": _pose("oppose pinch grip grip grip", 1, "index"),
    "key": _pose("key half grip grip grip", 0, "key"),
    "claw": _pose("round claw claw claw claw", 8),
    "hook": _pose("side hook hook hook hook", 1),
    "hook_index": _pose("over hook fold fold fold", 1, "on_middle"),
    "cylinder": _pose("ahead round round round round", 2),
    "cylinder_wide": _pose("ahead wide wide wide wide", 4),
    "sphere": _pose("round wide wide wide wide", 13),
    "disc": _pose("round claw claw claw claw", 14),
    "power": _pose("wrap grip grip grip grip", 0, "on_index"),
    "bunch": _pose("oppose beak beak beak beak", -1, "middle index"),
    "duck": _pose("oppose bent bent bent bent", 0, "middle"),
    "roof": _pose("ahead bent bent bent bent", 0),
    "curl_1": _pose("loose up up up half", 4),
    "curl_2": _pose("loose up up half grip", 4),
    "curl_3": _pose("loose up half grip fold", 3),
    "curl_4": _pose("over half grip fold fold", 2),
    "crossed": _pose("over up lean tuck tuck", -6, "on_ring"),
    "letter_e": _pose("palm hook hook hook hook", 0),
    "letter_t": _pose("key fold fold fold fold", 2, "key"),
    "letter_k": _pose("side up lean fold fold", 10),
    "letter_c": _pose("ahead round round round round", 1),
    "letter_d": _pose("oppose up pinch pinch half", 2, "middle"),
    "letter_w": _pose("oppose up up up pinch", 10, "little"),
    "snap": _pose("oppose lean pinch fold fold", 2, "middle"),
    "beckon_in": _pose("over half fold fold fold", 2, "on_middle"),
    "gun_hammer": _pose("out up up fold fold", 0),
    "gun": _pose("up up fold fold fold", 1),
    "clasp": _pose("loose round round round round", 6),
    "heart": _pose("round bent bent half half", 0),
}

# what a hand goes through; "pair" puts both hands together in that way
_TRAINING = {
    "count_thumb_first": ("thumb", "thumb_index", "thumb_two", "three", "open", "spread"),
    "count_index_first": ("index", "two", "three", "four", "open"),
    "count_one_hand_to_ten": ("call", "bunch", "thumb_index", "hook_index", "fist"),
    "point": ("index", "index_open", "thumb_index"),
    "thumbs_up": ("thumb", "fist_side", "thumb"),
    "fist": ("fist", "fist_side", "power"),
    "flat_hand": ("flat", "open", "flat"),
    "stop": ("stop", "spread"),
    "relaxed": ("relaxed", "rest"),
    "victory": ("two", "two_closed", "two"),
    "ok": ("ok", "ok_flat"),
    "pinch": ("open", "pinch", "ok_flat"),
    "horns": ("horns", "horns_ring"),
    "call_me": ("call", "fist_side"),
    "i_love_you": ("love", "horns"),
    "three_with_thumb": ("thumb_two", "gun_hammer"),
    "three_without_thumb": ("three", "three_pads", "letter_w"),
    "claw": ("claw", "disc", "open"),
    "cylinder_grasp": ("open", "cylinder_wide", "cylinder", "power"),
    "sphere_grasp": ("spread", "sphere", "claw"),
    "power_grip": ("power", "fist", "cylinder"),
    "pen_hold": ("pen", "tripod"),
    "key_pinch": ("key", "fist_side"),
    "hook_grip": ("hook", "flat", "claw"),
    "bunch": ("bunch", "duck", "open"),
    "wave": ("open", "spread", "flat"),
    "open_close": ("open", "relaxed", "cylinder", "fist"),
    "finger_opposition": ("pinch_middle", "pinch_ring", "pinch_little", "ok_flat"),
    "letters": (
        *("letter_c", "letter_d", "letter_e", "letter_k"),
        *("ring_folded", "middle_folded", "little", "roof"),
    ),
    "clap": ("flat", "open"),
    "prayer": ("flat", "flat"),
}
_EVALUATION = {
    "gun": ("gun", "gun_hammer"),
    "beckon": ("index", "beckon_in"),
    "finger_wave": ("open", "curl_1", "curl_2", "curl_3", "curl_4"),
    "ring_pinch": ("ring_down", "open"),
    "crossed_fingers": ("crossed", "two_closed"),
    "snap": ("snap", "middle_up", "letter_t"),
    "heart": ("heart", "heart"),
    "steeple": ("clasp", "open"),
}
ACTIONS = {**_TRAINING, **_EVALUATION}
ACTIONS_TRAINING, ACTIONS_EVALUATION = tuple(_TRAINING), tuple(_EVALUATION)
PAIRS = ("clap", "prayer", "heart", "steeple")  # both hands act together


def sample_action(rng, split):
    """A name out of ACTIONS_TRAINING or ACTIONS_EVALUATION.  split: "training" or "evaluation"."""
    names = {"training": ACTIONS_TRAINING, "evaluation": ACTIONS_EVALUATION}.get(split)
    if names is None:
        raise ValueError(f'split must be "training" or "evaluation", got {split!r}')
    return names[rng.integers(len(names))]


def sample_actions(rng, split):
    """What the left and the right hand play: every action of the split has the same share of all hands.

    An action of PAIRS takes both hands.
    """
    left = sample_action(rng, split)
    if left in PAIRS:
        return left, left
    right = sample_action(rng, split)
    while right in PAIRS:
        right = sample_action(rng, split)
    return left, right


def pose_angles(name):
    """Angles (22,) in radians of a pose as it stands in the table, before contacts."""
    pose = POSES[name]
    thumb, *fingers = pose["states"]
    angles = list(THUMB_STATES[thumb])
    for k, state in enumerate(fingers):
        mcp, pip, dip = FINGER_STATES[state]
        angles += [mcp, SPREAD[k] * pose["spread"], pip, dip]
    return np.radians(angles)
