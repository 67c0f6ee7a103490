"""From photographs to 3D hands: `HandPoseEstimator`."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from hand3d import manifest
from hand3d.canvas import as_image, box_around, canvas_to_image, corners_of, fit, mask_of_area, stretch
from hand3d.crops import image_to_crop
from hand3d.graph import VISIBLE_FROM, full_graph
from hand3d.hand import Hand, Prediction
from hand3d.images import PICTURE_SIDE, ImageError, LoadedImage, load_image
from hand3d.networks.common import score_maps_and_side
from hand3d.set_options import set_options
from hand3d.skeleton import ROOT, SIDES
from hand3d.tracing import traced

BATCH = 8
CHUNK = 4 * BATCH  # images that are read ahead while others are computed
LOADERS = 2  # threads
MAX_HANDS, MOST_HANDS = 2, 16
FINE_SIZE = 320  # pixels a side that HandSegNet sees besides for small hands


class HandPoseEstimator:
    """Finds the hands in an image and their 21 keypoints in 2D and 3D.

    weights: name of a shipped weight set, folder with a manifest of its own, or `manifest.WeightSet`.
    side: "left", "right", or "auto" to predict it.
    min_score: hands below it are left out, 0..1; None takes the weight set's own.
    max_hands: at most so many hands of an image; None is 2, and 1 for weights of the published kind
        (grid "legacy"), which look at one place.
    mirrored: the images are mirror images, as of selfie cameras: `Hand.side` is then still the person's own.
        Keypoints stay as they are seen, in the image and in 3D.
    small_hands: HandSegNet looks at the image a second time, at more pixels: finds more of the hands that are
        small in it, and takes longer.  Not for weights of the published kind.
    one_look: PoseNet does not look at each hand again, in a crop around its keypoints, where the weights say
        so: quicker and less exact.

    The attribute `tells_side` is False for weights that cannot tell left from right, as the published ones:
    with side="auto" they take every hand for a left one.

        hands = HandPoseEstimator("lite")("hand.jpg")
        hands[0].keypoints_xyz

    Raises ValueError for a bad argument, `manifest.WeightsError` for weights that cannot be used.
    """

    def __init__(
        self,
        weights="lite",
        side="auto",
        min_score=None,
        *,
        max_hands=None,
        mirrored=False,
        small_hands=False,
        one_look=False,
    ):
        if side not in ("auto", *SIDES):
            raise ValueError(f"side is {side!r}; expected 'auto', 'left' or 'right'")
        if min_score is not None and not 0 <= min_score <= 1:
            raise ValueError(f"min_score is {min_score!r}; expected a number in 0..1")
        whole = isinstance(max_hands, int) and not isinstance(max_hands, bool)
        if max_hands is not None and not (whole and 1 <= max_hands <= MOST_HANDS):
            raise ValueError(f"max_hands is {max_hands!r}; expected a whole number from 1 to {MOST_HANDS}")
        self.mirrored = bool(mirrored)
        weight_set = weights if isinstance(weights, manifest.WeightSet) else manifest.find(weights)
        self.side = side
        options = set_options(weight_set)
        self.min_score = options.min_score if min_score is None else min_score
        self.canvases, self.frame = options.canvases, options.frame
        networks = manifest.load(weight_set)
        missing = [role for role in manifest.ROLES if role not in networks]
        if missing:
            raise manifest.WeightsError(f"weights {weight_set.name!r}: no networks {missing} in the manifest")
        self.networks = manifest.for_graph(networks)
        self.graph_options = options.graph
        if small_hands:
            if options.graph.get("grid") == "legacy":
                raise ValueError(f"small_hands: the weights {weight_set.name!r} are of the published kind")
            self.graph_options = {"segment_fine": FINE_SIZE} | options.graph
        if one_look:
            self.graph_options = self.graph_options | {"second_look": None}
        if max_hands is None:
            max_hands = 1 if options.graph.get("grid") == "legacy" else MAX_HANDS
        self.max_hands = max_hands
        self.visible_from = (options.graph.get("calibration") or {}).get(VISIBLE_FROM, 0.5)
        try:
            self.model = full_graph(**self.networks, **self.graph_options | {"max_hands": max_hands})
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
        self.tells_side = score_maps_and_side(self.networks["posenet"].output)[1] is not None
        self._run = traced(self.model, skip_absent=True)

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
        return list(self.stream(images))

    def stream(self, images, errors=False):
        """As `predict`, one `Prediction` after another in the order of the images, in memory that stays.

        Files are read by threads while images before them are computed.  images: any iterable.
        errors: yield the `images.ImageError` of an image instead of raising it.
        """
        images = iter(images)
        with ThreadPoolExecutor(LOADERS) as pool:

            def load_chunk():
                return [pool.submit(self.prepared, image) for image in itertools.islice(images, CHUNK)]

            chunk = load_chunk()
            try:
                while chunk:
                    later = load_chunk()  # read while this chunk is computed
                    yield from self._predict_chunk(chunk, errors)
                    chunk = later
            finally:
                pool.shutdown(cancel_futures=True)

    def prepared(self, image):
        """(LoadedImage, canvas (S, S, 3) uint8, area) of an image as `predict` takes it."""
        if isinstance(image, str | os.PathLike):
            seen_side = None if self.frame else self.canvases[-1]
            image = load_image(image, max_side=PICTURE_SIDE, seen_side=seen_side)
        elif not isinstance(image, LoadedImage):
            image = load_image(image)
        return image, *self.fit(image.seen)

    def fit(self, picture):
        """An image as `canvas.fit` takes it, as the graph takes it: canvas (S, S, 3) uint8 and its area."""
        picture = as_image(picture)
        size = self._canvas_size(picture)
        return stretch(picture, size) if self.frame else fit(picture, size[0])

    def _predict_chunk(self, futures, errors):
        """Results of prepared images in order, each once it is known; batches are of one canvas size."""
        results, groups, given = {}, {}, 0
        for number, future in enumerate(futures):
            try:
                prepared = future.result()
                groups.setdefault(prepared[1].shape, []).append((number, prepared))
            except ImageError as error:
                if not errors:
                    raise
                results[number] = error
            last = number + 1 == len(futures)
            for shape in [shape for shape, group in groups.items() if last or len(group) == BATCH]:
                numbers, group = zip(*groups.pop(shape), strict=True)
                results |= zip(numbers, self._predict_batch(group), strict=True)
                while given in results:
                    yield results.pop(given)
                    given += 1
        while given in results:
            yield results.pop(given)
            given += 1

    def _canvas_size(self, picture):
        """(height, width) of the frame, or of the smallest canvas that holds the image, or of the largest.

        Few sizes, so few compilations.
        """
        if self.frame:
            return self.frame
        longer = max(picture.size)
        return (next((side for side in self.canvases if side >= longer), self.canvases[-1]),) * 2

    def given_side(self, count):
        """(count, 2) float32: the side that the caller gave, as it looks in the image; zeros for "auto"."""
        given = np.zeros((count, len(SIDES)), np.float32)
        if self.side != "auto":
            given[:, self.seen_side(SIDES.index(self.side))] = 1.0
        return given

    def seen_side(self, side):
        """Index of the side as it looks in the image for the person's, and the other way round."""
        return 1 - side if self.mirrored else side

    def _predict_batch(self, prepared):
        """`Prediction` of each of a list of what `prepared` returns, canvases of one size."""
        canvases = np.stack([canvas for _, canvas, _ in prepared])
        outputs = self._run(canvases, self.given_side(len(prepared)))
        if self.max_hands == 1:
            outputs = {name: value if name == "mask" else value[:, None] for name, value in outputs.items()}
        return [
            self._prediction(
                image, {name: value[number] for name, value in outputs.items()}, area, canvas.shape
            )
            for number, (image, canvas, area) in enumerate(prepared)
        ]

    def _prediction(self, image, outputs, area, canvas_shape):
        """One image's outputs, in pixels of its canvas, as a `Prediction` in pixels of the original."""
        canvas_size = canvas_shape[:2]
        found = [n for n, score in enumerate(outputs["score"]) if score >= self.min_score and score > 0]
        size = np.array([image.width, image.height], np.float32)
        hands = []
        for number in found:
            one = {name: value[number] for name, value in outputs.items() if name != "mask"}
            corners = canvas_to_image(corners_of(one["component"], canvas_size), area, size)
            hands.append(self.hand(one, float(one["score"]), area, size, corners))
        crop = np.clip(np.round(outputs["crop"][0]), 0, 255).astype(np.uint8)
        box = [outputs[name][:1] for name in ("box_centre", "box_side")]
        up = outputs["box_up"][:1] if "box_up" in outputs else None
        crop_uv = image_to_crop(outputs["keypoints_uv"][:1], *box, len(crop), up)
        objects = outputs["component"][found or [0]].max(0)
        return Prediction(
            width=image.width,
            height=image.height,
            hands=hands,
            image=image,
            mask=mask_of_area(outputs["mask"] * outputs["component"][0], area, canvas_size),
            mask_of_all=mask_of_area(outputs["mask"] * objects, area, canvas_size),
            crop=crop,
            crop_uv=keras.ops.convert_to_numpy(crop_uv)[0],
            score_maps=outputs["score_maps"][0],
            score=float(outputs["score"][0]),
            path=image.path,
            notes=image.notes,
        )

    def hand(self, outputs, score, area, size, corners=None):
        """`Hand` of one hand's outputs, in pixels of a canvas.

        area: as of `fit`.  size: (2,) width and height of the image, pixels.  corners: (N, 2) points of the
        image that the box holds beside the keypoints.
        """
        keypoints_uv = canvas_to_image(outputs["keypoints_uv"], area, size)
        side = int(np.argmax(outputs["side"]))
        keypoints_xyz = outputs["keypoints_xyz"]
        visible = outputs.get("keypoint_visible")
        around = keypoints_uv if corners is None else np.concatenate([corners, keypoints_uv])
        return Hand(
            side=SIDES[self.seen_side(side)],
            score=score,
            box=box_around(around, size),
            keypoints_uv=keypoints_uv,
            keypoint_scores=outputs["keypoint_scores"],
            keypoints_xyz=keypoints_xyz - keypoints_xyz[ROOT],  # PosePrior puts it near 0 only
            side_score=float(outputs["side"][side]),
            confidence=float(outputs["confidence"]),
            visible=None if visible is None else visible >= self.visible_from,
        )
