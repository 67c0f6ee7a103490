"""How well pictures fit the labels of hands: PoseNet of the weights `lite` looks at the labelled place.

The fit of a picture and a label is the mean over the seen keypoints of log(p + 0.001), p the probability that
the score maps give to the labelled position, within about a cell: 0 at most, -6.9 at least.

| measured with `lite`               | own picture: median, worst | another sample's: median, best 1 % |
|------------------------------------|----------------------------|------------------------------------|
| 199 rendered hands                 | -1.3, -3.5                 | -5.4, -3.9                         |
| 60 photographs of one person's hand | -1.7, -3.0                | -4.1, -1.5                         |
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from hand3d.skeleton import NUM_KEYPOINTS
from pipelines.cut import cut_square
from pipelines.rules import palm_from_wrist

WEIGHTS = "lite"  # the limits in `pipelines.exchanges` were measured with it
BATCH = 32
LEAST = 3  # keypoints of a hand that can be looked at
SMALLEST = 16  # pixels of its extent
REACH = 1.35  # extent of a hand by that of its keypoints, as in training
SPREAD = 1.0  # cells, standard deviation of what counts as the labelled position
FLOOR = 1e-3


@dataclass(frozen=True)
class Label:
    """uv: (21, 2) float32 pixels, palm first.  seen: (21,) bool.  centre: (2,) and extent, pixels."""

    uv: np.ndarray
    seen: np.ndarray
    centre: np.ndarray
    extent: float


def label_of(sample):
    """The `Label` of the better visible hand of a parsed sample; None if none can be judged.

    Keypoints beside the picture do not count.  A hand without `LEAST` visible ones counts with all that are
    labelled, after those that are seen, since some data sets know no visibility.
    sample: dict of `convert.verify.parse`.
    """
    size, found = np.array([sample["width"][0], sample["height"][0]]), []
    for start in range(0, len(sample["present"]), NUM_KEYPOINTS):
        part = slice(start, start + NUM_KEYPOINTS)
        uv, present = sample["uv"][part].astype(np.float32), sample["present"][part].copy()
        seen = present & sample["visible"][part]
        if sample["root"] == "wrist":
            known = present[0] and present[12]
            uv = palm_from_wrist(uv)
            seen[0], present[0] = (seen[0] or seen[12]) and known, known
        inside = ((uv > -0.5) & (uv < size - 0.5)).all(1)
        visible = (seen & inside).sum() >= LEAST
        seen = (seen if visible else present) & inside
        if seen.sum() < LEAST:
            continue
        low, high = uv[seen].min(0), uv[seen].max(0)
        extent = float((high - low).max())
        if extent >= SMALLEST:
            rank = bool(visible), int(seen.sum()), extent
            found.append((rank, Label(uv, seen, (low + high) / 2, REACH * extent)))
    return max(found, key=lambda entry: entry[0])[1] if found else None


def crop(image, label, size, factor):
    """The picture of a label's place, (size, size, 3) uint8; grey outside the image.

    image: (H, W, 3) uint8, not necessarily the label's own.  factor: side of the crop by the extent.
    """
    side = factor * label.extent
    reach = side / 2 + 2
    low = np.maximum(np.floor(label.centre - reach), 0).astype(int)
    high = np.ceil(label.centre + reach).astype(int) + 1
    part = image[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
    if min(part.shape[:2]) < 2:
        return np.full((size, size, 3), 128, np.uint8)
    cut = np.array([*(label.centre - low), side], np.float32)
    return cut_square(part, np.zeros((*part.shape[:2], 0), bool), cut, size)


def fits(logits, labels, crop_size, factor):
    """(B, m, m, 21) logits over positions and B labels -> (B,) fits."""
    size = logits.shape[1]
    probability = softmax(logits, axis=(1, 2))
    stride = crop_size / size
    values = np.empty(len(labels))
    for number, label in enumerate(labels):
        scale = crop_size / (factor * label.extent)
        pixels = (label.uv - label.centre) * scale + (crop_size - 1) / 2
        cells = (pixels - (stride - 1) / 2) / stride
        away = np.arange(size)[:, None, None] - cells  # (m, 21, 2)
        columns, rows = np.moveaxis(np.exp(-(away**2) / (2 * SPREAD**2)), -1, 0)
        near = np.einsum("yxk,yk,xk->k", probability[number], rows, columns)
        values[number] = np.log(near[label.seen] + FLOOR).mean()
    return values


class Judge:
    """PoseNet of `WEIGHTS`, called in batches.  WeightsError if it cannot be loaded."""

    def __init__(self):
        import keras

        from hand3d import manifest
        from hand3d.networks.common import score_maps_and_side
        from hand3d.set_options import set_options
        from hand3d.tracing import traced

        self.weight_set = manifest.find(WEIGHTS)
        graph = set_options(self.weight_set).graph
        self.size, self.factor = graph["crop_size"], graph["crop_factor"]
        entry = manifest.network_entries(self.weight_set)["posenet"]
        network = manifest.load_network(entry, manifest.verify(self.weight_set, "posenet"))
        maps = score_maps_and_side(network.output)[0][-1]
        self._run = traced(keras.Model([network.inputs[0]], maps))

    def crop(self, image, label):
        """`crop` as the network takes it."""
        return crop(image, label, self.size, self.factor)

    def look(self, looks):
        """Yields (key, fit) of an iterable of (key, crop, label), in batches, so in memory that stays."""
        batch = []
        for look in looks:
            batch.append(look)
            if len(batch) == BATCH:
                yield from self._fits(batch)
                batch = []
        if batch:
            yield from self._fits(batch)

    def _fits(self, batch):
        keys, crops, labels = zip(*batch, strict=True)
        logits = self._run(np.stack(crops).astype(np.float32) / 255 - 0.5)
        return zip(keys, fits(logits, labels, self.size, self.factor).tolist(), strict=True)
