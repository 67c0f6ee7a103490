"""What the released code's glue costs by itself: whole pixels and TensorFlow 1's grid (PAPER.md 2, fact T3).

    python -m experiments.legacy_grid --data RECORDS [--limit 200]

For hands of the evaluation split whose mask and keypoints are known, both ways go from the mask to a crop of
256 pixels, draw perfect score maps of 32 cells there, and come back from the maps to the image.  Perfect are
maps of the paper's Gaussians at the true keypoints, with the cells where the way that decodes them expects
them; the third line decodes maps on the half-pixel grid the old way.  Errors are in pixels of the picture.
"""

import argparse
import sys

import keras
import numpy as np

from experiments.evaluate import BATCH, Truth
from hand3d import crop_layers, crops, legacy, scoremaps

CROP, CELLS = 256, 32
GRIDS = "legacy", "half_pixel"


def default_way(pixels, uv):
    """pixels (N, H, W) masks, uv (N, 21, 2) -> decoded keypoints (N, 21, 2), crops' zoom (N,), maps."""
    shape = np.zeros((len(pixels), *pixels.shape[1:], 1), np.float32)
    centre, side = crop_layers.ComponentBox(CROP)([pixels, shape])
    maps = scoremaps.encode(crops.image_to_crop(uv, centre, side, CROP), _ones(uv), CELLS, CROP)
    decoded, _ = scoremaps.decode(maps, CROP)
    return _numpy(crops.crop_to_image(decoded, centre, side, CROP)), CROP / _numpy(side), maps


def released_way(pixels, uv):
    """The same by the released code."""
    centre, side = (_numpy(value) for value in legacy.crop_window(pixels, CROP))
    size = np.array(pixels.shape[:0:-1])
    low = (centre - np.floor(side / 2)[:, None]) / size * (size - 1)  # where the crop really lies
    step = side[:, None] / size * (size - 1) / (CROP - 1)
    uv_crop = (uv - low[:, None]) / step[:, None]
    stride = CROP / CELLS
    on_old_grid = uv_crop + (stride - 1) / 2  # `encode` puts cell j at stride j + this
    maps = scoremaps.encode(on_old_grid.astype(np.float32), _ones(uv), CELLS, CROP)
    decoded, _ = scoremaps.decode(maps, CROP, grid="legacy")
    return _numpy(legacy.crop_to_image(decoded, centre, side, CROP)), CROP / side


def measure(directory, limit=None):
    """Dict way -> {"median_px", "mean_px", "bias_px"}; bias is the median (u, v) error."""
    from pipelines.records import decode_pictures, read_records

    errors = {"half_pixel": [], "legacy": [], "half-pixel maps decoded the legacy way": []}
    data = read_records(directory, "evaluation").map(decode_pictures)
    for batch in (data.take(limit) if limit else data).batch(BATCH).as_numpy_iterator():
        truth = Truth(batch)
        numbers, hands = np.nonzero(truth.counts)
        if not len(numbers):
            continue
        pixels = truth.pixels[numbers, hands].astype(np.float32)
        uv, visible = truth.uv[numbers, hands].astype(np.float32), truth.visible[numbers, hands]
        new, zoom, maps = default_way(pixels, uv)
        old, _ = released_way(pixels, uv)
        by_pixel, between = (_numpy(scoremaps.decode(maps, CROP, grid=grid)[0]) for grid in GRIDS)
        mixed = by_pixel - between
        ways = (new - uv, old - uv, new - uv + mixed / zoom[:, None, None])
        for name, error in zip(errors, ways, strict=True):
            errors[name].append(error[visible])
    found = {name: np.concatenate(parts) for name, parts in errors.items()}
    return {
        name: {
            "keypoints": len(error),
            "median_px": float(np.median(np.linalg.norm(error, axis=-1))),
            "mean_px": float(np.mean(np.linalg.norm(error, axis=-1))),
            "bias_px": [round(float(value), 3) for value in np.median(error, 0)],
        }
        for name, error in found.items()
    }


def _ones(uv):
    return np.ones(uv.shape[:2], np.float32)


def _numpy(value):
    return keras.ops.convert_to_numpy(value)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of records with an evaluation split")
    parser.add_argument("--limit", type=int, help="pictures")
    arguments = parser.parse_args(argv)
    try:
        result = measure(arguments.data, arguments.limit)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, values in result.items():
        print(f"{name:40s} " + "  ".join(f"{key} {value}" for key, value in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
