"""From photographs to 3D hands: `HandPoseEstimator`."""

import os

import numpy as np
from PIL import Image

from hand3d import manifest
from hand3d.graph import full_graph
from hand3d.hand import Hand, Prediction
from hand3d.images import GREY, PICTURE_SIDE, LoadedImage, load_image
from hand3d.networks.common import score_maps_and_side
from hand3d.set_options import set_options
from hand3d.skeleton import ROOT, SIDES
from hand3d.tracing import traced

BATCH = 8


class HandPoseEstimator:
    """Finds the hand in an image and its 21 keypoints in 2D and 3D.

    weights: name of a shipped weight set, folder with a manifest of its own, or `manifest.WeightSet`.
    side: "left", "right", or "auto" to predict it.
    min_score: hands below it are left out, 0..1; None takes the weight set's own.

    The attribute `tells_side` is False for weights that cannot tell left from right, as the published ones:
    with side="auto" they take every hand for a left one.

        hands = HandPoseEstimator("lite")("hand.jpg")
        hands[0].keypoints_xyz

    Raises ValueError for a bad argument, `manifest.WeightsError` for weights that cannot be used.
    """

    def __init__(self, weights="lite", side="auto", min_score=None):
        if side not in ("auto", *SIDES):
            raise ValueError(f"side is {side!r}; expected 'auto', 'left' or 'right'")
        if min_score is not None and not 0 <= min_score <= 1:
            raise ValueError(f"min_score is {min_score!r}; expected a number in 0..1")
        weight_set = weights if isinstance(weights, manifest.WeightSet) else manifest.find(weights)
        self.side = side
        options = set_options(weight_set)
        self.min_score = options.min_score if min_score is None else min_score
        self.canvases, self.frame = options.canvases, options.frame
        networks = manifest.load(weight_set)
        missing = [role for role in manifest.ROLES if role not in networks]
        if missing:
            raise manifest.WeightsError(f"weights {weight_set.name!r}: no networks {missing} in the manifest")
        networks = {role: networks[role] for role in manifest.ROLES}
        try:
            self.model = full_graph(**networks, **options.graph)
        except (TypeError, ValueError) as error:
            raise manifest.WeightsError(
                f'weights {weight_set.name!r}: networks and "graph" of the manifest do not fit: {error}'
            ) from error
        given = tuple(self.model.inputs[0].shape[1:3])
        if given != (None, None) and given != self.frame:
            raise manifest.WeightsError(
                f'weights {weight_set.name!r}: "frame" is {self.frame} in the manifest, '
                f"but the graph takes images of {given}"
            )
        self.tells_side = score_maps_and_side(networks["posenet"].output)[1] is not None
        self._run = traced(self.model)

    def __call__(self, image):
        """Hands in one image or in each of a list.

        image: (H, W, 3) uint8 RGB array, path of an image file, or list of either.
        Returns list of `Hand`, highest score first, empty where there is none; for a list, a list of those.
        Raises `images.ImageError`, TypeError or ValueError for an image that cannot be used.
        """
        if isinstance(image, list | tuple):
            return [prediction.hands for prediction in self.predict(image)]
        return self.predict([image])[0].hands

    def predict(self, images):
        """`Prediction` of each image: its hands, and what a picture of the result needs.

        images: list of (H, W, 3) uint8 arrays, paths or `images.LoadedImage`, of any sizes.
        """
        images = [_loaded(image) for image in images]
        groups = {}
        for number, image in enumerate(images):
            groups.setdefault(self._canvas_size(image), []).append(number)
        predictions = [None] * len(images)
        for canvas_size, numbers in groups.items():
            for start in range(0, len(numbers), BATCH):
                batch = numbers[start : start + BATCH]
                results = self._predict_batch([images[number] for number in batch], canvas_size)
                for number, prediction in zip(batch, results, strict=True):
                    predictions[number] = prediction
        return predictions

    def _canvas_size(self, image):
        """(height, width) of the frame, or of the smallest canvas that holds the image, or of the largest.

        Few sizes, so few compilations.
        """
        if self.frame:
            return self.frame
        longer = max(image.pixels.shape[:2])
        return (next((side for side in self.canvases if side >= longer), self.canvases[-1]),) * 2

    def _predict_batch(self, images, canvas_size):
        put = stretch if self.frame else fit
        fitted = [put(image.pixels, canvas_size if self.frame else canvas_size[0]) for image in images]
        given = np.zeros((len(images), len(SIDES)), np.float32)
        if self.side != "auto":
            given[:, SIDES.index(self.side)] = 1.0
        outputs = self._run(np.stack([canvas for canvas, _ in fitted]), given)
        results = []
        for number, (image, (_, area)) in enumerate(zip(images, fitted, strict=True)):
            one = {name: value[number] for name, value in outputs.items()}
            results.append(self._prediction(image, one, area, canvas_size))
        return results

    def _prediction(self, image, outputs, area, canvas_size):
        """One image's outputs, in pixels of its canvas, as a `Prediction` in pixels of the original."""
        size = np.array([image.width, image.height], np.float32)
        uv_canvas = outputs["keypoints_uv"]
        score = float(outputs["score"])
        keypoints_uv = canvas_to_image(uv_canvas, area, size)
        hands = []
        if score >= self.min_score and score > 0:
            side = int(np.argmax(outputs["side"]))
            keypoints_xyz = outputs["keypoints_xyz"]
            corners = canvas_to_image(_corners(outputs["component"], canvas_size), area, size)
            hands.append(
                Hand(
                    side=SIDES[side],
                    score=score,
                    box=_box(np.concatenate([corners, keypoints_uv]), size),
                    keypoints_uv=keypoints_uv,
                    keypoint_scores=outputs["keypoint_scores"],
                    keypoints_xyz=keypoints_xyz - keypoints_xyz[ROOT],  # PosePrior puts it near 0 only
                    side_score=float(outputs["side"][side]),
                )
            )
        crop = np.clip(np.round(outputs["crop"]), 0, 255).astype(np.uint8)
        zoom = len(crop) / outputs["box_side"]
        return Prediction(
            width=image.width,
            height=image.height,
            hands=hands,
            pixels=image.pixels,
            mask=_mask_of_area(outputs["mask"] * outputs["component"], area, canvas_size),
            crop=crop,
            crop_uv=(uv_canvas - outputs["box_centre"]) * zoom + (len(crop) - 1) / 2,
            score=score,
            path=image.path,
            notes=image.notes,
        )


