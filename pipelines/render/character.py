"""Seeded people: shape of the body and the hands, and what they wear.

`make_character(body, seed)` takes any int; the named seeds give the 16 + 4 characters of RHD's split.
"""

import dataclasses

import numpy as np

from pipelines.render.body import KINDS, MATERIALS, BodyModel
from pipelines.render.hand_rig import HandRig, fit_hand_rig
from pipelines.render.proportions import sample_phalanges, stretch

CHARACTERS_TRAINING = tuple(range(16))
CHARACTERS_EVALUATION = tuple(range(1000, 1004))
FINGER_GIRTH = (0.0, 0.0, 0.03, 0.03, 0.15)  # thumb to little: how much thicker than MakeHuman's
AGE_ANCHORS = (11.0, 25.0, 85.0)  # years of MakeHuman's child, young and old


@dataclasses.dataclass(frozen=True, eq=False)
class Character:
    """A person at rest.  N control vertices, B bones; metres.

    control (N, 3), heads (B, 3), tails (B, 3) float64; hands: HandRig of (left, right);
    drawn (F,) bool: which triangles of `body.faces` this person shows;
    material (F,) uint8: the body's, with short hair; attributes: dict of numbers.
    """

    body: BodyModel
    seed: int
    control: np.ndarray
    heads: np.ndarray
    tails: np.ndarray
    hands: tuple[HandRig, HandRig]
    drawn: np.ndarray
    material: np.ndarray
    attributes: dict


def macro_weights(age, male, muscle, weight, height, proportions, races):
    """Weights of the whole-body targets, in the order of `build_body.macro_targets`.

    Args:
        age: years.  male, muscle, weight, height, proportions: 0..1.  races: three weights of sum 1.
    Interpolates as MakeHuman does, except that muscle and weight add up rather than multiply.
    """
    child, young, old = AGE_ANCHORS
    ages = np.array(
        [np.clip((young - age) / (young - child), 0, 1.15), 0, np.clip((age - young) / (old - young), 0, 1)]
    )
    ages[1] = 1 - ages.sum()
    group = (ages[:, None] * np.array([1 - male, male])).ravel()  # age major, then female, male
    muscle, weight = 2 * muscle - 1, 2 * weight - 1
    build = np.array([0, max(-muscle, 0), max(muscle, 0), max(-weight, 0), max(weight, 0)])
    build[0] = 1 - build.sum()
    return np.concatenate(
        [
            np.outer(group, factor).ravel()
            for factor in (races, build, (1 - height, height), (1 - proportions, proportions))
        ]
    )


def make_character(body, seed):
    """A person of their own for each seed.

    attributes: skin_tone 0 pale .. 1 dark, sleeve 0 bare arm .. 1 down to the wrist, trousers likewise,
    hair "none", "short" or "long", skirt bool, age years, male 0..1, seed, hand_length metres.
    Raises TypeError for a seed that is no integer.
    """
    if not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an int, got {seed!r}")
    rng = np.random.default_rng([int(seed) % 2**63, 7919])
    kind = rng.random()
    if kind < 0.12:
        age = rng.uniform(9, 15)
    elif kind < 0.75:
        age = rng.uniform(17, 45)
    else:
        age = rng.uniform(45, 80)
    male = float(rng.random() < 0.5)
    male = np.clip(male + rng.normal(0, 0.08), 0, 1)
    races = rng.dirichlet([0.5, 0.5, 0.5])
    muscle, weight = np.clip(rng.normal([0.5, 0.5], [0.22, 0.22]), 0, 1)
    height, proportions = np.clip(rng.normal([0.5, 0.55], [0.1, 0.18]), 0.2, 0.85)
    weights = macro_weights(age, male, muscle, weight, height, proportions, races)
    points = body.base + (weights.astype(np.float32) @ body.macro).reshape(-1, 3)
    for name, amount in _local_amounts(rng):
        rows, deltas = body.local[name]
        points[rows] += np.float32(amount) * deltas
    count, bones = body.num_control, len(body.bones)
    control = points[:count].astype(np.float64)
    heads = points[count : count + bones].astype(np.float64)
    tails = points[count + bones :].astype(np.float64)
    control = _thicken(body, control, heads, tails, rng.normal(FINGER_GIRTH, 0.025))
    own = np.random.default_rng([int(seed) % 2**63, 104_729])
    control, heads, tails = stretch(body, control, heads, tails, sample_phalanges(own))
    hands = tuple(fit_hand_rig(body, control, heads, tails, side) for side in (0, 1))
    attributes = _attributes(rng, races, age, male, seed)
    attributes["hand_length"] = float(np.mean([hand.length for hand in hands]))
    material = body.material.copy()
    if attributes["hair"] != "none":
        material[body.scalp] = MATERIALS.index("hair")
    return Character(
        body, int(seed), control, heads, tails, hands, _drawn(body, attributes), material, attributes
    )


