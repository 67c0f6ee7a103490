"""`hand3d export`: a weight set as a model that other programs run without this package."""

import sys

from hand3d.commands.common import DONE, SOME_FAILED, UsageError, add_weights, number_from_1, quiet_start

FORMATS = ("savedmodel",)
PRECISIONS = ("float32", "bfloat16", "float16")


def add_parser(commands):
    """Add the sub-command to an argparse `add_subparsers` object."""
    command = commands.add_parser(
        "export",
        help="write a model for TensorFlow Serving",
        description="Write a weight set as a model that runs without this package.",
        epilog="Exit status: 0 done, 1 it could not be written, 2 bad arguments (nothing was done).",
    )
    command.add_argument("--to", required=True, choices=FORMATS, help="format")
    command.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the model; versions go below"
    )
    command.add_argument(
        "--precision", default="float32", choices=PRECISIONS, help="of the networks (%(default)s)"
    )
    add_weights(command)
    command.add_argument(
        "--side", choices=("auto", "left", "right"), default="auto", help="which hand (%(default)s)"
    )
    command.add_argument("--max-hands", type=number_from_1, metavar="N", help="hands of an image (2)")
    command.add_argument("--version", type=number_from_1, metavar="N", help="version folder (the next)")
    command.set_defaults(run=export)


def export(arguments):
    """`hand3d export`: see the README for what it writes.  Returns the exit status."""
    from hand3d.manifest import WeightsError, find

    try:
        weights = find(arguments.weights)  # before the slow import: most mistakes show here
        path = _write(arguments, weights)
    except (WeightsError, ValueError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        print(
            f"hand3d: error: --out {arguments.out}: cannot be written: {error.strerror or error}",
            file=sys.stderr,
        )
        return SOME_FAILED
    print(path)
    return DONE


def _write(arguments, weights):
    with quiet_start():
        import keras

        if keras.backend.backend() != "tensorflow":
            raise UsageError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
        from hand3d.estimator import HandPoseEstimator
        from hand3d.export import savedmodel

        with savedmodel.computing_in(arguments.precision):
            estimator = HandPoseEstimator(weights, side=arguments.side, max_hands=arguments.max_hands)
        return savedmodel.export(estimator, arguments.out, weights.name, arguments.version)
