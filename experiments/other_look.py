"""Rendered hands in a look unlike that of any training set, as a csv set of one's own annotations.

    python -m experiments.other_look --data RECORDS --out DIR [--training 400] [--evaluation 120]

Takes samples of rendered records and turns them into what a thermal camera might show: false colours of the
inverted brightness, soft and noisy.  DIR gets the pictures and `labels.csv` with 2D labels of the dominant
hand alone.  `python -m pipelines.convert csv --source DIR --out MINE` and `experiments.finetune --data MINE`
follow.
"""

import argparse
import csv
import io
import os
import sys

import numpy as np
from scipy import ndimage

from hand3d.files import write_atomic
from hand3d.skeleton import HAND_SLICES, KEYPOINT_NAMES, SIDES
from pipelines import pictures, rules
from pipelines.convert.verify import parse
from pipelines.records import shard_paths
from pipelines.tfrecord_io import read_tfrecord

# the colours of rising brightness, sRGB
COLOURS = np.array([[8, 0, 40], [70, 0, 140], [20, 110, 200], [30, 200, 120], [250, 240, 60], [255, 60, 20]])
MIN_VISIBLE, MIN_EXTENT = 9, 40  # keypoints and pixels of a hand that is taken


def thermal(image, rng):
    """(H, W, 3) uint8 -> (H, W, 3) uint8 in false colours.  rng: numpy Generator."""
    grey = image.astype(np.float32) @ np.array([0.3, 0.59, 0.11], np.float32) / 255
    warm = 1 - ndimage.gaussian_filter(grey, rng.uniform(0.8, 1.6))
    warm = warm + ndimage.gaussian_filter(rng.normal(0, 1, warm.shape), 1.2) * 0.05
    low, high = np.percentile(warm, (2, 98))
    place = np.clip((warm - low) / max(high - low, 1e-3), 0, 1) * (len(COLOURS) - 1)
    channels = [np.interp(place, np.arange(len(COLOURS)), COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def samples(directory, split, count):
    """(image, side, uv (21, 2), visible (21,)) of `count` samples with a hand that is large enough."""
    for path in shard_paths(directory, split):
        for payload in read_tfrecord(path):
            sample = parse(payload)
            side = rules.dominant_side(pictures.decode(sample["mask"]))
            part = HAND_SLICES[SIDES[side]]
            uv, visible = sample["uv"][part], sample["visible"][part]
            if visible.sum() < MIN_VISIBLE or np.ptp(uv[visible], axis=0).max() < MIN_EXTENT:
                continue
            if count == 0:
                return
            count -= 1
            yield pictures.decode(sample["image"]), SIDES[side], uv, visible


def make(directory, out, counts, seed=0):
    """Writes the set; counts: {split: number}."""
    rng = np.random.default_rng(seed)
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("path", "side", "name", "u", "v", "visible", "split"))
    for split, count in counts.items():
        os.makedirs(os.path.join(out, split), exist_ok=True)
        for number, (image, side, uv, visible) in enumerate(samples(directory, split, count)):
            path = f"{split}/{number:05d}.jpg"
            write_atomic(os.path.join(out, path), pictures.encode_jpeg(thermal(image, rng)))
            for name, (u, v), seen in zip(KEYPOINT_NAMES, uv, visible, strict=True):
                writer.writerow((path, side, name, f"{u:.2f}", f"{v:.2f}", int(seen), split))
    write_atomic(os.path.join(out, "labels.csv"), table.getvalue().encode())


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="rendered records")
    parser.add_argument("--out", required=True, help="folder of the set")
    for split, count in (("training", 400), ("evaluation", 120)):
        parser.add_argument(f"--{split}", type=int, default=count, help="images")
    arguments = parser.parse_args(argv)
    try:
        counts = {split: getattr(arguments, split) for split in ("training", "evaluation")}
        make(arguments.data, arguments.out, counts)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
