"""The command `hand3d`.

Exit status: 0 all done, 1 some images failed, 2 bad arguments (nothing was done).
"""

import argparse
import json
import os
import sys
from contextlib import contextmanager, nullcontext

from hand3d import __version__

DONE, SOME_FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
BATCH = 8


class UsageError(Exception):
    """An argument that cannot be used, found after parsing."""


def main(argv=None):
    """Run the command line.  argv: list of str, default sys.argv[1:].  Returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except UsageError as error:
        print(f"hand3d: error: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        _discard_stdout()
        return SOME_FAILED
    except KeyboardInterrupt:
        print("hand3d: interrupted; finished images are kept", file=sys.stderr)
        return INTERRUPTED


def parser():
    """The argparse parser of all sub-commands."""
    top = argparse.ArgumentParser(prog="hand3d", description="3D hand pose from single RGB images.")
    top.add_argument("--version", action="version", version=f"hand3d {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
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
    command.add_argument(
        "--weights", default="lite", metavar="NAME|DIR", help="shipped set or folder (%(default)s)"
    )
    command.add_argument(
        "--side", choices=("auto", "left", "right"), default="auto", help="which hand (%(default)s)"
    )
    command.add_argument("--score", type=_score, metavar="MIN", help="leave out hands below this score, 0..1")
    command.set_defaults(run=predict)
    return top


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
    with _folder(arguments.out):
        return _predict_into(json_path, paths, names, failures, arguments)


def _predict_into(json_path, paths, names, failures, arguments):
    """The lines go to `json_path`, - for stdout.  Returns the exit status."""
    from hand3d.files import JsonLines

    lines = None if json_path == "-" else JsonLines(json_path)
    try:
        with lines or nullcontext():
            estimator = _estimator(arguments) if len(failures) < len(paths) else None
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
            _discard_stdout()
        return SOME_FAILED


def _predict_all(estimator, paths, names, failures, arguments, write):
    """Predict in batches; write one line per path in order.  failures: dict path -> message, known before."""
    failed = False
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        errors = {path: failures[path] for path in batch if path in failures}
        predictions = _predict_batch(estimator, [path for path in batch if path not in errors], errors)
        for number, path in enumerate(batch, start):
            if path in errors:
                print(f"hand3d: {errors[path]}", file=sys.stderr)
                write(json.dumps({"path": path, "error": errors[path]}))
                failed = True
                continue
            prediction = predictions[path]
            write(json.dumps(prediction.to_dict()))
            for name, content in _results(prediction, names[number], arguments):
                failed |= not _write_result(os.path.join(arguments.out, name), content)
            if len(paths) > 1 or prediction.notes:
                print(f"[{number + 1}/{len(paths)}] {path}: {_summary(prediction)}", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def _predict_batch(estimator, paths, errors):
    """Dict path -> Prediction; images that cannot be loaded go to `errors` instead."""
    from hand3d.images import PICTURE_SIDE, ImageError, load_image

    images = []
    for path in paths:
        try:
            images.append(load_image(path, max_side=PICTURE_SIDE))
        except ImageError as error:
            errors[path] = str(error)
    return {prediction.path: prediction for prediction in estimator.predict(images)} if images else {}


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


def _estimator(arguments):
    from hand3d.manifest import WeightsError, find

    try:
        weights = find(arguments.weights)  # before the slow import: most mistakes show here
        with _quiet_start():
            from hand3d.estimator import HandPoseEstimator

            estimator = HandPoseEstimator(weights, side=arguments.side, min_score=arguments.score)
        if arguments.side == "auto" and not estimator.tells_side:
            print(
                f"hand3d: the weights {arguments.weights} cannot tell left from right; "
                "all hands are taken for left ones, --side right says otherwise",
                file=sys.stderr,
            )
        return estimator
    except WeightsError as error:
        raise UsageError(f"--weights: {error}") from error


@contextmanager
def _quiet_start():
    """Keep TensorFlow's start-up messages off the terminal; show them if an import fails.

    It writes some of them to file descriptor 2 whatever its settings say.
    """
    import tempfile

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # started without a stderr
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except ImportError:
            captured.seek(0)
            os.write(terminal, captured.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


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


def _discard_stdout():
    """Send what is buffered for a stdout that takes no more nowhere, or Python complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _folder(path):
    """A folder for results; one that it makes goes again if the arguments turn out to be bad."""
    new = not os.path.exists(path)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot make this folder: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"--out {path}: this folder is not writable")
    try:
        yield
    except UsageError:
        if new and not os.listdir(path):
            os.rmdir(path)
        raise


def _score(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in 0..1")
    return value
