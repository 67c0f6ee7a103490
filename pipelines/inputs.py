"""tf.data input functions, one per network, each in the order in which it runs.

Pictures are decoded and cut once and kept in memory as uint8; what changes from epoch to epoch happens in
the training graph (`hand3d.augment`).  A picture comes with two covers, how much of a pixel the person and
the hand fill: (S, S, 5) uint8, RGB, person, hand.
"""

import numpy as np
import tensorflow as tf

from hand3d.skeleton import INDEX, NUM_KEYPOINTS, ROOT, SIDES
from pipelines.poses import read_poses
from pipelines.records import HAND_IDS, decode_pictures, read_info, read_records

GREY = 128.0  # outside an image, as `hand3d.augment` has it
AUTOTUNE = tf.data.AUTOTUNE


def posenet_batches(
    directory,
    split,
    *,
    batch,
    training,
    side=160,
    reach=1.6,
    crop_size=128,
    seed=0,
    limit=None,
    min_visible=9,
    min_box=30,
    backgrounds=None,
    background_count=1500,
    check=True,
):
    """Hands cut out with room to turn, for PoseNet.

    directory, split: of the records.  batch: examples.
    training: shuffle and repeat for ever, or once in order.
    side: S, pixels of the cut; reach: its side as a multiple of the hand's box (the larger extent of its
      visible pixels).  crop_size: N, of the backgrounds.  limit: take so many hands only.
    min_visible, min_box: keypoints and pixels; a hand with less is left out.
    backgrounds: folder with photographs, or None for made-up ones; background_count: how many to prepare.

    Batches are dicts: picture (B, S, S, 5) uint8; background (B, N, N, 3) uint8; uv (B, 21, 2) float32,
    pixels of the picture, root = palm; visible (B, 21) bool; side (B,) int32; xyz (B, 21, 3) float32,
    metres, root = palm; cut (B, 3) float32: centre u, v and side of the cut in pixels of the image;
    K (B, 3, 3) of the image.
    """

    def hands(sample):
        examples = [_hand(sample, number) for number in range(len(SIDES))]
        for example in examples:
            enough = tf.reduce_sum(tf.cast(example["visible"], tf.int32)) >= min_visible
            example["keep"] = enough & (example["cut"][2] >= min_box)
            example["cut"] *= (1, 1, reach)
        return tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda *parts: tf.stack(parts), *examples)
        )

    def cut(example):
        picture = cut_square(example["image"], example["covers"], example["cut"], side)
        uv = (example["uv"] - example["cut"][:2]) * (side / example["cut"][2]) + (side - 1) / 2
        kept = {key: example[key] for key in ("visible", "side", "xyz", "cut", "K")}
        return kept | {"picture": picture, "uv": uv}

    data = read_records(directory, split, shuffle=training, seed=seed, check=check)
    data = data.map(decode_pictures, num_parallel_calls=AUTOTUNE)
    data = data.interleave(hands, num_parallel_calls=AUTOTUNE, deterministic=True)
    data = data.filter(lambda example: example["keep"]).map(cut, num_parallel_calls=AUTOTUNE)
    return _batches(data, batch, training, seed, limit, split, crop_size, backgrounds, background_count)


