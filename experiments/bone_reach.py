"""How long the bones of a hand look in images: the table `hand3d.pictorial.REACH`.

    python -m experiments.bone_reach --poses POSES.npz [--quantile 0.75]

POSES.npz is what `pipelines.poses` writes.  A bone's length in the image is taken by the larger side of the
box around the hand's keypoints; the root is the palm.
"""

import argparse

import numpy as np

from hand3d.skeleton import CHAINS, PARENTS


def reach(xyz_camera, quantile):
    """xyz_camera (N, 21, 3) metres -> finger -> lengths of the bones that end at tip, DIP, PIP and MCP."""
    uv = xyz_camera[..., :2] / xyz_camera[..., 2:]
    extent = np.ptp(uv, axis=1).max(-1)
    length = np.linalg.norm(uv - uv[:, list(PARENTS)], axis=-1) / extent[:, None]
    longest = np.quantile(length, quantile, axis=0)
    return {finger: tuple(longest[list(chain)]) for finger, chain in CHAINS.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poses", required=True, help="file of poses, .npz")
    parser.add_argument("--quantile", type=float, default=0.75, help="of the hands that keep below")
    arguments = parser.parse_args(argv)
    if not 0 < arguments.quantile < 1:
        parser.error(f"--quantile must lie between 0 and 1, got {arguments.quantile}")
    from pipelines.inputs import load_poses

    poses = load_poses(arguments.poses, "training")
    for finger, lengths in reach(poses["xyz"], arguments.quantile).items():
        print(f"{finger:7s}", "  ".join(f"{length:.2f}" for length in lengths))


if __name__ == "__main__":
    main()
