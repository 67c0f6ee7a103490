"""How far noise in the keypoints moves a hand in camera space (`hand3d.camera_space.to_camera`).

    python -m experiments.camera_space --data POSES|RECORDS [--split evaluation] [--hands 500] [--out FILE]

Takes labelled hands, adds normal noise to their keypoints in the image and in 3D, places them again with the
true length of the scale bone, and prints the median and the 90th percentile of the root's error across and
along the line of sight.  Hands are seen at 0.4 to 0.8 m by a camera of 600 pixels focal length.
"""

import argparse
import json
import sys
from types import SimpleNamespace

import numpy as np

from hand3d.camera_space import to_camera
from hand3d.files import write_atomic
from hand3d.skeleton import ROOT, SCALE_BONE

K = np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]])
# standard deviations: keypoints in the image, pixels; keypoints in 3D, units of the scale bone
NOISE = ((0, 0), (1, 0), (2.5, 0), (5, 0), (10, 0), (0, 0.1), (0, 0.3), (2.5, 0.1), (5, 0.3))


def measure(xyz, noise_uv, noise_xyz, rng):
    """xyz: (N, 21, 3) metres, root-relative.  Returns (N, 2) errors of the root, across and along, in mm."""
    errors = []
    for hand in xyz:
        scale = np.linalg.norm(hand[SCALE_BONE[1]] - hand[SCALE_BONE[0]])
        root = np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.1, 0.1), rng.uniform(0.4, 0.8)])
        uv = (hand + root) @ K.T
        seen = SimpleNamespace(
            keypoints_uv=uv[:, :2] / uv[:, 2:] + rng.normal(0, 1, (len(hand), 2)) * noise_uv,
            keypoints_xyz=hand / scale + rng.normal(0, 1, hand.shape) * noise_xyz,
            keypoint_scores=np.ones(len(hand)),
        )
        placed = to_camera(seen, K, bone_length_mm=1000 * scale)
        off = placed.translation + scale * seen.keypoints_xyz[ROOT] - root
        along = root / np.linalg.norm(root)
        errors.append([np.linalg.norm(off - along * (off @ along)), abs(off @ along)])
    return 1000 * np.array(errors)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="file of pipelines.poses or folder of records")
    parser.add_argument("--split", default="evaluation")
    parser.add_argument("--hands", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="JSON file for the table")
    arguments = parser.parse_args(argv)
    from pipelines.inputs import load_poses

    try:
        xyz = load_poses(arguments.data, arguments.split)["xyz"][: arguments.hands].astype(np.float64)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    xyz = xyz - xyz[:, ROOT : ROOT + 1]
    rows = []
    print(f"{len(xyz)} hands; noise in the image and in 3D; error of the root in mm, median (90 %)")
    for noise_uv, noise_xyz in NOISE:
        errors = measure(xyz, noise_uv, noise_xyz, np.random.default_rng(arguments.seed))
        median, ninety = np.median(errors, 0), np.percentile(errors, 90, 0)
        rows.append(
            {"noise_px": noise_uv, "noise_units": noise_xyz}
            | {"across_mm": round(median[0], 2), "across_90_mm": round(ninety[0], 2)}
            | {"along_mm": round(median[1], 2), "along_90_mm": round(ninety[1], 2)}
        )
        print(
            f"{noise_uv:5} px {noise_xyz:5} units   across {median[0]:6.2f} ({ninety[0]:.2f})"
            f"   along {median[1]:6.2f} ({ninety[1]:.2f})"
        )
    if arguments.out:
        write_atomic(arguments.out, json.dumps({"hands": len(xyz), "rows": rows}, indent=1).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