def handsegnet_batches(
    directory,
    split,
    *,
    batch,
    training,
    side=256,
    crop_size=256,
    zooms=True,
    seed=0,
    limit=None,
    min_box=30,
    backgrounds=None,
    background_count=1500,
    check=True,
):
    """Whole images and, with `zooms`, the surroundings of each hand at 1.4 to 4 times its box.

    For HandSegNet.  Arguments as of `posenet_batches`; the zoom depends on the sample's name only, so it is
    the same every time.
    Batches are dicts: picture (B, S, S, 5) uint8, the hand cover being that of both hands; background
    (B, N, N, 3) uint8.
    """

    def views(sample):
        size = tf.cast(tf.shape(sample["image"])[:2], tf.float32)
        cuts = [tf.stack([(size[1] - 1) / 2, (size[0] - 1) / 2, tf.reduce_max(size)])]
        keep = [True]
        for number in range(len(SIDES)) if zooms else ():
            box = _hand(sample, number)["cut"]
            key = tf.strings.to_hash_bucket_strong(sample["id"], 2**31 - 1, key=(number, 2017))
            random = tf.random.stateless_uniform((3,), tf.stack([key, 0]))
            factor = 1.4 * (4 / 1.4) ** random[0]
            moved = box[:2] + (random[1:] - 0.5) * (factor - 1) * box[2]
            cuts.append(tf.concat([moved, [factor * box[2]]], 0))
            keep.append(box[2] >= min_box)
        ids = tf.cast(sample["mask"], tf.int32)
        covers = tf.concat([ids > 0, ids >= HAND_IDS[0][0]], -1)
        data = tf.data.Dataset.from_tensor_slices((tf.stack(cuts), tf.stack(keep)))
        data = data.filter(lambda cut, keep: keep)
        return data.map(lambda cut, keep: {"picture": cut_square(sample["image"], covers, cut, side)})

    data = read_records(directory, split, shuffle=training, seed=seed, check=check)
    data = data.map(decode_pictures, num_parallel_calls=AUTOTUNE)
    data = data.interleave(views, num_parallel_calls=AUTOTUNE, deterministic=True)
    return _batches(data, batch, training, seed, limit, split, crop_size, backgrounds, background_count)


def lifting_batches(sources, split, *, batch, training, seed=0, limit=None, check=True):
    """Hand poses for the lifting networks: both hands of each sample wherever they are.

    sources: a folder of records or a file of `pipelines.poses` (.npz), or several; those without the split
    are passed over.  Batches are dicts: xyz (B, 21, 3) float32, metres, camera axes, root = palm; side (B,)
    int32; visible (B, 21) bool.
    """
    poses = load_poses(sources, split, check=check)
    if limit:
        poses = {key: value[:limit] for key, value in poses.items()}
    data = tf.data.Dataset.from_tensor_slices(poses)
    if training:
        data = data.shuffle(len(poses["side"]), seed=seed).repeat()
    return data.batch(batch, drop_remainder=training).prefetch(4)


def load_poses(sources, split, check=True):
    """All labelled hands of a split: dict of xyz (N, 21, 3), side (N,), visible (N, 21).

    Arguments and units as of `lifting_batches`.  Images are not decoded.  ValueError if no source has a
    hand of the split.
    """
    parts = []
    for source in [sources] if isinstance(sources, str) else sources:
        if source.endswith(".npz"):
            poses = read_poses(source)
            found = poses["split"] == split and len(poses["side"])
            parts += [{key: poses[key] for key in ("xyz", "side", "visible")}] if found else []
        elif split in read_info(source)["splits"]:
            parts += list(_recorded_poses(source, split, check))
    if not parts:
        raise ValueError(f"{sources}: no labelled hand in the split {split!r}")
    poses = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    xyz, visible, middle = poses["xyz"], poses["visible"], INDEX["middle_mcp"]
    xyz[:, ROOT] = (xyz[:, ROOT] + xyz[:, middle]) / 2
    visible[:, ROOT] |= visible[:, middle]
    return poses


def _recorded_poses(directory, split, check):
    """The hands of a folder of records that lie before the camera, one by one; root = wrist."""
    for sample in read_records(directory, split, check=check).as_numpy_iterator():
        for number in range(len(SIDES)):
            part = slice(number * NUM_KEYPOINTS, (number + 1) * NUM_KEYPOINTS)
            xyz, visible = sample["xyz"][part], sample["visible"][part]
            if sample["present"][part].all() and (xyz[:, 2] > 0).all():
                yield {"xyz": xyz[None], "side": np.array([number], np.int32), "visible": visible[None]}


