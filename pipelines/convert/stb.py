"""Stereo Hand Pose Tracking Benchmark (Zhang et al., ICIP 2017; PAPER.md 3.7).

    DIR/images/B1Counting/BB_left_0.png, BB_right_0.png, SK_color_0.png, ... (480, 640, 3)
    DIR/labels/B1Counting_BB.mat, B1Counting_SK.mat, ...   `handPara` 3 x 21 x 1500, millimetres

Twelve sequences of a left hand, from two cameras: the stereo pair BB (labels in the left view's axes) and the
colour camera of SK (labels in its depth camera's axes).  The order is turned round: the palm, then little
finger to thumb, each from base to tip.  The root stays the palm.
"""

import os

import numpy as np
from scipy.io import loadmat
from scipy.spatial.transform import Rotation

from hand3d.images import ImageError
from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines.convert.common import Listing, Skip, both_hands, files_in, first_folder, project
from pipelines.pictures import read_rgb

LICENCE = "Stereo Hand Pose Tracking Benchmark: see its authors' terms; cite Zhang et al. (ICIP 2017)"
UNITS, ORDER = "millimetres", "palm, then little finger to thumb, each from base to tip"
SPLITS, ROOT = ("training", "evaluation"), "palm"
SEQUENCES = {
    "training": tuple(f"B{person}{kind}" for person in range(2, 7) for kind in ("Counting", "Random")),
    "evaluation": ("B1Counting", "B1Random"),
}
EXPECTED = {split: 1500 * 3 * len(names) for split, names in SEQUENCES.items()}  # three views
EXPECTED_FILES = "images/B1Counting/BB_left_0.png, ... and labels/B1Counting_BB.mat, ..."
FROM_STB = (0, *(NUM_KEYPOINTS - keypoint for keypoint in range(1, NUM_KEYPOINTS)))
BB_K = np.array([[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]])
SK_K = np.array([[607.92271, 0, 314.78337], [0, 607.88192, 236.42484], [0, 0, 1]])
BASELINE = 0.120054  # metres from the left view to the right
SK_TURN, SK_SHIFT = (0.00531, -0.01196, 0.00301), (-0.0240381, -0.0004563, -0.0012326)  # colour -> depth axes
VIEWS = {"BB": ("BB_left", "BB_right"), "SK": ("SK_color",)}


def add_arguments(parser):
    names = sorted(VIEWS)
    parser.add_argument(
        "--cameras", nargs="+", choices=names, default=names, help="stereo pair, colour camera"
    )


def _folders(folder):
    images = first_folder(os.path.join(folder, "images"), folder)
    return images, first_folder(os.path.join(folder, "labels"), folder)


def recognise(folder):
    labels = files_in(_folders(folder)[1])
    names = [name for sequences in SEQUENCES.values() for name in sequences]
    return any(f"{name}_{camera}.mat" in labels for name in names for camera in VIEWS)


def split_file(folder, split):
    images, labels = _folders(folder)
    paths = [os.path.join(labels, f"{name}_{camera}.mat") for name in SEQUENCES[split] for camera in VIEWS]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def in_view(xyz, view):
    """Labels in the axes of a view: (..., 21, 3) metres in those of BB's left view or SK's depth camera."""
    if view == "BB_right":
        return xyz - (BASELINE, 0, 0)
    if view == "SK_color":
        return (xyz - SK_SHIFT) @ Rotation.from_rotvec(SK_TURN).as_matrix()  # row vectors: the inverse turn
    return xyz


def read_labels(path):
    """(N, 21, 3) metres in our order; ValueError naming the file."""
    try:
        content = loadmat(path)
    except Exception as error:  # scipy raises almost anything for a damaged file
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"{path}: no readable .mat file ({error}); download it again") from error
    if "handPara" not in content:
        found = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
        raise ValueError(f"{path}: no variable handPara, only {found}; not a label file of STB")
    labels = np.asarray(content["handPara"])
    if labels.ndim != 3 or labels.shape[:2] != (3, NUM_KEYPOINTS) or labels.dtype.kind not in "fiu":
        raise ValueError(f"{path}: handPara is {labels.shape} {labels.dtype}, expected 3 x 21 x N numbers")
    return labels.transpose(2, 1, 0)[:, FROM_STB].astype(np.float64) / 1000


def list_items(folder, split, options):
    images, labels = _folders(folder)
    listing = Listing(facts={"cameras": list(options["cameras"])})
    for sequence in SEQUENCES[split]:
        present = files_in(os.path.join(images, sequence))
        for camera in options["cameras"]:
            path = os.path.join(labels, f"{sequence}_{camera}.mat")
            if not os.path.isfile(path):
                raise ValueError(f"{path} does not exist; an STB folder holds {EXPECTED_FILES}")
            frames = read_labels(path)
            for view in VIEWS[camera]:
                _add_view(listing, os.path.join(images, sequence), sequence, view, frames, present)
    return listing


def _add_view(listing, folder, sequence, view, frames, present):
    xyz = in_view(frames, view).astype(np.float32)
    for number, hand in enumerate(xyz):
        name = f"{view}_{number}.png"
        identity = f"{sequence}/{view}_{number}"
        if name not in present:
            listing.skipped.append((identity, f"{sequence}/{name} is missing"))
        elif not np.isfinite(hand).all():
            listing.skipped.append((identity, f"{sequence}, frame {number}: NaN or infinite coordinates"))
        else:
            item = {"id": identity, "path": os.path.join(folder, name), "xyz": hand, "view": view}
            listing.items.append(item)
    expected = {f"{view}_{number}.png" for number in range(len(xyz))}
    extra = sorted(name for name in present if name.startswith(view + "_") and name not in expected)
    if extra:
        listing.notes.append(f"{len(extra)} images {view} in {sequence} without a label, first {extra[0]}")


def picture(item):
    return item["path"]


def load(item):
    try:
        image, image_file = read_rgb(item["path"])
    except ImageError as error:
        raise Skip(str(error)) from None
    if image.shape[:2] != (480, 640):
        raise Skip(f"{item['path']}: {image.shape[1]} x {image.shape[0]} pixels, STB's images are 640 x 480")
    K = SK_K if item["view"] == "SK_color" else BB_K
    left = SIDES.index("left")
    labelled = both_hands(left, np.ones(NUM_KEYPOINTS, bool))
    return {
        "id": item["id"],
        "image": image,
        "image_file": image_file,
        "uv": both_hands(left, project(item["xyz"], K)),
        "xyz": both_hands(left, item["xyz"]),
        "visible": labelled,  # as the authors of the paper have it
        "present": labelled,
        "K": K,
        "root": "palm",
        "meta": {"camera": item["view"]},
    }
