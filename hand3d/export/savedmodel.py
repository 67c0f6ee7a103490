"""`hand3d export --to savedmodel`: a version folder as TensorFlow Serving reads it."""

import contextlib
import json
import os
import tempfile

import keras
import numpy as np
import tensorflow as tf

import hand3d
from hand3d.export import decoding, warmup
from hand3d.export.formats import CARD, LICENCE
from hand3d.export.signatures import Serving
from hand3d.files import current_umask
from hand3d.skeleton import BONES, KEYPOINT_NAMES, SCALE_BONE, SIDES

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
WARM_UP_SIZE = (240, 320)  # height and width of the warm-up picture


@contextlib.contextmanager
def computing_in(precision):
    """Networks that are built meanwhile compute in this precision; their variables stay float32."""
    if precision not in POLICIES:
        raise ValueError(f"precision is {precision!r}; expected one of {tuple(POLICIES)}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(POLICIES[precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def export(estimator, out, weights="lite", version=None):
    """Write the estimator as a SavedModel.

    estimator: `HandPoseEstimator`, built within `computing_in`.  out: folder of the model; the version
    becomes a folder in it.  weights: name for the assets.  version: number; None takes the next one.
    Returns the path of the version folder, which appears there complete.  Raises ValueError for a version
    that exists, OSError where nothing can be written.
    """
    os.makedirs(out, exist_ok=True)
    version = next_version(out) if version is None else version
    target = os.path.join(out, str(version))
    if os.path.exists(target):
        raise ValueError(f"{target}: this version exists; give another, or none for the next one")
    module = Serving(estimator)
    with tempfile.TemporaryDirectory(dir=out, prefix=".hand3d-") as scratch:
        card = os.path.join(scratch, CARD)
        with open(card, "w", encoding="utf-8") as file:
            json.dump(model_card(estimator, weights), file, indent=1)
        licence = os.path.join(os.path.dirname(hand3d.__file__), LICENCE)
        module.files = [tf.saved_model.Asset(card), tf.saved_model.Asset(licence)]
        folder = os.path.join(scratch, "model")
        tf.saved_model.save(module, folder, signatures=module.signatures())
        os.makedirs(os.path.dirname(os.path.join(folder, warmup.FILE)))
        warmup.write(os.path.join(folder, warmup.FILE), warm_up_requests(estimator))
        os.chmod(folder, 0o777 & ~current_umask())
        os.replace(folder, target)
    return target


def next_version(out):
    """One more than the highest number among the folders in `out`, at least 1."""
    return 1 + max((int(name) for name in os.listdir(out) if name.isdigit()), default=0)


def model_card(estimator, weights):
    """What a client has to know: names, order and units, as plain values."""
    return {
        "hand3d": hand3d.__version__,
        "weights": weights,
        "licence": "Apache-2.0",
        "keypoints": list(KEYPOINT_NAMES),
        "bones": [list(bone) for bone in BONES],
        "scale_bone": list(SCALE_BONE),
        "sides": list(SIDES),
        "status": list(decoding.STATUS),
        "min_score": estimator.min_score,
        "max_hands": estimator.max_hands,
        "max_pixels": decoding.MAX_PIXELS,
    }


def warm_up_requests(estimator):
    """Requests that run every canvas size of the bytes signature, and the array signatures."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*WARM_UP_SIZE, 3), dtype=np.uint8)
    large = tf.image.resize(image, (480, 640)).numpy().astype(np.uint8)
    files = [tf.io.encode_jpeg(image).numpy(), tf.io.encode_png(large).numpy()]
    return [
        ("serving_default", {"image_bytes": np.array(files[:1], object)}),
        ("serving_default", {"image_bytes": np.array(files, object)}),
        ("uint8_images", {"images": image[None]}),
        ("float_images", {"images": image[None].astype(np.float32)}),
    ]
