"""MediaPipe Hands as an independent judge of rendered (or any other) labelled records.

    python3.11 -m venv .venv-judge
    .venv-judge/bin/pip install mediapipe==0.10.14 google-crc32c
    .venv-judge/bin/python -m experiments.judge_render --data RECORDS [--split evaluation] [--limit 500]

MediaPipe 0.10.14 needs Python 3.12 or older and brings its models; it is no dependency of hand3d, and no
test needs it.  Judged are single, mostly visible hands: all keypoints in the picture, most of them
visible, next to nothing of another hand in the crop, and large enough.  Each hand is cut out with room
around it and enlarged.

Expected on the evaluation split of `pipelines.render` (issue 3): found >= 0.85, median distance <= 7 px
of a picture of 320, sides agree >= 0.95. What was measured stands in the README. A sample takes about 60
ms of a core.
"""

import argparse
import io
import json
import sys

import numpy as np
from PIL import Image

from hand3d.files import write_atomic
from hand3d.skeleton import KEYPOINT_NAMES, NUM_KEYPOINTS, SIDES
from pipelines.records import HAND_IDS, LABELS, shard_paths
from pipelines.tfrecord_io import example_class, read_tfrecord

FRAME = 320  # pixels: the size of picture that distances are given for
CROP = 320  # pixels of the crop that MediaPipe sees
ROOM = 2.0  # side of the crop over the hand's
OUTSIDE = 0  # value of what lies beyond the picture: black, which the judge itself pads pictures with
MIN_VISIBLE, MIN_SIZE, MAX_OTHER = 15, 50, 0.02  # keypoints; pixels at 320; share of the crop
MIN_CONFIDENCE = 0.5
# MediaPipe's order: wrist, then each finger from base to tip
FROM_MEDIAPIPE = np.array([0] + [4 * finger + joint for finger in range(5) for joint in (4, 3, 2, 1)])
GOALS = {"found": (">=", 0.85), "median_px_at_320": ("<=", 7.0), "side_agrees": (">=", 0.95)}


