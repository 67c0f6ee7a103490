"""tf.data input functions, one per network, each in the order in which it runs.

They make no difference between data sets (`pipelines.hands`).  Pictures are decoded and cut once and kept in
memory as uint8 while they fit into it; what changes from epoch to epoch happens in the training graph
(`hand3d.augment`).  A picture comes with two covers, how much of a pixel the person and the hand fill:
(S, S, 5) uint8, RGB, person, hand.  A folder of `pipelines.mix` is read with its weights.
"""

import numpy as np
import tensorflow as tf

from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines import rules
from pipelines.cut import ZOOMS
from pipelines.hands import cut_square, hand, person
from pipelines.order import choices, enough, gather, passes, weighted
from pipelines.poses import read_poses
from pipelines.records import HAND_IDS, MASK_KINDS, ROOTS, decode_pictures, read_info, read_records

AUTOTUNE = tf.data.AUTOTUNE
MEMORY = 6e9  # bytes of cut pictures to keep; larger sets are decoded again in every epoch


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
    memory=MEMORY,
    start=0,
    ids=False,
):
    """Hands cut out with room to turn, for PoseNet.

    directory, split: of the records.  batch: examples.
    training: shuffle and repeat for ever, or once in order.
    side: S, pixels of the cut; reach: its side as a multiple of the hand's box (the larger extent of its
      visible pixels).  crop_size: N, of the backgrounds.  limit: take so many hands only.
    min_visible, min_box: keypoints and pixels; a hand with less is left out.  Where fewer keypoints are
      labelled, all of these have to be visible.
    backgrounds: folder with photographs, or None for made-up ones; background_count: how many to prepare.

    memory: bytes; what is cut is kept for the next epoch if it is estimated to be less.
    start: example to begin at; the order of the examples depends on the seed and their number alone, so that
      a run goes on where it was.  ids: give each example's name too, "id" (B,) str.

    ValueError where there is no such hand, or fewer than a batch to train on.

    Batches are dicts: picture (B, S, S, 5) uint8; background (B, N, N, 3) uint8; uv (B, 21, 2) float32,
    pixels of the picture, root = palm; visible, present (B, 21) bool; side (B,) int32; xyz (B, 21, 3)
    float32, metres, root = palm, where present_xyz (B, 21) bool; cut (B, 3) float32: centre u, v and side of
    the cut in pixels of the image; K (B, 3, 3) of the image, 0 if not known; has_mask (B,) bool; source (B,)
    int32, index into `records.SOURCES`.
    """

    def hands(sample):
        examples = [hand(sample, number) | named(sample, number) for number in range(len(SIDES))]
        for example in examples:
            labelled, seen = (
                tf.reduce_sum(tf.cast(example[key], tf.int32)) for key in ("present", "visible")
            )
            enough = seen >= tf.minimum(min_visible, labelled)
            example["keep"] = enough & (example["cut"][2] >= min_box)
            example["cut"] *= (1, 1, reach)
        return tf.data.Dataset.from_tensor_slices(
            tf.nest.map_structure(lambda *parts: tf.stack(parts), *examples)
        )

    def named(sample, number):
        return {"id": tf.strings.join([sample["id"], SIDES[number]], " ")} if ids else {}

    def cut(example):
        picture = cut_square(example["image"], example["covers"], example["cut"], side)
        uv = (example["uv"] - example["cut"][:2]) * (side / example["cut"][2]) + (side - 1) / 2
        kept = {key: value for key, value in example.items() if key not in ("image", "covers", "keep")}
        return kept | {"picture": picture, "uv": uv}

    def examples(folder, seed, check=False):
        data = read_records(folder, split, shuffle=training, seed=seed, check=check)
        data = data.map(decode_pictures, num_parallel_calls=AUTOTUNE)
        data = data.interleave(hands, num_parallel_calls=AUTOTUNE, deterministic=True)
        return data.filter(lambda example: example["keep"]).map(cut, num_parallel_calls=AUTOTUNE)

    size, what = (
        len(SIDES) * side * side * 5,
        f"hand of {min_box} pixels with {min_visible} visible keypoints",
    )
    data = gather(directory, split, examples, training, limit, seed, memory, size, check, batch, start, what)
    return _batches(data, batch, training, seed, split, crop_size, backgrounds, background_count, start)


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
    memory=MEMORY,
    start=0,
    ids=False,
):
    """Whole images and, with `zooms`, the surroundings of each hand at 1.4 to 4 times its box.

    For HandSegNet; samples without a mask are passed over.  Arguments as of `posenet_batches`; the zoom
    depends on the sample's name only, so it is the same every time.
    Batches are dicts: picture (B, S, S, 5) uint8, the hand cover being that of both hands; background
    (B, N, N, 3) uint8.
    """

    def views(sample):
        size = tf.cast(tf.shape(sample["image"])[:2], tf.float32)
        cuts = [tf.stack([(size[1] - 1) / 2, (size[0] - 1) / 2, tf.reduce_max(size)])]
        keep = [True]
        for number in range(len(SIDES)) if zooms else ():
            box = hand(sample, number)["cut"]
            key = tf.strings.to_hash_bucket_strong(sample["id"], 2**31 - 1, key=(number, 2017))
            random = tf.random.stateless_uniform((3,), tf.stack([key, 0]))
            factor = ZOOMS[0] * (ZOOMS[1] / ZOOMS[0]) ** random[0]
            moved = box[:2] + (random[1:] - 0.5) * (factor - 1) * box[2]
            cuts.append(tf.concat([moved, [factor * box[2]]], 0))
            keep.append(box[2] >= min_box)
        classes = tf.cast(sample["mask"], tf.int32)
        covers = tf.concat([person(sample), classes >= HAND_IDS[0][0]], -1)
        data = tf.data.Dataset.from_tensor_slices((tf.stack(cuts), tf.stack(keep)))
        data = data.filter(lambda cut, keep: keep)
        names = {"id": sample["id"]} if ids else {}
        return data.map(lambda cut, keep: {"picture": cut_square(sample["image"], covers, cut, side)} | names)

    def examples(folder, seed, check=False):
        data = read_records(folder, split, shuffle=training, seed=seed, check=check)
        data = data.filter(lambda sample: sample["mask_kind"] > MASK_KINDS.index("none"))
        data = data.map(decode_pictures, num_parallel_calls=AUTOTUNE)
        return data.interleave(views, num_parallel_calls=AUTOTUNE, deterministic=True)

    size = (1 + len(SIDES) * zooms) * side * side * 5
    data = gather(
        directory,
        split,
        examples,
        training,
        limit,
        seed,
        memory,
        size,
        check,
        batch,
        start,
        "picture with a mask",
    )
    return _batches(data, batch, training, seed, split, crop_size, backgrounds, background_count, start)


