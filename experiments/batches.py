"""Images a second of `HandPoseEstimator` on many images, by those of its graph alone on the same batches.

    python -m experiments.batches [--weights lite] [--images 64] [--rounds 5] [--side 320 640] [--out FILE]

`graph` runs the compiled graph on tensors that are ready, 8 images a batch; `arrays` is the estimator on a
list of arrays, `files` on paths of JPEG files.  They take turns, and the medians of their ratios are printed,
so that other work on the machine changes them little.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from hand3d import manifest
from hand3d.benchmark import made_up_photo
from hand3d.estimator import BATCH, HandPoseEstimator
from hand3d.files import write_atomic
from hand3d.measuring import Compiled


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(estimator, side, count, rounds, folder):
    """Dict of images/s and ratios for square photographs of `side` pixels."""
    with Image.open(made_up_photo(folder)) as photo:
        image = photo.resize((side, side))
    paths = [os.path.join(folder, f"{side}-{number}.jpg") for number in range(count)]
    for path in paths:
        image.save(path, quality=90)
    pixels = np.asarray(image)
    canvas, _ = estimator.fit(pixels)
    graph = Compiled(estimator.model, canvas.shape[:2], BATCH)
    programs = {
        "graph": lambda: [graph() for _ in range(count // BATCH)],
        "arrays": lambda: sum(1 for _ in estimator.stream([pixels] * count)),
        "files": lambda: sum(1 for _ in estimator.stream(paths)),
    }
    taken = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            value = seconds(program)
            if number:  # the first round warms up
                taken[name].append(value)
    result = {f"images_per_s/{name}": count / statistics.median(values) for name, values in taken.items()}
    for name in ("arrays", "files"):
        ratios = (plain / value for plain, value in zip(taken["graph"], taken[name], strict=True))
        result[f"by_graph/{name}"] = statistics.median(ratios)
    return {key: round(value, 3) for key, value in result.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--images", type=int, default=64, help=f"a multiple of {BATCH}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--side", type=int, nargs="+", default=[320, 640, 1280], help="pixels of the pictures"
    )
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args(argv)
    if arguments.images < BATCH or arguments.images % BATCH or min(arguments.rounds, *arguments.side) < 1:
        parser.error(f"--images must be a multiple of {BATCH}, --rounds and --side at least 1")
    try:
        estimator = HandPoseEstimator(manifest.find(arguments.weights))
        with tempfile.TemporaryDirectory() as folder:
            result = {
                str(side): measure(estimator, side, arguments.images, arguments.rounds, folder)
                for side in arguments.side
            }
        print(json.dumps(result, indent=1))
        if arguments.out:
            write_atomic(arguments.out, (json.dumps(result, indent=1) + "\n").encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
