"""COCO keypoint JSON with the 21 keypoints of a hand, as annotation tools export it.

    {"images": [{"id", "file_name", "width", "height"}],
     "annotations": [{"id", "image_id", "category_id", "keypoints": [u, v, flag] * 21,
                      "bbox", "segmentation"}],
     "categories": [{"id", "name", "keypoints": [names]}]}

flag: 0 not labelled, 1 hidden, 2 visible.  2D only.  Box and segmentation (polygons or run lengths) are used
where they are there.  The order comes from the category's names or `--order`; the side from `--side`, the
annotation's attributes or the category's name.  Of several hands of one side in an image, each becomes a
sample of its own.
"""

import json
import os

import numpy as np
from PIL import Image, ImageDraw

from hand3d.images import ImageError
from hand3d.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS, SIDES
from pipelines.convert.common import FROM_OUTWARDS, Listing, Skip, both_hands, keypoint_index, numbers
from pipelines.convert.own import in_split, own_arguments, own_labels
from pipelines.convert.stb import FROM_STB
from pipelines.pictures import read_rgb
from pipelines.rules import HAND_IDS

LICENCE = "as its owner says (--licence)"
UNITS, ORDER = "pixels", "the category's keypoint names, or --order"
SPLITS = ("training", "evaluation")
EXPECTED = {}
EXPECTED_FILES = "one .json file (or --annotations) and the images that it names"
# index in the source of each of our keypoints
ORDERS = {"rhd": tuple(range(NUM_KEYPOINTS)), "outwards": FROM_OUTWARDS, "stb": FROM_STB}


def add_arguments(parser):
    own_arguments(parser)
    parser.add_argument("--annotations", help="the JSON file, if the folder has several")
    parser.add_argument(
        "--order",
        help="rhd, outwards (wrist, then thumb to little finger from base to tip: OpenPose, MediaPipe, "
        "OneHand10K, FreiHAND), stb, or the 21 names with commas between them",
    )
    parser.add_argument("--side", choices=SIDES, help="of hands for which the file does not say it")


def recognise(folder):
    try:
        path = _file(folder, None)
    except ValueError:
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        start = file.read(1 << 16)
    return '"images"' in start or '"annotations"' in start


def _file(folder, annotations):
    if annotations:
        return annotations if os.path.isfile(annotations) else os.path.join(folder, annotations)
    places = [folder, os.path.join(folder, "annotations")]
    found = [
        os.path.join(place, name)
        for place in places
        if os.path.isdir(place)
        for name in sorted(os.listdir(place))
        if name.endswith(".json") and not name.endswith(("_xyz.json", "_K.json")) and name != "info.json"
    ]
    if len(found) != 1:
        raise ValueError(f"{folder} has {len(found)} .json files; name one with --annotations")
    return found[0]


