"""The hands that the systems learn from and are tested on, from records, with true crops.

Hands and crops are those of `experiments.evaluate`: 30 pixels or more and 9 visible keypoints or more, cut
around their true pixels.
"""

import functools
import hashlib
import io
import os
import sys

import keras
import numpy as np

from experiments.baselines.interface import FRAME, Hands
from experiments.results import data_identity
from experiments.truth import Truth
from hand3d import crops, geometry
from hand3d.files import write_atomic
from hand3d.images import GREY
from hand3d.skeleton import ROOT
from pipelines.inputs import load_poses
from pipelines.progress import Progress
from pipelines.records import decode_pictures, read_info, read_records

CROP = 128  # pixels a side
REACH = 1.45  # side of a crop by the hand's extent, as `lite` has it
BATCH = 32


def read_hands(directory, split, limit=None, size=CROP, reach=REACH):
    """`Hands` of a split of records; the first `limit` pictures only.

    ValueError where no hand is large enough and in view.
    """
    data, parts = read_records(directory, split).map(decode_pictures), []
    data = data.take(limit) if limit else data
    total, done = read_info(directory)["splits"][split]["samples"], 0
    with Progress(min(limit or total, total), sys.stderr, unit=f"{split} pictures") as progress:
        for batch in data.batch(BATCH).as_numpy_iterator():
            parts += _cut(batch, size, reach)
            done += len(batch["image"])
            progress.show(done)
    if not parts:
        raise ValueError(f"{directory}: no hand in the split {split!r} is large enough and in view")
    return Hands(**{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def _cut(batch, size, reach):
    """The hands of a batch of pictures: [dict of arrays], empty if there are none."""
    truth = Truth(batch)
    numbers, sides = np.nonzero(truth.counts)
    if not len(numbers):
        return []
    images, pixels = batch["image"][numbers], truth.pixels[numbers, sides]
    u, v = ((line.argmax(-1) - line[:, ::-1].argmax(-1) + line.shape[1] - 1) / 2 for line in _lines(pixels))
    centre, side = np.stack([u, v], -1), reach * truth.box[numbers, sides]
    layers = np.concatenate([images.astype(np.float32) - GREY, 255.0 * pixels[..., None]], -1)
    cut = _numpy(crops.crop_and_resize(layers, centre, side, size)) + [GREY, GREY, GREY, 0]
    cut = np.clip(np.round(cut), 0, 255).astype(np.uint8)
    xyz, scale = geometry.normalise(truth.xyz_mm[numbers, sides])
    frame = FRAME / max(images.shape[1:3])
    window = np.concatenate([(centre + 0.5) * frame - 0.5, side[:, None] * frame], -1)
    hands = {
        "image": cut[..., :3],
        "cover": cut[..., 3],
        "uv_crop": _numpy(crops.image_to_crop(truth.uv[numbers, sides], centre, side, size)),
        "xyz_relative": _numpy(xyz),
        "scale_mm": _numpy(scale),
        "side": sides.astype(np.int32),
        "visible": truth.visible[numbers, sides],
        "in_3d": truth.in_3d[numbers, sides],
        "window": window.astype(np.float32),
    }
    return [hands]


def _lines(pixels):
    return pixels.any(1), pixels.any(2)


def cached_hands(folder, directory, split, limit=None):
    """`read_hands`, kept in `folder`; read again where the data set or the limit changed."""
    marks = [data_identity(directory, split, limit or 0)["sha256"], str(limit), str(CROP), str(REACH)]
    key = hashlib.sha256(" ".join(marks).encode()).hexdigest()[:12]
    path = os.path.join(folder, f"hands-{split}-{key}.npz")
    if os.path.exists(path):
        with np.load(path) as archive:
            return Hands(**{name: archive[name] for name in archive.files})
    hands = read_hands(directory, split, limit)
    content = io.BytesIO()
    np.savez(content, **{name: value for name, value in vars(hands).items() if value is not None})
    write_atomic(path, content.getbuffer())
    return hands


@functools.lru_cache(maxsize=2)
def read_poses(sources, split="training"):
    """Poses without pictures, as `interface.Training` has them.

    sources: tuple of files of `pipelines.poses` and folders of records.
    """
    poses = load_poses(list(sources), split)
    xyz, scale = geometry.normalise(poses["xyz"])
    root = poses["xyz"][:, ROOT] / _numpy(scale)[:, None]
    return {"xyz_relative": _numpy(xyz), "root": root, "side": poses["side"].astype(np.int32)}


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)
