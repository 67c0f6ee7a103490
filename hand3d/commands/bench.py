"""`hand3d bench`: how fast a weight set runs on this machine."""

import json
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

PRECISIONS = ("float32", "bfloat16", "float16")


def add_parser(commands):
    """Add the sub-command to an argparse `add_subparsers` object."""
    command = commands.add_parser(
        "bench",
        help="measure the speed on this machine",
        description="Milliseconds of every stage and images a second, beside the machine's own speed in "
        "matrix products; exported models and a peer on the same photograph.  Medians of several runs.",
        epilog="Exit status: 0 done, 1 the peer could not be run, 2 bad arguments.",
    )
    add_weights(command)
    command.add_argument("--image", metavar="PHOTO", help="a made-up one of 1280 x 960 without it")
    command.add_argument("--runs", type=number_from_1, default=15, metavar="N", help="(%(default)s)")
    command.add_argument(
        "--batch", type=number_from_1, nargs="+", default=[1, 8], metavar="N", help="batch sizes (1 8)"
    )
    command.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS[:2], help="(float32 bfloat16)"
    )
    command.add_argument("--max-hands", type=number_from_1, default=1, metavar="N", help="(%(default)s)")
    add_looks(command)
    command.add_argument(
        "--exported", nargs="+", default=[], metavar="DIR", help="also measure these models of hand3d export"
    )
    command.add_argument("--against", choices=("mediapipe",), help="also measure this peer")
    command.add_argument("--peer-python", metavar="PYTHON", help="interpreter that has the peer (this one)")
    command.add_argument("--json", metavar="FILE", help="write the measurements there too")
    command.set_defaults(run=bench)


def bench(arguments):
    """`hand3d bench`.  Returns the exit status."""
    import tempfile

    from hand3d.exported import ExportedError, ExportedEstimator
    from hand3d.images import ImageError, load_image
    from hand3d.manifest import WeightsError, find

    try:
        weights = find(arguments.weights)  # before the slow import: most mistakes show here
        if arguments.image:
            load_image(arguments.image)
        exported = {path: ExportedEstimator(path) for path in arguments.exported}
        with tempfile.TemporaryDirectory() as folder:
            return _bench(arguments, weights, folder, exported)
    except WeightsError as error:
        raise UsageError(f"--weights: {error}") from error
    except ExportedError as error:
        raise UsageError(f"--exported: {error}") from error
    except ImageError as error:
        raise UsageError(f"--image: {error}") from error


def _bench(arguments, weights, folder, exported):
    with quiet_start():
        import keras

        from hand3d import benchmark
        from hand3d.estimator import HandPoseEstimator
        from hand3d.files import write_atomic

    if keras.backend.backend() != "tensorflow":
        raise UsageError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    photo = arguments.image or benchmark.made_up_photo(folder)
    options = {name: getattr(arguments, name) for name in ("max_hands", "small_hands", "one_look")}
    try:
        result = benchmark.bench(
            weights,
            photo,
            runs=arguments.runs,
            batches=arguments.batch,
            precisions=arguments.precision,
            **options,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    status = DONE
    peer = None
    try:
        if arguments.against:
            peer = benchmark.Peer(arguments.against, photo, arguments.peer_python, arguments.max_hands)
        if peer or exported:
            estimator = HandPoseEstimator(weights, **options)
            result["image_to_hands"] = benchmark.image_to_hands(
                estimator, exported, photo, arguments.runs, peer
            )
    except benchmark.PeerError as error:
        print(f"hand3d: --against: {error}", file=sys.stderr)
        status = SOME_FAILED
    finally:
        if peer:
            peer.close()
    print(benchmark.table(result))
    if arguments.json:
        try:
            write_atomic(arguments.json, (json.dumps(result, indent=1) + "\n").encode())
        except OSError as error:
            print(f"hand3d: error: --json {arguments.json}: {error.strerror or error}", file=sys.stderr)
            return SOME_FAILED
    return status
