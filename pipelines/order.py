"""Endless orders that depend on the seed and the position alone, so that a run can go on anywhere.

`tf.data`'s own `repeat` and `sample_from_datasets` keep state: to continue at example 600,000 they would have
to draw all that came before.
"""

import numpy as np
import tensorflow as tf

from pipelines.records import mixed, read_info

BLOCK = 4096  # choices drawn together
SEEDS = 2**31 - 1


def passes(once, seed, buffer, start=0, count=None):
    """A dataset again and again, each pass shuffled anew, from example `start` of all passes on.

    once: tf.data.Dataset, or function of the pass's number (int64 tensor) that makes one of equal length.
    seed: int.  buffer: examples that are shuffled.  count: examples of a pass, counted if not given (which
    fills the cache of a cached dataset).  ValueError for an empty dataset where it is counted.
    """
    make = once if callable(once) else lambda number: once
    first = left = 0
    if start:
        count = count or int(make(tf.constant(0, tf.int64)).reduce(np.int64(0), lambda n, _: n + 1))
        if not count:
            raise ValueError("an empty dataset has no order")
        first, left = divmod(start, count)

    def one(number):
        tf.random.set_seed(seed % SEEDS + 1)  # of this function only: not the caller's
        return make(number).shuffle(buffer, seed=number)

    return tf.data.Dataset.range(first, tf.int64.max).flat_map(one).skip(left)


def choices(weights, seed, start=0):
    """(dataset, counts): endless numbers of the parts to take from, int64, and what was taken before `start`.

    weights: of the parts, positive.  counts: (len(weights),) int, the parts' shares of the first `start`.
    """
    edges = np.cumsum(np.array(weights, np.float64) / np.sum(weights)).astype(np.float32)[:-1]

    def block(number):
        drawn = tf.random.stateless_uniform((BLOCK,), (tf.cast(seed % SEEDS, tf.int64), number))
        return tf.searchsorted(tf.constant(edges), drawn, side="right", out_type=tf.int64)

    first, left = divmod(start, BLOCK)
    counts = np.zeros(len(weights), np.int64)
    for number in range(first + bool(left)):
        taken = block(tf.constant(number, tf.int64)).numpy()[: left if number == first else BLOCK]
        counts += np.bincount(taken, minlength=len(weights))
    numbers = tf.data.Dataset.range(first, tf.int64.max)
    data = numbers.flat_map(lambda number: tf.data.Dataset.from_tensor_slices(block(number)))
    return data.skip(left), counts


def weighted(source, split):
    """[(folder or file, weight)] of a source: those of a mix that have the split, or itself."""
    if source.endswith(".npz"):
        return [(source, 1.0)]
    return [part for part in mixed(source) or [(source, 1.0)] if split in read_info(part[0])["splits"]]


def gather(
    directory, split, examples, training, limit, seed, memory, size, check, batch, start, what
):  # fmt: skip
    """The examples of a folder, or of all parts of a mix by their weights; endless and shuffled for training.

    examples(folder, seed, check) -> dataset.  size: bytes that a sample of records becomes.  what: the
    name of an example, for errors.  Other arguments as of `posenet_batches`.
    """
    if not training:  # in order, without weights
        data = examples(directory, seed, check)
        return data.take(limit) if limit else data
    parts = weighted(directory, split) or [(directory, 1.0)]
    counts = [limit or read_info(folder)["splits"].get(split, {}).get("samples", 0) for folder, _ in parts]
    share = memory / max(sum(counts) * size, 1)
    some = [examples(folder, seed, check).take(min(batch, limit or batch)) for folder, _ in parts]
    enough(sum(1 for data in some for _ in data), batch, directory, split, what)

    def endless(folder, before):
        if share >= 1:  # the buffer holds references to what the cache keeps: large, it costs nothing
            data = examples(folder, seed)
            return passes((data.take(limit) if limit else data).cache(), seed, 4096, before)
        if limit:
            return passes(examples(folder, seed).take(limit), seed, 1024, before)
        return passes(lambda number: examples(folder, number), seed, 1024, before)

    if len(parts) == 1:
        return endless(parts[0][0], start)
    data, seen = choices([weight for _, weight in parts], seed, start)
    endless_parts = [endless(part[0], int(before)) for part, before in zip(parts, seen, strict=True)]
    return tf.data.Dataset.choose_from_datasets(endless_parts, data)


def enough(found, batch, directory, split, what):
    if not found:
        raise ValueError(f"{directory}: nothing to train on in the split {split!r}: no {what}")
    if found < batch:
        raise ValueError(
            f"{directory}: a batch of {batch} is more than the split {split!r} has, {found} (a {what} each); "
            f"take a batch of {found} or less"
        )
