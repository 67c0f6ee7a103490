"""How many hands the whole chain finds in a picture: both, one twice, or none where there is none.

    python -m experiments.several_hands --data RECORDS [--weights lite] [--photos DIR] [--max-hands 2]

Of the evaluation split: the share of labelled hands that count (see `experiments.truth`) that are found, that
is with keypoints half the hand's extent away at most in the mean; for pictures in which one hand counts, two
that are 20 pixels of 320 or more apart, and two that are nearer.  Then hands found twice, and found hands
that are none.  DIR has photographs without hands: how many give one.
"""

import argparse
import json
import sys

import numpy as np

from experiments.found_hands import SAME_HAND, found_hands
from hand3d import manifest
from hand3d.estimator import HandPoseEstimator
from hand3d.images import ImageError, list_images
from hand3d.set_options import set_options

APART = 20.0  # pixels of 320: nearer, the mask's parts grow together


def summary(found, min_score):
    """found: of `found_hands`.  min_score: of a hand that is handed out.  Returns a dict of numbers."""
    counts, gap = found["counts"], found["gap"]
    hits = np.zeros(counts.shape, int)
    shown = found["score"] >= min_score
    real = shown & (found["distance"] <= SAME_HAND)
    np.add.at(hits, (found["image"][real], found["truth"][real]), 1)
    result = {"images": len(counts)}
    two = counts.all(1)
    kinds = {"one": counts.sum(1) == 1, "two_apart": two & (gap >= APART), "two_near": two & (gap < APART)}
    for name, kind in kinds.items():
        hands = counts & kind[:, None]
        result[f"{name}/images"] = int(kind.sum())
        if kind.any():
            result[f"{name}/hands_found"] = float((hits > 0)[hands].mean())
            result[f"{name}/any_found"] = float((hits > 0)[kind].any(1).mean())
            if name != "one":
                result[f"{name}/both_found"] = float((hits > 0)[kind].all(1).mean())
    right = found["side"][real] == found["truth"][real]
    result |= {
        "side_right": float(right.mean()) if len(right) else float("nan"),
        "found_twice": int((hits > 1).sum()),
        "false_hands": int((shown & ~real).sum()),
        "hands": int(shown.sum()),
    }
    return {key: round(value, 3) for key, value in result.items()}


def false_alarms(weight_set, folder, max_hands):
    """(photographs, those with a hand) of a folder without hands."""
    estimator = HandPoseEstimator(weight_set, max_hands=max_hands)
    results = [r for r in estimator.stream(list_images(folder), errors=True) if not isinstance(r, ImageError)]
    return len(results), sum(bool(result.hands) for result in results)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of records with an evaluation split")
    parser.add_argument("--weights", default="lite", help="name of a shipped set, or folder with a manifest")
    parser.add_argument("--photos", help="folder of photographs without hands")
    parser.add_argument("--max-hands", type=int, default=2)
    parser.add_argument("--limit", type=int, help="pictures")
    arguments = parser.parse_args(argv)
    if arguments.limit is not None and arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    try:
        weight_set = manifest.find(arguments.weights)
        found = found_hands(weight_set, arguments.data, limit=arguments.limit, max_hands=arguments.max_hands)
        result = summary(found, set_options(weight_set).min_score)
        if arguments.photos:
            photos, alarms = false_alarms(weight_set, arguments.photos, arguments.max_hands)
            result |= {"photos_without_hands": photos, "photos_with_a_false_hand": alarms}
        print(json.dumps(result, indent=1))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
