"""The 21-keypoint hand skeleton as data; everything else asks this module.

Order of the Rendered Hand pose Dataset (RHD): keypoint 0 is the root, then thumb, index, middle,
ring and little finger, each from tip to base.  What the root is depends on the source: RHD labels
the wrist, the paper's networks use the palm centre (`hand3d.geometry.wrist_to_palm`).
"""

FINGERS = ("thumb", "index", "middle", "ring", "little")
JOINTS = ("tip", "dip", "pip", "mcp")  # per finger, tip to base; the thumb's are tip, ip, mcp, cmc
THUMB_JOINTS = ("tip", "ip", "mcp", "cmc")
SIDES = ("left", "right")  # index 0 and 1 wherever a side is a number or a one-hot vector

ROOT = 0
KEYPOINT_NAMES = ("root",) + tuple(
    f"{finger}_{joint}" for finger in FINGERS for joint in (THUMB_JOINTS if finger == "thumb" else JOINTS)
)
NUM_KEYPOINTS = len(KEYPOINT_NAMES)
INDEX = {name: number for number, name in enumerate(KEYPOINT_NAMES)}

# finger -> its keypoints from tip to base
CHAINS = {
    finger: tuple(range(1 + len(JOINTS) * k, 1 + len(JOINTS) * (k + 1))) for k, finger in enumerate(FINGERS)
}
TIPS = tuple(chain[0] for chain in CHAINS.values())
BASES = tuple(chain[-1] for chain in CHAINS.values())

# parent of each keypoint on the way to the root; the root is its own
PARENTS = (ROOT,) + tuple(ROOT if keypoint in BASES else keypoint + 1 for keypoint in range(1, NUM_KEYPOINTS))
BONES = tuple((PARENTS[keypoint], keypoint) for keypoint in range(1, NUM_KEYPOINTS))
# keypoints so ordered that parents come before children
TOPOLOGICAL_ORDER = (ROOT,) + tuple(keypoint for chain in CHAINS.values() for keypoint in reversed(chain))

# The bone of unit length in normalised coordinates.  The paper's text names the index finger; the
# released code measures the middle finger's, from MCP to PIP, and so do we.
SCALE_BONE = (INDEX["middle_mcp"], INDEX["middle_pip"])
# The canonical frame: this keypoint on the negative y axis, that one in the z = 0, x > 0 half plane.
CANONICAL_Y = INDEX["middle_mcp"]
CANONICAL_X = INDEX["little_mcp"]

# the two hands of one person in one (42, ...) array, as RHD stores them
HAND_SLICES = {side: slice(k * NUM_KEYPOINTS, (k + 1) * NUM_KEYPOINTS) for k, side in enumerate(SIDES)}

# one colour a finger for drawing, RGB; readable on skin and under colour blindness (Okabe-Ito)
FINGER_COLOURS = {
    "thumb": (230, 159, 0),
    "index": (86, 180, 233),
    "middle": (0, 158, 115),
    "ring": (240, 228, 66),
    "little": (204, 121, 167),
}
