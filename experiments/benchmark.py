"""Speed of a weight set on this machine, in milliseconds and by the machine's matrix products.

    python -m experiments.benchmark [--weights lite] [--image PHOTO] [--runs 15] [--out benchmark.json]

Medians of several runs, one image unless said otherwise, under TensorFlow.  Stages are timed one by one on
tensors that are ready, so their sum comes near the whole graph; `estimator` is the whole call, file to hand.
A network's `ratio` is its floating-point operations per second by those of a product of large float32 or
bfloat16 matrices in the same run: 1 would be all that the machine can do.  Only convolutions and matrix
products are counted, a multiplication and an addition as two operations.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time

import keras
import numpy as np
from PIL import Image

from hand3d import manifest
from hand3d.estimator import BATCH, HandPoseEstimator, fit
from hand3d.files import write_atomic
from hand3d.images import PICTURE_SIDE, load_image

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


def stages(model, networks):
    """{stage: keras.Model} of the full graph, in the order in which they run."""

    layer = model.get_layer
    names = {each.name for each in model.layers}
    maps = layer("probability_maps" if "probability_maps" in names else "decode").input
    decoded = layer("decode").output
    lifting_inputs = networks["poseprior"].inputs
    lifted = [networks[role](lifting_inputs) for role in ("poseprior", "viewpoint")]
    image = model.inputs[0]
    cut = [layer("mask").input, image]
    return {
        "resize": keras.Model(image, layer("segment_pixels").output),
        "handsegnet": networks["handsegnet"],
        "component, box, crop": keras.Model(cut, layer("crop").output),
        "posenet": networks["posenet"],
        "decode score maps": keras.Model(maps, decoded),
        "lifting": keras.Model(lifting_inputs, lifted),
        "whole graph": model,
    }


def crops_a_picture(model):
    """How many crops of one picture go through PoseNet: every candidate, mirrored too if the set says so."""
    mirrored = "mirrored" in {layer.name for layer in model.layers}
    return model.get_layer("regions").count * (2 if mirrored else 1)


def made_up_photo(folder):
    """Path of a JPEG of 1280 x 960 pixels with detail and noise, as from a telephone."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((1280, 960))
    pixels = np.asarray(coarse, np.int16) + rng.normal(0, 6, (960, 1280, 3)).astype(np.int16)
    path = os.path.join(folder, "photo.jpg")
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def benchmark(weights, photo, runs):
    """All measurements as a dict that JSON can hold."""
    weight_set = manifest.find(weights)
    networks, estimator = manifest.load(weight_set), HandPoseEstimator(weight_set)
    picture = load_image(photo, max_side=PICTURE_SIDE)
    longer = max(picture.pixels.shape[:2])
    canvas = next((side for side in estimator.canvases if side >= longer), estimator.canvases[-1])
    crop = estimator.model.get_layer("crop").crop_size
    sizes = {"handsegnet": estimator.model.get_layer("mask").size, "posenet": (crop, crop)}
    peak = matmul_gflops(runs)

    def read():
        return fit(load_image(photo, max_side=PICTURE_SIDE).pixels, canvas)

    taken, counted = {"read and fit photo": milliseconds(read, runs)}, {}
    for name, model in stages(estimator.model, networks).items():
        looks = crops_a_picture(estimator.model) if name == "posenet" else 1
        compiled = Compiled(model, sizes.get(name, (canvas, canvas)), looks)
        taken[name] = milliseconds(compiled, runs)
        if name in ("handsegnet", "posenet", "lifting"):
            counted[name] = compiled.gflop()
    taken["estimator"] = milliseconds(lambda: estimator(photo), runs)
    counted["whole graph"] = sum(counted.values())  # the networks alone, without resizing and the like
    several = max(3, runs // 3)
    batches = {
        "whole graph": Compiled(estimator.model, (canvas, canvas), BATCH),
        "estimator": lambda: estimator([photo] * BATCH),
    }
    return {
        "weights": weight_set.name,
        "machine": _machine(),
        "photo": [picture.width, picture.height],
        "canvas": canvas,
        "runs": runs,
        "matmul_gflops": peak,
        "ms": taken,
        "networks": {name: _network(gflop, taken[name]["median"], peak) for name, gflop in counted.items()},
        f"images_per_s/batch_{BATCH}": {
            name: round(1000 * BATCH / milliseconds(function, several)["median"], 1)
            for name, function in batches.items()
        },
    }


def _network(gflop, ms, peak):
    speed = 1000 * gflop / ms
    ratios = {f"ratio/{dtype}": round(speed / value, 4) for dtype, value in peak.items()}
    return {"gflop": round(gflop, 3), "gflops": round(speed, 1)} | ratios


def _machine():
    import tensorflow as tf

    try:
        with open("/proc/cpuinfo") as file:
            cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu,
        "cores": cores,
        "load_average": load,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def table(result):
    """The measurements as text."""
    machine, peak = result["machine"], result["matmul_gflops"]
    lines = [
        f"{result['weights']} on {machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}",
        "matrix product: " + ", ".join(f"{value:.0f} GFLOP/s {dtype}" for dtype, value in peak.items()),
        f"{'':22s}{'ms':>9s}{'GFLOP':>9s}{'GFLOP/s':>9s}{'by f32':>8s}{'by bf16':>8s}",
    ]
    for name, value in result["ms"].items():
        line = f"{name:22s}{value['median']:9.2f}"
        if name in result["networks"]:
            network = result["networks"][name]
            line += f"{network['gflop']:9.3f}{network['gflops']:9.1f}"
            line += f"{network['ratio/float32']:8.3f}{network['ratio/bfloat16']:8.3f}"
        lines.append(line)
    for name, value in result[f"images_per_s/batch_{BATCH}"].items():
        lines.append(f"{name}, batch {BATCH}: {value:.1f} images/s")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--image", help="photograph; a made-up one of 1280 x 960 without it")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", default="benchmark.json", help="JSON file to write")
    arguments = parser.parse_args(argv)
    if arguments.runs < 1:
        parser.error(f"--runs must be at least 1, got {arguments.runs}")
    if keras.config.backend() != "tensorflow":
        parser.error(f"Keras runs on {keras.config.backend()}; set KERAS_BACKEND=tensorflow")
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = benchmark(arguments.weights, arguments.image or made_up_photo(folder), arguments.runs)
        print(table(result))
        write_atomic(arguments.out, (json.dumps(result, indent=1) + "\n").encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
