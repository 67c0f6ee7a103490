"""What the estimator returns: hands, and the prediction of one image that holds them."""

import functools
from dataclasses import dataclass

import numpy as np

from hand3d.images import LoadedImage


@dataclass(frozen=True, eq=False)
class Hand:
    """One hand in an image.

    side: "left" or "right", the person's.
    score: 0..1, how sure the networks are that this is a hand.
    side_score: 0..1, the probability of `side`; 1.0 where the caller gave the side.
    box: (4,) float32, pixels of the image, x0, y0, x1, y1 around the hand, clipped to the image.
    keypoints_uv: (21, 2) float32, pixels of the image, (u, v) = (column, row), pixel centres at integers; a
        keypoint may lie outside the image.
    keypoint_scores: (21,) float32, 0..1.
    keypoints_xyz: (21, 3) float32, relative to keypoint 0, in units of the bone `skeleton.SCALE_BONE`; camera
        axes: x right, y down, z away from the camera.
    confidence: 0..1, PoseNet's own, the mean over the keypoints before any calibration.
    visible: (21,) bool, whether each keypoint shows rather than hides behind something; None for weights
        without a calibration.
    track: int, the same for one hand over the frames of a video; None in an image.
    Keypoints are in the order of `hand3d.skeleton.KEYPOINT_NAMES`.
    """

    side: str
    score: float
    box: np.ndarray
    keypoints_uv: np.ndarray
    keypoint_scores: np.ndarray
    keypoints_xyz: np.ndarray
    side_score: float = 1.0
    confidence: float = 1.0
    visible: np.ndarray | None = None
    track: int | None = None

    def to_dict(self):
        """The hand as in the public JSON format: plain lists and numbers, rounded."""
        known = {} if self.visible is None else {"keypoints_visible": np.asarray(self.visible).tolist()}
        known |= {} if self.track is None else {"track": int(self.track)}
        return {
            "side": self.side,
            "score": round(float(self.score), 4),
            "box": _rounded(self.box, 2),
            "keypoints_uv": _rounded(self.keypoints_uv, 2),
            "keypoint_scores": _rounded(self.keypoint_scores, 4),
            "keypoints_xyz": _rounded(self.keypoints_xyz, 5),
        } | known

    def draw(self, image):
        """Copy of `image` with the skeleton over it.

        image: (H, W, 3) uint8 RGB array, or the path of an image: the one that the hand was found in.
        Returns (H, W, 3) uint8.  Raises as `hand3d.images.load_image` does.
        """
        from hand3d.drawing import draw_skeleton
        from hand3d.images import load_image

        return draw_skeleton(load_image(image).pixels, self.keypoints_uv, self.keypoint_scores)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image, its hands, and what a picture of the result needs.

    width, height: of the original image, pixels.  hands: list of `Hand`, highest score first.
    image: `images.LoadedImage`, or its picture: the image, reduced if it was large.
    mask: (h', w') float32, 0..1, the best hand's mask over the same extent as `pixels`.
    crop: (S, S, 3) uint8, what PoseNet saw of the best.  crop_uv: (21, 2) float32, keypoints in it, pixels.
    score: 0..1, of the best candidate, whether it passed `min_score` or not.
    path: str, or None for an array.  notes: as of `images.LoadedImage`.
    mask_of_all: as `mask`, of all hands.  score_maps: (m, m, 21) float32, PoseNet's maps of the best hand
        over the same extent as `crop`.  Both may be None.
    """

    width: int
    height: int
    hands: list
    image: LoadedImage | np.ndarray
    mask: np.ndarray
    crop: np.ndarray
    crop_uv: np.ndarray
    score: float
    path: str | None = None
    notes: tuple = ()
    mask_of_all: np.ndarray | None = None
    score_maps: np.ndarray | None = None

    @functools.cached_property
    def pixels(self):
        """(h, w, 3) uint8 RGB: the picture of the image."""
        return self.image.pixels if isinstance(self.image, LoadedImage) else self.image

    def to_dict(self):
        """The prediction as in the public JSON format."""
        return {
            "path": self.path,
            "width": int(self.width),
            "height": int(self.height),
            "hands": [hand.to_dict() for hand in self.hands],
        }


def _rounded(values, digits):
    return np.round(np.asarray(values, np.float64), digits).tolist()
