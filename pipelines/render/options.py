"""Options of the command line that several programs have."""

import argparse

from hand3d.commands.common import score
from pipelines.render.hand_samples import INDEPENDENT


def device(text):
    """--device: a word, or the number of an EGL device."""
    if text in ("auto", "software"):
        return text
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"auto, software or a number expected, got {text!r}")
    return int(text)


def add_independent(parser):
    """Adds `--independent`, see `hand_samples.sample_hand`."""
    parser.add_argument(
        "--independent",
        type=score,
        default=INDEPENDENT,
        metavar="SHARE",
        help="of the hands whose fingers are bent each on its own, 0 to 1 (%(default)s)",
    )
