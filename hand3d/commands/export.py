"""`hand3d export`: a weight set as a model that other programs run without this package."""

import os
import sys

from hand3d.commands.common import (
    DONE,
    SOME_FAILED,
    UsageError,
    add_looks,
    add_weights,
    number_from_1,
    quiet_start,
)
from hand3d.export.formats import ALL_PRECISIONS, FORMATS, ExportError, check


def add_parser(commands):
    """Add the sub-command to an argparse `add_subparsers` object."""
    command = commands.add_parser(
        "export",
        help="write a model for TensorFlow Serving, LiteRT, ONNX or OpenVINO",
        description="Write a weight set as a model that runs without this package.",
        epilog="Exit status: 0 done, 1 it could not be written, 2 bad arguments (nothing was done).",
    )
    command.add_argument("--to", required=True, choices=FORMATS, help="format")
    command.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for the model: versions of a savedmodel go below, for others it must not exist",
    )
    command.add_argument(
        "--precision", default="float32", choices=ALL_PRECISIONS, help="of the networks (%(default)s)"
    )
    command.add_argument(
        "--calibrate", metavar="DIR", help="pictures with hands, or records, to measure int8 ranges on"
    )
    command.add_argument(
        "--image-size", type=number_from_1, metavar="N", help="pixels a side of the image, but for savedmodel"
    )
    add_weights(command)
    command.add_argument(
        "--side", choices=("auto", "left", "right"), default="auto", help="which hand (%(default)s)"
    )
    command.add_argument("--max-hands", type=number_from_1, metavar="N", help="hands of an image (2)")
    add_looks(command)
    command.add_argument("--version", type=number_from_1, metavar="N", help="of a savedmodel (the next)")
    command.set_defaults(run=export)


def export(arguments):
    """`hand3d export`: see the README for what it writes.  Returns the exit status."""
    from hand3d.manifest import WeightsError, find

    try:
        weights = find(arguments.weights)  # before the slow import: most mistakes show here
        check(arguments.to, arguments.precision, arguments.calibrate)
        if arguments.to == "savedmodel" and arguments.image_size:
            raise ValueError("--image-size: a savedmodel takes images of any size; leave it out")
        if arguments.to != "savedmodel" and arguments.version:
            raise ValueError(f"--version: {arguments.to} has none; leave it out")
        if arguments.to != "savedmodel" and os.path.lexists(arguments.out):
            raise ValueError(f"--out {arguments.out} exists; give a folder that does not, or remove it")
        path = _write(arguments, weights)
    except ExportError as error:
        print(f"hand3d: error: {error}", file=sys.stderr)
        return SOME_FAILED
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
        from hand3d.export import calibration, formats, savedmodel
        from hand3d.export.chain import image_size

        # int8 and float16 are made of float32 by the converters
        precision = arguments.precision
        if arguments.to != "savedmodel" and precision != "bfloat16":
            precision = "float32"
        with savedmodel.computing_in(precision):
            looks = dict(small_hands=arguments.small_hands, one_look=arguments.one_look)
            estimator = HandPoseEstimator(
                weights, side=arguments.side, max_hands=arguments.max_hands, **looks
            )
        if arguments.to == "savedmodel":
            return savedmodel.export(estimator, arguments.out, weights.name, arguments.version)
        size = image_size(estimator, arguments.image_size)
        samples = arguments.calibrate and calibration.samples(estimator, arguments.calibrate, size)
        return formats.export(
            estimator,
            arguments.to,
            arguments.precision,
            arguments.out,
            weights=weights.name,
            side=arguments.image_size,
            samples=samples,
        )
