"""Rendered Hand pose Dataset, version 1.1 (PAPER.md 3.1 and 3.2), and what is written in its layout.

    DIR/training/anno_training.pickle   {number: {"uv_vis" (42, 3), "xyz" (42, 3) metres, "K" (3, 3)}}
    DIR/training/color/00000.png        (320, 320, 3)
    DIR/training/mask/00000.png         (320, 320) ids
    DIR/training/depth/00000.png        (320, 320, 3): (256 R + G) / 65535 * 5 m
and the same for `evaluation`.  Both hands are kept; the root is the wrist.
"""

import os

import numpy as np

from hand3d.images import ImageError
from pipelines import safe_pickle
from pipelines.convert.common import Listing, Skip, files_in, first_folder, mask_fits, numbers
from pipelines.pictures import read_levels, read_rgb
from pipelines.records import LABELS
from pipelines.rules import HAND_IDS

LICENCE = "Rendered Hand pose Dataset: research only, non-commercial; cite Zimmermann and Brox (ICCV 2017)"
UNITS, ORDER = "metres", "RHD: wrist, then thumb to little finger, each from tip to base; left hand first"
SPLITS = ("training", "evaluation")
EXPECTED = {"training": 41_258, "evaluation": 2_728}
EXPECTED_FILES = "training/anno_training.pickle, color/, mask/ and depth/, and the same for evaluation"
DEPTH_RANGE = 5.0  # metres
PICTURES = ("color", "mask", "depth")


def add_arguments(parser):
    pass


def _home(folder):
    """The folder with the splits; the published archive puts them into RHD_published_v2."""
    return first_folder(*(os.path.join(folder, *inner) for inner in (("RHD_published_v2",), ()))).rstrip("/")


def recognise(folder):
    return any(os.path.isfile(_annotations(_home(folder), split)) for split in SPLITS)


def _annotations(home, split):
    return os.path.join(home, split, f"anno_{split}.pickle")


def split_file(folder, split):
    return _annotations(_home(folder), split)


def list_items(folder, split, options):
    home = _home(folder)
    path = _annotations(home, split)
    if not os.path.isfile(path):
        raise ValueError(f"{path} does not exist; an RHD folder holds {EXPECTED_FILES}")
    labels = safe_pickle.load(path)
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f"{path}: holds a {type(labels).__name__}, expected a dict of sample numbers")
    files = {kind: files_in(os.path.join(home, split, kind)) for kind in PICTURES}
    listing = Listing(facts={"version": "1.1"})
    for number in sorted(labels, key=str):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
            raise ValueError(f"{path}: key {number!r} is no sample number")
    for number in sorted(labels):
        name = f"{int(number):05d}.png"
        identity = f"{split}/{int(number):05d}"
        missing = [kind for kind in PICTURES if name not in files[kind]]
        try:
            if missing:
                raise Skip(f"{split}/{missing[0]}/{name} is missing")
            item = label_of(labels[number], f"{os.path.basename(path)}, sample {number}")
            listing.items.append(item | {"id": identity, "folder": os.path.join(home, split), "name": name})
        except Skip as reason:
            listing.skipped.append((identity, str(reason)))
    known = {f"{int(number):05d}.png" for number in labels}
    for kind in PICTURES:
        extra = sorted(files[kind] - known)
        if extra:
            listing.notes.append(f"{len(extra)} files in {split}/{kind} without a label, first {extra[0]}")
    return listing


def label_of(label, name):
    """One entry of the annotation file: dict of uv, visible, xyz and K.  Skip, naming it, if it is wrong."""
    if not isinstance(label, dict) or not {"uv_vis", "xyz", "K"} <= set(label):
        raise Skip(f"{name}: expected a dict with uv_vis, xyz and K")
    uv_vis = numbers(label["uv_vis"], (LABELS, 3), f"{name}: uv_vis")
    return {
        "uv": uv_vis[:, :2].astype(np.float32),
        "visible": uv_vis[:, 2] > 0.5,
        "xyz": numbers(label["xyz"], (LABELS, 3), f"{name}: xyz").astype(np.float32),
        "K": numbers(label["K"], (3, 3), f"{name}: K").astype(np.float32),
    }


def picture(item):
    return _path(item, "color")


def _path(item, kind):
    return os.path.join(item["folder"], kind, item["name"])


def load(item):
    paths = {kind: _path(item, kind) for kind in PICTURES}
    try:
        image, image_file = read_rgb(paths["color"])
        mask, mask_file = read_levels(paths["mask"], ("L",))
        coded, _ = read_levels(paths["depth"], ("RGB", "RGBA"))
    except ImageError as error:
        raise Skip(str(error)) from None
    for kind, picture in (("mask", mask), ("depth", coded)):
        if picture.shape[:2] != image.shape[:2]:
            raise Skip(f"{paths[kind]}: {picture.shape[:2]} pixels, but {image.shape[:2]} in color")
    if mask.max() > HAND_IDS[1][1]:
        raise Skip(f"{paths['mask']}: holds the id {mask.max()}, the largest is {HAND_IDS[1][1]}")
    if not mask_fits(mask, item["uv"], item["visible"]):
        raise Skip(f"{paths['mask']}: does not fit the keypoints of {item['id']}; another sample's?")
    levels = (coded[..., 0].astype(np.uint16) << 8) + coded[..., 1]
    depth = np.where(mask > 0, levels * np.float32(DEPTH_RANGE / 65535), np.float32(0))
    before = item["xyz"][:, 2] > 0  # what lies behind the camera has no place in the image
    labels = {key: item[key] for key in ("id", "uv", "xyz", "K", "visible")}
    pictures = {"image": image, "image_file": image_file}
    pictures |= {"mask": mask, "mask_file": mask_file, "depth": depth}
    present = {"present": before, "present_xyz": np.ones(LABELS, bool)}
    return labels | pictures | present | {"meta": {}}
