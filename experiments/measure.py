"""Predictions of a weight set for the pictures of a data set, beside their labels.

What `experiments.evaluate` and the programs of the paper's tables have in common: one pass over the pictures,
in batches, of which each takes the parts that it needs.
"""

import dataclasses
import sys
import time

import keras
import numpy as np

from experiments.truth import Errors, Truth, enlarge, shrink
from hand3d import manifest
from hand3d.estimator import HandPoseEstimator
from hand3d.graph import full_graph
from hand3d.images import GREY
from hand3d.set_options import set_options
from hand3d.skeleton import SIDES
from hand3d.tracing import traced

BATCH = 16
PARTS = ("mask", "gt_crop", "chain")


@dataclasses.dataclass
class Masks:
    """Masks of both hands of the images that have one, at the size that the network sees.

    counts: list of (both, found, true), numbers of pixels.
    """

    counts: list = dataclasses.field(default_factory=list)

    def add(self, found, true):
        """found, true (N, h, w) bool."""
        both, parts = (found & true).sum((1, 2)), (found.sum((1, 2)), true.sum((1, 2)))
        self.counts += list(zip(both, *parts, strict=True))

    def ious(self):
        """(N,) of each image; two empty masks give 1."""
        both, found, true = np.array(self.counts, np.float64).reshape(-1, 3).T
        either = found + true - both
        return np.where(either == 0, 1.0, both / np.maximum(either, 1))

    def iou_pooled(self):
        both, found, true = np.array(self.counts, np.float64).reshape(-1, 3).sum(0)
        return float(both / max(found + true - both, 1))

    def precision_recall(self):
        """Over all pixels of all images; NaN where nothing was found, or nothing is there."""
        both, found, true = np.array(self.counts, np.float64).reshape(-1, 3).sum(0)
        return float(both / found) if found else float("nan"), float(both / true) if true else float("nan")


@dataclasses.dataclass
class Measured:
    """masks, crop (true crops), chain (whole chain): what the pass collected.

    boxes: for each hand of chain, see `_box_row`.  images: number of them.  timed, seconds, predicting:
    images after the first batch, seconds that they took, and seconds of the estimator alone.
    """

    masks: Masks = dataclasses.field(default_factory=Masks)
    crop: Errors = dataclasses.field(default_factory=Errors)
    chain: Errors = dataclasses.field(default_factory=Errors)
    boxes: list = dataclasses.field(default_factory=list)
    images: int = 0
    timed: int = 0
    seconds: float = 0.0
    predicting: float = 0.0


def from_true_regions(weight_set, names=("keypoints_uv", "side", "keypoints_xyz")):
    """The graph behind the mask, for regions that are given: regions, images, sides -> dict of outputs.

    What is seen in their crops counts: there is no second look in others.

    names: outputs of `hand3d.graph.full_graph`.
    """
    networks = manifest.load(weight_set)
    options = set_options(weight_set).graph | {"candidates": 1, "second_look": None}
    model = full_graph(**manifest.for_graph(networks), **options)
    outputs = {name: model.output[name] for name in names}
    return traced(keras.Model([model.get_layer("regions").output, *model.inputs], outputs))


