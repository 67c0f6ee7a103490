"""`hand3d predict`: the hand in each image, as pictures and lines of JSON."""

import json
import os
import sys
from contextlib import nullcontext

from hand3d.commands.common import (
    DONE,
    SOME_FAILED,
    UsageError,
    add_estimator,
    discard_stdout,
    folder,
)
from hand3d.commands.common import estimator as make_estimator


def add_parser(commands):
    """Add the sub-command to an argparse `add_subparsers` object."""
    command = commands.add_parser(
        "predict",
        help="find the hand in each image",
        description="Find the hand in each image: a picture of the result and one line of JSON per image.",
        epilog="Exit status: 0 all done, 1 some images failed, 2 bad arguments (nothing was done).",
    )
    command.add_argument("paths", nargs="+", metavar="PATH", help="image file, or folder of images")
    command.add_argument(
        "--out", default="hand3d-out", metavar="DIR", help="folder for results (%(default)s)"
    )
    command.add_argument(
        "--json", metavar="FILE", help="JSON Lines file, - for stdout (DIR/predictions.jsonl)"
    )
    command.add_argument("--no-picture", action="store_true", help="write no picture")
    command.add_argument(
        "--html", action="store_true", help="also write a page per image with the hand in 3D, to be turned"
    )
    add_estimator(command)
    command.set_defaults(run=predict)


def predict(arguments):
    """`hand3d predict`: see the README for the format of its output.  Returns the exit status."""
    from hand3d.files import picture_names

    paths, failures = _expand(arguments.paths)
    names = picture_names(paths)
    json_path = arguments.json or os.path.join(arguments.out, "predictions.jsonl")
    for path in paths:
        if os.path.exists(json_path) and os.path.exists(path) and os.path.samefile(json_path, path):
            raise UsageError(f"--json {json_path}: is one of the images; give another file")
    if arguments.no_picture and arguments.json and not arguments.html:
        return _predict_into(json_path, paths, names, failures, arguments)
    with folder(arguments.out):
        return _predict_into(json_path, paths, names, failures, arguments)


def _predict_into(json_path, paths, names, failures, arguments):
    """The lines go to `json_path`, - for stdout.  Returns the exit status."""
    from hand3d.files import JsonLines

    lines = None if json_path == "-" else JsonLines(json_path)
    try:
        with lines or nullcontext():
            estimator = make_estimator(arguments) if len(failures) < len(paths) else None
            write = lines.write if lines else _print_line
            return _predict_all(estimator, paths, names, failures, arguments, write)
    except BrokenPipeError:
        raise
    except OSError as error:  # of images and pictures they are handled where they arise
        reason = f"--json {json_path}: cannot be written: {error.strerror or error}"
        if lines and not lines.entered:
            raise UsageError(reason) from error
        print(f"hand3d: error: {reason}", file=sys.stderr)
        if not lines:
            discard_stdout()
        return SOME_FAILED


def _predict_all(estimator, paths, names, failures, arguments, write):
    """Write one line per path in order.  failures: dict path -> message, known before."""
    from hand3d.images import ImageError

    failed = False
    found = (
        estimator.stream([path for path in paths if path not in failures], errors=True) if estimator else None
    )
    for number, path in enumerate(paths):
        prediction = failures.get(path) or next(found)
        if isinstance(prediction, str | ImageError):
            print(f"hand3d: {prediction}", file=sys.stderr)
            write(json.dumps({"path": path, "error": str(prediction)}))
            failed = True
            continue
        write(json.dumps(prediction.to_dict()))
        for name, content in _results(prediction, names[number], arguments):
            failed |= not _write_result(os.path.join(arguments.out, name), content)
        if len(paths) > 1 or prediction.notes:
            print(f"[{number + 1}/{len(paths)}] {path}: {_summary(prediction)}", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def _expand(arguments):
    """Image paths of all arguments, each once, in order, and dict path -> message for those without any."""
    from hand3d.images import ImageError, list_images

    paths, failures = [], {}
    for argument in arguments:
        try:
            paths += list_images(argument)
        except ImageError as error:
            paths.append(argument)
            failures[argument] = str(error)
    return list(dict.fromkeys(paths)), failures


def _results(prediction, name, arguments):
    """(file name, function that makes its bytes) of what is written beside the JSON; name: the picture's."""
    from hand3d.drawing import draw_prediction
    from hand3d.files import PICTURE_SUFFIX
    from hand3d.html import PAGE_SUFFIX, html_page

    if not arguments.no_picture:
        yield name, lambda: draw_prediction(prediction)
    if arguments.html:
        yield name.removesuffix(PICTURE_SUFFIX) + PAGE_SUFFIX, lambda: html_page([prediction]).encode()


def _write_result(path, content):
    from hand3d.files import write_atomic

    try:
        write_atomic(path, content())
        return True
    except OSError as error:
        print(f"hand3d: {path}: cannot be written: {error.strerror or error}", file=sys.stderr)
        return False


def _summary(prediction):
    hands = ", ".join(f"{hand.side} hand {hand.score:.2f}" for hand in prediction.hands) or "no hand"
    return f"{hands} ({'; '.join(prediction.notes)})" if prediction.notes else hands


def _print_line(line):
    print(line, flush=True)
