"""What a weight set's manifest says about its use: plain values, checked."""

from dataclasses import dataclass

from hand3d.manifest import WeightsError

CANVASES = (320, 640)  # sides of the square that an image is fitted into, pixels
MIN_SCORE = 0.3
SMALLEST, LARGEST = 32, 4096  # sides of a canvas or frame, pixels


@dataclass(frozen=True)
class SetOptions:
    """min_score: 0..1.  canvases: sides in pixels, rising.  frame: (height, width) pixels that images are
    stretched to instead, or None.  graph: keyword arguments of `hand3d.graph.full_graph`."""

    min_score: float
    canvases: tuple
    frame: tuple | None
    graph: dict


def set_options(weight_set):
    """`SetOptions` of a `manifest.WeightSet`.  WeightsError for a value of the wrong type or range."""
    entry = weight_set.entry

    def wrong(key, wanted):
        return WeightsError(
            f'weights {weight_set.name!r}: "{key}" is {entry[key]!r} in the manifest, expected {wanted}'
        )

    min_score = entry.get("min_score", MIN_SCORE)
    if isinstance(min_score, bool) or not isinstance(min_score, int | float) or not 0 <= min_score <= 1:
        raise wrong("min_score", "a number from 0 to 1")
    canvases = entry.get("canvas", list(CANVASES))
    if not isinstance(canvases, list) or not canvases or not all(map(_is_side, canvases)):
        raise wrong("canvas", f"a list of whole numbers from {SMALLEST} to {LARGEST}")
    frame = entry.get("frame")
    if frame is not None and not (isinstance(frame, list) and len(frame) == 2 and all(map(_is_side, frame))):
        raise wrong("frame", f"height and width, whole numbers from {SMALLEST} to {LARGEST}")
    graph = entry.get("graph", {})
    if not isinstance(graph, dict):
        raise wrong("graph", "an object of options")
    return SetOptions(float(min_score), tuple(sorted(canvases)), frame and tuple(frame), graph)


def _is_side(value):
    return isinstance(value, int) and not isinstance(value, bool) and SMALLEST <= value <= LARGEST
