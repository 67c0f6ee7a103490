"""Batches that are rendered while the training runs, without a data set on disk and without TensorFlow.

    batches = posenet_stream(batch=32, backgrounds="PHOTOS", workers=14)
    model.fit(batches, steps_per_epoch=500, epochs=20)  # hand3d.training.PoseNetTraining, on any backend

Worker processes render ahead; on a machine with a graphics card they use it through EGL.  No sample is seen
twice, unless a run is started again with the same `seed`.
"""

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import weakref

import keras
import numpy as np

from pipelines.render.serve import LENGTH
from pipelines.render.workers import THREADS, WorkerKilled

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def posenet_stream(
    *,
    batch,
    split="training",
    size=320,
    side=160,
    reach=1.6,
    crop_size=128,
    min_visible=9,
    min_box=30,
    backgrounds=None,
    seed=0,
    workers=2,
    ahead=4,
    device="auto",
    start=(0, 0),
):
    """Endless batches of rendered hands, as of `pipelines.inputs.posenet_batches`.

    size: pixels of the square pictures that the hands are cut from.  backgrounds: folder of photographs, or
    None for made-up rooms.  workers: processes that render; ahead: batches that they may be ahead.
    device: to draw with, as of `render.context.find_device`.  start: (sample, example of it) to begin at, a
    `position` of the batches.  Other arguments and the batches' keys are those
    of `posenet_batches`.  Returns a `RenderedBatches`.
    """
    examples = {"side": side, "reach": reach, "min_visible": min_visible, "min_box": min_box}
    settings = _settings("posenet", split, size, crop_size, backgrounds, seed, device, examples)
    return RenderedBatches(settings, batch, workers, ahead, start)


def handsegnet_stream(
    *,
    batch,
    split="training",
    size=320,
    side=256,
    crop_size=256,
    zooms=True,
    min_box=30,
    backgrounds=None,
    seed=0,
    workers=2,
    ahead=4,
    device="auto",
    start=(0, 0),
):
    """Endless batches of rendered images and zooms, as of `pipelines.inputs.handsegnet_batches`.

    Arguments as of `posenet_stream` and `handsegnet_batches`.  Returns a `RenderedBatches`.
    """
    examples = {"side": side, "zooms": zooms, "min_box": min_box}
    settings = _settings("handsegnet", split, size, crop_size, backgrounds, seed, device, examples)
    return RenderedBatches(settings, batch, workers, ahead, start)


def _settings(network, split, size, crop_size, backgrounds, seed, device, examples):
    from pipelines.render.backgrounds import SPLITS, find_pictures

    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if backgrounds is not None:
        backgrounds = os.path.abspath(backgrounds)
        find_pictures(backgrounds, split)
    return {
        "network": network,
        "split": split,
        "size": size,
        "crop_size": crop_size,
        "backgrounds": backgrounds,
        "seed": seed,
        "device": device,
        "examples": examples,
    }


class RenderedBatches(keras.utils.PyDataset):
    """Endless dataset of rendered batches (dicts of arrays); close it, or let it go, to end its processes.

    The n-th item asked for is the n-th batch, whatever its index; one seed gives the same batches for any
    number of workers.  Errors: ValueError for fewer than one worker or example; RuntimeError with its message
    where a process failed; `WorkerKilled` where one died.

    `position`: (sample, example of it) that the next batch begins with, to be given as `start`.  `numbers`:
    of the samples that the last batch comes from, a list.
    """

    def __init__(self, settings, batch, workers, ahead, start=(0, 0)):
        super().__init__()
        for name, value in (("batch", batch), ("workers", workers), ("ahead", ahead)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.batch, self.position, self.numbers = batch, tuple(start), []
        self._next_sample, self._skipped = start
        self._lock, self._left, self._turn = threading.Lock(), [], 0
        self._queues = [queue.Queue(-(-batch * ahead // workers)) for _ in range(workers)]
        # sample k comes from process k % workers, so the order does not depend on their speed
        self._processes = [
            _start(settings | {"first": start[0] + k, "step": workers}) for k in range(workers)
        ]
        self._end = threading.Event()
        self._finalizer = weakref.finalize(self, _stop, self._processes, self._end)
        for process, waiting in zip(self._processes, self._queues, strict=True):
            threading.Thread(target=_read, args=(process, waiting, self._end), daemon=True).start()

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        """The next batch: {key: array (B, ...)}; keys as of `pipelines.inputs`."""
        with self._lock:
            while len(self._left) < self.batch:
                number, examples = self._next_sample, self._next()
                self._left += [((number, k), example) for k, example in enumerate(examples)][self._skipped :]
                self._next_sample, self._skipped = number + 1, 0
            chosen, self._left = self._left[: self.batch], self._left[self.batch :]
            self.position = self._left[0][0] if self._left else (self._next_sample, 0)
            self.numbers = [number for (number, _), _ in chosen]
        examples = [example for _, example in chosen]
        return {key: np.stack([example[key] for example in examples]) for key in examples[0]}

    def _next(self):
        if self._end.is_set():
            raise RuntimeError("these batches have been closed")
        message = self._queues[self._turn].get()
        if message is None:
            code = self._processes[self._turn].wait()
            self.close()
            raise WorkerKilled(
                f"a rendering process died (status {code}); if the system ended it for want of memory, use "
                "fewer workers"
            )
        if isinstance(message, str):
            self.close()
            raise RuntimeError(f"a rendering process failed: {message}")
        self._turn = (self._turn + 1) % len(self._queues)
        return message

    def close(self):
        """End the processes; no more batches come."""
        self._finalizer()


def _start(settings):
    # a program of its own: a process of `multiprocessing` would import the training script and its libraries
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.render.serve", json.dumps(settings)],
        env=THREADS | os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def _read(process, waiting, end):
    """Messages of a process into its queue; None when it is over."""
    while not end.is_set():
        header = process.stdout.read(LENGTH.size)
        content = process.stdout.read(LENGTH.unpack(header)[0]) if len(header) == LENGTH.size else b""
        whole = len(header) == LENGTH.size and len(content) == LENGTH.unpack(header)[0]
        message = pickle.loads(content) if whole else None
        while not end.is_set():
            try:
                waiting.put(message, timeout=0.5)
                break
            except queue.Full:
                continue
        if not whole:
            return


def _stop(processes, end):
    end.set()
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()
