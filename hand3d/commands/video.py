"""`hand3d video`: the hands in a video or before a camera, frame by frame."""

import json
import os
import sys
import time
from contextlib import ExitStack

from hand3d.commands.common import (
    DONE,
    SOME_FAILED,
    UsageError,
    add_estimator,
    discard_stdout,
    number_from_0,
    number_from_1,
)
from hand3d.commands.common import estimator as make_estimator

OUT = "hand3d-out"
REPORT_EVERY = 0.5  # seconds between updates of the progress bar
BAR = 24  # characters


def add_parser(commands):
    """Add the sub-command to an argparse `add_subparsers` object."""
    command = commands.add_parser(
        "video",
        help="follow the hands in a video or before a camera",
        description="Follow the hands in a video or before a camera: a video with the skeletons, and one "
        "line of JSON per frame.  Needs PyAV: pip install 'hand3d-keras[video]'.",
        epilog="Exit status: 0 all done, 1 the video or camera failed on the way (finished frames are kept), "
        "2 bad arguments (nothing was done).",
    )
    command.add_argument("path", nargs="?", metavar="IN", help="video file")
    command.add_argument(
        "--camera", type=number_from_0, metavar="N", help="camera N instead of a file, from 0"
    )
    command.add_argument(
        "--out", metavar="MP4", help=f"video to write ({OUT}/NAME.hand3d.mp4 without any output)"
    )
    command.add_argument(
        "--json", metavar="FILE", help="JSON Lines, - for stdout (NAME.hand3d.jsonl beside that video)"
    )
    command.add_argument(
        "--html", metavar="FILE", help="a page with the frames and the hand in 3D, to be turned"
    )
    command.add_argument("--no-smooth", action="store_true", help="keypoints of each frame as they are")
    command.add_argument("--no-window", action="store_true", help="with --camera: show no window")
    command.add_argument("--frames", type=number_from_1, metavar="N", help="stop after N frames")
    add_estimator(command)
    command.set_defaults(run=video)


def video(arguments):
    """`hand3d video`: see the README for the format of its output.  Returns the exit status."""
    from hand3d.video import Frames, VideoError

    if (arguments.path is None) == (arguments.camera is None):
        raise UsageError("give a video file or --camera N, one of the two")
    out, json_path = _outputs(arguments)
    for option, path in (("--out", out), ("--json", json_path), ("--html", arguments.html)):
        if path and arguments.path and os.path.exists(path) and os.path.exists(arguments.path):
            if os.path.samefile(path, arguments.path):
                raise UsageError(f"{option} {path}: is the video itself; give another file")
    try:
        frames = Frames(arguments.path, arguments.camera)
    except VideoError as error:
        if not _installed():
            raise UsageError(str(error)) from error
        print(f"hand3d: {error}", file=sys.stderr)
        return SOME_FAILED
    try:
        return _follow(frames, out, json_path, arguments)
    finally:
        frames.close()


def _outputs(arguments):
    """Paths of the video and of the JSON Lines, None for one that is not wanted."""
    if arguments.out or arguments.json or arguments.html or arguments.camera is not None:
        return arguments.out, arguments.json
    name = os.path.splitext(os.path.basename(arguments.path))[0]
    try:
        os.makedirs(OUT, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{OUT}: cannot make this folder: {error.strerror}; give --out") from error
    return os.path.join(OUT, f"{name}.hand3d.mp4"), os.path.join(OUT, f"{name}.hand3d.jsonl")


def _follow(frames, out, json_path, arguments):
    """All frames through the tracker.  Returns the exit status."""
    estimator = make_estimator(arguments)  # first: it imports TensorFlow quietly
    from hand3d.drawing import draw_skeleton
    from hand3d.tracking import HandTracker

    tracker = HandTracker(estimator, smooth=not arguments.no_smooth)
    with ExitStack() as stack:
        lines = _entered(stack, "--json", json_path)
        writer = _entered(stack, "--out", out)
        page = _entered(stack, "--html", arguments.html, frames)
        live = arguments.camera is not None and not arguments.no_window
        window = _window(stack, frames.name) if live else None
        progress = stack.enter_context(_Progress(frames))
        for number, (pixels, seconds) in enumerate(frames):
            hands = tracker(pixels, seconds)
            try:
                if lines:
                    lines(json.dumps(_record(number, seconds, pixels, hands)))
                if page:
                    page.write(pixels, hands)
                if writer or window:
                    picture = pixels
                    for hand in reversed(hands):
                        picture = draw_skeleton(picture, hand.keypoints_uv, hand.keypoint_scores)
                    if writer:
                        writer.write(picture, seconds)
                    if window and not window.show(picture):
                        break
            except BrokenPipeError:
                raise
            except OSError as error:
                print(f"\nhand3d: error: cannot write: {error.strerror or error}", file=sys.stderr)
                if json_path == "-":
                    discard_stdout()
                return SOME_FAILED
            progress(number + 1, hands)
            if number + 1 == arguments.frames:
                break
    if frames.problem:
        print(f"hand3d: {frames.name}: {frames.problem}; finished frames are kept", file=sys.stderr)
        return SOME_FAILED
    return DONE


def _record(number, seconds, pixels, hands):
    height, width = pixels.shape[:2]
    where = {"frame": number, "time": round(seconds, 4), "width": width, "height": height}
    return where | {"hands": [hand.to_dict() for hand in hands]}


def _entered(stack, option, path, frames=None):
    """What takes the lines or frames for a path; None without one.  frames: of the page."""
    from hand3d.files import JsonLines
    from hand3d.html import ClipPage
    from hand3d.video import VideoWriter

    if path is None:
        return None
    if option == "--json" and path == "-":
        return lambda line: print(line, flush=True)
    makers = {
        "--json": lambda: JsonLines(path),
        "--out": lambda: VideoWriter(path),
        "--html": lambda: ClipPage(path, frames.name, frames.rate),
    }
    try:
        file = stack.enter_context(makers[option]())
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {error.strerror or error}") from error
    return file.write if option == "--json" else file


def _window(stack, name):
    from hand3d.window import Window, WindowError

    try:
        return stack.enter_context(Window(f"hand3d - {name}"))
    except WindowError as error:
        raise UsageError(f"{error}; --no-window does without") from error


class _Progress:
    """A bar on standard error where that is a terminal, else a line at the end."""

    def __init__(self, frames):
        self.total, self.name = frames.total, frames.name
        self.start = self.shown = time.monotonic()
        self.done = 0

    def __enter__(self):
        return self

    def __call__(self, done, hands):
        self.done = done
        now = time.monotonic()
        if sys.stderr.isatty() and now - self.shown >= REPORT_EVERY:
            self.shown = now
            print(f"\r{self._text()}, {len(hands)} hands ", end="", file=sys.stderr, flush=True)

    def __exit__(self, kind, error, trace):
        if sys.stderr.isatty():
            print("\r", end="", file=sys.stderr)
        print(f"{self.name}: {self._text()}", file=sys.stderr)

    def _text(self):
        speed = self.done / max(time.monotonic() - self.start, 1e-9)
        if not self.total:
            return f"{self.done} frames, {speed:.1f} a second"
        full = min(BAR, round(BAR * self.done / self.total))
        return f"[{'=' * full:{BAR}}] {self.done}/{self.total} frames, {speed:.1f} a second"


def _installed():
    from hand3d.video import VideoError, load_av

    try:
        load_av()
    except VideoError:
        return False
    return True
