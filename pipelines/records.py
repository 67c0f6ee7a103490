"""Hand samples in sharded TFRecord files: schema, writer and reader.

    DIR/info.json                          what the folder holds (`read_info`)
    DIR/<split>-00000-of-00010.tfrecord    one tf.train.Example per sample

Schema version 2; version 1 lacks the features below the line and reads as if they had the values in brackets.
Both hands of a sample are kept: two hands of `hand3d.skeleton.NUM_KEYPOINTS` keypoints, the left one first,
N = 42 in all.  Pixels follow the project's rule: (u, v) = (column, row), pixel centres at integers.

| feature | type  | values | meaning                                                                      |
|---------|-------|--------|------------------------------------------------------------------------------|
| id      | bytes | 1      | name of the sample, unique in its split                                      |
| image   | bytes | 1      | (H, W, 3) RGB, JPEG (quality 95, 4:4:4, or the source's own) or PNG          |
| mask    | bytes | 1 or "" | (H, W) ids of RHD, PNG: 0 background, 1 person, 2-17 left, 18-33 right hand |
| depth   | bytes | 1 or "" | (H, W) 16-bit PNG, in 0.1 mm, 0 where there is no surface; empty if absent  |
| height  | int64 | 1      | H                                                                            |
| width   | int64 | 1      | W                                                                            |
| uv      | float | N x 2  | keypoints in pixels of the image                                             |
| xyz     | float | N x 3  | keypoints in metres, camera axes (x right, y down, z away)                   |
| visible | int64 | N      | 1: in the image and not hidden by anything but its own flesh                 |
| present | int64 | N      | 1: uv exists                                                                 |
| K       | float | 3 x 3  | camera matrix, row by row; all 0 if it is not known                          |
| meta    | bytes | 1      | JSON object: character, actions, background, seed, ...                       |
|---------|-------|--------|------------------------------------------------------------------------------|
| present_xyz | int64 | N  | 1: xyz exists [present]                                                      |
| root    | int64 | 1      | what keypoint 0 is, index into `ROOTS` [wrist]                               |
| mask_kind | int64 | 1    | what the mask tells apart, index into `MASK_KINDS` [full]                    |
| box     | float | 2 x 4  | left, top, right, bottom of each hand, pixels; all 0 if not given [0]        |
| source  | int64 | 1      | data set, index into `SOURCES` [render]                                      |
"""

import json
import os

import numpy as np

from hand3d.files import write_atomic
from hand3d.skeleton import KEYPOINT_NAMES, SIDES
from pipelines.pictures import encode_jpeg, encode_png
from pipelines.rules import HAND_IDS  # noqa: F401 (others take it from here)
from pipelines.schema import (
    DEPTH_UNIT,
    INFO,
    LABELS,
    MASK_KINDS,
    READABLE,
    ROOTS,
    SCHEMA_VERSION,
    SOURCES,
    check_sample,
)
from pipelines.tfrecord_io import encode_example, read_tfrecord, write_tfrecord


def shard_name(split, number, shards):
    """("train", 0, 10) -> "train-00000-of-00010.tfrecord"."""
    return f"{split}-{number:05d}-of-{shards:05d}.tfrecord"


# ---------------------------------------------------------------- writing (no TensorFlow)


def sample_to_example(sample, name, image_format="jpeg"):
    """One sample (dict of arrays, see `write_shard`) -> serialised tf.train.Example, bytes."""
    check_sample(sample, name)
    if image_format not in ("jpeg", "png"):
        raise ValueError(f"image_format is {image_format!r}, expected 'jpeg' or 'png'")
    present = np.asarray(sample["present"], bool)
    present_xyz = np.asarray(sample.get("present_xyz", present), bool)
    depth, mask = sample.get("depth"), sample.get("mask")
    mask_kind = sample.get("mask_kind", "none" if mask is None else "full")
    encode = encode_jpeg if image_format == "jpeg" else encode_png
    if depth is not None:
        levels = np.asarray(depth, np.float32) / DEPTH_UNIT
        np.nan_to_num(levels, copy=False, nan=0.0, posinf=0.0)  # in place: this is a good part of the work
        np.clip(np.rint(levels, out=levels), 0, 65535, out=levels)
        depth = encode_png(levels.astype(np.uint16))
    return encode_example(
        {
            "id": str(sample.get("id", name)).encode(),
            "image": sample.get("image_file") or encode(sample["image"]),
            "mask": sample.get("mask_file") or (b"" if mask is None else encode_png(mask)),
            "depth": depth or b"",
            "height": [sample["image"].shape[0]],
            "width": [sample["image"].shape[1]],
            "uv": np.where(present[:, None], sample["uv"], 0).astype(np.float32),
            "xyz": np.where(present_xyz[:, None], sample["xyz"], 0).astype(np.float32),
            "visible": np.asarray(sample["visible"], bool) & present,
            "present": present,
            "K": np.asarray(sample["K"], np.float32),
            "meta": json.dumps(sample.get("meta", {}), default=_plain).encode(),
            "present_xyz": present_xyz,
            "root": [ROOTS.index(sample.get("root", ROOTS[0]))],
            "mask_kind": [MASK_KINDS.index(mask_kind)],
            "box": np.asarray(sample.get("box", np.zeros((len(SIDES), 4))), np.float32),
            "source": [SOURCES.index(sample.get("source", SOURCES[0]))],
        }
    )


