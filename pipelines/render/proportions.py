"""Fingers of a person's own proportions: among MakeHuman's people some bones hardly differ, tips by 1 %."""

import numpy as np

# MakeHuman's little finger is short; tables of phalanges and tracked people's hand profiles agree on these
USUAL = np.ones((5, 3))
USUAL[4] = 0.97, 1.2, 1.08
PHALANX_SPREAD = 0.07  # standard deviations of the logarithms of lengths; of the thumb's metacarpal less
METACARPAL_SPREAD = 0.04
FINGER_SPREAD = 0.03  # of all phalanges of a finger together
LIMIT = 2.0  # standard deviations


def sample_phalanges(rng):
    """(5, 3) lengths of the bones of thumb to little finger, base first, in units of MakeHuman's."""
    each, together = rng.standard_normal((5, 3)), rng.standard_normal((5, 1))
    spread = np.full((5, 3), PHALANX_SPREAD)
    spread[0, 0] = METACARPAL_SPREAD
    each, together = (np.clip(value, -LIMIT, LIMIT) for value in (each, together))
    return USUAL * np.exp(spread * each + FINGER_SPREAD * together)


def stretch(body, control, heads, tails, lengths):
    """Control vertices (N, 3), heads (B, 3) and tails (B, 3) with fingers of other lengths, both hands alike.

    lengths: as of `sample_phalanges`.  Skin follows its bones as it does when they bend, by their weights: it
    is stretched along a phalanx, and what lies beyond moves on; girths stay.
    """
    moved, new_heads, new_tails = control.copy(), heads.copy(), tails.copy()
    for side in "LR":
        for finger, factors in enumerate(lengths, 1):
            beyond = np.zeros(3)  # how far what is beyond the bones so far has moved
            for k, factor in enumerate(factors, 1):
                bone = body.bone(f"finger{finger}-{k}.{side}")
                share = np.asarray(body.skin[:, [bone]].todense()).ravel()
                rows = np.flatnonzero(share)
                axis = tails[bone] - heads[bone]
                along = (control[rows] - heads[bone]) @ axis / (axis @ axis)
                along = np.clip(along, 0, 1 if k < 3 else None)  # the last bone ends inside the finger tip
                moved[rows] += share[rows, None] * (beyond + (factor - 1) * along[:, None] * axis)
                new_heads[bone] += beyond
                beyond = beyond + (factor - 1) * axis
                new_tails[bone] += beyond
    return moved, new_heads, new_tails
