"""FreiHAND, version 2 (Zimmermann et al., ICCV 2019).

    DIR/training_xyz.json, training_K.json      lists of 21 x 3 metres and 3 x 3, 32,560 entries
    DIR/training/rgb/00000000.jpg, ...          (224, 224, 3); four times as many as labels: image i has label
                                                i modulo 32,560 and another background
    DIR/training/mask/00000000.jpg, ...         the hand, white; for the first 32,560, taken where it is there
and `evaluation` with as many images as labels.  Right hands; the wrist, then thumb to little finger, each
from base to tip, which is turned round.
"""

import json
import os
import re

import numpy as np

from hand3d.images import ImageError
from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines.convert.common import (
    FROM_OUTWARDS,
    Listing,
    Skip,
    both_hands,
    files_in,
    mask_fits,
    numbers,
    project,
)
from pipelines.pictures import read_levels, read_rgb
from pipelines.rules import HAND_IDS

LICENCE = "FreiHAND: research only, non-commercial; cite Zimmermann et al. (ICCV 2019)"
UNITS, ORDER = "metres", "wrist, then thumb to little finger, each from base to tip"
SPLITS = ("training", "evaluation")
EXPECTED = {"training": 130_240, "evaluation": 3_960}
EXPECTED_FILES = "training_xyz.json, training_K.json and training/rgb/, or the same for evaluation"
RIGHT = SIDES.index("right")


def add_arguments(parser):
    pass


def recognise(folder):
    names = files_in(folder)
    return any({f"{split}_xyz.json", f"{split}_K.json"} <= names for split in SPLITS)


def split_file(folder, split):
    return os.path.join(folder, f"{split}_xyz.json")


def read_json(path):
    """Contents of a JSON file; ValueError naming it."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; a FreiHAND folder holds {EXPECTED_FILES}") from None
    except ValueError as error:
        raise ValueError(f"{path}: no JSON, or truncated ({error}); download it again") from error


def list_items(folder, split, options):
    lists = {key: read_json(os.path.join(folder, f"{split}_{key}.json")) for key in ("xyz", "K")}
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{split}_{key}.json: expected a list of labels")
    count = len(lists["xyz"])
    if len(lists["K"]) != count:
        raise ValueError(f"{split}_K.json has {len(lists['K'])} entries, {split}_xyz.json {count}")
    images = os.path.join(folder, split, "rgb")
    names, masks = files_in(images), files_in(os.path.join(folder, split, "mask"))
    if not names:
        raise ValueError(f"{images} has no images; a FreiHAND folder holds {EXPECTED_FILES}")
    found = {int(name[:-4]): name for name in names if re.fullmatch(r"\d{8}\.(jpg|png)", name)}
    listing = Listing(facts={"labels": count, "masks": len(masks)})
    last = max(found, default=0)
    variants = last // count + 1  # of each label, with other backgrounds
    if (last + 1) % count:
        listing.notes.append(f"the last image is number {last}, not a multiple of the {count} labels")
    for number in range(count * variants):
        identity, label = f"{split}/{number:08d}", number % count
        try:
            if number not in found:
                raise Skip(f"{split}/rgb/{number:08d}.jpg is missing")
            name = f"{split}_%s.json, entry {label}"
            xyz = numbers(lists["xyz"][label], (NUM_KEYPOINTS, 3), name % "xyz")
            item = {"xyz": xyz[list(FROM_OUTWARDS)], "K": numbers(lists["K"][label], (3, 3), name % "K")}
        except Skip as reason:
            listing.skipped.append((identity, str(reason)))
            continue
        mask = next((name for name in (f"{label:08d}.jpg", f"{label:08d}.png") if name in masks), None)
        item |= {"id": identity, "path": os.path.join(images, found[number])}
        listing.items.append(item | {"mask": mask and os.path.join(folder, split, "mask", mask)})
    return listing


def picture(item):
    return item["path"]


def load(item):
    try:
        image, image_file = read_rgb(item["path"])
        mask = None
        if item["mask"]:
            levels, _ = read_levels(item["mask"], ("L", "RGB"))
            white = (levels if levels.ndim == 2 else levels[..., 0]) > 127
            if white.shape != image.shape[:2]:
                raise Skip(f"{item['mask']}: {white.shape} pixels, the image has {image.shape[:2]}")
            mask = np.where(white, HAND_IDS[RIGHT][1], 0).astype(np.uint8)
    except ImageError as error:
        raise Skip(str(error)) from None
    labelled = both_hands(RIGHT, np.ones(NUM_KEYPOINTS, bool))
    uv = both_hands(RIGHT, project(item["xyz"], item["K"]))
    if mask is not None and not mask_fits(mask, uv, labelled):
        raise Skip(f"{item['mask']}: does not fit the keypoints of {item['id']}; another sample's?")
    return {
        "id": item["id"],
        "image": image,
        "image_file": image_file,
        "mask": mask,
        "mask_kind": "none" if mask is None else "hands",
        "uv": uv,
        "xyz": both_hands(RIGHT, item["xyz"]),
        "visible": labelled,
        "present": labelled,
        "K": item["K"],
        "meta": {},
    }
