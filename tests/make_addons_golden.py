"""Makes tests/fixtures/addons.npz: inputs and what tensorflow-addons 0.23.0 makes of them.

    python tests/make_addons_golden.py [--python python3.11] [--keep ENVIRONMENT]

tensorflow-addons ended with TensorFlow 2.15, so this sets up an environment of its own (about 2 GB, a few
minutes) from tests/addons_requirements.txt with a Python 3.9, 3.10 or 3.11, and runs itself there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(FOLDER, "fixtures", "addons.npz")
SIZE = 24
ANGLES = (0.3, -1.2, 2.9)  # radians
SIGMA, FILTER = 1.3, 15
HSV = ((0.0, 0.6, 1.0), (0.0, 1.5, 1.0), (0.4, 1.0, 1.0), (0.0, 1.0, 0.8), (-0.2, 1.3, 1.1))


def make():
    """Dict name -> array; runs where tensorflow_addons can be imported."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_addons as tfa

    random = np.random.default_rng(0)
    image = random.random((2, SIZE, SIZE, 3)).astype(np.float32)
    image = tfa.image.gaussian_filter2d(image, (5, 5), 1.0).numpy()  # not noise alone: neighbours are alike
    made = {"image": image, "version": np.array(tfa.__version__)}

    # --- affine: output pixel -> input pixel, rows (a, b, c) and (d, e, f)
    matrices = np.array([[0.9, 0.25, 1.5, -0.2, 1.1, 2.0], [1.3, -0.4, -2.5, 0.5, 0.8, 1.25]], np.float32)
    made["affine"] = matrices.reshape(2, 2, 3)
    transforms = np.concatenate([matrices, np.zeros((2, 2), np.float32)], 1)
    made["transformed"] = tfa.image.transform(image, transforms, "BILINEAR").numpy()
    made["angles"] = np.array(ANGLES, np.float32)
    made["rotated"] = np.stack([tfa.image.rotate(image[0], angle, "BILINEAR").numpy() for angle in ANGLES])
    made["shift"] = np.array([3.25, -1.5], np.float32)
    made["translated"] = tfa.image.translate(image, made["shift"], "BILINEAR").numpy()

    # --- dense warp: the same affine map as a flow, output = image[place - flow]
    v, u = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    source = np.einsum("bij,jhw->bhwi", made["affine"], np.stack([u, v, np.ones_like(u)]))
    flow = np.stack([v, u], -1)[None] - source[..., ::-1]
    made["warped"] = tfa.image.dense_image_warp(image, flow.astype(np.float32)).numpy()

    # --- blur and colours
    made["sigma"] = np.array(SIGMA, np.float32)
    made["blurred"] = tfa.image.gaussian_filter2d(image, (FILTER, FILTER), SIGMA, padding="CONSTANT").numpy()
    made["hsv"] = np.array(HSV, np.float32)
    made["recoloured"] = np.stack([tfa.image.adjust_hsv_in_yiq(image[0], *values).numpy() for values in HSV])

    # --- connected components and distances
    blobs = np.zeros((2, 40, 48), np.float32)
    blobs[:, 5:14, 4:20], blobs[:, 20:30, 8:15], blobs[:, 18:36, 30:41] = 0.7, 0.8, 0.9
    blobs[:, 10:12, 20:44], blobs[0, 25, 12], blobs[1, 7, 6] = 0.6, 0.99, 0.99
    made["blobs"] = blobs
    made["components"] = tfa.image.connected_components(blobs > 0.5).numpy()
    mask = (random.random((1, 20, 26, 1)) > 0.06).astype(np.uint8)
    made["holes"] = mask[0, ..., 0]
    made["distances"] = tfa.image.euclidean_dist_transform(tf.constant(mask * 255), tf.float32).numpy()[
        0, ..., 0
    ]
    return made


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default="python3.11", help="Python 3.9 to 3.11 (%(default)s)")
    parser.add_argument(
        "--keep", metavar="ENVIRONMENT", help="folder of the environment; kept and used again"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        import numpy as np

        np.savez_compressed(OUT, **make())
        print(f"written: {OUT}")
        return 0
    folder = arguments.keep or tempfile.mkdtemp(prefix="addons-")
    python = os.path.join(folder, "bin", "python")
    try:
        if not os.path.exists(python):
            subprocess.run([arguments.python, "-m", "venv", folder], check=True)
            requirements = os.path.join(FOLDER, "addons_requirements.txt")
            subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        return subprocess.run([python, os.path.abspath(__file__), "--inside"]).returncode
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}; needs Python 3.9 to 3.11 with venv, and pip's network", file=sys.stderr)
        return 1
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
