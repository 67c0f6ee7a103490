"""One hand of a decoded sample, whatever data set it comes from: labels, covers and where to cut it out.

Nothing here asks for the source.  A sample without a mask, without 3D or with a few keypoints only gives what
it has; what is missing is 0 and marked so.
"""

import tensorflow as tf

from hand3d.images import GREY
from hand3d.skeleton import NUM_KEYPOINTS, ROOT
from pipelines.records import HAND_IDS, MASK_KINDS, ROOTS
from pipelines.rules import palm_from_wrist, palm_present, palm_visible

MIN_LABELS = 3  # keypoints of a hand that can be cut out
KEYPOINT_REACH = 1.35  # extent of a hand by that of its visible keypoints: the median of rendered hands


def hand(sample, number):
    """Hand `number` (0 left, 1 right) of a sample of `records.decode_pictures`, root = palm.

    Returns a dict: image; covers (H, W, 2) bool, person and this hand; uv (21, 2); xyz (21, 3); visible,
    present, present_xyz (21,) bool; side, source () int32; has_mask () bool; K (3, 3); and cut (3,): centre
    and larger extent of the hand in pixels, from the box if the sample has one, else from its visible pixels,
    else from its keypoints; 0 if there are none.
    """
    part = slice(number * NUM_KEYPOINTS, (number + 1) * NUM_KEYPOINTS)
    ids = tf.cast(sample["mask"], tf.int32)
    mine = (ids >= HAND_IDS[number][0]) & (ids <= HAND_IDS[number][1])
    labels = palm_labels({key: sample[key][part] for key in LABELLED} | {"root": sample["root"]})
    enough = tf.reduce_sum(tf.cast(sample["present"][part], tf.int32)) >= MIN_LABELS
    return labels | {
        "image": sample["image"],
        "covers": tf.concat([person(sample), mine], -1),
        "side": tf.constant(number),
        "source": tf.cast(sample["source"], tf.int32),
        "has_mask": sample["mask_kind"] > MASK_KINDS.index("none"),
        "cut": tf.where(enough, _cut(sample["box"][number], mine, sample, part), tf.zeros(3)),
        "K": sample["K"],
    }


LABELLED = ("uv", "xyz", "visible", "present", "present_xyz")


def palm_labels(labels):
    """Labels of one hand with the palm for the root; dict of `LABELLED` and `root`, which goes.

    A palm is present where wrist and middle MCP are, visible where one of them is.
    """
    palm = {
        "uv": palm_from_wrist(labels["uv"]),
        "xyz": palm_from_wrist(labels["xyz"]),
        "present": _root(labels["present"], palm_present(labels["present"])),
        "present_xyz": _root(labels["present_xyz"], palm_present(labels["present_xyz"])),
        "visible": _root(
            labels["visible"], palm_visible(labels["visible"]) & palm_present(labels["present"])
        ),
    }
    already = tf.equal(labels["root"], ROOTS.index("palm"))
    return {key: tf.where(already, labels[key], palm[key]) for key in LABELLED}


def _root(values, root):
    return tf.concat([root[None], values[ROOT + 1 :]], 0)


def person(sample):
    """(H, W, 1) bool: the person; everything where the mask does not tell: no background replaces it."""
    full = tf.equal(sample["mask_kind"], MASK_KINDS.index("full"))
    return (sample["mask"] > 0) | ~full


def _cut(given, mine, sample, part):
    columns, rows = (tf.cast(tf.where(tf.reduce_any(mine[..., 0], axis)), tf.float32) for axis in (0, 1))
    pixels = tf.stack(
        [tf.reduce_min(columns), tf.reduce_min(rows), tf.reduce_max(columns), tf.reduce_max(rows)]
    )
    present, visible = sample["present"][part], sample["visible"][part]
    seen = tf.where(tf.reduce_any(visible), present & visible, present)
    points = tf.boolean_mask(sample["uv"][part], seen)
    around = tf.concat([tf.reduce_min(points, 0), tf.reduce_max(points, 0)], 0)
    cut = tf.where(
        tf.reduce_any(mine),
        _centre_and_extent(pixels, 1.0),
        _centre_and_extent(around) * (1, 1, KEYPOINT_REACH),
    )
    return tf.where(tf.reduce_any(given != 0), _centre_and_extent(given), cut)


def _centre_and_extent(box, more=0.0):
    extent = box[2:] - box[:2] + more
    return tf.concat([(box[:2] + box[2:]) / 2, tf.reduce_max(extent)[None]], 0)


def cut_square(image, covers, cut, side):
    """A square part of an image, averaged where it shrinks.

    image: (H, W, 3) uint8.  covers: (H, W, 2) bool.  cut: (3,) float32: centre u, v and side in pixels.
    Returns (side, side, 5) uint8; outside the image it is grey and the covers are 0.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    layers = tf.concat([tf.cast(image, tf.float32) - GREY, tf.cast(covers, tf.float32) * 255], -1)
    # twice as fine, then 2x2 means: good up to a fourfold shrinking; the centres of the outermost fine pixels
    margin = cut[2] / 2 - cut[2] / (4 * side)
    low, high = (cut[1::-1] - margin) / (size - 1), (cut[1::-1] + margin) / (size - 1)
    box = tf.concat([low, high], 0)[None]
    fine = tf.image.crop_and_resize(layers[None], box, [0], (2 * side, 2 * side), extrapolation_value=0.0)
    picture = tf.nn.avg_pool2d(fine, 2, 2, "VALID")[0] + [GREY, GREY, GREY, 0, 0]
    return tf.cast(tf.clip_by_value(tf.round(picture), 0, 255), tf.uint8)
