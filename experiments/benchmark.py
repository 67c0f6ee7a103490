"""Speed of a weight set on this machine: `hand3d bench`, from a checkout.

    python -m experiments.benchmark [--weights lite] [--image PHOTO] [--runs 15] [--json FILE]

Milliseconds of each stage and images a second beside the machine's own speed in matrix products, all in one
run; `hand3d.benchmark` says what is measured.
"""

import sys

from hand3d import cli


def main(argv=None):
    """The arguments of `hand3d bench`.  Returns its exit status."""
    return cli.main(["bench", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