def _local_amounts(rng):
    """Pairs of target and amount: hands and forearms nearly alike on both sides, and the head."""
    for name, scale, tilt in (
        ("hands/{}-hand-fingers-diameter", 0.4, 0.2),
        ("hands/{}-hand-fingers-length", 0.4, 0.0),
        ("hands/{}-hand-fingers-distance", 0.3, 0.0),
        ("hands/{}-hand-scale", 0.28, 0.0),
        ("arms/{}-lowerarm-fat", 0.35, 0.0),
        ("arms/{}-lowerarm-muscle", 0.35, 0.0),
        ("arms/{}-lowerarm-scale-depth", 0.3, 0.0),
        ("arms/{}-lowerarm-scale-horiz", 0.3, 0.0),
    ):
        amount = np.clip(rng.normal(tilt, scale), -1, 1)
        for side in "lr":
            value = np.clip(amount + rng.normal(0, 0.04), -1, 1)
            yield f"{name.format(side)}-{'incr' if value > 0 else 'decr'}", abs(value)
    value = np.clip(rng.normal(0, 0.3), -1, 1)
    yield f"hands/measure-wrist-circ-{'incr' if value > 0 else 'decr'}", abs(value)
    for shape in ("oval", "round", "rectangular", "square", "triangular", "diamond"):
        yield f"head/head-{shape}", rng.uniform(0, 0.4)
    for name in ("head/head-fat", "nose/nose-volume", "chin/chin-jaw-drop"):
        value = np.clip(rng.normal(0, 0.4), -1, 1)
        yield f"{name}-{'incr' if value > 0 else 'decr'}", abs(value)


def _thicken(body, control, heads, tails, amounts):
    """Control vertices (N, 3) with the fingers of both hands thicker by `amounts` (5,), thumb first."""
    control = control.copy()
    for side in "LR":
        for finger, amount in enumerate(amounts, 1):
            for k in (1, 2, 3):
                bone = body.bone(f"finger{finger}-{k}.{side}")
                share = np.asarray(body.skin[:, [bone]].todense()).ravel()
                rows = np.flatnonzero(share)
                axis = tails[bone] - heads[bone]
                arm = control[rows] - heads[bone]
                along = np.clip(arm @ axis / (axis @ axis), 0, 1)
                control[rows] += amount * share[rows, None] * (arm - along[:, None] * axis)
    return control


def _attributes(rng, races, age, male, seed):
    tone = float(np.clip(races @ [0.8, 0.35, 0.2] + rng.normal(0, 0.12), 0, 1))
    sleeve = float(
        rng.choice(
            [rng.uniform(0.0, 0.1), rng.uniform(0.2, 0.45), rng.uniform(0.6, 0.8), rng.uniform(0.9, 1.0)],
            p=[0.15, 0.35, 0.15, 0.35],
        )
    )
    return {
        "skin_tone": tone,
        "sleeve": sleeve,
        "trousers": float(rng.choice([0.4, 1.0], p=[0.2, 0.8])),
        "hair": str(
            rng.choice(["none", "short", "long"], p=[0.05, 0.3, 0.65] if male < 0.5 else [0.2, 0.7, 0.1])
        ),
        "skirt": bool(male < 0.5 and rng.random() < 0.3),
        "age": float(age),
        "male": float(male),
        "seed": int(seed),
    }


def _drawn(body, attributes):
    """(F,) bool: the person's own choice of shells; skin that a garment hides is left out."""
    arm, leg = body.face_garment.T
    kind = body.kind
    tights = kind == KINDS.index("tights")
    top = tights & (leg < 0)
    bottom = tights & (leg >= 0)
    trousers = 1.0 if attributes["skirt"] else attributes["trousers"]
    drawn = (
        (kind == KINDS.index("body"))
        | (top & (arm <= attributes["sleeve"]))
        | (bottom & ((leg <= trousers) | (leg > 1.05)))
        | ((kind == KINDS.index("skirt")) & attributes["skirt"])
        | ((kind == KINDS.index("hair")) & (attributes["hair"] == "long"))
        | (kind == KINDS.index("eye"))
        | (kind == KINDS.index("teeth"))
    )
    hidden = (kind == KINDS.index("body")) & (
        ((arm >= 0) & (arm < attributes["sleeve"] - 0.08)) | ((leg >= 0.05) & (leg < trousers - 0.1))
    )
    return drawn & ~hidden