def _plain(value):
    return value.item() if isinstance(value, np.generic) else str(value)


def write_shard(path, samples, *, image_format="jpeg"):
    """Writes the iterable `samples` to the TFRecord file `path`, atomically; returns their number.

    A sample is a dict of arrays as in the module's table: `image`, `uv`, `xyz`, `visible`, `present`, `K`,
    optionally `mask`, `depth` (H, W) float32 metres, `present_xyz`, `box`, the words `root`, `mask_kind` and
    `source`, `id` and `meta`; `image_file` and `mask_file` are files to take as they are, bytes.  A sample
    without an `id` is named after the shard and its number.
    """
    stem = os.path.basename(os.fspath(path)).removesuffix(".tfrecord")
    return write_tfrecord(
        path,
        (
            sample_to_example(sample, f"{stem}/{number:05d}", image_format)
            for number, sample in enumerate(samples)
        ),
    )


def write_info(directory, split, shards, *, licence, generator, further=None):
    """Enters a split into DIR/info.json, atomically; other splits stay as they are.

    shards: {file name: number of samples} of the shards written so far; it may be called after each.
    licence: str, of the images.  generator: JSON-able dict, what made them (program, seed, options).
    further: dict of more entries for the split; `complete` False keeps readers from using it.
    Call it from one process only.
    """
    path = os.path.join(directory, INFO)
    info = {"splits": {}}
    if os.path.exists(path):
        info = read_info(directory)
    others = [entry for name, entry in info["splits"].items() if name != split]
    licences = {entry.setdefault("licence", info.get("licence")) for entry in others} | {licence}
    info |= {
        "schema_version": SCHEMA_VERSION,
        "licence": "; ".join(sorted(map(str, licences))),  # splits may come from several data sets
        "sides": list(SIDES),
        "keypoints": list(KEYPOINT_NAMES),
        "root": "wrist",
        "pixel_rule": "(u, v) = (column, row), pixel centres at integers",
        "units": {"uv": "pixel", "xyz": "metre", "depth": f"{DEPTH_UNIT} metre per grey level"},
        "camera_axes": "x right, y down, z away",
    }
    info["splits"][split] = {
        "samples": sum(shards.values()),
        "shards": dict(sorted(shards.items())),
        "generator": generator,
        "licence": licence,
        **(further or {}),
    }
    write_atomic(path, (json.dumps(info, indent=1, default=_plain) + "\n").encode())


# ---------------------------------------------------------------- reading


def read_info(directory):
    """The contents of DIR/info.json; errors name the file and say what to do."""
    path = os.path.join(directory, INFO)
    try:
        with open(path) as file:
            info = json.load(file)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist; python -m pipelines.render or pipelines.convert makes such a folder"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); write the records again") from None
    version = info.get("schema_version") if isinstance(info, dict) else None
    if version not in READABLE:
        raise ValueError(f"{path}: schema_version {version}, this code reads {', '.join(map(str, READABLE))}")
    return info


def mixed(directory):
    """[(folder, weight)] of a folder of `pipelines.mix`; an empty list for any other."""
    parts = read_info(directory).get("mix", [])
    return [
        (os.path.normpath(os.path.join(directory, part["folder"])), float(part["weight"])) for part in parts
    ]


def shard_paths(directory, split):
    """Paths of the shards of a split, in order."""
    info = read_info(directory)
    if split not in info["splits"]:
        raise ValueError(f"{directory} has no split {split!r}, only {sorted(info['splits'])}")
    if info["splits"][split].get("complete") is False:
        raise ValueError(f"{directory}: the split {split!r} is incomplete; run what made it again")
    return [os.path.join(directory, name) for name in info["splits"][split]["shards"]]


