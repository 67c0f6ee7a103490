"""Hands of a data set for the lifting experiments, from labels alone: no photograph is decoded.

A source is a folder of records, a file of `pipelines.poses` (.npz), or a folder in RHD's layout of which only
`<split>/anno_<split>.pickle` has to be there (PAPER.md 3.1).
"""

import os

import numpy as np

from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines import rules, safe_pickle
from pipelines.schema import INFO, LABELS

WHICH = ("dominant", "all")
POSE_KEYS = ("xyz", "side", "visible")


def load_hands(sources, split, which="all"):
    """Hands that are labelled in 3D: dict of xyz (N, 21, 3) float32, metres, camera axes, root = palm; side
    (N,) int32; visible (N, 21) bool.

    which: "all", both hands of each sample wherever they are, or "dominant", the paper's one hand an image:
      that with more mask pixels, the right one if equal (PAPER.md 3.2).  Without a mask it is the hand that
      the sample's `side` names (RHD's layout), or the one with more visible keypoints (records).
    ValueError naming the source where it has no such hand, where RHD's layout has neither mask nor `side`,
    and where a file is damaged.
    """
    if which not in WHICH:
        raise ValueError(f"which: one of {WHICH} expected, got {which!r}")
    parts = []
    for source in [sources] if isinstance(sources, str) else sources:
        parts += list(_hands_of(source, split, which))
    if not parts:
        raise ValueError(
            f"{sources}: no hand labelled in 3D in the split {split!r}; Table 2 needs labels in 3D"
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in POSE_KEYS}


def _hands_of(source, split, which):
    if os.path.isdir(source) and not os.path.isfile(os.path.join(source, INFO)):
        return _annotated(source, split, which)
    if os.path.isdir(source):
        return _recorded(source, split, which)
    from pipelines.inputs import load_poses

    return [load_poses(source, split)]


def _recorded(folder, split, which):
    """Hands of a folder of records, or of one that mixes several, one by one."""
    from pipelines.records import ROOTS, mixed, read_info, read_records

    parts = [part for part, _ in mixed(folder)] or [folder]
    for part in parts:
        if split not in read_info(part)["splits"]:
            continue
        for sample in read_records(part, split).as_numpy_iterator():
            wanted = range(len(SIDES)) if which == "all" else [_dominant(sample)]
            palm = sample["root"] == ROOTS.index("palm")
            known, place = sample["present_xyz"], sample["xyz"]
            yield from _pick(place, sample["visible"], known, wanted, palm)


def _dominant(sample):
    from pipelines.pictures import decode
    from pipelines.schema import MASK_KINDS

    if sample["mask_kind"] == MASK_KINDS.index("none"):
        return int(sample["visible"].reshape(len(SIDES), -1).sum(1).argmax())
    return rules.dominant_side(decode(sample["mask"]))


def _annotated(folder, split, which):
    """Hands of RHD's annotation file, one by one."""
    from pipelines.convert import rhd
    from pipelines.convert.common import Skip

    path = rhd.split_file(folder, split)
    if not os.path.isfile(path):
        raise ValueError(f"{folder}: neither {INFO} nor {path}: no records and not RHD's layout")
    labels = safe_pickle.load(path)
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f"{path}: holds a {type(labels).__name__}, expected a dict of sample numbers")
    for number in sorted(labels):
        try:
            label = rhd.label_of(labels[number], f"{path}, sample {number}")
        except Skip as reason:
            raise ValueError(str(reason)) from None
        wanted = range(len(SIDES))
        if which == "dominant":
            wanted = [_annotated_side(labels[number], path, number)]
        yield from _pick(label["xyz"], label["visible"], np.ones(LABELS, bool), wanted, palm=False)


def _annotated_side(label, path, number):
    """0 or 1: what the label's `side` says, or the mask beside the annotation file."""
    if "side" in label:
        side = label["side"]
        side = SIDES.index(side) if side in SIDES else side
        if side not in (0, 1):
            raise ValueError(f"{path}, sample {number}: side is {side!r}, expected left, right, 0 or 1")
        return int(side)
    from hand3d.images import ImageError
    from pipelines.pictures import read_levels

    mask = os.path.join(os.path.dirname(path), "mask", f"{int(number):05d}.png")
    if not os.path.isfile(mask):
        raise ValueError(
            f"{path}, sample {number}: no entry side and no {mask}, so the side of the hand is "
            "unknown; add one of them, or take --hands all"
        )
    try:
        return rules.dominant_side(read_levels(mask, ("L",))[0])
    except ImageError as error:
        raise ValueError(str(error)) from None


def _pick(xyz, visible, known, sides, palm):
    """The wanted hands of a sample that are known in 3D and lie before the camera; their root is the palm."""
    for side in sides:
        part = slice(side * NUM_KEYPOINTS, (side + 1) * NUM_KEYPOINTS)
        if not known[part].all() or not (xyz[part, 2] > 0).all():
            continue
        seen, place = np.array(visible[part], bool), np.asarray(xyz[part], np.float32)
        if not palm:
            seen[0], place = rules.palm_visible(seen), rules.palm_from_wrist(place)
        yield {"xyz": place[None], "side": np.array([side], np.int32), "visible": seen[None]}
