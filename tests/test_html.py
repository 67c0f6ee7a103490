"""hand3d.html: the page holds everything, and nothing in it can break out of it."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from hand3d import skeleton
from hand3d.hand import Hand, Prediction
from hand3d.html import ClipPage, html_page


def prediction(path="photo.jpg", hands=1):
    rng = np.random.default_rng(0)
    keypoints = skeleton.NUM_KEYPOINTS
    made = [
        Hand(
            side="left",
            score=0.8,
            box=np.array([1, 2, 30, 40.0]),
            keypoints_uv=rng.uniform(0, 40, (keypoints, 2)),
            keypoint_scores=np.full(keypoints, 0.7),
            keypoints_xyz=rng.normal(0, 1, (keypoints, 3)),
        )
        for _ in range(hands)
    ]
    pixels = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
    nothing = np.zeros((4, 4), np.float32)
    return Prediction(64, 48, made, pixels, nothing, pixels, np.zeros((keypoints, 2)), 0.8, path)


def data_of(page):
    return json.loads(re.search(r'id="hand3d-data">(.*?)</script>', page, re.S).group(1))


def test_the_page_holds_photo_and_hands():
    data = data_of(html_page([prediction(hands=2), prediction(hands=0)], rate=25))
    assert data["rate"] == 25 and [len(frame["hands"]) for frame in data["frames"]] == [2, 0]
    frame = data["frames"][0]
    assert frame["hands"][0] == prediction().hands[0].to_dict()
    kind, code = frame["image"].split(",")
    image = Image.open(io.BytesIO(base64.b64decode(code)))
    assert kind == "data:image/jpeg;base64" and image.size == (32, 24)
    assert len(data["skeleton"]["colours"]) == len(data["skeleton"]["names"]) == skeleton.NUM_KEYPOINTS


def test_nothing_comes_from_outside():
    page = html_page([prediction()])
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page)
    assert tags and not [tag for tag in tags if "src=" in tag or "href=" in tag]


def test_a_hostile_file_name_stays_text():
    page = html_page([prediction("/home/me/</script><script>alert(1)</script>&.jpg")])
    assert "<script>alert" not in page and "/home/me" not in page
    assert len(re.findall("<script", html_page([prediction()]))) == len(re.findall("<script", page))
    assert data_of(page)["frames"][0]["path"] == "script>&.jpg"


def test_a_clip_is_written_frame_by_frame(tmp_path):
    """The page of a clip holds its frames, smaller; one that an error cuts short still shows those before."""
    path, pixels = tmp_path / "clip.html", np.full((600, 960, 3), 90, np.uint8)
    with ClipPage(path, "</title><script>.mp4", rate=12.5) as page:
        page.write(pixels, prediction(hands=1).hands)
        page.write(pixels, [])
        assert not path.exists()
    data = data_of(path.read_text())
    assert data["rate"] == 12.5 and [len(frame["hands"]) for frame in data["frames"]] == [1, 0]
    assert (data["frames"][0]["width"], data["frames"][0]["height"]) == (960, 600)
    code = data["frames"][1]["image"].split(",")[1]
    assert Image.open(io.BytesIO(base64.b64decode(code))).size == (480, 300)
    assert "</title><script>" not in path.read_text()
    with pytest.raises(KeyboardInterrupt), ClipPage(path, "clip.mp4") as page:
        page.write(pixels, [])
        raise KeyboardInterrupt
    assert len(data_of(path.read_text())["frames"]) == 1
    with pytest.raises(ValueError, match="rate is 0"):
        ClipPage(path, "clip.mp4", rate=0)


@pytest.mark.parametrize("bad", [{"predictions": []}, {"predictions": [prediction()], "rate": 0}])
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match="predictions is empty|rate is 0"):
        html_page(**bad)