def background_batches(folder, split, size, batch, seed=0, count=1500):
    """For ever (B, size, size, 3) uint8: `count` pictures made at the start, then shuffled again and again.

    folder: with photographs; None: made-up rooms and clutter (`pipelines.render.backgrounds`).
    """
    from pipelines.render.backgrounds import Backgrounds

    source = Backgrounds(folder, split)  # here, so that a folder without pictures is reported at once

    def pictures():
        rng = np.random.default_rng(seed)
        for _ in range(count):
            yield source.sample(rng, size)[0]

    data = tf.data.Dataset.from_generator(pictures, output_signature=tf.TensorSpec((size, size, 3), tf.uint8))
    return data.cache().shuffle(max(1, count // 2), seed=seed).repeat().batch(batch)


def cut_square(image, covers, cut, side):
    """A square part of an image, averaged where it shrinks.

    image: (H, W, 3) uint8.  covers: (H, W, 2) bool.  cut: (3,) float32: centre u, v and side in pixels.
    Returns (side, side, 5) uint8; outside the image it is grey and the covers are 0.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    layers = tf.concat([tf.cast(image, tf.float32) - GREY, tf.cast(covers, tf.float32) * 255], -1)
    # twice as fine, then 2x2 means: good up to a fourfold shrinking; the centres of the outermost fine pixels
    margin = cut[2] / 2 - cut[2] / (4 * side)
    low, high = (cut[1::-1] - margin) / (size - 1), (cut[1::-1] + margin) / (size - 1)
    box = tf.concat([low, high], 0)[None]
    fine = tf.image.crop_and_resize(layers[None], box, [0], (2 * side, 2 * side), extrapolation_value=0.0)
    picture = tf.nn.avg_pool2d(fine, 2, 2, "VALID")[0] + (GREY, GREY, GREY, 0.0, 0.0)
    return tf.cast(tf.clip_by_value(tf.round(picture), 0, 255), tf.uint8)


def _hand(sample, number):
    """One hand of a decoded sample: image, covers (H, W, 2) bool, labels with root = palm, and
    cut (3,): centre and larger extent of its visible pixels, 0 if there are none."""
    part = slice(number * NUM_KEYPOINTS, (number + 1) * NUM_KEYPOINTS)
    ids = tf.cast(sample["mask"], tf.int32)
    mine = (ids >= HAND_IDS[number][0]) & (ids <= HAND_IDS[number][1])
    extents = []
    for axis in (0, 1):  # along u, along v
        where = tf.cast(tf.where(tf.reduce_any(mine[..., 0], axis)), tf.float32)
        extents.append((tf.reduce_min(where), tf.reduce_max(where)))
    (left, right), (top, bottom) = extents
    cut = tf.stack([(left + right) / 2, (top + bottom) / 2, tf.maximum(right - left, bottom - top) + 1])
    labelled = tf.reduce_all(sample["present"][part])
    cut = tf.where(labelled & tf.reduce_any(mine), cut, tf.zeros(3))
    visible = sample["visible"][part]
    visible = tf.concat(
        [visible[ROOT : ROOT + 1] | visible[None, INDEX["middle_mcp"]], visible[ROOT + 1 :]], 0
    )
    return {
        "image": sample["image"],
        "covers": tf.concat([ids > 0, mine], -1),
        "uv": _palm_root(sample["uv"][part]),
        "xyz": _palm_root(sample["xyz"][part]),
        "visible": visible,
        "side": tf.constant(number),
        "cut": cut,
        "K": sample["K"],
    }


def _palm_root(points):
    """(21, D) with the wrist first -> with the mean of wrist and middle MCP instead (PAPER.md 3.2)."""
    palm = (points[ROOT] + points[INDEX["middle_mcp"]]) / 2
    return tf.concat([palm[None], points[ROOT + 1 :]], 0)


def _batches(data, batch, training, seed, limit, split, crop_size, backgrounds, background_count):
    """Cache, shuffle, repeat, batch, and put a background beside each picture."""
    if limit:
        data = data.take(limit)
    if training:
        # the buffer holds references to what the cache keeps; it costs nothing to make it large
        data = data.cache().repeat().shuffle(4096, seed=seed).batch(batch, drop_remainder=True)
        others = background_batches(backgrounds, split, crop_size, batch, seed, background_count)
        data = tf.data.Dataset.zip(data, others)
    else:  # nothing is replaced where nothing is augmented
        data = data.batch(batch)
        data = data.map(lambda example: (example, _no_background(example["picture"], crop_size)))
    return data.map(lambda example, other: example | {"background": other}).prefetch(4)


def _no_background(picture, size):
    return tf.zeros((tf.shape(picture)[0], size, size, 3), tf.uint8)
