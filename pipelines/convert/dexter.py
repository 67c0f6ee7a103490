"""Dexter+Object (Sridhar et al., ECCV 2016): five fingertips and three corners of a cuboid.

    DIR/data/Grasp1/color/*                      (480, 640, 3)
    DIR/data/Grasp1/annotations/Grasp13D.txt     a line a frame: eight points "x, y, z" in mm, between ";"
    DIR/data/Grasp1/annotations/Grasp12D.txt     the same points "u, v", pixels of the 320 x 240 depth image

Six sequences.  The data set's own documentation could not be had; layout, order (thumb to little finger, then
the corners), the value 32001 for "no depth", the calibration and "all hands are left" are those of public
readers of it that agree with one another.  They disagree with the plain reading of the axes: x and y of the
labels point left and up.  So the signs are not assumed but found, for each sequence, by projecting into the
depth image and comparing with the 2D labels; a sequence that no choice explains is an error.
"""

import itertools
import os
import re

import numpy as np

from hand3d.images import EXTENSIONS, ImageError
from hand3d.skeleton import NUM_KEYPOINTS, SIDES, TIPS
from pipelines.convert.common import Listing, Skip, both_hands, files_in, first_folder, project
from pipelines.pictures import read_rgb

LICENCE = "Dexter+Object: non-commercial research, see its authors' terms; cite Sridhar et al. (ECCV 2016)"
UNITS, ORDER = "millimetres", "fingertips thumb to little finger, then three corners of the cuboid"
SPLITS = ("evaluation",)
EXPECTED = {"evaluation": 3_129}  # PAPER.md 3.8; other papers count 3,014
EXPECTED_FILES = "data/Grasp1/color/ and data/Grasp1/annotations/Grasp12D.txt and Grasp13D.txt, ..."
SEQUENCES = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")
POINTS = len(TIPS) + 3
NO_DEPTH = 32001
SIZE = (640, 480)
COLOUR_K = np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]])
DEPTH_K = np.array([[224.502, 0, 160], [0, 230.494, 120], [0, 0, 1]])
TURN = np.array([[0.9999, 0.0034, 0.0161], [-0.0033, 1.0, -0.0079], [-0.0162, 0.0079, 0.9998]])
SHIFT = np.array([0.0190473, -0.0018514, -0.0047501])  # metres; depth camera's axes -> colour camera's
TOLERANCE = 6.0  # pixels of the depth image, in the median


def add_arguments(parser):
    parser.add_argument("--side", choices=SIDES, default="left", help="of all hands")


def _home(folder):
    return first_folder(os.path.join(folder, "data"), folder)


def recognise(folder):
    home = _home(folder)
    return any(os.path.isfile(_file(home, name, "3D")) for name in SEQUENCES)


def _file(home, sequence, kind):
    return os.path.join(home, sequence, "annotations", f"{sequence}{kind}.txt")


def read_points(path, dimensions):
    """(N, 8, dimensions) float64; ValueError naming file and line."""
    rows = []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; Dexter+Object holds {EXPECTED_FILES}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        values = [value for value in re.split(r"[;,\s]+", line.strip()) if value]
        try:
            rows.append(np.array(values, np.float64).reshape(POINTS, dimensions))
        except ValueError:
            expected = f"{POINTS} points of {dimensions} numbers"
            raise ValueError(f"{path}, line {number}: {len(values)} values, expected {expected}") from None
    return np.array(rows).reshape(-1, POINTS, dimensions)


