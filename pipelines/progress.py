"""One line that tells how far a run is, how fast, and how long it will take."""

import collections
import sys
import time

WIDTH = 24
WINDOW = 120.0  # seconds over which the speed is taken


class Progress:
    """Shows samples, samples/s and time left: in place on a terminal, else as a line every 30 s.

    total: samples, or what `unit` says.  stream: a text file.  clock: seconds.
    """

    def __init__(self, total, stream=None, clock=time.monotonic, unit="samples"):
        self.unit, self.total, self.stream, self.clock = unit, total, stream or sys.stdout, clock
        self.terminal = self.stream.isatty()
        self.history = collections.deque([(clock(), 0)])
        self.shown, self.done = clock(), 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._print(end="\n")

    def show(self, done):
        """Call often; prints now and then."""
        now, self.done = self.clock(), done
        self.history.append((now, done))
        while self.history[0][0] < now - WINDOW:
            self.history.popleft()
        if now - self.shown >= (0.5 if self.terminal else 30):
            self.shown = now
            self._print(end="\r" if self.terminal else "\n")

    def line(self):
        """Such as "[######..................] 500/2000 samples, 8.1 samples/s, 3 min left"."""
        (start, before), (end, after) = self.history[0], self.history[-1]
        rate = (after - before) / (end - start) if end > start else 0.0
        filled = WIDTH * self.done // self.total
        bar = "#" * filled + "." * (WIDTH - filled)
        left = f", {duration((self.total - self.done) / rate)} left" if rate else ""
        return f"[{bar}] {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s{left}"

    def _print(self, end):
        clear = "\x1b[K" if self.terminal else ""
        print(self.line() + clear, end=end, file=self.stream, flush=True)


def duration(seconds):
    """75 -> "1 min", 8000 -> "2 h 13 min"."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
