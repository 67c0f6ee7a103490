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

PAGE_SUFFIX = ".hand3d.html"
JPEG_QUALITY = 88


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
    if not rate > 0:
        raise ValueError(f"rate is {rate!r}; frames a second expected, more than 0")
    data = {
        "skeleton": {
            "bones": skeleton.BONES,
            "names": skeleton.KEYPOINT_NAMES,
            "colours": _keypoint_colours(),
        },
        "rate": rate,
        "frames": [_frame(prediction) for prediction in predictions],
    }
    # a file name must not end the script that the data stand in
    data = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    viewer = resources.files("hand3d") / "viewer"
    name = os.path.basename(str(predictions[0].path or "hand"))
    return string.Template((viewer / "page.html").read_text("utf-8")).substitute(
        title=html.escape(f"{name} - hand3d"),
        data=data,
        script=(viewer / "viewer.min.js").read_text("utf-8"),
    )


def _frame(prediction):
    record = prediction.to_dict()
    record["path"] = os.path.basename(str(record["path"] or ""))  # the page is to be shared: no folders in it
    buffer = io.BytesIO()
    Image.fromarray(prediction.pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    return record | {"image": f"data:image/jpeg;base64,{code}"}


def _keypoint_colours():
    """CSS colour of each keypoint: its finger's, grey for the root."""
    colours = ["#9a9a9a"] * skeleton.NUM_KEYPOINTS
    for finger, chain in skeleton.CHAINS.items():
        for keypoint in chain:
            colours[keypoint] = "#{:02x}{:02x}{:02x}".format(*skeleton.FINGER_COLOURS[finger])
    return colours
