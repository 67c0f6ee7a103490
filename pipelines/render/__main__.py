"""Render labelled pictures of hands: TFRecord shards, the published layout of RHD, or both.

    python -m pipelines.render --out DIR --split both --count 20000 --seed 0 --backgrounds PHOTOS

Sample i of a split depends on --seed, the split and i alone: the number of workers changes nothing.  The same
command goes on where it was stopped, repairs what is damaged, and ends with the same bytes as without an
interruption; another --seed, --size or --count needs another folder.  About 0.2 s of one core a sample.
"""

import argparse
import sys

from hand3d.cores import cores
from pipelines.render.options import add_independent, device
from pipelines.render.shards import FORMATS, SEED_STRIDE, run
from pipelines.render.workers import WorkerKilled


def parse(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.render",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--split", choices=("training", "evaluation", "both"), default="both")
    parser.add_argument(
        "--count", type=int, required=True, help="samples; with --split both, of the training split"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=320, help="pixels of the square pictures")
    add_independent(parser)
    parser.add_argument("--format", choices=tuple(FORMATS), default="tfrecord")
    parser.add_argument("--workers", type=int, default=cores(), help="processes; one a core if not given")
    parser.add_argument("--backgrounds", help="folder of photographs; without it rooms are made up")
    parser.add_argument(
        "--device",
        type=device,
        default="auto",
        help="auto: a graphics card if EGL knows one; software; or the number of an EGL device",
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.count < SEED_STRIDE:
        parser.error(f"--count must be between 1 and {SEED_STRIDE - 1}, got {arguments.count}")
    for name, least in (("seed", 0), ("size", 32), ("workers", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(arguments, name)}")
    if arguments.size % 8:
        parser.error(f"--size must be a multiple of 8, got {arguments.size}")
    return arguments


def main(argv=None):
    from pipelines.render.context import GraphicsUnavailable

    arguments = parse(argv)
    again = "run the same command again to go on from there"
    try:
        run(arguments)
    except KeyboardInterrupt:
        print(f"stopped; {again}", file=sys.stderr)
        return 130
    except WorkerKilled as error:
        print(f"error: {error}; {again}", file=sys.stderr)
        return 1
    except (GraphicsUnavailable, ImportError, OSError, ValueError) as error:
        print(f"error: {message(error, again)}", file=sys.stderr)
        return 1
    return 0


def message(error, again):
    """Text of an error; for the system's own ones, with the remedy."""
    import errno

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error}: make room on the disk and {again}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
