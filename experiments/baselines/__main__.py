"""One table of the systems that the paper's authors compare with or build on (PAPER.md 6), on the same hands.

    python -m experiments.baselines --data RECORDS [--poses FILE.npz] [--only matching,fitting]

Crops are cut around the true pixels of each hand, and the hand's side is given.  2D errors are pixels of a
picture of 320 a side; 3D errors are millimetres with the true root and scale, as in the paper; both are over
visible keypoints.  What was trained or measured is kept in --run: an interrupted command goes on where it
was, and after the weights or the code of a system changed, only what depends on them is done again.
"""

import argparse
import os
import sys

from experiments import results
from experiments.baselines.interface import BASELINES
from experiments.baselines.table import make_table


def parse(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.baselines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="folder of records with both splits")
    parser.add_argument(
        "--train", help="folder of records whose training split is learnt from, if it is another than --data"
    )
    parser.add_argument(
        "--poses",
        default="",
        help="comma-separated files of pipelines.poses, training split: hands without pictures for those "
        "that can use them; by default those of the records",
    )
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument(
        "--only", default=",".join(BASELINES), help=f"comma-separated, of {', '.join(BASELINES)}"
    )
    parser.add_argument("--run", default=os.path.join("runs", "baselines"), help="folder for what is kept")
    parser.add_argument("--limit", type=int, help="pictures of the evaluation split")
    parser.add_argument(
        "--effort", type=float, default=1.0, help="factor on trainings and databases, for a try"
    )
    parser.add_argument("--seed", type=int, default=0)
    results.add_arguments(parser)
    arguments = parser.parse_args(argv)
    arguments.only = [key for key in arguments.only.split(",") if key]
    unknown = sorted(set(arguments.only) - set(BASELINES))
    if unknown or not arguments.only:
        parser.error(f"--only: {', '.join(unknown) or 'nothing'} given; there are {', '.join(BASELINES)}")
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    if not 0 < arguments.effort <= 10:
        parser.error(f"--effort must be above 0 and at most 10, got {arguments.effort}")
    return arguments


def main(argv=None):
    return results.write(make_table, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
