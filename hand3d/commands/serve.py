"""`hand3d serve`: predictions over HTTP, on this machine unless told otherwise."""

import argparse
import sys

from hand3d.commands.common import DONE, SOME_FAILED, UsageError, add_weights, number_from_1, quiet_start

LOOPBACK = "127.0.0.1"


def add_parser(commands):
    """Add the sub-command to an argparse `add_subparsers` object."""
    command = commands.add_parser(
        "serve",
        help="answer over HTTP, with the REST paths of TensorFlow Serving",
        description="Serve predictions over HTTP with the REST paths of TensorFlow Serving, and a page to "
        "try them.  Needs pip install 'hand3d-keras[serve]'.",
        epilog="Exit status: 0 stopped by Ctrl-C, 1 it could not start, 2 bad arguments.",
    )
    add_weights(command)
    command.add_argument("--model", metavar="DIR", help="an exported SavedModel instead of --weights")
    command.add_argument("--host", default=LOOPBACK, help="address to listen on (%(default)s)")
    command.add_argument("--port", type=_port, default=8501, help="(%(default)s)")
    for name, default, what in (
        ("--batch", 8, "images computed at once"),
        ("--queue", 256, "images that may wait; more are answered with 503"),
        ("--max-body-mb", 32, "size of a request"),
        ("--timeout", 30, "seconds for an answer"),
        ("--connections", 512, "at once; more are answered with 503"),
    ):
        command.add_argument(
            name, type=number_from_1, default=default, metavar="N", help=f"{what} (%(default)s)"
        )
    command.set_defaults(run=serve)


def serve(arguments):
    """`hand3d serve`.  Returns the exit status when the server has stopped."""
    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{error}; pip install 'hand3d-keras[serve]' installs what it needs") from error
    model = _model(arguments)
    from hand3d.serving import app, server

    limits = app.Limits(
        body=arguments.max_body_mb * 2**20,
        seconds=arguments.timeout,
        batch=arguments.batch,
        queue=arguments.queue,
    )
    print(f"hand3d: http://{arguments.host}:{arguments.port}/", file=sys.stderr, flush=True)
    try:
        server.serve(
            app.application(model, limits),
            arguments.host,
            arguments.port,
            arguments.connections,
            arguments.timeout + 5,
        )
    except SystemExit as stopped:  # uvicorn has said why
        return SOME_FAILED if stopped.code else DONE
    except KeyboardInterrupt:
        pass
    return DONE


def _model(arguments):
    from hand3d.manifest import WeightsError, find

    try:
        weights = None if arguments.model else find(arguments.weights)
        with quiet_start():
            from hand3d.serving import model

            if arguments.model:
                served = model.from_folder(arguments.model)
            else:
                from hand3d.estimator import HandPoseEstimator

                served = model.from_estimator(HandPoseEstimator(weights), weights.name)
            model.warm_up(served)
            return served
    except WeightsError as error:
        raise UsageError(f"--weights: {error}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"--model {arguments.model}: {error}") from error


def _port(text):
    value = number_from_1(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; 1 to 65535 expected")
    return value
