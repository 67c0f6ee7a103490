"""Numbers and words of the schema of `pipelines.records`, and the check of a sample against it."""

import numpy as np

from hand3d.skeleton import NUM_KEYPOINTS, SIDES

SCHEMA_VERSION = 2
READABLE = (1, 2)
INFO = "info.json"
LABELS = len(SIDES) * NUM_KEYPOINTS  # keypoints of both hands
DEPTH_UNIT = 1e-4  # metres per grey level
ROOTS = ("wrist", "palm")
MASK_KINDS = ("none", "hands", "full")  # "hands": what is no hand may be person or background
SOURCES = ("render", "rhd", "stb", "dexter", "freihand", "coco", "csv")  # append only: records hold the index


def check_sample(sample, name):
    """ValueError unless the arrays of `sample` have the shapes of the schema and finite labels."""
    height, width = np.shape(sample["image"])[:2]
    shapes = {
        "image": (height, width, 3),
        "uv": (LABELS, 2),
        "xyz": (LABELS, 3),
        "visible": (LABELS,),
        "present": (LABELS,),
        "K": (3, 3),
    }
    pictures = [key for key in ("mask", "depth") if sample.get(key) is not None]
    shapes |= {key: (height, width) for key in pictures}
    for key in ("present_xyz", "box"):
        if key in sample:
            shapes[key] = {"present_xyz": (LABELS,), "box": (len(SIDES), 4)}[key]
    for key, shape in shapes.items():
        if key not in sample:
            raise ValueError(f"sample {name}: {key!r} is missing")
        if np.shape(sample[key]) != shape:
            raise ValueError(f"sample {name}: {key} has shape {np.shape(sample[key])}, expected {shape}")
    for key in ("image", "mask"):
        if sample.get(key) is not None and np.asarray(sample[key]).dtype != np.uint8:
            raise ValueError(f"sample {name}: {key} is {np.asarray(sample[key]).dtype}, expected uint8")
    present = np.asarray(sample["present"], bool)
    labelled = {"uv": present, "xyz": np.asarray(sample.get("present_xyz", present), bool), "K": slice(None)}
    for key, part in labelled.items():
        if not np.isfinite(np.asarray(sample[key])[part]).all():
            raise ValueError(f"sample {name}: {key} holds a value that is not finite")
    for key, known in (("root", ROOTS), ("mask_kind", MASK_KINDS), ("source", SOURCES)):
        if sample.get(key, known[0]) not in known:
            raise ValueError(f"sample {name}: {key} is {sample[key]!r}, expected one of {', '.join(known)}")
