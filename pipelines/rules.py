"""What the paper and its code make of labels: each rule once, for numpy arrays and TensorFlow tensors alike.

`hand3d.geometry` has those that the networks need as layers' operations; tests hold the two together.
Arrays are in the order of `hand3d.skeleton`; facts are those of PAPER.md.
"""

import numpy as np

from hand3d.skeleton import INDEX, NUM_KEYPOINTS, ROOT, SCALE_BONE, SIDES

HAND_IDS = ((2, 17), (18, 33))  # first and last mask id of the left and the right hand
MIDDLE, RING = INDEX["middle_mcp"], INDEX["ring_mcp"]
_PALM = np.eye(NUM_KEYPOINTS, dtype=np.float32)
_PALM[ROOT, [ROOT, MIDDLE]] = 0.5


def palm_from_wrist(points):
    """Root from wrist to palm: the mean of wrist and middle MCP (PAPER.md 3.2).

    points: (..., 21, 2 or 3) with the wrist first, without NaN.  Returns the same shape.
    """
    return _PALM @ points


def palm_visible(visible):
    """Whether the palm is visible: its wrist or its middle MCP is (PAPER.md 3.2).

    visible: (..., 21) bool with the wrist first.  Returns (...,) bool.
    """
    return visible[..., ROOT] | visible[..., MIDDLE]


def palm_present(present):
    """Whether the palm can be computed: wrist and middle MCP are both labelled.  (..., 21) -> (...,) bool."""
    return present[..., ROOT] & present[..., MIDDLE]


def stb_wrist(points):
    """STB's wrist from its palm: twice as far from the RING finger's MCP (PAPER.md, fact T8).

    Not the inverse of `palm_from_wrist`, which takes the middle finger's.  points: (..., 21, 2 or 3) numpy,
    palm first.  Returns the same shape with the wrist first.
    """
    points = np.array(points)
    points[..., ROOT, :] = points[..., RING, :] + 2 * (points[..., ROOT, :] - points[..., RING, :])
    return points


def scale_length(xyz):
    """Length of the bone that is one unit: middle finger, MCP to PIP (PAPER.md, fact T5).

    xyz: (..., 21, 3) numpy, any unit.  Returns (...,) in that unit.
    """
    start, end = SCALE_BONE
    return np.linalg.norm(xyz[..., end, :] - xyz[..., start, :], axis=-1)


def dominant_side(mask):
    """Which hand an image is about: the one with more mask pixels, the right one if equal (PAPER.md 3.2).

    mask: (H, W) ids of RHD.  Returns 0 (left) or 1 (right).
    """
    pixels = [int(((mask >= low) & (mask <= high)).sum()) for low, high in HAND_IDS]
    return SIDES.index("left") if pixels[0] > pixels[1] else SIDES.index("right")


def in_image(uv, width, height):
    """Which keypoints lie on the image, which spans -0.5 to width - 0.5.  uv (..., 2) -> (...,) bool."""
    u, v = uv[..., 0], uv[..., 1]
    return (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
