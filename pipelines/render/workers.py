"""Processes that render: started, watched, stopped without leaving anything behind."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool

from pipelines.processes import follow_parent

# one process a core is quicker than one process with threads; the rasteriser draws in the calling thread
THREADS = {"LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_state = {}


class WorkerKilled(RuntimeError):
    """A process of the pool died; mostly the system ended it for want of memory."""


class Stopped(RuntimeError):
    """Raised in a worker when the run has been stopped."""


def _start(settings, done, stop):
    """In each worker, before its first task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one tells the rest
    follow_parent()
    _state.update(settings=settings, done=done, stop=stop)


def render(seed, split, given=None):
    """Sample `seed` of a split, in a worker; see `scene.render_sample`.  Raises `Stopped`."""
    from pipelines.render.scene import Renderer, render_sample

    if _state["stop"].value:
        raise Stopped
    settings = _state["settings"]
    if "renderer" not in _state:  # not in `_start`: a pool does not pass on what fails there
        _state["renderer"] = Renderer(**settings)
    sample = render_sample(_state["renderer"], seed, split, settings["size"], given)
    with _state["done"].get_lock():
        _state["done"].value += 1
    return sample


class Pool:
    """A pool of `count` rendering processes; use it as a context.

    settings: dict of the arguments of `scene.Renderer`; size has to be there.
    `done` is the number of samples rendered so far.
    """

    def __init__(self, count, settings):
        context = multiprocessing.get_context("spawn")
        self._done, self._stop = context.Value("q", 0), context.Value("b", 0)
        initial = settings, self._done, self._stop
        self._executor = concurrent.futures.ProcessPoolExecutor(count, context, _start, initial)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def done(self):
        return self._done.value

    def submit(self, function, *arguments):
        with _environment(THREADS):  # processes start when there is work for them
            return self._executor.submit(function, *arguments)

    def close(self):
        """Stop after the samples that are being rendered."""
        self._stop.value = 1
        self._executor.shutdown(wait=True, cancel_futures=True)


def result(future):
    """What a task returned; `WorkerKilled` where its process died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkerKilled(
            "a rendering process died; if the system ended it for want of memory, give fewer --workers "
            "(each needs up to 1 GB)"
        ) from error


@contextlib.contextmanager
def _environment(values):
    """Environment variables for the processes started meanwhile; those that are set already stay."""
    new = {key: value for key, value in values.items() if key not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for key in new:
            os.environ.pop(key, None)
