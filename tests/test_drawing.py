"""hand3d.drawing: skeletons land where the keypoints are; the page draws for every shape of image."""

import io

import numpy as np
import pytest
from PIL import Image

from hand3d import skeleton
from hand3d.drawing import KEYPOINT_COLOURS, draw_prediction, draw_skeleton
from hand3d.hand import Hand, Prediction


def fan(centre, size):
    """(21, 2) keypoints of an open hand."""
    uv = np.zeros((skeleton.NUM_KEYPOINTS, 2))
    for finger, chain in enumerate(skeleton.CHAINS.values()):
        angle = np.radians(-150 + 30 * finger)
        for step, keypoint in enumerate(reversed(chain), 1):
            uv[keypoint] = size * step / 4 * np.array([np.cos(angle), np.sin(angle)])
    return uv + centre


def a_prediction(width, height, hands=1):
    uv = fan((width / 2, height / 2), min(width, height) / 3).astype(np.float32)
    xyz = np.concatenate([uv - uv[0], uv[:, :1] - uv[:1, 0]], -1)
    hand = Hand("left", 0.9, np.concatenate([uv.min(0), uv.max(0)]), uv, np.linspace(0, 1, len(uv)), xyz)
    pixels = np.full((min(height, 1280), min(width, 1280), 3), 90, np.uint8)
    mask = np.full((20, 30), 0.5, np.float32)
    crop = np.zeros((128, 128, 3), np.uint8)
    return Prediction(
        *(width, height, [hand] * hands, pixels, mask, crop, fan((64, 70), 50), 0.9),
        path="a $x$.png",
        mask_of_all=mask if hands > 1 else None,
        score_maps=np.zeros((8, 8, 21), np.float32) if hands else None,
    )


def test_keypoints_are_drawn_at_pixel_centres():
    image = np.zeros((200, 200, 3), np.uint8)
    uv = fan((100, 110), 80)
    drawn = draw_skeleton(image, uv)
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape and not image.any()
    for keypoint in skeleton.TIPS:
        u, v = np.round(uv[keypoint]).astype(int)
        assert np.abs(drawn[v, u].astype(int) - KEYPOINT_COLOURS[keypoint]).max() < 40
    # symmetric about the root, so no half-pixel shift: the centroid of the root's white disc
    white = (drawn > 200).all(-1)
    v, u = np.nonzero(white)
    assert abs(u.mean() - 100) < 0.3 and abs(v.mean() - 110) < 0.3


def test_faint_where_unsure():
    image = np.zeros((100, 100, 3), np.uint8)
    uv = fan((50, 55), 40)
    sure, unsure = (
        draw_skeleton(image, uv, np.full(len(uv), score)).astype(int).sum() for score in (1.0, 0.0)
    )
    assert unsure < 0.6 * sure


@pytest.mark.parametrize("centre", [(-500, 50), (0, 0), (99, 99), (1e7, 1e7), (np.nan, 5)])
def test_keypoints_outside(centre):
    image = np.zeros((100, 100, 3), np.uint8)
    assert draw_skeleton(image, fan(centre, 40)).shape == image.shape


def test_wrong_shape():
    with pytest.raises(ValueError, match=r"\(20, 2\)"):
        draw_skeleton(np.zeros((9, 9, 3), np.uint8), np.zeros((20, 2)))


@pytest.mark.parametrize("size,hands", [((640, 480), 1), ((300, 900), 0), ((20000, 40), 2), ((1, 1), 1)])
def test_page(size, hands):
    page = Image.open(io.BytesIO(draw_prediction(a_prediction(*size, hands))))
    page.load()
    assert page.format == "PNG" and 500 < page.width < 2500 and 300 < page.height < 1200


def test_hand_draw_and_to_dict(tmp_path):
    prediction = a_prediction(64, 48)
    hand = prediction.hands[0]
    assert hand.draw(prediction.pixels).shape == (48, 64, 3)
    Image.fromarray(prediction.pixels).save(tmp_path / "a.png")
    assert np.array_equal(hand.draw(tmp_path / "a.png"), hand.draw(prediction.pixels))
    record = prediction.to_dict()
    assert list(record) == ["path", "width", "height", "hands"]
    assert list(record["hands"][0]) == [
        "side", "score", "box", "keypoints_uv", "keypoint_scores", "keypoints_xyz"
    ]  # fmt: skip
