"""The published layout of the Rendered Hand pose Dataset (PAPER.md 3.1), written part by part.

    DIR/training/color/00000.png        (H, W, 3) RGB
    DIR/training/mask/00000.png         (H, W) ids: 0 background, 1 person, 2-17 left, 18-33 right hand
    DIR/training/depth/00000.png        (H, W, 3): (256 R + G) / 65535 * 5 metres, B = 0; 0 in the background
    DIR/training/anno_training.pickle   {number: {"uv_vis": (42, 3), "xyz": (42, 3) metres, "K": (3, 3)}}

and the same for `evaluation`; float32, keypoints in the order of `hand3d.skeleton`, left hand first, root =
wrist.  uv_vis is (u, v, 1 or 0), pixel centres at integers.

DIR/parts holds the labels of each finished part with the checksums of its pictures, so that an interrupted
run goes on; the pickle is written when all parts of its split are there.
"""

import io
import os
import pickle

import numpy as np

from hand3d.files import write_atomic
from pipelines.pictures import encode_png
from pipelines.tfrecord_io import masked_crc32c, read_tfrecord, write_tfrecord

KINDS = ("color", "mask", "depth")
DEPTH_RANGE = 5.0  # metres
LABELS = ("uv_vis", "xyz", "K")
PARTS = "parts"


def encode_depth(depth):
    """(H, W) float32 metres -> (H, W, 3) uint8; depths beyond 5 m become 5 m."""
    levels = np.clip(np.rint(np.asarray(depth, np.float64) / DEPTH_RANGE * 65535), 0, 65535).astype(np.uint16)
    return np.stack([levels >> 8, levels & 255, np.zeros_like(levels)], -1).astype(np.uint8)


def part_path(out, split, number, parts):
    return os.path.join(out, PARTS, f"{split}-{number:05d}-of-{parts:05d}.labels")


def picture_path(out, split, kind, number):
    return os.path.join(out, split, kind, f"{number:05d}.png")


def make_folders(out, split):
    for folder in [PARTS, *(os.path.join(split, kind) for kind in KINDS)]:
        os.makedirs(os.path.join(out, folder), exist_ok=True)


class PartWriter:
    """Writes the samples of one part in order: `add` for each, `finish` at the end."""

    def __init__(self, out, split, first):
        self.out, self.split, self.number = out, split, first
        self.rows, self.first = {key: [] for key in (*LABELS, "checksums")}, first

    def add(self, sample):
        """One sample of `pipelines.records`, with depth."""
        pictures = sample["image"], sample["mask"], encode_depth(sample["depth"])
        checksums = []
        for kind, picture in zip(KINDS, pictures, strict=True):
            content = encode_png(picture)
            write_atomic(picture_path(self.out, self.split, kind, self.number), content)
            checksums.append(masked_crc32c(content))
        visible = np.asarray(sample["visible"], np.float32)[:, None]
        self.rows["uv_vis"].append(np.concatenate([sample["uv"], visible], 1).astype(np.float32))
        self.rows["xyz"].append(np.asarray(sample["xyz"], np.float32))
        self.rows["K"].append(np.asarray(sample["K"], np.float32))
        self.rows["checksums"].append(checksums)
        self.number += 1

    def finish(self, path):
        arrays = {key: np.array(rows) for key, rows in self.rows.items()}
        arrays["checksums"] = arrays["checksums"].astype(np.uint32)
        buffer = io.BytesIO()
        np.savez(buffer, first=self.first, **arrays)
        write_tfrecord(path, [buffer.getvalue()])  # for its checksums


def read_part(path):
    """dict of the arrays of a part; ValueError naming the file if it is damaged."""
    contents = list(read_tfrecord(path))
    if len(contents) != 1:
        raise ValueError(f"{path}: damaged, it holds {len(contents)} records instead of one")
    with np.load(io.BytesIO(contents[0]), allow_pickle=False) as part:
        return {key: part[key] for key in ("first", "checksums", *LABELS)}


def check_part(out, split, path, first, count):
    """Reads a part and all its pictures; ValueError naming the first file that is missing or damaged."""
    part = read_part(path)
    if part["first"] != first or any(len(part[key]) != count for key in (*LABELS, "checksums")):
        raise ValueError(f"{path}: holds other samples than {first} to {first + count - 1}")
    for number, checksums in enumerate(part["checksums"], first):
        for kind, checksum in zip(KINDS, checksums, strict=True):
            picture = picture_path(out, split, kind, number)
            if not os.path.exists(picture):
                raise ValueError(f"{picture} is missing")
            with open(picture, "rb") as file:
                if masked_crc32c(file.read()) != checksum:
                    raise ValueError(f"{picture} is damaged")


def write_annotations(out, split, paths):
    """The pickle of a split from all of its parts, in order, unless it is there already."""
    labels = {}
    for path in paths:
        part = read_part(path)
        for row in range(len(part["K"])):
            labels[len(labels)] = {key: part[key][row] for key in LABELS}
    content = pickle.dumps(labels, protocol=2)
    # a name that NumPy before 2 has too; a protocol 2 pickle names a function as text, once
    content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
    path = os.path.join(out, split, f"anno_{split}.pickle")
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return
    write_atomic(path, content)
