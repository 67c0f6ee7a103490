"""What the sources share: listings, skips, checks of one sample's labels."""

import os
import re
from dataclasses import dataclass, field

import numpy as np

from hand3d.skeleton import FINGERS, INDEX, NUM_KEYPOINTS, ROOT, SIDES
from pipelines import anatomy
from pipelines.rules import HAND_IDS, in_image

FITTING = 0.3  # share of visible keypoints that must lie on their own hand in the mask
PROJECTION_TOLERANCE = 1.5  # pixels, in the mean over a hand's keypoints
# joints of a finger from the root to the tip, as most data sets but RHD have them; numbered 1 to 4
JOINTS_OUTWARDS = ("mcp", "pip", "dip", "tip")
THUMB_OUTWARDS = ("cmc", "mcp", "ip", "tip")
# index in the source of each of our keypoints, for sources with the wrist first, then thumb to little finger
FROM_OUTWARDS = (ROOT, *(4 * finger + joint for finger in range(len(FINGERS)) for joint in (4, 3, 2, 1)))


class Skip(Exception):
    """A sample that cannot be used; the message says which file and why."""


@dataclass
class Listing:
    """What a source found: items (dicts that can be pickled, each with an `id`), samples left out already as
    (id, reason), remarks for the report, and facts for info.json."""

    items: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    facts: dict = field(default_factory=dict)


def both_hands(side, values, width=None):
    """(21, ...) of one hand -> (42, ...) with zeros for the other.  side: 0 or 1, or a word of SIDES."""
    values = np.asarray(values)
    result = np.zeros((len(SIDES) * NUM_KEYPOINTS, *values.shape[1:]), values.dtype)
    number = SIDES.index(side) if isinstance(side, str) else side
    result[number * NUM_KEYPOINTS : (number + 1) * NUM_KEYPOINTS] = values
    return result


def project(xyz, K):
    """(..., 3) metres and (3, 3) -> (..., 2) pixels, float64; points behind the camera give nonsense."""
    points = np.asarray(xyz, np.float64) @ np.asarray(K, np.float64).T
    return points[..., :2] / np.where(np.abs(points[..., 2:]) < 1e-9, 1e-9, points[..., 2:])


def check_labels(sample, name):
    """Skip unless labels are finite, uv is what K makes of xyz, and bones have human lengths.

    sample: as `load` returns it.  Returns it with what lies off the image marked as not visible, and with the
    number of keypoints for which that was changed.
    """
    sample = dict(sample)
    present = np.asarray(sample["present"], bool)
    present_xyz = np.asarray(sample.get("present_xyz", present), bool)
    if not present.any():
        raise Skip(f"{name}: no keypoint is labelled")
    for key, which in (("uv", present), ("xyz", present_xyz)):
        if not np.isfinite(np.asarray(sample[key])[which]).all():
            raise Skip(f"{name}: {key} holds a value that is NaN or infinite")
    K = np.asarray(sample["K"])
    if K.shape != (3, 3) or not np.isfinite(K).all():
        raise Skip(f"{name}: K has shape {K.shape} or is not finite, expected 3 x 3 numbers")
    error = projection_error(sample["uv"], sample["xyz"], K, present & present_xyz)
    if error > PROJECTION_TOLERANCE:
        raise Skip(f"{name}: xyz projected with K lies {error:.1f} px from uv; wrong K, or another image's?")
    for side in range(len(SIDES)):
        part = slice(side * NUM_KEYPOINTS, (side + 1) * NUM_KEYPOINTS)
        wrong = anatomy.impossible_bone(np.asarray(sample["xyz"])[part], present_xyz[part])
        if wrong:
            raise Skip(f"{name}: {SIDES[side]} hand: {wrong}")
    height, width = sample["image"].shape[:2]
    inside = in_image(np.asarray(sample["uv"]), width, height) & present
    if not inside.any():
        raise Skip(f"{name}: no keypoint lies on the image of {width} x {height} pixels")
    visible = np.asarray(sample["visible"], bool) & present
    sample["visible"] = visible & inside
    return sample, int((visible & ~inside).sum())


def projection_error(uv, xyz, K, which):
    """Mean distance in pixels of uv from the projection of xyz, over `which` (N,) bool before the camera; 0
    without K."""
    which = np.asarray(which, bool) & (np.asarray(xyz)[:, 2] > 1e-3)
    if not which.any() or not np.any(K):
        return 0.0
    return float(np.linalg.norm(project(np.asarray(xyz)[which], K) - np.asarray(uv)[which], axis=-1).mean())


def mask_fits(mask, uv, visible):
    """Whether visible keypoints lie on their own hand, by and large; True where there are less than five.

    mask: (H, W) ids of RHD.  uv: (42, 2) pixels.  visible: (42,) bool.
    """
    columns, rows = np.rint(uv).astype(int).T
    side = np.repeat(np.arange(len(SIDES)), NUM_KEYPOINTS)
    seen = visible & (columns >= 0) & (columns < mask.shape[1]) & (rows >= 0) & (rows < mask.shape[0])
    if seen.sum() < 5:
        return True
    ids = mask[rows[seen], columns[seen]]
    low, high = np.array(HAND_IDS)[side[seen]].T
    return ((ids >= low) & (ids <= high)).mean() >= FITTING


def numbers(value, shape, name):
    """value as a float array of this shape; Skip naming the sample otherwise."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise Skip(f"{name}: no array of numbers") from None
    if array.shape != tuple(shape):
        raise Skip(f"{name}: shape {array.shape}, expected {tuple(shape)}")
    if not np.isfinite(array).all():
        raise Skip(f"{name}: holds a value that is NaN or infinite")
    return array


def files_in(folder):
    """Names of the files in a folder as a set; empty where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def first_folder(*candidates):
    """The first of these paths that is a folder, or the first of all."""
    return next((path for path in candidates if os.path.isdir(path)), candidates[0])


_FINGER_WORDS = {
    "thumb": "thumb",
    "index": "index",
    "fore": "index",
    "pointer": "index",
    "middle": "middle",
    "ring": "ring",
    "little": "little",
    "pinky": "little",
    "pinkie": "little",
    "small": "little",
}


def keypoint_index(name):
    """Our index of a keypoint by its name in any of the common styles; None if it is not understood.

    Known are our own names (`index_tip`), MediaPipe's (`INDEX_FINGER_TIP`, `PINKY_MCP`, `WRIST`), numbers
    from base to tip as in OneHand10K (`forefinger1` to `forefinger4`), `wrist`, `palm` and `root`.
    """
    text = re.sub(r"[^a-z0-9]", "", str(name).lower())
    text = re.sub(r"^(left|right)?(hand)?", "", text) if "thumb" not in text else text
    if text in ("wrist", "root", "palm"):
        return ROOT
    finger = next((ours for word, ours in _FINGER_WORDS.items() if word in text), None)
    if not finger:
        return None
    joints = THUMB_OUTWARDS if finger == "thumb" else JOINTS_OUTWARDS
    found = [joint for joint in ("cmc", "mcp", "pip", "dip", "tip") if text.endswith(joint)]
    if found and found[0] in joints:
        return INDEX[f"{finger}_{found[0]}"]
    if finger == "thumb" and text.endswith("ip"):
        return INDEX["thumb_ip"]
    if re.search(r"[1-4]$", text):
        return INDEX[f"{finger}_{joints[int(text[-1]) - 1]}"]
    return None
