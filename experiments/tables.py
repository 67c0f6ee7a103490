"""The paper's tables that need pictures, all from one pass over the data.

    python -m experiments.tables --data RECORDS [--weights lite] [--out runs/results]

writes what `experiments.table1`, `experiments.table3` and `experiments.segmentation` write one by one, in a
third of their time, since each image goes through the networks once.
"""

import argparse
import sys

from experiments import measure, results
from experiments.truth import FRAMES, HANDS, ROOTS

NO_HAND = "no hand counts: none is labelled, large enough and in view"
NO_3D = "the data set has no hand that is labelled in 3D"
NOTHING_FOUND = "no hand was found"


def parser_of(description):
    """The arguments that the three programs share, those of the protocol among them."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, help="folder of records (pipelines.convert, pipelines.render)"
    )
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--split", default="evaluation")
    parser.add_argument("--limit", type=int, help="images")
    parser.add_argument(
        "--hands",
        choices=HANDS,
        default="large",
        help="large: those of 30 pixels or more with 9 visible keypoints or more; dominant: the paper's one "
        "hand an image, that with more pixels",
    )
    parser.add_argument(
        "--frame",
        choices=FRAMES,
        default="320",
        help="whose pixels 2D errors are given in: longer side of 320; stretched to 240 x 320 as by the "
        "released programs; the picture as it is",
    )
    parser.add_argument(
        "--root", choices=ROOTS, default="palm", help="label for the predicted palm; wrist as in Table 1 (T4)"
    )
    results.add_arguments(parser)
    return parser


def run(modules, description, argv=None):
    """Measures what the modules need, in one pass, and writes their results; the exit status.

    Each module has PARTS (of `measure.collect`), `table(found, arguments)` -> dict for `results.make`, and
    `figures(result)`.
    """
    from hand3d import manifest

    parser = parser_of(description)
    arguments = parser.parse_args(argv)
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    if arguments.name and len(modules) > 1:
        parser.error("--name: several results are written; run the programs one by one to name them")
    try:
        weight_set = manifest.find(arguments.weights)
        parts = sorted({part for module in modules for part in module.PARTS})
        chosen = dict(parts=parts, limit=arguments.limit, hands=arguments.hands)
        found = measure.collect(weight_set, arguments.data, arguments.split, **chosen)
        facts = {
            "data": results.data_identity(arguments.data, arguments.split, found.images),
            "weights": results.weights_identity(arguments.weights),
            "options": {key: getattr(arguments, key) for key in ("hands", "frame", "root", "limit")},
            "seconds": found.seconds,
        }
        for module in modules:
            result = results.make(**module.table(found, arguments), **facts)
            print(f"\n{result['title']}\n\n{results.markdown(result)}")
            path = results.save(result, arguments.out, module.figures(result), arguments.name)
            print(f"written: {path}")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if found.seconds and found.predicting:
        print(
            f"\n{found.timed / found.seconds:.1f} images/s after the first {measure.BATCH}, "
            f"{100 * found.predicting / found.seconds:.0f} % of the time in the estimator"
        )
    return 0


def main(argv=None):
    from experiments import segmentation, table1, table3

    return run((segmentation, table1, table3), __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
