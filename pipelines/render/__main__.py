"""Render labelled pictures of hands into TFRecord shards.

    python -m pipelines.render --out DIR --split both --count 20000 --seed 0 --backgrounds PHOTOS

Sample i of a split depends on --seed, the split and i alone: the number of workers changes nothing.
Shards that are there already are kept, so the same command goes on where it stopped; another --seed, --size
or --count needs another folder.
About 0.2 to 0.3 s of one core a sample.
"""

import argparse
import os
import sys

from pipelines.render.shards import SEED_STRIDE, run


def parse(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.render",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="folder of the shards")
    parser.add_argument("--split", choices=("training", "evaluation", "both"), default="both")
    parser.add_argument(
        "--count", type=int, required=True, help="samples; with --split both, of the training split"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=320, help="pixels of the square pictures")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--backgrounds", help="folder of photographs; without it rooms are made up")
    arguments = parser.parse_args(argv)
    if not 0 < arguments.count < SEED_STRIDE:
        parser.error(f"--count must be between 1 and {SEED_STRIDE - 1}, got {arguments.count}")
    for name, least in (("seed", 0), ("size", 32), ("workers", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(arguments, name)}")
    return arguments


def main(argv=None):
    from pipelines.render.gl import GraphicsUnavailable

    arguments = parse(argv)
    # one process a core is quicker than one process with a rasteriser thread a core
    os.environ.setdefault("LP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        run(arguments)
    except (GraphicsUnavailable, ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