def read_samples(directory, split):
    """Yields dicts: image (H, W, 3) uint8, mask (H, W) uint8, uv (2, 21, 2), visible (2, 21) bool."""
    for path in shard_paths(directory, split):
        for payload in read_tfrecord(path):
            feature = example_class().FromString(payload).features.feature

            def numbers(name, kind, *shape, feature=feature):
                return np.array(getattr(feature[name], kind).value).reshape(len(SIDES), LABELS // 2, *shape)

            def picture(name, mode, feature=feature):
                return np.asarray(Image.open(io.BytesIO(feature[name].bytes_list.value[0])).convert(mode))

            if not feature["mask"].bytes_list.value[0]:
                raise ValueError(f"{path} has samples without masks, which tell single hands")
            yield {
                "image": picture("image", "RGB"),
                "mask": picture("mask", "L"),
                "uv": numbers("uv", "float_list", 2),
                "visible": numbers("visible", "int64_list").astype(bool),
            }


def single_hands(sample, visible=MIN_VISIBLE):
    """Sides of the hands of a sample that count, see the module, with the box of the crop around each.

    visible: that many of the 21 keypoints at least.
    """
    height, width = sample["mask"].shape
    for side, (first, last) in enumerate(HAND_IDS):
        uv = sample["uv"][side]
        inside = ((uv > -0.5) & (uv < (width - 0.5, height - 0.5))).all()
        low, high = uv.min(0), uv.max(0)
        size = (high - low).max()
        if not inside or sample["visible"][side].sum() < visible or size < MIN_SIZE * height / FRAME:
            continue
        corner, extent = (low + high) / 2 - ROOM * size / 2, ROOM * size
        left, top = np.maximum(corner, 0).astype(int)
        right, bottom = (corner + extent).astype(int) + 1
        ids = sample["mask"][top:bottom, left:right]
        other = (ids > 1) & ((ids < first) | (ids > last))
        if other.mean() <= MAX_OTHER:
            yield side, (*corner, extent)


def cut(image, box):
    """(CROP, CROP, 3) uint8 of the square (left, top, side), black outside the picture."""
    left, top, side = box
    corners = (left + 0.5, top + 0.5, left + 0.5 + side, top + 0.5 + side)
    return np.asarray(
        Image.fromarray(image).transform(
            (CROP, CROP), Image.Transform.EXTENT, corners, Image.Resampling.BICUBIC, fillcolor=(OUTSIDE,) * 3
        )
    )


def judge(samples, find, visible=MIN_VISIBLE):
    """Compares labels with a finder of hands.

    samples: iterable of `read_samples`' dicts.  find: (CROP, CROP, 3) uint8 -> None or (uv (21, 2) pixels of
    the crop in hand3d's order, side).  Returns a dict of arrays over the hands judged: found (N,),
    side_agrees (N,) and distance (N, 21) pixels of a picture of FRAME, NaN where no hand was found.
    """
    found, agrees, distance = [], [], []
    for sample in samples:
        for side, box in single_hands(sample, visible):
            hand = find(cut(sample["image"], box))
            found.append(hand is not None)
            if hand is None:
                agrees.append(False)
                distance.append(np.full(NUM_KEYPOINTS, np.nan))
                continue
            uv = (hand[0] + 0.5) * box[2] / CROP - 0.5 + np.add(box[:2], 0.5)
            agrees.append(hand[1] == side)
            gap = np.linalg.norm(uv - sample["uv"][side], axis=-1)
            distance.append(gap * FRAME / sample["image"].shape[0])
    return {
        "found": np.array(found, bool),
        "side_agrees": np.array(agrees, bool),
        "distance": np.reshape(distance, (-1, NUM_KEYPOINTS)),
    }


def summary(judged):
    """Numbers to print: the three of GOALS, how many hands, and the median distance of each keypoint."""
    found = judged["found"]
    if not found.any():
        return {"hands": len(found), "found": 0.0}
    distance = judged["distance"][found]
    return {
        "hands": len(found),
        "found": float(found.mean()),
        "median_px_at_320": float(np.median(distance)),
        "side_agrees": float(judged["side_agrees"][found].mean()),
        "median_px_at_320/keypoint": {
            name: round(float(value), 2)
            for name, value in zip(KEYPOINT_NAMES, np.median(distance, 0), strict=True)
        },
    }


def mediapipe_finder():
    """`find` of `judge`, by MediaPipe; SystemExit with the remedy where it is missing."""
    try:
        import mediapipe
    except ImportError:
        sys.exit("mediapipe is missing: make the environment of its own that the module's text describes")
    hands = mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=1, min_detection_confidence=MIN_CONFIDENCE
    )

    def find(crop):
        result = hands.process(np.ascontiguousarray(crop))
        if not result.multi_hand_landmarks:
            return None
        points = np.array([(p.x, p.y) for p in result.multi_hand_landmarks[0].landmark]) * CROP - 0.5
        uv = np.empty((NUM_KEYPOINTS, 2))
        uv[FROM_MEDIAPIPE] = points
        # it takes pictures for mirrored ones, as a front camera shows them
        mirrored = result.multi_handedness[0].classification[0].label.lower()
        return uv, 1 - SIDES.index(mirrored)

    return find


def first(samples, limit, visible=MIN_VISIBLE):
    """The first `limit` of the samples with a hand to judge."""
    count = 0
    for sample in samples:
        hands = sum(1 for _ in single_hands(sample, visible))
        if hands and count < limit:
            count += hands
            yield sample
        if count >= limit:
            return


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.judge_render",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="folder of records")
    parser.add_argument("--split", default="evaluation")
    parser.add_argument("--limit", type=int, default=500, help="hands to judge (default: 500)")
    parser.add_argument(
        "--min-visible",
        type=int,
        default=MIN_VISIBLE,
        help=f"keypoints of a mostly visible hand (default: {MIN_VISIBLE})",
    )
    parser.add_argument("--out", help="JSON file to write the numbers to")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.min_visible <= NUM_KEYPOINTS:
        parser.error(f"--min-visible must be 1 to {NUM_KEYPOINTS}, got {arguments.min_visible}")
    if arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    try:
        visible = arguments.min_visible
        samples = first(read_samples(arguments.data, arguments.split), arguments.limit, visible)
        numbers = summary(judge(samples, mediapipe_finder(), visible))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not numbers["hands"]:
        print(f"error: {arguments.data} has no single, mostly visible hand", file=sys.stderr)
        return 1
    for name, value in numbers.items():
        goal = " (goal {} {})".format(*GOALS[name]) if name in GOALS else ""
        print(f"{name}: {value:.4g}{goal}" if isinstance(value, float) else f"{name}: {value}")
    if arguments.out:
        write_atomic(arguments.out, (json.dumps(numbers, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
