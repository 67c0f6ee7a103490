"""Speed on this machine: times of calls, its peak in matrix products, operations of a compiled model."""

import os
import platform
import statistics
import time

import keras
import numpy as np

from hand3d.cores import cores

MATRIX = 2048  # rows and columns of the matrices multiplied
WARM_UP = 2


def milliseconds(function, runs):
    """Median and least time of a call."""
    for _ in range(WARM_UP):
        function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return {"median": round(statistics.median(times), 3), "least": round(min(times), 3)}


def in_turns(timers, rounds, reference):
    """Times of several calls that take turns, so that other work on the machine falls on all of them.

    timers: {name: callable that returns milliseconds}, see `timer`.  Returns {name: {"median", "least": ms,
    "ratio"}}: the median over the rounds of its time by that of `reference` in the same round.
    """
    times = {name: [] for name in timers}
    for number in range(WARM_UP + rounds):
        for name, timed in timers.items():
            timed()  # the caches are its own again
            taken = timed()
            if number >= WARM_UP:
                times[name].append(taken)
    return {
        name: {
            "median": round(statistics.median(taken), 3),
            "least": round(min(taken), 3),
            "ratio": round(statistics.median(np.divide(taken, times[reference])), 4),
        }
        for name, taken in times.items()
    }


def timer(function):
    """Callable: calls the function and returns the milliseconds that it took."""

    def timed():
        start = time.perf_counter()
        function()
        return 1000 * (time.perf_counter() - start)

    return timed


def matmul_gflops(runs):
    """{dtype: GFLOP/s} of a product of square matrices."""
    import tensorflow as tf

    speeds = {}
    for dtype in ("float32", "bfloat16"):
        a, b = (tf.cast(tf.random.normal((MATRIX, MATRIX), seed=seed), dtype) for seed in (1, 2))
        product = tf.function(tf.matmul)
        taken = milliseconds(lambda a=a, b=b, product=product: product(a, b), min(runs, 7))["median"]
        speeds[dtype] = float(f"{2 * MATRIX**3 / taken / 1e6:.4g}")
    return speeds


class Compiled:
    """A model on tensors that are ready: call it to run it once.

    model: keras.Model.  size: (height, width) of images of open size.  batch: number of images.
    """

    def __init__(self, model, size, batch=1):
        import tensorflow as tf

        shapes = [x.shape[1:] for x in model.inputs]
        shapes = [(batch, *size, shape[-1]) if None in shape else (batch, *shape) for shape in shapes]
        rng = np.random.default_rng(0)
        inputs = [tf.constant(rng.uniform(0, 1, shape).astype(np.float32)) for shape in shapes]
        self.inputs = inputs if len(inputs) > 1 else inputs[0]
        signature = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), self.inputs)
        # without XLA, as in `hand3d.tracing`
        self.function = tf.function(lambda x: model(x, training=False), [signature], autograph=False)

    def __call__(self):
        return self.function(self.inputs)

    def gflop(self):
        """10^9 operations of its convolutions and matrix products."""
        total = 0
        for op in self.function.get_concrete_function().graph.get_operations():
            if op.type in ("Conv2D", "DepthwiseConv2dNative"):
                height, width, depth, _ = op.inputs[1].shape
                terms = height * width * (depth if op.type == "Conv2D" else 1)
            elif op.type in ("MatMul", "BatchMatMulV2"):
                turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
                terms = op.inputs[0].shape[-2 if turned else -1]
            else:
                continue
            total += 2 * op.outputs[0].shape.num_elements() * terms
        return total / 1e9


def machine():
    """Processor, cores, load average and versions, a dict that JSON can hold."""
    import tensorflow as tf

    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu,
        "cores": cores(),
        "load_average": load,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