def lifting_batches(sources, split, *, batch, training, seed=0, limit=None, check=True, start=0, ids=False):
    """Hand poses for the lifting networks: both hands of each sample wherever they are.

    sources: a folder of records or a file of `pipelines.poses` (.npz), or several; those without the split
    are passed over.  Batches are dicts: xyz (B, 21, 3) float32, metres, camera axes, root = palm; side (B,)
    int32; visible (B, 21) bool.  start, ids: as of `posenet_batches`; a name is that of the source with the
    hand's number in it.  ValueError where there are none, or fewer than a batch to train on.
    """
    sources = [sources] if isinstance(sources, str) else sources
    if not training:
        data, _ = _poses_dataset(sources, split, limit, check, ids)
        return data.batch(batch).prefetch(4)
    parts = [part for source in sources for part in weighted(source, split)]
    if len({weight for _, weight in parts}) == 1:  # as if they were one source
        groups, data, seen = [sources], None, [start]
    else:
        groups = [[source] for source, _ in parts]
        data, seen = choices([weight for _, weight in parts], seed, start)
    streams, total = [], 0
    for group, before in zip(groups, seen, strict=True):
        poses, count = _poses_dataset(group, split, limit, check, ids)
        streams.append(passes(poses, seed, count, int(before), count))
        total += count
    enough(total, batch, ",".join(sources), split, "hand known in 3D")
    data = streams[0] if data is None else tf.data.Dataset.choose_from_datasets(streams, data)
    return data.batch(batch, drop_remainder=True).prefetch(4)


