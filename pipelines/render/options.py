"""Options of the command line that several programs have."""

import argparse

from pipelines.render.hand_samples import INDEPENDENT


def share(text):
    """A number from 0 to 1; ArgumentTypeError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, got {text}")
    return value


def add_independent(parser):
    """Adds `--independent`, see `hand_samples.sample_hand`."""
    parser.add_argument(
        "--independent",
        type=share,
        default=INDEPENDENT,
        metavar="SHARE",
        help="of the hands whose fingers are bent each on its own, 0 to 1 (%(default)s)",
    )
