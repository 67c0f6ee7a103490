"""Whether labelled hands can be hands: bone lengths, order of the fingers, kind of root, side.

The checks look at many hands at once, since a single fist or a noisy label proves nothing.  They find a
data set whose keypoints are in another order than its reader believes: fingers turned round, tips for bases,
the palm for the wrist, a left hand for a right one.  Numbers in the comments are medians over RHD's sample
frames, real photographs and rendered people.
"""

import numpy as np

from hand3d.skeleton import CHAINS, INDEX, NUM_KEYPOINTS, PARENTS, ROOT

FINGER_BONE = (0.005, 0.09)  # metres, of children and adults
PALM_BONE = (0.01, 0.17)  # from the root to the bases
WRIST_RATIO = 1.5  # root to middle MCP, in units of that finger's first bone: wrist 1.9-2.7, palm 0.9-1.4
MAJORITY = 0.6  # share of hands that must agree
_BASES = [INDEX[f"{finger}_mcp"] for finger in ("index", "middle", "ring", "little")]
_FROM_ROOT = np.array([PARENTS[keypoint] == ROOT for keypoint in range(1, NUM_KEYPOINTS)])


def bone_lengths(points):
    """(..., 21, D) -> (..., 20), the bone from keypoint k + 1 to its parent, in the unit of `points`."""
    points = np.asarray(points, np.float64)
    return np.linalg.norm(points[..., 1:, :] - points[..., PARENTS[1:], :], axis=-1)


def impossible_bone(xyz, present):
    """Words for the first bone of a hand outside the human range, or None.

    xyz: (21, 3) metres.  present: (21,) bool; bones with an absent end are passed over.
    """
    lengths = bone_lengths(xyz)
    known = present[1:] & present[list(PARENTS[1:])]
    low = np.where(_FROM_ROOT, PALM_BONE[0], FINGER_BONE[0])
    high = np.where(_FROM_ROOT, PALM_BONE[1], FINGER_BONE[1])
    wrong = np.flatnonzero(known & ~((lengths >= low) & (lengths <= high)))
    if not len(wrong):
        return None
    bone = int(wrong[0])
    name = next(name for name, number in INDEX.items() if number == bone + 1)
    return (
        f"the bone at {name} is {1000 * lengths[bone]:.4g} mm long, human are "
        f"{1000 * low[bone]:g} to {1000 * high[bone]:g} mm"
    )


def root_kind(xyz):
    """ "wrist" or "palm": which of them the roots of the hands (N, 21, 3) are, in the median."""
    first = np.linalg.norm(xyz[:, INDEX["middle_mcp"]] - xyz[:, ROOT], axis=-1)
    bone = np.linalg.norm(xyz[:, INDEX["middle_mcp"]] - xyz[:, INDEX["middle_pip"]], axis=-1)
    return "wrist" if np.median(first / np.maximum(bone, 1e-9)) > WRIST_RATIO else "palm"


def apparent_side(xyz):
    """Side of each hand by its shape, (N, 21, 3) -> (N,) int, 0 left, 1 right; right in most hands only.

    Fingers bend towards the palm: seen with the palm's normal, they do so on one side for left hands and on
    the other for right ones.
    """
    xyz = np.asarray(xyz, np.float64)
    across = xyz[:, INDEX["little_mcp"]] - xyz[:, INDEX["index_mcp"]]
    along = xyz[:, _BASES].mean(1) - xyz[:, ROOT]
    normal = np.cross(across, along)
    tips = [INDEX[f"{finger}_tip"] for finger in ("index", "middle", "ring", "little")]
    bent = (xyz[:, tips] - xyz[:, _BASES]).mean(1)
    return ((normal * bent).sum(-1) < 0).astype(int)


def problems(points, sides=None, root=None):
    """Words for what contradicts the anatomy of hands; an empty list if nothing does.

    points: (N, 21, 3) in any unit, camera axes; or (N, 21, 2) pixels, of which fewer things can be told.
    sides: (N,) 0 left, 1 right, or None.  root: "wrist", "palm", or None.
    """
    points = np.asarray(points, np.float64)
    found = []
    if not len(points):
        return found
    lengths = bone_lengths(points)
    unit = np.maximum(lengths.sum(-1), 1e-9)

    def median(values):
        return float(np.median(values / unit))

    def bone(name):
        return lengths[:, INDEX[name] - 1]

    fingers = ("index", "middle", "ring", "little")
    if median(sum(bone(f"{finger}_pip") - bone(f"{finger}_tip") for finger in fingers)) <= 0:
        found.append("the last bones of the fingers are longer than the first: tips and bases exchanged?")
    thumb, little = (
        sum(lengths[:, keypoint - 1] for keypoint in CHAINS[finger][:-1]) for finger in ("thumb", "little")
    )
    if median(thumb - little) <= 0:  # 100 to 108 mm and 66 to 75 mm
        found.append("the thumb is shorter than the little finger: fingers in the wrong order?")
    bases = points[:, _BASES]
    path = np.linalg.norm(np.diff(bases, axis=1), axis=-1).sum(1)
    straight = np.linalg.norm(bases[:, -1] - bases[:, 0], axis=-1)
    if median(path - 1.4 * straight) > 0:  # they lie on a gentle arc: 1.02 to 1.1
        found.append("the knuckles do not follow each other from index to little finger: wrong order?")
    joint = points[:, INDEX["thumb_mcp"], None]
    near, far = np.linalg.norm(joint - bases[:, [0, -1]], axis=-1).T
    if median(far - near) <= 0:
        found.append("the thumb lies on the little finger's side: fingers in the wrong order?")
    if points.shape[-1] == 3:
        if root and root_kind(points) != root:
            found.append(f"the root seems to be the {root_kind(points)}, not the {root}")
        if sides is not None:
            right = float((apparent_side(points) == np.asarray(sides)).mean())
            if right < 1 - MAJORITY:
                found.append(f"only {right:.0%} of the hands have the shape of their side: sides exchanged?")
    return found
