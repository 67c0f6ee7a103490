"""Reads back what a conversion wrote: checksums, pictures, projection, bones, order of the keypoints."""

import numpy as np

from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines import anatomy, pictures, records
from pipelines.convert.common import PROJECTION_TOLERANCE, projection_error
from pipelines.tfrecord_io import example_class, read_tfrecord

HANDS_A_SHARD = 64  # kept for the look at the anatomy
ENOUGH_HANDS = 20  # fewer prove nothing


def parse(payload):
    """Serialised sample -> dict of numpy arrays, bytes and numbers as in the table of `pipelines.records`,
    without TensorFlow."""
    features = example_class().FromString(payload).features.feature
    sample = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else []
        if kind == "bytes_list":
            sample[name] = values[0]
        else:
            sample[name] = np.array(values, np.float32 if kind == "float_list" else np.int64)
    for name, width in (("uv", 2), ("xyz", 3), ("K", 3), ("box", 4)):
        if name in sample:
            sample[name] = sample[name].reshape(-1, width)
    sample["present"] = sample["present"].astype(bool)
    sample["visible"] = sample["visible"].astype(bool)
    sample["present_xyz"] = sample.get("present_xyz", sample["present"]).astype(bool)
    for name in ("root", "mask_kind", "source"):
        known = {"root": records.ROOTS, "mask_kind": records.MASK_KINDS, "source": records.SOURCES}[name]
        default = "full" if name == "mask_kind" else known[0]
        sample[name] = known[int(sample[name][0])] if name in sample else default
    return sample


def check_sample(sample):
    """ValueError unless pictures decode and have one size, and labels pass."""
    name = sample["id"].decode()
    shape = int(sample["height"][0]), int(sample["width"][0])
    for kind in ("image", "mask", "depth"):
        if not sample[kind] and kind != "image":
            continue
        size = pictures.check(sample[kind])
        if size[::-1] != shape:
            raise ValueError(f"{name}: {kind} has {size[::-1]} pixels, expected {shape}")
    both = sample["present"] & sample["present_xyz"]
    error = projection_error(sample["uv"], sample["xyz"], sample["K"], both)
    if error > PROJECTION_TOLERANCE:
        raise ValueError(f"{name}: xyz projected with K lies {error:.1f} px from uv")
    for part in halves():
        wrong = anatomy.impossible_bone(sample["xyz"][part], sample["present_xyz"][part])
        if wrong:
            raise ValueError(f"{name}: {wrong}")


def halves():
    """The slices of the left and of the right hand."""
    return [slice(side * NUM_KEYPOINTS, (side + 1) * NUM_KEYPOINTS) for side in range(len(SIDES))]


def verify_shard(path, count):
    """Checks every sample of a shard; returns some of its hands as lists, for `judge`.

    ValueError names the shard and the first sample at fault.
    """
    hands = {"xyz": [], "uv": [], "side": []}
    found = 0
    step = max(1, count * len(SIDES) // HANDS_A_SHARD)
    for payload in read_tfrecord(path):
        sample = parse(payload)
        try:
            check_sample(sample)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        for side, part in enumerate(halves()):
            if found % step:
                continue
            if sample["present_xyz"][part].all():
                hands["xyz"].append(sample["xyz"][part].tolist())
                hands["side"].append(side)
            elif sample["present"][part].all():
                hands["uv"].append(sample["uv"][part].tolist())
        found += 1
    if found != count:
        raise ValueError(f"{path}: {found} samples read back, {count} were written")
    return hands


def judge(hands, root):
    """(problems, doubts): words for what the anatomy of the hands says against the labels.

    hands: dict with lists xyz (N, 21, 3), side (N,), uv (M, 21, 2).  Problems are proven by 3D labels; what
    2D labels alone show may be perspective and is a doubt.
    """
    problems, doubts = [], []
    if len(hands["xyz"]) >= ENOUGH_HANDS:
        problems = anatomy.problems(np.array(hands["xyz"]), np.array(hands["side"]), root)
    if len(hands["uv"]) >= ENOUGH_HANDS:
        doubts = anatomy.problems(np.array(hands["uv"]))
    return problems, doubts
