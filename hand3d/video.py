"""Videos and cameras as frames with their times, and frames as a video, by PyAV (the extra `video`)."""

import os
import sys
import tempfile
from fractions import Fraction

import numpy as np

from hand3d.files import current_umask

CLOCK = 90_000  # ticks a second in videos that are written: any frame rate, a varying one too
RATE = 30.0  # frames a second where a file does not say
LARGEST = 2**26  # pixels of a frame: 67 megapixels, above 8K


class VideoError(ValueError):
    """A video or camera that cannot be used; the message says which, why, and what to do."""


def load_av():
    """The module `av`.  VideoError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise VideoError(
            f"videos need PyAV, which is not installed ({error}): pip install 'hand3d-keras[video]'"
        ) from error
    return av


class Frames:
    """The frames of a file or camera: iterate over (pixels (H, W, 3) uint8 RGB, seconds).

    Seconds start at 0 and rise from frame to frame, whatever the file's own times do.  Frames are turned
    upright, and may differ in size.  A file that ends too soon, or a camera that is unplugged, ends the
    frames; `problem` then says what happened.  Memory does not grow.

    source: path of a file.  camera: instead of it the number of a camera, from 0.
    Attributes: name; total, the number of frames that the file promises, or None; rate, frames a second;
    problem, str or None.

    Raises VideoError for a file or camera that cannot be opened, or without a single frame.
    """

    def __init__(self, source=None, camera=None):
        if (source is None) == (camera is None):
            raise ValueError(f"source is {source!r} and camera is {camera!r}; expected one of the two")
        self._av = av = load_av()
        self.problem = None
        self.name = f"camera {camera}" if source is None else os.fspath(source)
        try:
            if source is None:
                address, kind = camera_address(camera)
                self._container = av.open(address, format=kind)
            else:
                if os.path.isdir(source):
                    raise VideoError(f"{self.name}: is a folder, not a video")
                self._container = av.open(self.name)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"{self.name}: {self._why(error, source)}") from error
        if not self._container.streams.video:
            self._container.close()
            raise VideoError(f"{self.name}: has no pictures, only sound or text; give a video")
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        self.rate = float(stream.average_rate or stream.guessed_rate or RATE)
        self.total = stream.frames or None
        if self.total is None and self._container.duration:
            self.total = max(1, round(self._container.duration / av.time_base * self.rate))
        if source is None:
            self.total = None
        self._decoded = self._container.decode(stream)
        self._first = self._next()
        if self._first is None:
            self.close()
            raise VideoError(f"{self.name}: has no frame that can be read ({self.problem or 'it is empty'})")

    def __iter__(self):
        frame, start, last = self._first, None, None
        while frame is not None:
            own = frame.time
            start = own if start is None else start
            seconds = None if own is None or start is None else own - start
            if last is None:
                seconds = 0.0
            elif seconds is None or seconds <= last:  # no time, or one that does not rise
                seconds = last + 1 / self.rate
            last = seconds
            yield upright(frame), seconds
            frame = self._next()

    def close(self):
        self._container.close()

    def _next(self):
        """The next frame, or None at the end or at damage, which `problem` then tells."""
        try:
            frame = next(self._decoded, None)
            if frame is not None and frame.width * frame.height > LARGEST:
                self.problem = f"a frame of {frame.width} x {frame.height} pixels; at most {LARGEST} are read"
                return None
            return frame
        except (self._av.error.FFmpegError, OSError) as error:
            self.problem = f"damaged or cut off ({getattr(error, 'strerror', None) or error})"
            return None

    def _why(self, error, source):
        if source is None:
            reason = getattr(error, "strerror", None) or error
            return f"cannot be opened ({reason}): is it plugged in, and used by no other program?"
        if isinstance(error, FileNotFoundError):
            return "no such file"
        if os.path.exists(source) and os.path.getsize(source) == 0:
            return "the file is empty"
        reason = getattr(error, "strerror", None) or error
        return f"not a video that can be read, or cut off at its end ({reason})"


def camera_address(number):
    """(address, FFmpeg input format) of camera `number` on this system.  VideoError for a bad number."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise VideoError(f"camera is {number!r}; a whole number from 0 expected")
    if sys.platform == "darwin":
        return str(number), "avfoundation"
    if sys.platform == "win32":
        return f"video={number}", "dshow"
    return f"/dev/video{number}", "v4l2"


def upright(frame):
    """Pixels (H, W, 3) uint8 RGB of an `av.VideoFrame`, turned as a player would show them."""
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


class VideoWriter:
    """Writes frames to an MP4 file (H.264) that appears when the context ends.

    Call `write` with each frame and its time.  All frames get the size of the first, rounded up to even
    numbers; others are fitted into it.  Whatever was written before an interruption is kept.
    OSError on entering where the file cannot be made.
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        self._container = self._stream = None

    def __enter__(self):
        self._av = load_av()
        folder = os.path.dirname(os.path.realpath(self.path))
        descriptor, self._temporary = tempfile.mkstemp(dir=folder, prefix=".hand3d-", suffix=".mp4")
        os.close(descriptor)
        return self

    def write(self, pixels, seconds):
        """pixels: (H, W, 3) uint8 RGB.  seconds: time of the frame, rising."""
        av = self._av
        if self._stream is None:
            self._container = av.open(self._temporary, "w", format="mp4")
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=30)
            self._stream.height, self._stream.width = (length + length % 2 for length in pixels.shape[:2])
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, CLOCK)
        frame = av.VideoFrame.from_ndarray(self._fitted(pixels), format="rgb24")
        frame.pts, frame.time_base = round(seconds * CLOCK), Fraction(1, CLOCK)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _fitted(self, pixels):
        from hand3d.canvas import fit_into

        height, width = self._stream.height, self._stream.width
        if (pixels.shape[0] + pixels.shape[0] % 2, pixels.shape[1] + pixels.shape[1] % 2) != (height, width):
            pixels, _ = fit_into(pixels, (height, width))
        pad = [(0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)]
        return np.ascontiguousarray(np.pad(pixels, pad, mode="edge"))

    def __exit__(self, kind, error, trace):
        try:
            if self._stream is not None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
                self._container.close()
                os.chmod(self._temporary, 0o666 & ~current_umask())
                os.replace(self._temporary, os.path.realpath(self.path))
                self._temporary = None
        finally:
            if self._temporary:
                os.unlink(self._temporary)
