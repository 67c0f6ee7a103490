"""One self-contained web page: the photograph with its skeletons, and the hands in 3D, to be turned by mouse.

The page asks for nothing from the network.  The program in it is `viewer/viewer.min.js`, made of
`viewer/viewer.js` and three.js.
"""

import base64
import html
import io
import json
import os
import string
from importlib import resources

from PIL import Image

from hand3d import skeleton
from hand3d.files import JsonLines

PAGE_SUFFIX = ".hand3d.html"
JPEG_QUALITY = 88
CLIP_SIDE = 480  # pixels of the longer side of a clip's frames: about 40 kB of page for each


def html_page(predictions, rate=30.0):
    """The page of one image, or of the frames of a clip.

    Args:
        predictions: list of `hand3d.Prediction`, of one image or of frames in order.
        rate: frames a second at which a clip plays.

    Returns: str, a whole HTML document.

    Raises:
        ValueError: no predictions, or a rate that is not positive.
    """
    if not predictions:
        raise ValueError("predictions is empty: a page needs one image at least")
    name = os.path.basename(str(predictions[0].path or "hand"))
    head, tail = _around(name, rate)
    return head + ",".join(_frame(each.to_dict(), each.pixels) for each in predictions) + tail


class ClipPage:
    """The page of a clip, written frame by frame in memory that stays: a context, see `files.JsonLines`.

    path: of the page.  name: of the clip, for its title.  rate: frames a second at which it plays.
    OSError on entering where the file cannot be made; ValueError for a rate that is not positive.  A page
    that an error cuts short shows the frames before it.
    """

    def __init__(self, path, name, rate=30.0):
        self._head, self._tail = _around(os.path.basename(str(name)), rate)
        self._lines, self._count = JsonLines(path), 0

    def __enter__(self):
        self._lines.__enter__()
        return self

    def write(self, pixels, hands):
        """Append a frame: (H, W, 3) uint8 RGB and a list of `hand3d.Hand` in its pixels."""
        height, width = pixels.shape[:2]
        record = {"path": "", "width": width, "height": height, "hands": [hand.to_dict() for hand in hands]}
        picture = Image.fromarray(pixels)
        picture.thumbnail((CLIP_SIDE, CLIP_SIDE))
        self._lines.write(("," if self._count else self._head) + _frame(record, picture))
        self._count += 1

    def __exit__(self, kind, error, trace):
        try:
            if self._count:
                self._lines.write(self._tail)
        finally:
            self._lines.__exit__(kind, error, trace)


def _around(name, rate):
    """What stands before and after the frames in a page, two str.  ValueError for a bad rate."""
    if not rate > 0:
        raise ValueError(f"rate is {rate!r}; frames a second expected, more than 0")
    data = {
        "skeleton": {
            "bones": skeleton.BONES,
            "names": skeleton.KEYPOINT_NAMES,
            "colours": _keypoint_colours(),
        },
        "rate": rate,
        "frames": [],
    }
    viewer = resources.files("hand3d") / "viewer"
    page = string.Template((viewer / "page.html").read_text("utf-8"))
    script = (viewer / "viewer.min.js").read_text("utf-8")
    opening = json.dumps(data, separators=(",", ":")).removesuffix("]}")
    # the template is cut where the frames go, at a mark that no title can hold
    whole = page.substitute(title=html.escape(f"{name} - hand3d"), data="<>", script=script)
    before, after = whole.split("<>", 1)
    return before + opening, "]}" + after


def _frame(record, pixels):
    """JSON, str, of a `Prediction.to_dict()` and its picture, (H, W, 3) uint8 or a `PIL.Image`."""
    record["path"] = os.path.basename(str(record["path"] or ""))  # the page is to be shared: no folders in it
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = json.dumps(record | {"image": f"data:image/jpeg;base64,{code}"}, separators=(",", ":"))
    return text.replace("<", "\\u003c")  # a file name must not end the script that the data stand in


def _keypoint_colours():
    """CSS colour of each keypoint: its finger's, grey for the root."""
    colours = ["#9a9a9a"] * skeleton.NUM_KEYPOINTS
    for finger, chain in skeleton.CHAINS.items():
        for keypoint in chain:
            colours[keypoint] = "#{:02x}{:02x}{:02x}".format(*skeleton.FINGER_COLOURS[finger])
    return colours
