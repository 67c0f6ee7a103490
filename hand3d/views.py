"""Made-up views of hand poses for the lifting networks: in the graph, batched, seeded.

A pose is mirrored, turned in front of the camera, projected, cropped as the estimator crops, disturbed as a
detector would, and drawn as score maps (PAPER.md 3.3 and 3.4; the numbers that differ are in README's table).
"""

import math

import keras
from keras import ops

from hand3d import geometry, scoremaps
from hand3d.skeleton import NUM_KEYPOINTS, ROOT


@keras.saving.register_keras_serializable("hand3d")
class Views(keras.layers.Layer):
    """xyz, side, visible -> what a lifting network sees and should say.

    Args:
        map_size: cells a side of the score maps.
        crop_size: pixels a side of the crop that the noise is measured in, the paper's 256.
        any_view: share of the hands turned uniformly over all rotations; the others keep the view that they
            were rendered in but for a roll and a small turn.
        turn, roll: standard deviations of that, radians.
        distance: (least, most) metres of the palm from the camera.
        off_axis: standard deviation of the tangent of the angle between the hand and the optical axis.
        scale: (least, most) of the crop's side by 1.25 times the keypoints' extent.
        shift: largest shift of the crop by the keypoints' extent.
        noise: standard deviation of the keypoints in pixels of the crop, the paper's 2.5.
        gross: share of keypoints put anywhere in the crop, with little confidence.
        proportions: standard deviation of the logarithm of each bone's length.
        seed: int.
    """

    def __init__(
        self,
        *,
        map_size=32,
        crop_size=256,
        any_view=0.5,
        turn=0.4,
        roll=0.6,
        distance=(0.25, 1.5),
        off_axis=0.2,
        scale=(0.8, 1.3),
        shift=0.12,
        noise=2.5,
        gross=0.02,
        proportions=0.05,
        seed=0,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", "trainable": False} | kwargs)
        self.options = dict(
            map_size=map_size,
            crop_size=crop_size,
            any_view=any_view,
            turn=turn,
            roll=roll,
            distance=tuple(distance),
            off_axis=off_axis,
            scale=tuple(scale),
            shift=shift,
            noise=noise,
            gross=gross,
            proportions=proportions,
            seed=seed,
        )
        self.random = keras.random.SeedGenerator(seed)

    def get_config(self):
        return super().get_config() | self.options

    def call(self, xyz, side, visible, training=False):
        """xyz (B, 21, 3) metres, camera axes; side (B,) int; visible (B, 21) bool.

        Returns a dict: score_maps (B, map_size, map_size, 21); xyz_camera (B, 21, 3) metres, the hand as it
        stands before the camera; side (B,); uv_crop (B, 21, 2) and confidence (B, 21), as disturbed.
        Without training nothing is drawn at random: the hand as labelled, cropped in the middle.
        """
        wanted = self.options
        if training:
            xyz, side = self._pose(xyz, side)
        uv_crop, confidence = self._detect(xyz, visible, training)
        maps = scoremaps.encode(uv_crop, confidence, wanted["map_size"], wanted["crop_size"])
        return {
            "score_maps": maps,
            "xyz_camera": xyz,
            "side": side,
            "uv_crop": uv_crop,
            "confidence": confidence,
        }

    def _uniform(self, low, high, *shape):
        return keras.random.uniform(shape, low, high, seed=self.random)

    def _normal(self, deviation, *shape):
        return keras.random.normal(shape, 0, deviation, seed=self.random)

    def _pose(self, xyz, side):
        """Another hand, at another place, from another direction."""
        wanted, batch = self.options, ops.shape(xyz)[0]
        relative = xyz - xyz[:, ROOT : ROOT + 1]
        mirror = self._uniform(0, 1, batch) < 0.5
        sign = ops.where(mirror, -1.0, 1.0)
        relative = relative * ops.stack([sign, ops.ones_like(sign), ops.ones_like(sign)], -1)[:, None]
        side = ops.where(mirror, 1 - side, side)
        bones = geometry.local_bones(relative)
        stretch = ops.exp(self._normal(wanted["proportions"], batch, NUM_KEYPOINTS, 1))
        relative = geometry.from_local_bones(ops.concatenate([bones[..., :1] * stretch, bones[..., 1:]], -1))
        # the rendered view is relative to the ray through the palm; so are the turns
        small = ops.concatenate(
            [self._normal(wanted["turn"], batch, 2), self._normal(wanted["roll"], batch, 1)], -1
        )
        turn = ops.where(
            (self._uniform(0, 1, batch) < wanted["any_view"])[:, None, None],
            random_rotation(self._normal(1.0, batch, 4)),
            geometry.axis_angle_to_matrix(small),
        )
        relative = ops.matmul(relative, turn)
        nearest, farthest = (math.log(value) for value in wanted["distance"])
        z = ops.exp(self._uniform(nearest, farthest, batch))[:, None]
        place = ops.concatenate([self._normal(wanted["off_axis"], batch, 2) * z, z], -1)
        return relative + place[:, None], side

    def _detect(self, xyz, visible, training):
        """Crop coordinates and confidences as a detector might give them."""
        wanted, batch = self.options, ops.shape(xyz)[0]
        z = ops.maximum(xyz[..., 2:], 0.05)
        uv = xyz[..., :2] / z  # any focal length will do: the crop takes it out again
        low, high = ops.min(uv, 1), ops.max(uv, 1)
        extent = ops.max(high - low, -1)
        centre = (low + high) / 2
        factor = ops.full((batch,), 1.25)
        if training:
            factor = factor * self._uniform(*wanted["scale"], batch)
            centre = centre + self._uniform(-1, 1, batch, 2) * wanted["shift"] * extent[:, None]
        size = wanted["crop_size"]
        uv_crop = (uv - centre[:, None]) * (size / (factor * extent))[:, None, None] + (size - 1) / 2
        inside = ops.cast(ops.all((uv_crop > -0.5) & (uv_crop < size - 0.5), -1), "float32")
        if not training:
            return uv_crop, inside
        shape = (batch, NUM_KEYPOINTS)
        # half of the hands as little hidden as they were rendered, the others at random
        hidden = ops.where(
            (self._uniform(0, 1, batch) < 0.5)[:, None],
            1.0 - ops.cast(visible, "float32"),
            ops.cast(self._uniform(0, 1, *shape) < 0.15, "float32"),
        )
        spread = wanted["noise"] * self._uniform(0.4, 1.6, batch)[:, None] * (1 + 2 * hidden)
        uv_crop = uv_crop + self._normal(1.0, *shape, 2) * spread[..., None]
        gross = ops.cast(self._uniform(0, 1, *shape) < wanted["gross"], "float32")[..., None]
        uv_crop = uv_crop + gross * (self._uniform(0, size - 1, *shape, 2) - uv_crop)
        certain = self._uniform(0.7, 1.0, *shape)
        unsure = self._uniform(0.2, 0.9, *shape)
        confidence = certain + (unsure - certain) * ops.maximum(hidden, gross[..., 0])
        uv_crop = ops.clip(uv_crop, -0.1 * size, 1.1 * size)
        return uv_crop, confidence * (
            inside + 0.5 * (1 - inside) * ops.cast(self._uniform(0, 1, *shape) < 0.5, "float32")
        )


def random_rotation(normals):
    """(B, 4) normal numbers -> (B, 3, 3), uniform over all rotations (normalised quaternions)."""
    unit = normals / ops.sqrt(ops.sum(ops.square(normals), -1, keepdims=True) + 1e-12)
    w, x, y, z = (unit[:, k] for k in range(4))
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return ops.stack([ops.stack(row, -1) for row in rows], -2)
