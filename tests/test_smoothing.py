"""hand3d.smoothing: still points hold still, moving ones are followed."""

import numpy as np
import pytest

from hand3d.smoothing import OneEuro, SteadyKeypoints
from hand3d.tracking import UV_AROUND, UV_CENTRE

RATE = 30.0


def filtered(values, rate=RATE, **options):
    smooth = OneEuro(**options)
    return np.stack([smooth(frame, number / rate) for number, frame in enumerate(values)])


def test_a_still_hand_trembles_less():
    noisy = np.random.default_rng(0).normal(0, 0.01, (300, 21, 2))  # in hand sizes
    jitter = np.diff(filtered(noisy)[60:], axis=0).std() / np.diff(noisy[60:], axis=0).std()
    assert jitter < 0.3


def test_a_moving_hand_is_followed():
    """A hand that starts to move by one and a half of its sizes a second is less than two frames late."""
    seconds = np.arange(90)[:, None, None] / RATE
    path = np.tile(1.5 * np.maximum(seconds - 1, 0), (1, 21, 2))
    late = (path - filtered(path))[-1].max() / (1.5 / RATE)
    assert 0 < late < 2


def test_a_hand_moves_as_one_and_is_steady_all_the_same():
    """Three sizes a second from the first frame that moves: less than half a frame late, and steady."""
    smooth, extent = SteadyKeypoints(UV_CENTRE, UV_AROUND), 80.0
    hand = np.random.default_rng(0).uniform(0, extent, (21, 2))
    path = hand + 3 * extent * np.maximum(np.arange(60)[:, None, None] / RATE - 1, 0) * [1.0, 0.0]
    late = [(uv - smooth(uv, n / RATE, extent))[:, 0] / (3 * extent / RATE) for n, uv in enumerate(path)]
    assert 0 < np.max(late) < 0.5
    noisy = hand + np.random.default_rng(1).normal(0, 0.01 * extent, (300, 21, 2))
    smooth = SteadyKeypoints(UV_CENTRE, UV_AROUND)
    steady = np.stack([smooth(uv, number / RATE, extent) for number, uv in enumerate(noisy)])
    assert np.diff(steady[60:], axis=0).std() / np.diff(noisy[60:], axis=0).std() < 0.3


def test_variable_rate_and_start():
    smooth = OneEuro()
    first = np.ones((21, 3))
    np.testing.assert_array_equal(smooth(first, 5.0), first)
    near, far = OneEuro(), OneEuro()
    near(np.zeros((1, 2)), 0), far(np.zeros((1, 2)), 0)
    assert (
        near(first[:1, :2], 0.01) < far(first[:1, :2], 1.0)
    ).all()  # after a gap the new value counts more
    smooth.reset()
    np.testing.assert_array_equal(smooth(2 * first, 0.0), 2 * first)


@pytest.mark.parametrize("bad", [{"min_cutoff": 0}, {"beta": -1}, {"speed_cutoff": float("nan")}])
def test_bad_options(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        OneEuro(**bad)


def test_time_must_increase():
    smooth = OneEuro()
    smooth(np.zeros((1, 2)), 1.0)
    with pytest.raises(ValueError, match="must increase"):
        smooth(np.zeros((1, 2)), 1.0)