def _poses_dataset(sources, split, limit, check, ids):
    """(dataset, number of poses), once in order."""
    poses = load_poses(sources, split, check=check)
    poses = {key: value[: limit or None] for key, value in poses.items()}
    count = len(poses["side"])
    if ids:
        poses["id"] = np.array([f"{','.join(sources)} hand {number}" for number in range(count)])
    return tf.data.Dataset.from_tensor_slices(poses), count


def load_poses(sources, split, check=True):
    """All hands of a split that are labelled in 3D: dict of xyz (N, 21, 3), side (N,), visible (N, 21).

    Arguments and units as of `lifting_batches`.  Images are not decoded.  ValueError if no source has a
    hand of the split.
    """
    parts = []
    for source in [sources] if isinstance(sources, str) else sources:
        if source.endswith(".npz"):
            poses = read_poses(source)
            found = poses["split"] == split and len(poses["side"])
            parts += [_palm_poses(poses)] if found else []
        elif split in read_info(source)["splits"]:
            parts += list(_recorded_poses(source, split, check))
    if not parts:
        raise ValueError(f"{sources}: no labelled hand (in 3D) in the split {split!r}")
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _recorded_poses(directory, split, check):
    """The hands of a folder of records that are known in 3D and lie before the camera, one by one."""
    for sample in read_records(directory, split, check=check).as_numpy_iterator():
        for number in range(len(SIDES)):
            part = slice(number * NUM_KEYPOINTS, (number + 1) * NUM_KEYPOINTS)
            xyz, visible = sample["xyz"][None, part], sample["visible"][None, part]
            if sample["present_xyz"][part].all() and (xyz[..., 2] > 0).all():
                pose = {"xyz": xyz, "side": np.array([number], np.int32), "visible": visible}
                yield pose if sample["root"] == ROOTS.index("palm") else _palm_poses(pose)


def _palm_poses(poses):
    """Poses with the wrist for the root -> with the palm."""
    visible = np.array(poses["visible"])
    visible[:, 0] = rules.palm_visible(visible)
    return {"xyz": rules.palm_from_wrist(poses["xyz"]), "side": poses["side"], "visible": visible}


def background_batches(folder, split, size, batch, seed=0, count=1500, start=0):
    """For ever (B, size, size, 3) uint8: `count` pictures made at the start, then shuffled again and again.

    folder: with photographs; None: made-up rooms and clutter (`pipelines.render.backgrounds`).  start: number
    of the first.
    """
    from pipelines.render.backgrounds import Backgrounds

    source = Backgrounds(folder, split)  # here, so that a folder without pictures is reported at once

    def pictures():
        rng = np.random.default_rng(seed)
        for _ in range(count):
            yield source.sample(rng, size)[0]

    data = tf.data.Dataset.from_generator(pictures, output_signature=tf.TensorSpec((size, size, 3), tf.uint8))
    return passes(data.cache(), seed, max(1, count // 2), start, count).batch(batch)


def _batches(data, batch, training, seed, split, crop_size, backgrounds, background_count, start):
    """Batch, and put a background beside each picture."""
    if training:
        data = data.batch(batch, drop_remainder=True)
        others = background_batches(backgrounds, split, crop_size, batch, seed, background_count, start)
        data = tf.data.Dataset.zip(data, others)
    else:  # nothing is replaced where nothing is augmented
        data = data.batch(batch)
        data = data.map(lambda example: (example, _no_background(example["picture"], crop_size)))
    return data.map(lambda example, other: example | {"background": other}).prefetch(4)


def _no_background(picture, size):
    return tf.zeros((tf.shape(picture)[0], size, size, 3), tf.uint8)
