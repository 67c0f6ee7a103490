"""Augmentation on the device: batched, seeded, inside the training graph.

A training example comes as a square picture larger than the network's crop (`pipelines.inputs`):

    picture: (B, S, S, 5) uint8: RGB, cover of the person, cover of the hand (0-255)
    background: (B, N, N, 3) uint8: another picture in the crop's size N

`Augment` draws a few dozen numbers per example (`draw`) and hands them to `augment_pixels.render`, a pure
function of tensors that does the work on pixels: a similarity (mirror, roll, scale, shift), another
background, things in front of and behind the hand, colour, blur and noise.  `render` compiles well: under
XLA its steps fuse, which is five times as fast on a CPU as op by op; JAX compiles it anyway, and for
TensorFlow the caller passes `jit=tf.function(jit_compile=True)`.

Pixels follow the project's rule: (u, v) = (column, row), pixel centres at integers.
"""

import math

import keras
from keras import ops

from hand3d.augment_pixels import (
    FAR,
    apply_inverse,
    blur,
    colour_matrix,
    in_blob,
    local_contrast,
    render_at,
    similarity,
)

SURROUNDINGS = (2.0, 14.0)  # of 128 pixels; standard deviations of what local contrast is against
# not in `render`: matrix products are the one thing that XLA does worse on a CPU
OUTSIDE_RENDER = ("mirror", "surroundings", "local_contrast", "blur")


