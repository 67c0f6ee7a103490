"""Training data that is rendered while the training runs (`--data render`), on every backend."""

import contextlib
import itertools
import json
import os
import threading

import numpy as np

from hand3d.files import write_atomic

POSITION = "stream.json"
KEPT = 16  # batches of a generator, for a dataset that is begun again


def rendered(stream, recipe, arguments):
    """(training_data(start), validation, names(start)), as of `common.train`.

    stream(batch=..., split=..., seed=..., start=...): one of `pipelines.stream`, with the sizes bound.
    validation: the first `recipe.validation` examples of the evaluation split, in memory.  What comes next in
    the stream is noted in the run folder, so that a run that goes on sees what an unbroken one sees.
    """
    options = dict(backgrounds=arguments.backgrounds, workers=arguments.workers)
    path, state = os.path.join(arguments.run, POSITION), {}
    print(f"rendering {recipe.validation} examples to validate on", flush=True)
    validation = gather(stream(batch=recipe.batch, split="evaluation", seed=0, **options), recipe.validation)

    def training_data(start):
        first = (0, 0)
        if start:
            first = _position(path, start)
            kept = {key: value for key, value in _read(path).items() if int(key) <= start}
            write_atomic(path, json.dumps(kept).encode())
        batches = stream(batch=recipe.batch, split="training", seed=recipe.seed, start=first, **options)
        state["names"] = {}
        return _numbered(batches, start, recipe, path, state["names"])

    def names(start):
        return [f"sample {number}" for number in state.get("names", {}).get(start, [])]

    return training_data, validation, names


def gather(batches, count):
    """The first `count` examples of a stream, a dict of arrays; closes it."""
    parts, found = [], 0
    try:
        while found < count:
            parts.append(batches[len(parts)])
            found += len(parts[-1]["picture"])
    finally:
        batches.close()
    return {key: np.concatenate([part[key] for part in parts])[:count] for key in parts[0]}


def _numbered(batches, start, recipe, path, names):
    """The batches; notes at each epoch's end where the stream goes on, before the epoch is over."""
    size = recipe.epoch_steps * recipe.batch
    try:
        while True:
            batch = batches[0]
            names[start] = batches.numbers
            names.pop(start - 64 * recipe.batch, None)
            start += recipe.batch
            if start % size == 0:
                kept = _read(path)
                kept = {key: kept[key] for key in sorted(kept, key=int)[-8:]}  # fit asks for some ahead
                content = json.dumps(kept | {str(start): list(batches.position)})
                write_atomic(path, content.encode())
            yield batch
    finally:
        batches.close()


def _read(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _position(path, start):
    found = _read(path).get(str(start))
    if found is None:
        raise ValueError(
            f"{path} does not say where the stream goes on after example {start}; take another --run"
        )
    return tuple(found)


def as_dataset(generator):
    """A generator of batches as a tf.data.Dataset that is one batch ahead.

    With several devices Keras looks at a batch and begins the dataset again: the first ones come again then.
    """
    import tensorflow as tf

    lock, taken = threading.Lock(), {0: next(generator)}
    signature = {key: tf.TensorSpec((None, *value.shape[1:]), value.dtype) for key, value in taken[0].items()}

    def batch(number):
        with lock:  # a dataset that was left may still be asking for a batch
            if number < min(taken):
                raise RuntimeError(f"begun again after {KEPT} batches or more: the first are gone")
            if number not in taken:
                taken[number] = next(generator)
                taken.pop(number - KEPT, None)
            return taken[number]

    def all_of_them():
        with contextlib.suppress(StopIteration):
            for number in itertools.count():
                yield batch(number)

    return tf.data.Dataset.from_generator(all_of_them, output_signature=signature).prefetch(2)