def read(path):
    """The three lists of a COCO file; ValueError naming file and entry for a missing or double id."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path}: no JSON, or truncated ({error})") from error
    lists = {}
    for key in ("images", "annotations", "categories"):
        lists[key] = content.get(key) if isinstance(content, dict) else None
        if not isinstance(lists[key], list):
            raise ValueError(f"{path}: no list {key!r}; a COCO keypoint file is expected")
        seen = set()
        for number, entry in enumerate(lists[key]):
            identity = entry.get("id") if isinstance(entry, dict) else None
            if identity is None:
                raise ValueError(f"{path}: {key}, entry {number}: no id")
            if identity in seen:
                raise ValueError(f"{path}: {key}: the id {identity!r} occurs twice")
            seen.add(identity)
    return lists


def keypoint_order(names, wanted, name):
    """Index in the file of each of our keypoints, (21,) ints; ValueError if that cannot be told."""
    if wanted in ORDERS:
        return ORDERS[wanted]
    names = wanted.split(",") if wanted else names
    if not names:
        raise ValueError(f"{name}: the category has no keypoint names; give --order")
    if len(names) != NUM_KEYPOINTS:
        raise ValueError(f"{name}: {len(names)} keypoint names, expected {NUM_KEYPOINTS}")
    indices = [keypoint_index(entry) for entry in names]
    unknown = [entry for entry, index in zip(names, indices, strict=True) if index is None]
    if unknown or len(set(indices)) != NUM_KEYPOINTS:
        problem = f"{unknown[0]!r} is not understood" if unknown else "two names mean the same keypoint"
        raise ValueError(f"{name}: keypoint names: {problem}; give --order with {','.join(KEYPOINT_NAMES)}")
    return tuple(indices.index(keypoint) for keypoint in range(NUM_KEYPOINTS))


def side_of(annotation, category, default):
    """0 or 1, or None if neither annotation nor category says it and there is no default."""
    attributes = annotation.get("attributes")
    words = list(attributes.values()) if isinstance(attributes, dict) else []
    words += [annotation.get(key) for key in ("side", "handedness", "hand_type")] + [category.get("name")]
    for word in words:
        matching = [side for side in SIDES if isinstance(word, str) and side in word.lower()]
        if len(matching) == 1:
            return SIDES.index(matching[0])
    return None if default is None else SIDES.index(default)


def list_items(folder, split, options):
    path = _file(folder, options["annotations"])
    lists = read(path)
    categories = {entry["id"]: entry for entry in lists["categories"]}
    images = {entry["id"]: entry for entry in lists["images"]}
    orders, hands = {}, {}
    listing = Listing(facts={"annotations": os.path.basename(path)})
    for entry in lists["annotations"]:
        identity = f"annotation {entry['id']}"
        try:
            if entry.get("image_id") not in images:
                raise Skip(f"{identity}: the image {entry.get('image_id')!r} is not in the file")
            category = categories.get(entry.get("category_id"))
            if category is None:
                raise Skip(f"{identity}: the category {entry.get('category_id')!r} is not in the file")
            image = images[entry["image_id"]]
            if not image.get("file_name"):
                raise Skip(f"{identity}: its image {image['id']!r} has no file_name")
            if not in_split(image, image["file_name"], split, options):
                continue
            if category["id"] not in orders:
                name = f"{path}, category {category.get('name')!r}"
                orders[category["id"]] = keypoint_order(category.get("keypoints"), options["order"], name)
            hand = _hand(entry, orders[category["id"]], options, identity)
            side = side_of(entry, category, options["side"])
            if side is None:
                raise Skip(f"{identity}: left or right? give --side")
            hands.setdefault(entry["image_id"], ([], []))[side].append(hand)
        except Skip as reason:
            listing.skipped.append((identity, str(reason)))
    for number, pair in hands.items():
        every = [(side, hand) for side, found in enumerate(pair) for hand in found]
        masks = [(side, hand["segmentation"]) for side, hand in every]
        complete = all(segmentation for _, segmentation in masks)
        for turn in range(max(map(len, pair))):
            chosen = {side: found[turn] for side, found in enumerate(pair) if turn < len(found)}
            name = str(images[number].get("file_name"))
            item = {"id": f"{name}#{turn}" if turn else name, "hands": chosen, "image": images[number]}
            item |= {"folder": options["images"] or folder, "longest": options["max_side"]}
            listing.items.append(item | {"masks": masks if complete else []})
    return listing


def _hand(entry, order, options, name):
    values = entry.get("keypoints")
    if not isinstance(values, list) or len(values) != 3 * NUM_KEYPOINTS:
        count = len(values) if isinstance(values, list) else 0
        raise Skip(f"{name}: {count} keypoint numbers, expected 3 x {NUM_KEYPOINTS}")
    points = numbers(values, (3 * NUM_KEYPOINTS,), f"{name}: keypoints").reshape(-1, 3)[list(order)]
    uv = points[:, :2] - (0.5 if options["corner_origin"] else 0)
    box = np.zeros(4)
    if entry.get("bbox") is not None:
        left, top, width, height = numbers(entry["bbox"], (4,), f"{name}: bbox")
        if min(width, height) > 0:  # the corner of COCO's boxes is that of the image
            box = np.array([left, top, left + width, top + height]) - 0.5
    hand = {"uv": uv, "present": points[:, 2] > 0, "visible": points[:, 2] > 1, "box": box}
    return hand | {"segmentation": entry.get("segmentation") or None}


def picture(item):
    name = item["image"]["file_name"]
    path = os.path.join(item["folder"], name)
    return path if os.path.isfile(path) else os.path.join(item["folder"], "images", name)


def load(item):
    entry, path = item["image"], picture(item)
    try:
        image, image_file = read_rgb(path)
    except ImageError as error:
        raise Skip(str(error)) from None
    height, width = image.shape[:2]
    if entry.get("width") and (entry["width"], entry.get("height")) != (width, height):
        raise Skip(f"{path}: {width} x {height} pixels, the file says {entry['width']} x {entry['height']}")
    mask = np.zeros((height, width), np.uint8) if item["masks"] else None
    for side, segmentation in item["masks"]:
        mask[_filled(segmentation, width, height, path)] = HAND_IDS[side][1]
    hands = {
        key: sum(both_hands(side, hand[key].astype(float)) for side, hand in item["hands"].items())
        for key in ("uv", "present", "visible")
    }
    box = np.stack([item["hands"][side]["box"] if side in item["hands"] else np.zeros(4) for side in (0, 1)])
    labels = {"id": item["id"], "box": box, "meta": {"image_id": entry["id"]}}
    pictures = {"image": image, "image_file": image_file, "mask": mask}
    return own_labels(labels | hands | pictures, path, item["longest"])


def _filled(segmentation, width, height, path):
    """(H, W) bool of COCO's polygons or run lengths; Skip if they are damaged."""
    try:
        if isinstance(segmentation, dict):
            return run_lengths(segmentation["counts"], *segmentation["size"])
        layer = Image.new("1", (width, height))
        for polygon in segmentation:
            corners = np.asarray(polygon, np.float64).reshape(-1, 2) - 0.5
            ImageDraw.Draw(layer).polygon([tuple(corner) for corner in corners], fill=1)
        return np.array(layer, bool)
    except (KeyError, TypeError, ValueError) as error:
        raise Skip(f"{path}: damaged segmentation ({error})") from None


def run_lengths(counts, height, width):
    """COCO's run lengths, column by column, plain or packed into text -> (H, W) bool."""
    if isinstance(counts, str):
        counts = _unpack(counts)
    if sum(counts) != height * width or min(counts) < 0:
        raise ValueError(f"run lengths for {sum(counts)} pixels, the image has {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _unpack(text):
    """Packed run lengths: five bits a character, least first; from the fourth on differences."""
    counts, position = [], 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[position]) - 48
            value |= (bits & 31) << shift
            more, shift, position = bool(bits & 32), shift + 5, position + 1
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts
