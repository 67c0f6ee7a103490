"""What the sub-commands share: exit status, bad arguments, a quiet start, folders for results."""

import argparse
import os
import sys
from contextlib import contextmanager

DONE, SOME_FAILED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130


class UsageError(Exception):
    """An argument that cannot be used, found after parsing."""


def add_weights(command):
    """The option --weights."""
    command.add_argument(
        "--weights", default="lite", metavar="NAME|DIR", help="shipped set or folder (%(default)s)"
    )


def add_estimator(command):
    """The options that `estimator` reads."""
    add_weights(command)
    command.add_argument(
        "--side", choices=("auto", "left", "right"), default="auto", help="which hand (%(default)s)"
    )
    command.add_argument(
        "--max-hands", type=number_from_1, metavar="N", help="at most so many hands an image (2)"
    )
    command.add_argument(
        "--mirrored", action="store_true", help="mirror images, as of selfie cameras: sides are the person's"
    )
    add_looks(command)
    command.add_argument("--score", type=score, metavar="MIN", help="leave out hands below this score, 0..1")


def add_looks(command):
    """The options --small-hands and --one-look."""
    text = "look for hands that are small in the image too, which takes longer"
    command.add_argument("--small-hands", action="store_true", help=text)
    text = "do not look at each hand again in a crop around its keypoints: quicker, less exact"
    command.add_argument("--one-look", action="store_true", help=text)


def estimator(arguments):
    """`HandPoseEstimator` of the options of `add_estimator`.  UsageError where they are bad."""
    from hand3d.manifest import WeightsError, find

    try:
        weights = find(arguments.weights)  # before the slow import: most mistakes show here
        with quiet_start():
            from hand3d.estimator import HandPoseEstimator

            made = HandPoseEstimator(
                weights,
                side=arguments.side,
                min_score=arguments.score,
                max_hands=arguments.max_hands,
                mirrored=arguments.mirrored,
                small_hands=arguments.small_hands,
                one_look=arguments.one_look,
            )
    except WeightsError as error:
        raise UsageError(f"--weights: {error}") from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if arguments.side == "auto" and not made.tells_side:
        print(
            f"hand3d: the weights {arguments.weights} cannot tell left from right; "
            "all hands are taken for left ones, --side right says otherwise",
            file=sys.stderr,
        )
    return made


@contextmanager
def quiet_start():
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


def discard_stdout():
    """Send what is buffered for a stdout that takes no more nowhere, or Python complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def folder(path):
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


def score(text):
    """An option's value as a number in 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in 0..1")
    return value


def number_from_1(text):
    """An option's value as a whole number of at least 1."""
    return _whole(text, 1)


def number_from_0(text):
    """An option's value as a whole number of at least 0."""
    return _whole(text, 0)


def _whole(text, least):
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
    return int(text)