def axes(points, pixels, name):
    """Signs (3,) that make the labels' axes the depth camera's, x right and y down.

    points: (N, 8, 3) metres.  pixels: (N, 8, 2) of the depth image.  ValueError if no choice fits.
    """
    known = usable(points) & (pixels > 0).all(-1)
    best = None
    for x, y in itertools.product((1, -1), repeat=2):
        off = np.linalg.norm(project(points[known] * (x, y, 1), DEPTH_K) - pixels[known], axis=-1)
        if len(off) and (best is None or np.median(off) < best[0]):
            best = float(np.median(off)), np.array((x, y, 1.0))
    if best is None or best[0] > TOLERANCE:
        off = "there are none in common" if best is None else f"{best[0]:.0f} px off in the median"
        raise ValueError(f"{name}: the 2D and 3D labels do not belong together ({off})")
    return best[1]


def usable(points):
    """(N, 8, 3) metres -> (N, 8) bool: labelled, with a depth."""
    with np.errstate(invalid="ignore"):
        z = points[..., 2]
        return np.isfinite(points).all(-1) & (z > 0) & (np.abs(z - NO_DEPTH / 1000) > 1e-6)


def list_items(folder, split, options):
    home = _home(folder)
    listing = Listing(facts={"side": options["side"]})
    found = [name for name in SEQUENCES if os.path.isdir(os.path.join(home, name))]
    for sequence in sorted(set(SEQUENCES) - set(found)):
        listing.notes.append(f"the sequence {sequence} is missing")
    if not found:
        raise ValueError(f"{folder} has no sequence of Dexter+Object; it holds {EXPECTED_FILES}")
    for sequence in found:
        points = read_points(_file(home, sequence, "3D"), 3) / 1000
        pixels = read_points(_file(home, sequence, "2D"), 2)
        if len(points) != len(pixels):
            raise ValueError(f"{sequence}: {len(points)} frames in 3D.txt, {len(pixels)} in 2D.txt")
        colour = os.path.join(home, sequence, "color")
        names = sorted(n for n in files_in(colour) if os.path.splitext(n)[1].lower() in EXTENSIONS)
        if len(names) != len(points):
            raise ValueError(f"{colour}: {len(names)} images for {len(points)} labels: which is which?")
        signs = axes(points, pixels, sequence)
        listing.facts[f"axes/{sequence}"] = signs.tolist()
        known = usable(points)
        # row vectors; what has no depth becomes 0
        placed = np.where(known[..., None], points * signs, 0) @ TURN.T + SHIFT
        for number, name in enumerate(names):
            identity = f"{sequence}/{number:05d}"
            tips = known[number, : len(TIPS)]
            if not tips.any():
                listing.skipped.append((identity, f"{sequence}, frame {number}: no fingertip is labelled"))
                continue
            item = {"id": identity, "path": os.path.join(colour, name), "side": options["side"]}
            listing.items.append(item | {"points": placed[number], "known": known[number]})
    return listing


def picture(item):
    return item["path"]


def load(item):
    try:
        image, image_file = read_rgb(item["path"])
    except ImageError as error:
        raise Skip(str(error)) from None
    if image.shape[1::-1] != SIZE:
        raise Skip(f"{item['path']}: {image.shape[1::-1]} pixels, Dexter+Object has {SIZE}")
    tips, corners = slice(0, len(TIPS)), slice(len(TIPS), None)
    xyz = np.zeros((NUM_KEYPOINTS, 3))
    present = np.zeros(NUM_KEYPOINTS, bool)
    xyz[list(TIPS)], present[list(TIPS)] = item["points"][tips], item["known"][tips]
    uv = np.where(present[:, None], project(xyz, COLOUR_K), 0)
    cuboid = item["points"][corners][item["known"][corners]]
    labelled = both_hands(item["side"], present)
    return {
        "id": item["id"],
        "image": image,
        "image_file": image_file,
        "uv": both_hands(item["side"], uv),
        "xyz": both_hands(item["side"], np.where(present[:, None], xyz, 0)),
        "visible": labelled,
        "present": labelled,
        "K": COLOUR_K,
        "meta": {
            "cuboid_xyz": np.round(cuboid, 5).tolist(),
            "cuboid_uv": np.round(project(cuboid, COLOUR_K), 2).tolist(),
        },
    }