def fit(pixels, canvas_side):
    """An image in the middle of a square canvas, resized with antialiasing to fill it in one direction.

    pixels: (H, W, 3) uint8.  Returns canvas (S, S, 3) uint8 and area (left, top, width, height), the pixels
    of the canvas that the image covers.
    """
    height, width = pixels.shape[:2]
    factor = canvas_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    left, top = (canvas_side - size[0]) // 2, (canvas_side - size[1]) // 2
    canvas = np.full((canvas_side, canvas_side, 3), GREY, np.uint8)
    image = Image.fromarray(pixels)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(image)
    return canvas, (left, top, *size)


def stretch(pixels, frame):
    """An image resized with antialiasing to (height, width) = frame, its sides not kept in proportion.

    What the released programs do (PAPER.md 2).  Arguments and result as in `fit`.
    """
    height, width = frame
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image), (0, 0, width, height)


def canvas_to_image(uv_canvas, area, size):
    """uv_canvas: (N, 2) pixels of the canvas -> (N, 2) float32 pixels of the image, by the one pixel rule.

    area: as returned by `fit`.  size: (2,) width and height of the image, pixels.
    """
    area = np.asarray(area, np.float64)
    uv = (np.asarray(uv_canvas, np.float64) - area[:2] + 0.5) * (np.asarray(size) / area[2:]) - 0.5
    return uv.astype(np.float32)


def _loaded(image):
    if isinstance(image, LoadedImage):
        return image
    if isinstance(image, str | os.PathLike):
        return load_image(image, max_side=PICTURE_SIDE)
    return load_image(image)


def _corners(component, canvas_size):
    """First and last pixel centre of the found object, (2, 2) in pixels of the canvas."""
    rows, columns = np.nonzero(component.any(1))[0], np.nonzero(component.any(0))[0]
    cells = np.array([[columns[0], rows[0]], [columns[-1], rows[-1]]], np.float64)
    return (cells + 0.5) * (np.array(canvas_size[::-1]) / component.shape[::-1]) - 0.5


def _box(uv, size):
    """Bounding box (4,) of points, clipped to the pixel centres of the image."""
    corners = np.stack([uv.min(0), uv.max(0)])
    return np.clip(corners, 0, size - 1).reshape(4).astype(np.float32)


def _mask_of_area(mask, area, canvas_size):
    """The part of a mask over the canvas that lies over the image, (h, w) float32."""
    scale = np.array(mask.shape[::-1]) / canvas_size[::-1]
    low = np.array(area[:2]) * scale
    high = low + np.array(area[2:]) * scale
    size = np.maximum(1, np.round(high - low)).astype(int)
    image = Image.fromarray(np.asarray(mask, np.float32))
    return np.asarray(image.resize(tuple(size), Image.Resampling.BILINEAR, box=(*low, *high)))
