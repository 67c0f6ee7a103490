"""What the two formats for people's own annotations share: options, splits, labels without 3D."""

import zlib

import numpy as np

from pipelines.convert.common import Skip
from pipelines.pictures import reduce
from pipelines.records import LABELS, ROOTS
from pipelines.rules import in_image


def own_arguments(parser):
    parser.add_argument("--images", help="folder that the image paths start from; --source if not given")
    parser.add_argument(
        "--evaluation-share", type=float, default=0.1, help="of the images, where the file names no split"
    )
    parser.add_argument("--max-side", type=int, default=1280, help="larger images are reduced; 0 keeps all")
    parser.add_argument("--root", choices=ROOTS, default="wrist", help="what keypoint 0 is")
    parser.add_argument("--licence", help="of the images, for info.json")
    parser.add_argument(
        "--corner-origin",
        action="store_true",
        help="(0, 0) is the image's corner; otherwise the centre of its first pixel",
    )


def in_split(entry, path, split, options):
    """Whether an image belongs to the split: by the entry's own `split`, or by a hash of its path.

    The hash leaves an image in its split whatever else is added to the file.
    """
    named = entry.get("split")
    if named:
        names = {"train": "training", "val": "evaluation", "valid": "evaluation", "test": "evaluation"}
        return names.get(str(named).lower(), str(named).lower()) == split
    share = zlib.crc32(str(path).encode()) / 2**32
    return (share < options["evaluation_share"]) == (split == "evaluation")


def own_labels(sample, path, longest, K=None, xyz=None, present_xyz=None):
    """A whole sample from uv, present and visible (42, ...), and xyz where there is one.

    Skip if a keypoint that is said to be visible lies off the image: a sign of wrong labels.
    """
    height, width = sample["image"].shape[:2]
    present, visible = sample["present"] > 0, sample["visible"] > 0
    off = visible & ~in_image(sample["uv"], width, height)
    if off.any():
        u, v = sample["uv"][np.flatnonzero(off)[0]]
        raise Skip(f"{path}: a visible keypoint at ({u:g}, {v:g}) lies off the {width} x {height} pixels")
    kind = {"mask_kind": "none" if sample.get("mask") is None else "hands"}
    whole = {"xyz": np.zeros((LABELS, 3)), "present_xyz": np.zeros(LABELS, bool), "K": np.zeros((3, 3))}
    given = {"xyz": xyz, "present_xyz": present_xyz, "K": K}
    whole |= {key: value for key, value in given.items() if value is not None}
    return reduce(sample | kind | whole | {"present": present, "visible": visible}, longest)
