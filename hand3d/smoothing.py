"""The One-Euro filter for keypoints over time (Casiez, Roussel and Vogel, CHI 2012).

A low-pass whose cut-off rises with speed: a still hand does not tremble, a fast one does not lag.
"""

import math

import numpy as np


class OneEuro:
    """Filters one array per frame; every point has its own speed, shared by its coordinates.

    Args:
        min_cutoff: Hz, of a point at rest; lower is steadier.
        beta: rise of the cut-off in Hz per unit of speed; higher lags less.  The unit is that of the
            values per second: scale them, by the hand's size for instance, if it varies.
        speed_cutoff: Hz, of the speed itself.

    Call it with the values (N, D) of each frame and the frame's time in seconds; times must increase.
    """

    def __init__(self, min_cutoff=1.0, beta=1.0, speed_cutoff=1.0):
        for name, value in (("min_cutoff", min_cutoff), ("speed_cutoff", speed_cutoff)):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}; a positive number of Hz expected")
        if not (math.isfinite(beta) and beta >= 0):
            raise ValueError(f"beta is {beta!r}; a number of at least 0 expected")
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self.reset()

    def reset(self):
        """Forgets all frames."""
        self._time = self._values = self._velocity = None

    def __call__(self, values, time):
        """values: (N, D); time: seconds.  Returns (N, D) float64.  ValueError if time does not increase."""
        values = np.asarray(values, np.float64)
        if self._values is None:
            self._time, self._values, self._velocity = time, values, np.zeros_like(values)
            return values.copy()
        step = time - self._time
        if not step > 0:
            raise ValueError(
                f"time is {time!r} after {self._time!r}; times must increase from frame to frame"
            )
        change = (values - self._values) / step
        self._velocity = self._velocity + _share(self.speed_cutoff, step) * (change - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        share = _share(self.min_cutoff + self.beta * speed, step)
        self._values = self._values + share * (values - self._values)
        self._time = time
        return self._values.copy()


class SteadyKeypoints:
    """Filters a hand's keypoints in the image: their centre, and where they lie around it.

    A hand that moves takes its centre along, and the centre of 21 keypoints trembles less than each of them,
    so it may follow at once, while the keypoints around it stay steady.

    Args:
        centre, around: dicts of `OneEuro`'s arguments; beta by hand extents a second.

    Call it with the keypoints (N, D) of each frame, its time in seconds and the hand's extent in their unit.
    """

    def __init__(self, centre, around):
        self.filters = OneEuro(**centre), OneEuro(**around)
        self.betas = centre["beta"], around["beta"]

    def __call__(self, values, time, extent):
        """Returns (N, D) float64.  ValueError if time does not increase."""
        values = np.asarray(values, np.float64)
        middle = values.mean(0, keepdims=True)
        for each, beta in zip(self.filters, self.betas, strict=True):
            each.beta = beta / extent
        centre, around = self.filters
        return centre(middle, time) + around(values - middle, time)


def _share(cutoff, step):
    """Weight of the new value in a first-order low-pass of this cut-off (Hz) after `step` seconds."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
