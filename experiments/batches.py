"""Images a second of `HandPoseEstimator` on many images, by those of its graph alone on the same batches.

    python -m experiments.batches [--image PHOTO] [--weights lite] [--images 64] [--rounds 5] [--side 320 640]

PHOTO shows a hand; without it the pictures are made up and show none, of which the whole image is looked at.
`graph` runs the compiled graph on canvases that are ready, 8 images a batch; `arrays` is the estimator on a
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
from hand3d.images import load_image
from hand3d.tracing import traced


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(estimator, photo, side, count, rounds, folder):
    """Dict of images/s and ratios for a photograph of any size, made square of `side` pixels."""
    image = Image.fromarray(load_image(photo).pixels).resize((side, side))
    paths = [os.path.join(folder, f"{side}-{number}.jpg") for number in range(count)]
    for path in paths:
        image.save(path, quality=90)
    pixels = np.asarray(image)
    canvases = np.repeat(estimator.fit(pixels)[0][None], BATCH, 0)
    graph, sides = traced(estimator.model, skip_absent=True), estimator.given_side(BATCH)
    programs = {
        "graph": lambda: [graph(canvases, sides) for _ in range(count // BATCH)],
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
    parser.add_argument("--image", metavar="PHOTO", help="made up without it")
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
            photo = arguments.image or made_up_photo(folder)
            result = {
                str(side): measure(estimator, photo, side, arguments.images, arguments.rounds, folder)
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
