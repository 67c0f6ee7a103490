"""Labelled photographs beside renders of the same hand: is an error the pose's or the look's?

    python -m experiments.same_pose --photos PHOTOS [--renders 4] [--only 6,7,8] [--sheet FILE]

PHOTOS holds images/ and truth.npz as for `experiments.value`, with K (N, 3, 3), the cameras.  The joint
angles of the renderer are fitted to each photograph's keypoints, and other people with this hand are
rendered from where the camera was.  Where renders are seen right and the photograph is not, such poses are
known well enough, and it is the picture of the hand that is strange; where neither is, the pose or the view
is.  Areas are those under the share of keypoints within 0 to 30 pixels of the photograph, of the whole
chain.  Ten seconds a photograph of two cores.

Contrast is the deviation of the logarithm of light within the hand, redness that of red to green: renders
whose hands have less of them are lit too evenly.  Paling is how much of the redness light takes away, the
slope of the latter over the former: shadows within a hand are red, highlights pale.
"""

import argparse
import io
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from hand3d.cores import cores
from hand3d.files import write_atomic
from hand3d.skeleton import BONES, SIDES
from pipelines.render import refit, workers
from pipelines.render.body import load_body
from pipelines.render.character import make_character
from pipelines.render.context import GraphicsUnavailable
from pipelines.render.scene import CHARACTERS
from pipelines.render.skin import to_linear

SIZE = 320  # pixels of the renders
SPLIT = "training"  # whose people and backgrounds are drawn
BONE_WIDTH = 0.055  # of the hand's extent; half a finger
LOOKS = "contrast", "redness", "paling"  # of `hand_contrast`
DARK = 0.002  # linear light that is added, so that black has a logarithm


def areas(predictions, uv, scales):
    """(N,) area of each picture's best hand; scales: pixels that areas are of by the picture's."""
    from experiments import value
    from hand3d import metrics

    hands = [each.hands[0] if each.hands else None for each in predictions]
    found = np.array([hand is not None for hand in hands])
    seen = np.stack([hand.keypoints_uv if hand else np.zeros_like(uv[0]) for hand in hands])
    scales = np.reshape(scales, (-1, 1, 1))
    errors = metrics.keypoint_errors(seen * scales, uv * scales, found)[:, value.FINGERS]
    return np.array([metrics.summary_2d(each[None])[value.UV] for each in errors])


