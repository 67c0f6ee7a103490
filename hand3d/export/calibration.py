"""Pictures that the ranges of int8 values are measured on."""

import glob
import os

import numpy as np

from hand3d.canvas import fit_into, stretch
from hand3d.images import PICTURE_SIDE, list_images, load_image

COUNT = 32


def samples(estimator, directory, size, count=COUNT):
    """At most `count` pictures of a folder as the exported models take them.

    directory: records of `pipelines.render` or `pipelines.convert` (their training split; from a checkout),
    or a folder of image files; their order is shuffled, always alike.  size: (height, width).
    Returns list of (1, h, w, 3) float32.  ValueError naming the folder where it has none, ImageError for a
    damaged file.
    """
    if not os.path.isdir(directory):
        raise ValueError(f"--calibrate {directory}: no such folder")
    if glob.glob(os.path.join(directory, "*.tfrecord")):
        pictures = _records(directory, count)
    else:
        files = list_images(directory)
        chosen = np.random.default_rng(0).permutation(len(files))[:count]
        pictures = (load_image(files[number], max_side=PICTURE_SIDE).pixels for number in chosen)
    place = stretch if estimator.frame else fit_into
    return [place(pixels, size)[0][None].astype(np.float32) for pixels in pictures]


def _records(directory, count):
    try:
        from pipelines.records import decode_pictures, read_records
    except ImportError as error:
        raise ValueError(
            f"--calibrate {directory}: records are read by `python -m hand3d` in a checkout of hand3d alone; "
            "run that, or give image files"
        ) from error
    data = read_records(directory, "training", shuffle=True, check=False).take(count)
    return [sample["image"].numpy() for sample in data.map(decode_pictures)]
