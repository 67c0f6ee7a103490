"""Jitter and lag of `hand3d.tracking` on rendered clips.

    python -m experiments.sequences --out clips.npz --backgrounds PHOTOS
    python -m experiments.steadiness --clips clips.npz [--weights lite] [--out FILE.json]

Every clip is followed twice, with smoothing and without.  Jitter is the root mean square of how far a
keypoint's error moves from one frame to the next, in pixels of the clip, over the frames after the first ten.
Lag is the delay, in frames, of the keypoints without smoothing that comes nearest to the smoothed ones, on
the clips that move.
"""

import argparse
import json
import sys

import keras
import numpy as np

from hand3d import geometry
from hand3d.estimator import HandPoseEstimator
from hand3d.files import write_atomic
from hand3d.skeleton import NUM_KEYPOINTS
from hand3d.tracking import HandTracker

SETTLE = 10  # frames
DELAYS = np.arange(0, 6.01, 0.1)


def jitter(uv, truth):
    """uv, truth: (F, 21, 2) pixels -> pixels."""
    change = np.diff(uv - truth, axis=0)
    return float(np.sqrt((change**2).sum(-1).mean()))


def lag(smoothed, plain):
    """Frames by which `smoothed` (F, 21, 2) comes after `plain`."""
    times = np.arange(SETTLE, len(plain))

    def delayed(values, delay):
        at = times - delay
        low = np.floor(at).astype(int)
        share = (at - low)[:, None, None]
        return (1 - share) * values[low] + share * values[np.minimum(low + 1, len(values) - 1)]

    gaps = [np.square(smoothed[times] - delayed(plain, delay)).mean() for delay in DELAYS]
    return float(DELAYS[int(np.argmin(gaps))])


def follow(estimator, images, rate, smooth):
    """(F, 21, 2) keypoints of the hand followed longest, NaN where none is; and how often was searched."""
    tracker = HandTracker(estimator, smooth=smooth)
    rows, searches = [], 0
    for number, image in enumerate(images):
        hands = tracker(image, number / rate)
        rows.append(hands[0].keypoints_uv if hands else np.full((NUM_KEYPOINTS, 2), np.nan))
        searches = tracker.searches
    return np.array(rows), searches


def measure(weights, clips):
    """Medians over the clips: a dict that JSON can hold."""
    estimator = HandPoseEstimator(weights, max_hands=1)
    still, moved, errors, searches = [], [], [], []
    for images, wrist_uv, moving in zip(clips["images"], clips["uv"], clips["moving"], strict=True):
        truth = keras.ops.convert_to_numpy(geometry.wrist_to_palm(wrist_uv))
        (plain, count), (smoothed, _) = (
            follow(estimator, images, float(clips["rate"]), s) for s in (False, True)
        )
        searches.append(count / len(images))
        if np.isnan(plain).any():
            print(f"a hand is lost in {np.isnan(plain).any((1, 2)).sum()} frames of a clip: left out")
            continue
        errors.append([np.linalg.norm(uv - truth, axis=-1).mean() for uv in (plain, smoothed)])
        if moving:
            moved.append(lag(smoothed, plain))
        else:
            still.append([jitter(uv[SETTLE:], truth[SETTLE:]) for uv in (plain, smoothed)])
        print(f"{len(errors)} clips", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    result = {"clips": len(clips["images"]), "clips_followed": len(errors)}
    result["frames_searched"] = float(np.mean(searches))
    if still:
        plain, smoothed = np.array(still).T
        result |= {
            "jitter_px/plain": float(np.median(plain)),
            "jitter_px/smoothed": float(np.median(smoothed)),
        }
        result["jitter_falls_by"] = float(np.median(1 - smoothed / plain))
    if moved:
        result |= {"lag_frames": float(np.median(moved)), "lag_frames/most": max(moved)}
    if errors:
        result["epe_px/plain"], result["epe_px/smoothed"] = (float(v) for v in np.mean(errors, 0))
    return {key: round(value, 3) for key, value in result.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", required=True, help="file of experiments.sequences")
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--out", help="JSON file to write")
    arguments = parser.parse_args(argv)
    try:
        with np.load(arguments.clips) as file:
            result = measure(arguments.weights, dict(file))
        print(json.dumps(result, indent=1))
        if arguments.out:
            write_atomic(arguments.out, (json.dumps(result, indent=1) + "\n").encode())
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