def hand_contrast(image, uv):
    """What light and colour do along the bones of a hand.

    image: (H, W, 3) uint8.  uv: (21, 2) pixels.  Returns (3,) float64: standard deviations of the natural
    logarithms of luminance and of red to green, both linear, and minus the slope of the second over the
    first; NaN where no bone is in the picture.
    """
    mask = Image.new("1", image.shape[1::-1])
    draw = ImageDraw.Draw(mask)
    width = max(1, round(BONE_WIDTH * np.ptp(uv, axis=0).max()))
    for parent, child in BONES:
        draw.line([*uv[parent], *uv[child]], fill=1, width=width)
    colours = to_linear(image[np.asarray(mask)] / 255) + DARK
    if not len(colours):
        return np.full(len(LOOKS), np.nan)
    light = np.log(colours @ [0.2126, 0.7152, 0.0722])
    red = np.log(colours[:, 0] / colours[:, 1])
    paling = -np.mean((light - light.mean()) * (red - red.mean())) / max(light.var(), 1e-9)
    return np.array([light.std(), red.std(), paling])


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.same_pose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", required=True, help="folder with images/ and truth.npz")
    parser.add_argument("--weights", default="lite", help="name or folder of a weight set (default: lite)")
    parser.add_argument("--renders", type=int, default=4, help="of each photograph (default: 4)")
    parser.add_argument("--only", help="numbers of photographs, separated by commas (default: all)")
    parser.add_argument("--backgrounds", help="folder of photographs for the renders")
    parser.add_argument("--sheet", help="PNG file: each photograph and its renders")
    arguments = parser.parse_args(argv)
    if arguments.renders < 1:
        parser.error(f"--renders must be at least 1, got {arguments.renders}")
    # here: the processes that render import this module too, and Mesa's renderer crashes beside TensorFlow
    from experiments import value
    from hand3d import manifest
    from hand3d.estimator import HandPoseEstimator

    try:
        paths, labels = value.read_labels(arguments.photos)
        with np.load(f"{arguments.photos}/truth.npz") as file:
            if "K" not in file:
                raise ValueError(f"{arguments.photos}/truth.npz: lacks K")
            labels["K"] = file["K"]
        if labels["K"].shape != (len(paths), 3, 3):
            raise ValueError(f"{arguments.photos}/truth.npz: K is {labels['K'].shape}, expected (N, 3, 3)")
        chosen = range(len(paths)) if arguments.only is None else _numbers(arguments.only, len(paths))
        weights = manifest.find(arguments.weights)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    settings = {"size": SIZE, "backgrounds": arguments.backgrounds}
    estimator = HandPoseEstimator(weights, min_score=0, max_hands=1)
    photographs = [(k, paths[k], {key: each[k] for key, each in labels.items()}) for k in chosen]
    try:
        with workers.Pool(min(arguments.renders, cores()), settings) as pool:
            rows = compare(pool, estimator, photographs, arguments.renders)
        if arguments.sheet:
            file = io.BytesIO()
            Image.fromarray(np.concatenate(rows)).save(file, "PNG")
            write_atomic(arguments.sheet, file.getvalue())
    except (OSError, ValueError, workers.WorkerKilled, GraphicsUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def compare(pool, estimator, photographs, renders):
    """Prints a line for each photograph, and the means; returns (SIZE, ..., 3) rows of pictures.

    pool: `workers.Pool`.  photographs: (number, path, dict of its labels) each.
    """
    rigs = make_character(load_body(), int(CHARACTERS[SPLIT][0])).hands
    rows, together = [], []
    for number, path, one in photographs:
        picture = Image.open(path).convert("RGB")
        scale = SIZE / max(picture.size)
        side = SIDES.index(str(one["side"]))
        given, error = refit.given_hand(rigs[side], side, one["xyz"], one["K"], scale)
        tasks = [pool.submit(workers.render, seed, SPLIT, given) for seed in range(renders)]
        samples = [workers.result(task) for task in tasks]
        uv = [sample["uv"].reshape(len(SIDES), -1, 2)[side] for sample in samples]
        images = [np.asarray(picture), *(sample["image"] for sample in samples)]
        scales = [1, *[1 / scale] * len(samples)]
        uv = np.stack([one["uv"], *uv])
        found = areas(estimator.predict(images), uv, scales)
        looks = np.stack([hand_contrast(*each) for each in zip(images, uv, strict=True)])
        rendered = np.nanmedian(looks[1:], axis=0)
        together.append((found[0], np.median(found[1:]), *looks[0], *rendered))
        shown = " ".join(f"{each:.2f}" for each in found[1:])
        line = f"{number} {path}: fit {error:.1f} mm, photograph {found[0]:.2f}, renders {shown}"
        print(f"{line}; contrast {looks[0, 0]:.2f}, renders {rendered[0]:.2f}", flush=True)
        square = ImageOps.pad(picture, (SIZE, SIZE), centering=(0, 0))
        rows.append(np.concatenate([square, *images[1:]], axis=1))
    mean = np.nanmean(together, axis=0)
    print(f"mean: photographs {mean[0]:.3f}, medians of their renders {mean[1]:.3f}")
    photographed, rendered = np.split(mean[2:], 2)
    for name, one, other in zip(LOOKS, photographed, rendered, strict=True):
        print(f"{name}: photographs {one:.2f}, medians of their renders {other:.2f}")
    return rows


def _numbers(text, count):
    """Whole numbers below `count` of a list with commas; ValueError naming what is none."""
    numbers = []
    for part in text.split(","):
        if not part.strip().isdigit() or int(part) >= count:
            raise ValueError(f"--only {text}: {part!r} is not a number from 0 to {count - 1}")
        numbers.append(int(part))
    return numbers


if __name__ == "__main__":
    sys.exit(main())