@keras.saving.register_keras_serializable("hand3d")
class Augment(keras.layers.Layer):
    """Draws random changes for a batch of pictures and renders them.

    Args:
        size: side N of the crops made, pixels.
        reach: side of the picture divided by the side of the box that the crop is taken around
            (`reach` of `pipelines.inputs`; 1: the whole picture).
        crop_factor: side of the undisturbed crop divided by the box's; the paper's is 1.25.
        scale: (least, most) factor on the crop's side, log-uniform.
        shift: largest shift as a share of the box's side.
        roll: standard deviation in radians of the roll of most examples.
        roll_any: share of the examples with a roll uniform over all angles.
        mirror: share mirrored (a left hand becomes a right one).
        replace: share with another background.
        absent: share without a hand: in half of these another background covers the hands, in the other half
            the whole person.  For HandSegNet, which has to learn what is no hand.
        behind, front: share with a thing behind and in front of the hand.
        colour: strength of all colour changes, 1 as tuned.
        pale: share whose colours are drawn towards grey, by any amount.
        local_contrast: largest gain of `augment_pixels.local_contrast`, evenly from 0, in SURROUNDINGS.
            Light from the side does as much to a hand, and small cameras to all of a picture.
        blur: largest standard deviation in crop pixels of the blur of the batch's first half (0: none).
        noise: largest standard deviation of the noise, of 1.
        upright: share whose hand is turned before the roll so that it points up (`geometry.up_direction`), as
            it does in a second look.
        seed: int.
        jit: None or a function that compiles another, e.g. `tf.function(jit_compile=True)`.
    """

    def __init__(
        self,
        size,
        reach,
        *,
        crop_factor=1.25,
        scale=(0.75, 1.35),
        shift=0.15,
        roll=0.6,
        roll_any=0.3,
        mirror=0.5,
        replace=0.6,
        absent=0.0,
        behind=0.25,
        front=0.15,
        colour=1.0,
        pale=0.0,
        local_contrast=0.0,
        blur=1.5,
        noise=0.05,
        upright=0.0,
        seed=0,
        jit=None,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", "trainable": False} | kwargs)
        self.size, self.reach, self.crop_factor = size, reach, crop_factor
        self.options = dict(
            scale=tuple(scale),
            shift=shift,
            roll=roll,
            roll_any=roll_any,
            mirror=mirror,
            replace=replace,
            absent=absent,
            behind=behind,
            front=front,
            colour=colour,
            pale=pale,
            local_contrast=local_contrast,
            blur=blur,
            noise=noise,
            upright=upright,
            seed=seed,
        )
        self.random = keras.random.SeedGenerator(seed)
        self.render = jit(render_at(size)) if jit else render_at(size)

    def get_config(self):
        sizes = {"size": self.size, "reach": self.reach, "crop_factor": self.crop_factor}
        return super().get_config() | sizes | self.options

    def draw(self, batch, source_size, up=None):
        """Random tensors for `render`, a dict, `mirror` (B,) bool among them.

        batch, source_size: int.  up: (B, 2), where the hands point, unless `upright` is 0.
        """
        wanted, size = self.options, self.size

        def uniform(low, high, *shape):
            return keras.random.uniform((batch, *shape), low, high, seed=self.random)

        def normal(deviation, *shape):
            return keras.random.normal((batch, *shape), 0, deviation, seed=self.random)

        def some(share, *shape):
            return ops.cast(uniform(0, 1, *shape) < share, "float32")

        strength = wanted["colour"]
        box = source_size / self.reach
        mirror = uniform(0, 1) < wanted["mirror"]
        anywhere = some(wanted["roll_any"])
        angle = anywhere * uniform(-math.pi, math.pi) + (1 - anywhere) * normal(wanted["roll"])
        if wanted["upright"]:
            if up is None:
                raise ValueError(f"upright is {wanted['upright']}; that takes `up`, where the hands point")
            tilt = ops.arctan2(up[:, 0], -up[:, 1])  # clockwise; the other way in the mirror
            tilt = ops.where(mirror, -tilt, tilt)
            angle = angle - some(wanted["upright"]) * (1 - anywhere) * tilt
        factor = ops.exp(uniform(*(math.log(value) for value in wanted["scale"])))
        shift = uniform(-1, 1, 2) * wanted["shift"] * box
        matrix = similarity(angle, factor * self.crop_factor * box / size, shift, mirror, size, source_size)

        def colours(spread, shift, then=None, saturation=1.0):
            """Matrix and offset of a random change of colours, followed by the change `then`."""
            gain = ops.exp(normal(0.10 * spread, 3) + normal(0.15 * spread, 1))
            matrix = colour_matrix(normal(0.12 * spread), saturation * ops.exp(normal(0.25 * spread)), gain)
            offset = normal(shift * strength)
            if then is None:
                return matrix, offset
            # the grey offset goes through the second matrix as a colour would, on average
            return ops.matmul(matrix, then[0]), offset * ops.mean(ops.sum(then[0], 1), -1) + then[1]

        def thing(share, smallest, largest):
            centre = (size - 1) / 2 + uniform(-0.5, 0.5, 2) * size - (1 - some(share, 1)) * FAR
            return ops.concatenate([centre, uniform(smallest, largest, 2) * size, uniform(0, math.pi, 1)], -1)

        left = 1 - some(wanted["pale"]) * uniform(0, 1) if wanted["pale"] else 1.0
        colour = colours(strength, 0.06, saturation=left)
        other = colours(1.5 * strength, 0.1, then=colour)
        texture = colours(3 * strength, 0.2, then=colour)
        which = uniform(0, 1, 1)
        absent = 1 - wanted["absent"]
        gone = ops.cast(ops.concatenate([which > (1 + absent) / 2, which > absent], -1), "float32")
        drawn = {
            "mirror": mirror,
            "matrix": matrix,
            "colour": colour[0],
            "offset": colour[1],
            "other_colour": other[0],
            "other_offset": other[1],
            "texture_colour": texture[0],
            "texture_offset": texture[1],
            "bend": uniform(-0.5, 0.5) * strength,  # the curve x + bend x (1 - x), a cheap gamma
            "replace": some(wanted["replace"]),
            "gone": gone,  # person, hand
            "behind": thing(wanted["behind"], 0.08, 0.5),
            "front": thing(wanted["front"], 0.04, 0.2),
            "noise": wanted["noise"] * uniform(0, 1) ** 3,
            # one grain for the whole batch: drawing it for each example would cost more than all the rest
            "grain": keras.random.normal((1, size, size, 3), seed=self.random),
        }
        if wanted["local_contrast"]:
            radius = size / 128 * ops.exp(uniform(*(math.log(value) for value in SURROUNDINGS), 1))
            drawn["surroundings"] = ops.tile(radius, (1, 2))
            drawn["local_contrast"] = wanted["local_contrast"] * uniform(0, 1)
        if wanted["blur"]:
            sigma = wanted["blur"] * uniform(0, 1, 1) * uniform(0.7, 1.3, 2)
            drawn["blur"] = sigma[: (batch + 1) // 2]
        return drawn

    def still(self, batch, source_size):
        """The same dict without any change: the centred crop as it is."""
        zero = ops.zeros((batch,))
        unchanged = ops.tile(ops.eye(3)[None], (batch, 1, 1))
        away = ops.tile(ops.convert_to_tensor([[-FAR, -FAR, 1, 1, 0]]), (batch, 1))
        scale = zero + self.crop_factor * source_size / self.reach / self.size
        mirror = ops.zeros((batch,), "bool")
        return {
            "mirror": mirror,
            "matrix": similarity(zero, scale, ops.zeros((batch, 2)), mirror, self.size, source_size),
            **{
                name: zero
                for name in ("replace", "other_offset", "texture_offset", "bend", "offset", "noise")
            },
            "gone": ops.zeros((batch, 2)),
            **{name: unchanged for name in ("other_colour", "texture_colour", "colour")},
            **{name: away for name in ("behind", "front")},
            "grain": ops.zeros((1, self.size, self.size, 3)),
        }

    def call(self, picture, background, training=False, up=None):
        """Pictures as at the top of this file -> image, covers (see `render`), drawn; `up` as of `draw`."""
        batch, source_size = ops.shape(picture)[0], picture.shape[1]
        drawn = self.draw(batch, source_size, up) if training else self.still(batch, source_size)
        pixels = {key: value for key, value in drawn.items() if key not in OUTSIDE_RENDER}
        image, covers = self.render(picture, background, pixels)
        if "local_contrast" in drawn:
            image = local_contrast(image, drawn["surroundings"], drawn["local_contrast"])
        if "blur" in drawn:
            count = ops.shape(drawn["blur"])[0]
            image = ops.concatenate([blur(image[:count], drawn["blur"]), image[count:]], 0)
        return image, covers, drawn

    def move_keypoints(self, uv, visible, drawn, occluded_weight):
        """Labels of the augmented crops.

        uv: (B, K, 2) pixels of the picture.  visible: (B, K) bool.  Returns uv_crop (B, K, 2) and weight
        (B, K) float32: 1 visible, `occluded_weight` inside the crop but hidden, 0 outside.
        """
        uv_crop = apply_inverse(drawn["matrix"], uv)
        inside = ops.all((uv_crop > -0.5) & (uv_crop < self.size - 0.5), -1)
        seen = ops.cast(visible & ~in_blob(uv_crop, drawn["front"]), "float32")
        return uv_crop, ops.cast(inside, "float32") * (occluded_weight + (1 - occluded_weight) * seen)