def collect(weight_set, directory, split="evaluation", *, parts=PARTS, limit=None, hands="large"):
    """One pass over the pictures of a split: a `Measured` with the wanted parts.

    weight_set: of `hand3d.manifest.find`.  directory: folder of records.  limit: images.  hands: see `Truth`.
    ValueError naming the folder where the split is missing or damaged.
    """
    from pipelines.records import decode_pictures, read_records

    data = read_records(directory, split).map(decode_pictures, num_parallel_calls=2)
    data = data.take(limit) if limit else data
    estimator = HandPoseEstimator(weight_set)
    model = estimator.model
    size = model.get_layer("mask").size
    segment = (
        traced(keras.Model([model.inputs[0]], model.get_layer("mask").output)) if "mask" in parts else None
    )
    from_region = from_true_regions(weight_set) if "gt_crop" in parts else None
    found, start = Measured(), None
    for batch in data.map(_square).batch(BATCH).prefetch(2).as_numpy_iterator():
        images, truth = batch["image"], Truth(batch, hands)
        if segment:
            hand = shrink(truth.pixels.any(1), size)[truth.has_mask]
            found.masks.add((segment(images) > 0.5)[truth.has_mask], hand)
        numbers, sides = np.nonzero(truth.counts)
        if from_region and len(numbers):
            pixels = shrink(truth.pixels[numbers, sides], size)
            result = from_region(pixels, images[numbers], np.zeros((len(numbers), len(SIDES))))
            said = result["side"].argmax(-1)
            for k, place in enumerate(zip(numbers, sides, strict=True)):
                found.crop.add(truth, *place, result["keypoints_uv"][k], result["keypoints_xyz"][k], said[k])
        if "chain" in parts:
            before = time.time()
            # without what pads them: the estimator fits images into its canvas by itself
            cut = [image[:height, :width] for image, (height, width) in zip(images, truth.size, strict=True)]
            predictions = estimator.predict(cut)
            found.predicting += (time.time() - before) * (start is not None)
            for number, prediction in enumerate(predictions):
                if truth.counts[number].any():
                    _add_prediction(found, truth, number, prediction, hands)
        found.images += len(images)
        if start is None:
            start = time.time()  # after the first batch, which compiles
        else:
            found.timed, found.seconds = found.timed + len(images), time.time() - start
        print(f"{found.images} images", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def _square(sample):
    """A sample with picture and mask padded at the right and at the bottom: keypoints stay where they are."""
    import tensorflow as tf

    height, width = tf.shape(sample["image"])[0], tf.shape(sample["image"])[1]
    side = tf.maximum(height, width)
    pad = [[0, side - height], [0, side - width], [0, 0]]
    image = tf.pad(sample["image"], pad, constant_values=np.uint8(GREY))
    return sample | {"image": image, "mask": tf.pad(sample["mask"], pad)}


def _add_prediction(found, truth, number, prediction, hands):
    """The best hand of an image against the dominant one, or the labelled one that its mask overlaps most."""
    height, width = truth.size[number]
    pixels = truth.pixels[number][:, :height, :width]
    component = enlarge(prediction.mask > 0.5, pixels.shape[1:])
    overlap = (pixels & component).sum((1, 2))
    seen = prediction.hands and overlap.any()
    if hands == "dominant":
        place = int(truth.counts[number].argmax())
    else:
        place = int(overlap.argmax() if seen else np.argmax(truth.box[number] * truth.counts[number]))
    found.boxes.append(_box_row(truth, number, place, component, prediction))
    if not prediction.hands or (hands != "dominant" and not seen):
        found.chain.add(truth, number, place)
        return
    hand = prediction.hands[0]
    found.chain.add(truth, number, place, hand.keypoints_uv, hand.keypoints_xyz, SIDES.index(hand.side))


def _box_row(truth, number, hand, component, prediction):
    """(IoU of the boxes around found and true pixels, whether the crop holds all visible keypoints), or None.

    None where there is no found hand.
    """
    if not prediction.hands:
        return None
    true = truth.pixels[number, hand][: len(component), : component.shape[1]]
    seen = truth.visible[number, hand]
    zoom, shift = _crop_place(prediction)
    uv = (truth.uv[number, hand] - shift) * zoom
    inside = ((uv > -0.5) & (uv < len(prediction.crop) - 0.5)).all(-1)
    labelled = truth.present[number, hand]
    return box_iou(component, true), bool(inside[seen].all()), bool(inside[labelled].all())


def _crop_place(prediction):
    """(zoom, shift) with crop pixels = (image pixels - shift) * zoom, from the keypoints in both."""
    hand, crop = prediction.hands[0].keypoints_uv.astype(np.float64), prediction.crop_uv.astype(np.float64)
    spread = hand - hand.mean(0)
    zoom = (spread * (crop - crop.mean(0))).sum() / max((spread**2).sum(), 1e-9)
    return zoom, hand.mean(0) - crop.mean(0) / zoom


def box_iou(one, other):
    """Intersection over union of the upright boxes around two masks, (H, W) bool each; 0 if one is empty."""
    if not one.any() or not other.any():
        return 0.0
    a, b = (
        np.array([f(axis) for axis in np.nonzero(mask) for f in (np.min, np.max)]) for mask in (one, other)
    )
    sides = np.minimum(a[1::2], b[1::2]) - np.maximum(a[::2], b[::2]) + 1
    both = np.prod(np.maximum(sides, 0))
    return float(both / (np.prod(a[1::2] - a[::2] + 1) + np.prod(b[1::2] - b[::2] + 1) - both))
