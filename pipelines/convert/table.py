"""`csv`: a table with one row per image and keypoint, for people who have nothing else.

    path,side,name,u,v,visible[,x,y,z][,hand][,split]

path: of the image, from `--images` or the table's folder.  side: left or right.  name: of the keypoint, as
`index_tip`, `INDEX_FINGER_TIP`, `pinky_mcp`, `wrist`.  u, v: pixels, column and row, centres at integers.
visible: 1 or 0.  x, y, z: camera axes (x right, y down, z away) in `--unit`; an empty cell means none.
hand: number that tells hands of one side in one image apart.  split: training or evaluation.
A keypoint without a row, or with an empty u or v, is absent.
"""

import csv
import os

import numpy as np

from hand3d.images import ImageError
from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines.convert.common import Listing, Skip, both_hands, keypoint_index
from pipelines.convert.own import in_split, own_arguments, own_labels
from pipelines.pictures import read_rgb

LICENCE = "as its owner says (--licence)"
UNITS, ORDER = "pixels, and --unit for x, y, z", "by name"
SPLITS = ("training", "evaluation")
EXPECTED = {}
EXPECTED_FILES = "one .csv file (or --table) and the images that it names"
NEEDED = ("path", "side", "name", "u", "v", "visible")
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
TRUE, FALSE = ("1", "1.0", "true", "yes", "2"), ("0", "0.0", "false", "no", "")


def add_arguments(parser):
    own_arguments(parser)
    parser.add_argument("--table", help="the .csv file, if the folder has several")
    parser.add_argument("--unit", choices=sorted(METRES), default="m", help="of x, y, z")
    parser.add_argument("--K", nargs=4, type=float, metavar=("FX", "FY", "CX", "CY"), help="of the camera")


def recognise(folder):
    try:
        path = _file(folder, None)
        with open(path, newline="", encoding="utf-8-sig") as file:
            return set(NEEDED) <= set(_columns(_reader(file)))
    except (ValueError, OSError):
        return False


def _file(folder, table):
    if table:
        return table if os.path.isfile(table) else os.path.join(folder, table)
    if os.path.isfile(folder):
        return folder
    found = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(".csv")]
    if len(found) != 1:
        raise ValueError(f"{folder} has {len(found)} .csv files; name one with --table")
    return os.path.join(folder, found[0])


def _reader(file):
    start = file.read(1 << 14)
    file.seek(0)
    try:
        dialect = csv.Sniffer().sniff(start.splitlines()[0], ",;\t")
    except (csv.Error, IndexError):
        dialect = csv.excel
    return csv.DictReader(file, dialect=dialect)


def _columns(reader):
    return [str(name).strip().lower() for name in reader.fieldnames or ()]


def list_items(folder, split, options):
    path = _file(folder, options["table"])
    hands, splits, bad = {}, {}, {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = _reader(file)
        reader.fieldnames = _columns(reader)
        missing = [name for name in NEEDED if name not in reader.fieldnames]
        if missing:
            found = ", ".join(reader.fieldnames) or "none"
            raise ValueError(f"{path}: no column {missing[0]!r}; columns found: {found}")
        for row in reader:
            image = (row["path"] or "").strip()
            place = f"{path}, line {reader.line_num}"
            if not image:
                raise ValueError(f"{place}: no path")
            splits[image] = row.get("split")
            try:
                _add(hands, image, row, place)
            except Skip as reason:  # one wrong row makes the whole image unusable
                bad.setdefault(image, str(reason))
    listing = Listing(facts={"table": os.path.basename(path)})
    chosen = [image for image in splits if in_split({"split": splits[image]}, image, split, options)]
    for image in chosen:
        if image in bad:
            listing.skipped.append((image, bad[image]))
            continue
        pair = [[hand for key, hand in hands[image].items() if key[0] == side] for side in range(len(SIDES))]
        for turn in range(max(map(len, pair))):
            item = {"id": f"{image}#{turn}" if turn else image, "path": image}
            item |= {"folder": options["images"] or os.path.dirname(path), "longest": options["max_side"]}
            item["hands"] = {side: found[turn] for side, found in enumerate(pair) if turn < len(found)}
            item |= {"unit": METRES[options["unit"]], "K": options["K"], "corner": options["corner_origin"]}
            listing.items.append(item)
    return listing


def _add(hands, image, row, place):
    side = (row["side"] or "").strip().lower()
    if side not in SIDES:
        raise Skip(f"{place}: side is {row['side']!r}, expected left or right")
    keypoint = keypoint_index(row["name"])
    if keypoint is None:
        raise Skip(f"{place}: keypoint {row['name']!r} is not known; names are like index_tip, wrist")
    key = SIDES.index(side), (row.get("hand") or "").strip()
    hand = hands.setdefault(image, {}).setdefault(key, np.full((NUM_KEYPOINTS, 6), np.nan))
    if not np.isnan(hand[keypoint, 2]):
        raise Skip(f"{place}: {row['name']} of the {side} hand occurs twice")
    visible = (row["visible"] or "").strip().lower()
    if visible not in TRUE + FALSE:
        raise Skip(f"{place}: visible is {row['visible']!r}, expected 1 or 0")
    hand[keypoint, 2] = visible in TRUE
    for column, name in ((0, "u"), (1, "v"), (3, "x"), (4, "y"), (5, "z")):
        text = (row.get(name) or "").strip()
        try:
            value = float(text) if text else np.nan
        except ValueError:
            raise Skip(f"{place}: {name} is {text!r}, expected a number") from None
        if text and not np.isfinite(value):
            raise Skip(f"{place}: {name} is {text}, expected a finite number")
        hand[keypoint, column] = value


def picture(item):
    return os.path.join(item["folder"], item["path"])


def load(item):
    path = picture(item)
    try:
        image, image_file = read_rgb(path)
    except ImageError as error:
        raise Skip(str(error)) from None
    table = sum(both_hands(side, np.nan_to_num(hand)) for side, hand in item["hands"].items())
    known = sum(both_hands(side, np.isfinite(hand).astype(int)) for side, hand in item["hands"].items()) > 0
    present, present_xyz = known[:, :2].all(1), known[:, 3:].all(1)
    K = np.zeros((3, 3))
    if item["K"]:
        fx, fy, cx, cy = item["K"]
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    labels = {"id": item["id"], "image": image, "image_file": image_file, "present": present, "meta": {}}
    labels |= {"uv": table[:, :2] - 0.5 * item["corner"], "visible": (table[:, 2] > 0) & present}
    return own_labels(labels, path, item["longest"], K, table[:, 3:] * item["unit"], present_xyz)