def check_shards(directory, split):
    """Reads every shard and its checksums; ValueError naming the first that is missing, damaged or short."""
    paths = shard_paths(directory, split)
    counts = read_info(directory)["splits"][split]["shards"].values()
    for path, count in zip(paths, counts, strict=True):
        if not os.path.exists(path):
            raise ValueError(f"{path} is missing; {INFO} lists it: write the shard again")
        found = sum(1 for _ in read_tfrecord(path))
        if found != count:
            raise ValueError(f"{path} holds {found} samples, {INFO} says {count}; write the shard again")


def parse_example(serialised):
    """Serialised tf.train.Example -> dict of tensors as in the table, pictures still encoded."""
    import tensorflow as tf

    def feature(dtype, *shape, default=None):
        if default is not None:
            default = np.full(shape, default, dtype.as_numpy_dtype)
        return tf.io.FixedLenFeature(shape, dtype, default)

    parsed = tf.io.parse_single_example(
        serialised,
        {
            **{key: feature(tf.string) for key in ("id", "image", "mask", "depth", "meta")},
            **{key: feature(tf.int64) for key in ("height", "width")},
            **{key: feature(tf.int64, LABELS) for key in ("visible", "present")},
            "uv": feature(tf.float32, LABELS, 2),
            "xyz": feature(tf.float32, LABELS, 3),
            "K": feature(tf.float32, 3, 3),
            "present_xyz": feature(tf.int64, LABELS, default=-1),
            "root": feature(tf.int64, default=0),
            "mask_kind": feature(tf.int64, default=MASK_KINDS.index("full")),
            "box": feature(tf.float32, len(SIDES), 4, default=0),
            "source": feature(tf.int64, default=0),
        },
    )
    known = parsed["present_xyz"]
    parsed["present_xyz"] = tf.where(known < 0, parsed["present"], known)
    return parsed | {key: tf.cast(parsed[key], tf.bool) for key in ("visible", "present", "present_xyz")}


def decode_pictures(parsed):
    """A parsed sample with image (H, W, 3) and mask (H, W, 1) decoded to uint8, without depth.

    The mask is all 0 where there is none.
    """
    import tensorflow as tf

    image = tf.io.decode_image(parsed["image"], channels=3, expand_animations=False)
    mask = tf.cond(
        tf.equal(parsed["mask_kind"], MASK_KINDS.index("none")),
        lambda: tf.zeros((parsed["height"], parsed["width"], 1), tf.uint8),
        lambda: tf.io.decode_png(parsed["mask"], channels=1),
    )
    rest = {key: value for key, value in parsed.items() if key != "depth"}
    return rest | {"image": tf.ensure_shape(image, (None, None, 3)), "mask": mask}


def decode_depth(parsed):
    """Depth of a parsed sample, (H, W) float32 metres, 0 where there is no surface; all 0 if it is absent."""
    import tensorflow as tf

    return tf.cond(
        tf.equal(tf.strings.length(parsed["depth"]), 0),
        lambda: tf.zeros((parsed["height"], parsed["width"])),
        lambda: tf.cast(tf.io.decode_png(parsed["depth"], 1, tf.uint16)[..., 0], tf.float32) * DEPTH_UNIT,
    )


def read_records(directory, split, *, shuffle=False, seed=0, check=True):
    """tf.data.Dataset of parsed samples (`parse_example`), once through the split.

    shuffle: shards in another order, then samples within a buffer of 1024 encoded ones; the order of
      `seed` changes from pass to pass.  Without it the order is that of the files.
    check: read all checksums first (about a second per gigabyte), so that a truncated or corrupt shard
      is reported by name instead of somewhere in the first epoch.
    """
    import tensorflow as tf

    if check:
        check_shards(directory, split)
    paths = tf.data.Dataset.from_tensor_slices(shard_paths(directory, split))
    if not shuffle:
        return tf.data.TFRecordDataset(paths).map(parse_example, num_parallel_calls=tf.data.AUTOTUNE)
    paths = paths.shuffle(10_000, seed=seed)
    records = paths.interleave(tf.data.TFRecordDataset, cycle_length=8)
    return records.shuffle(1024, seed=seed + 1).map(parse_example, num_parallel_calls=tf.data.AUTOTUNE)
