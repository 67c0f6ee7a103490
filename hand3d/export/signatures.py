"""The estimator as a `tf.Module` with serving signatures, preprocessing inside."""

import numpy as np
import tensorflow as tf

from hand3d import crops, scoremaps, segmentation
from hand3d.export import decoding
from hand3d.layers import EncodeScoreMaps, ResolveSide
from hand3d.networks.common import score_maps_and_side
from hand3d.networks.hand_fit import fit_keypoints
from hand3d.networks.mirrored import average_mirrored, lifter
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SIDES
from hand3d.skipping import skipping

BYTES = "image_bytes"  # TensorFlow Serving takes base64 for names that end so
HANDS = ("score", "side", "box", "keypoints_uv", "keypoint_scores", "keypoint_visible", "keypoints_xyz")


class Serving(tf.Module):
    """Signatures of a `hand3d.HandPoseEstimator`.

    B images, M the estimator's max_hands, best score first; hands that were not found score 0 or below the
    weight set's min_score, which stands in the assets.

    - `serving_default`: `image_bytes` (B,) string, JPEG or PNG files.
    - `uint8_images`, `float_images`: `images` (B, H, W, 3) RGB 0..255.
    These return `score` (B, M), `side` (B, M, 2) probabilities of left and right, `box` (B, M, 4),
    `keypoints_uv` (B, M, 21, 2) pixels of the image, `keypoint_scores` (B, M, 21), `keypoints_xyz`
    (B, M, 21, 3) relative to keypoint 0, all as in `hand3d.hand.Hand`; `size` (B, 2) int32 width and height
    of the image, upright; `status` (B,) int32, an index of `decoding.STATUS`.
    - `mask`: `images` (B, H, W, 3) uint8 -> `mask` (B, h, w) hand probability on the canvas, and `area`
      (B, 4): left, top, width and height of the image on it, as parts of the canvas.
    - `keypoints_2d`: `images` uint8, `box_centre` (B, 2) and `box_side` (B,), pixels -> `keypoints_uv`,
      `keypoint_scores` and `side` of the hand in this square.
    - `lifting`: `score_maps` (B, n, n, 21) linear, `hand_side` (B, 2) one-hot -> `keypoints_xyz`.
    - `lifting_keypoints`: `keypoints_uv` (B, 21, 2) and `keypoint_scores` (B, 21) in a crop of crop_size
      pixels, `hand_side` -> `keypoints_xyz`.
    """

    def __init__(self, estimator):
        super().__init__(name="hand3d")
        self._canvases, self._frame = tuple(estimator.canvases), estimator.frame
        self._model, self._max_hands = estimator.model, estimator.max_hands
        self._given = tf.constant(estimator.given_side(1))
        self._mirrored = estimator.mirrored
        self._crop_size = estimator.model.get_layer("crop").crop_size
        self._networks, options = estimator.networks, estimator.graph_options
        self._probabilities = options.get("map_mode") == "probability"
        posenet = self._networks["posenet"]
        mirror = options.get("mirror", False)
        self._posenet = average_mirrored(posenet) if mirror else posenet
        self._lifter = lifter(self._networks["poseprior"], self._networks["viewpoint"], mirror)
        self.tracked = [
            self._model,
            self._posenet,
            self._lifter,
            *self._networks.values(),
        ]  # owns the variables
        height, width = estimator.frame or (None, None)
        skipped = skipping(self._model)  # None where the graph looks at one place
        self._graph = tf.function(
            skipped or (lambda canvas, side: self._model([canvas, side], training=False)),
            [tf.TensorSpec((None, height, width, 3)), tf.TensorSpec((None, len(SIDES)))],
            autograph=False,
        )

    def signatures(self):
        """{name: tf.function} with the input signatures above."""
        pixels, floats = (tf.TensorSpec((None, None, None, 3), t, "images") for t in (tf.uint8, tf.float32))
        centre = tf.TensorSpec((None, 2), tf.float32, "box_centre")
        side_length = tf.TensorSpec((None,), tf.float32, "box_side")
        size = self._networks["poseprior"].inputs[0].shape[1]
        maps = tf.TensorSpec((None, size, size, NUM_KEYPOINTS), tf.float32, "score_maps")
        hand_side = tf.TensorSpec((None, len(SIDES)), tf.float32, "hand_side")
        uv = tf.TensorSpec((None, NUM_KEYPOINTS, 2), tf.float32, "keypoints_uv")
        scores = tf.TensorSpec((None, NUM_KEYPOINTS), tf.float32, "keypoint_scores")
        given = {
            "serving_default": (self.from_bytes, [tf.TensorSpec((None,), tf.string, BYTES)]),
            "uint8_images": (self.from_images, [pixels]),
            "float_images": (self.from_images, [floats]),
            "mask": (self.mask, [pixels]),
            "lifting": (self.lift, [maps, hand_side]),
            "lifting_keypoints": (self.lift_keypoints, [uv, scores, hand_side]),
        }
        if not self._frame:  # the released glue's crops have places of their own
            given["keypoints_2d"] = (self.keypoints_2d, [pixels, centre, side_length])
        return {name: tf.function(f, s, autograph=False) for name, (f, s) in given.items()}

    def from_bytes(self, image_bytes):
        """(B,) string -> all outputs."""
        canvas, canvas_size, area, size, status = decoding.decode_batch(
            image_bytes, self._canvases, self._frame
        )
        if self._frame:
            found = self.hands(canvas, canvas_size, area, size)
        else:
            found = self._by_canvas(canvas, canvas_size, area, size)
        readable = tf.cast(status == decoding.DONE, tf.float32)[:, None]
        found["score"] *= readable
        size = tf.where(readable > 0, size, 0)
        return found | {"size": size, "status": status}

    def from_images(self, images):
        """(B, H, W, 3) uint8 or float32 0..255 -> all outputs."""
        canvas, canvas_size, area = decoding.fit(images, self._canvases, self._frame)
        count = tf.shape(images)[0]
        size = tf.repeat(tf.shape(images)[2:0:-1][None], count, 0)
        canvas_size, area = (tf.repeat(value[None], count, 0) for value in (canvas_size, area))
        found = self.hands(canvas, canvas_size, area, size)
        return found | {"size": size, "status": tf.zeros([count], tf.int32)}

    def mask(self, images):
        """(B, H, W, 3) uint8 -> mask and area."""
        canvas, canvas_size, area = decoding.fit(images, self._canvases, self._frame)
        mask = self._graph(canvas, self._sides(canvas))["mask"]
        whole = tf.cast(tf.tile(canvas_size[::-1], [2]), tf.float32)
        return {"mask": mask, "area": tf.repeat((area / whole)[None], tf.shape(images)[0], 0)}

    def keypoints_2d(self, images, box_centre, box_side):
        """The hand in a known square of each image."""
        pixels = tf.cast(images, tf.float32) / 255.0 - 0.5
        crop = crops.crop_and_resize(pixels, box_centre, box_side, self._crop_size)
        stages, side_logits = score_maps_and_side(self._posenet(crop, training=False))
        maps = tf.cast(stages[-1], tf.float32)
        maps = scoremaps.spatial_softmax(maps) if self._probabilities else maps
        uv_crop, confidence, *_ = self._model.get_layer("decode")(maps)
        if "curve_keypoint_scores" in {layer.name for layer in self._model.layers}:
            confidence = self._model.get_layer("curve_keypoint_scores")(confidence)
        known = [] if side_logits is None else [tf.cast(side_logits, tf.float32)]
        side, _ = ResolveSide()([self._sides(pixels), *known])
        return {
            "keypoints_uv": crops.crop_to_image(uv_crop, box_centre, box_side, self._crop_size),
            "keypoint_scores": confidence,
            "side": side[..., ::-1] if self._mirrored else side,
        }

    def lift(self, score_maps, hand_side):
        """Linear score maps and the side -> keypoints in 3D, root-relative."""
        return {"keypoints_xyz": _root_relative(self._lifter([score_maps, hand_side], training=False))}

    def lift_keypoints(self, keypoints_uv, keypoint_scores, hand_side):
        """Keypoints in a crop and the side -> keypoints in 3D, by the hand model where the set has one."""
        size = self._networks["poseprior"].inputs[0].shape[1]
        maps = EncodeScoreMaps(size, self._crop_size)([keypoints_uv, keypoint_scores])
        lifted = self.lift(maps, hand_side)
        if "hand_fit" not in self._networks:
            return lifted
        given = keypoints_uv, keypoint_scores, lifted["keypoints_xyz"], hand_side
        return {"keypoints_xyz": fit_keypoints(self._networks["hand_fit"], *given)[1]}

    def _sides(self, images):
        return tf.repeat(self._given, tf.shape(images)[0], 0)

    def _by_canvas(self, canvas, canvas_size, area, size):
        """Each image on a canvas of its own size, whatever else is in the batch."""
        parts, order = [], []
        shapes = {"score": (), "side": (2,), "box": (4,), "keypoints_uv": (NUM_KEYPOINTS, 2)}
        shapes |= {"keypoint_scores": (NUM_KEYPOINTS,), "keypoints_xyz": (NUM_KEYPOINTS, 3)}
        if "keypoint_visible" in self._model.output:
            shapes["keypoint_visible"] = (NUM_KEYPOINTS,)
        for side in self._canvases:
            chosen = tf.where(canvas_size[:, 0] == side)[:, 0]

            def run(chosen=chosen, side=side):
                inputs = (canvas[:, :side, :side], canvas_size, area, size)
                return self.hands(*(tf.gather(value, chosen) for value in inputs))

            def nothing():
                return {name: tf.zeros((0, self._max_hands, *shape)) for name, shape in shapes.items()}

            parts.append(tf.cond(tf.size(chosen) > 0, run, nothing))
            order.append(chosen)
        back = tf.argsort(tf.concat(order, 0))
        return {name: tf.gather(tf.concat([part[name] for part in parts], 0), back) for name in shapes}

    def hands(self, canvas, canvas_size, area, size):
        """Outputs of the graph in pixels of the images."""
        return self.placed(self._graph(canvas, self._sides(canvas)), canvas_size, area, size)

    def placed(self, out, canvas_size, area, size, names=HANDS):
        """What the graph puts out for canvases, in pixels of the images: {name: (B, M, ...) float32}."""
        if self._max_hands == 1:
            out = {name: value if name == "mask" else value[:, None] for name, value in out.items()}
        component = out["component"]
        rows, columns = component.shape[2:4]
        low, high, _ = segmentation.mask_corners(tf.reshape(component, (-1, rows, columns)))
        corners = tf.reshape(tf.stack([low, high], 1), (-1, self._max_hands, 2, 2))
        by = tf.cast(canvas_size[:, ::-1], tf.float32)[:, None, None] / np.float32([columns, rows])
        corners = (corners + 0.5) * by - 0.5
        uv = self._to_image(out["keypoints_uv"], area, size)
        around = tf.concat([self._to_image(corners, area, size), uv], 2)
        box = tf.concat([tf.reduce_min(around, 2), tf.reduce_max(around, 2)], -1)
        most = tf.cast(tf.tile(size, [1, 2]) - 1, tf.float32)[:, None]
        side = out["side"][..., ::-1] if self._mirrored else out["side"]
        hands = out | {
            "side": side,
            "box": tf.clip_by_value(box, 0.0, most),
            "keypoints_uv": uv,
            "keypoints_xyz": _root_relative(out["keypoints_xyz"]),
        }
        return {name: tf.cast(hands[name], tf.float32) for name in names if name in hands}

    @staticmethod
    def _to_image(uv, area, size):
        """Pixels of the canvas (B, M, N, 2) -> pixels of the image."""
        area = area[:, None, None]
        by = tf.cast(size, tf.float32)[:, None, None] / area[..., 2:]
        return (uv - area[..., :2] + 0.5) * by - 0.5


def _root_relative(xyz):
    return xyz - xyz[..., ROOT : ROOT + 1, :]
