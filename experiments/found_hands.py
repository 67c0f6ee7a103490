"""Every hand that a weight set finds in rendered pictures, beside the labelled hands."""

import sys
from dataclasses import replace

import numpy as np
from scipy import ndimage

from experiments.truth import Truth
from hand3d.estimator import HandPoseEstimator
from hand3d.skeleton import SIDES

BATCH = 16
SAME_HAND = 0.5  # mean distance of the keypoints by the hand's extent, up to which a labelled hand is found


def without_calibration(weight_set):
    """The same `manifest.WeightSet` with PoseNet's own confidence as keypoint_scores."""
    graph = {key: value for key, value in weight_set.entry.get("graph", {}).items() if key != "calibration"}
    return replace(weight_set, entry=weight_set.entry | {"graph": graph})


def found_hands(weight_set, directory, split="evaluation", limit=None, max_hands=2):
    """Runs the whole chain on the pictures of records.

    Returns a dict of arrays.
    F found hands of any score: image (F,); rank (F,), 0 for the best of its image; score (F,), side (F,),
    uv (F, 21, 2), box (F, 4); error (F, 21) to the nearest labelled hand, pixels of a picture of 320;
    confidence (F, 21), PoseNet's own; of that labelled hand visible (F, 21), truth (F,) its number, and
    distance (F,), the mean error by its extent, infinite without a label.
    All N images: counts (N, 2) bool, which labelled hands count (see `Truth`), and gap (N,), pixels of a
    picture of 320 between the visible parts of the two, infinite if one does not show.
    """
    from pipelines.records import decode_pictures, read_records

    estimator = HandPoseEstimator(without_calibration(weight_set), min_score=0.0, max_hands=max_hands)
    data = read_records(directory, split).map(decode_pictures)
    data = data.take(limit) if limit else data
    rows, counts, gaps, done = [], [], [], 0
    for batch in data.batch(BATCH).as_numpy_iterator():
        truth = Truth(batch)
        for number, hands in enumerate(estimator(list(batch["image"]))):
            for rank, hand in enumerate(hands):
                rows.append({"image": done + number, "rank": rank} | _row(truth, number, hand))
        done += len(batch["image"])
        counts.append(truth.counts)
        gaps += [_gap(pixels) for pixels in truth.pixels]
        print(f"{done} images", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if not rows:
        raise ValueError(f"{directory}, {split}: no hand is found in {done} images")
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return columns | {"counts": np.concatenate(counts), "gap": np.array(gaps)}


def _gap(pixels):
    """(2, H, W) bool -> the least distance between two regions, pixels of a picture of 320."""
    if not pixels.any((1, 2)).all():
        return np.inf
    return 320 / max(pixels.shape[1:]) * ndimage.distance_transform_edt(~pixels[0])[pixels[1]].min()


def _row(truth, number, hand):
    zoom = 320 / max(truth.pixels.shape[2:])
    error = zoom * np.linalg.norm(hand.keypoints_uv - truth.uv[number], axis=-1)  # (2, 21)
    present = truth.present[number]
    extent = zoom * np.ptp(truth.uv[number], axis=1).max(-1)
    distance = np.where(present, error, 0).sum(-1) / np.maximum(present.sum(-1), 1) / np.maximum(extent, 1)
    distance = np.where(present.any(-1), distance, np.inf)
    nearest = int(distance.argmin())
    return {
        "score": hand.score,
        "side": SIDES.index(hand.side),
        "uv": hand.keypoints_uv,
        "box": hand.box,
        "confidence": hand.keypoint_scores,
        "error": np.where(present[nearest], error[nearest], np.inf),
        "visible": truth.visible[number, nearest],
        "truth": nearest,
        "distance": distance[nearest],
    }
