"""The work on pixels that `hand3d.augment` does: pure functions of tensors, batched, on every backend.

Images are (B, H, W, C); pixels follow the project's rule: (u, v) = (column, row), pixel centres at integers.
"""

import math

from keras import ops

from hand3d.crops import warp
from hand3d.images import GREY

FAR = 1e4  # pixels; where things are that a crop does not show
BLACK = 0.03  # of 1; the darkest value whose ratio to its surroundings counts


def similarity(angle, scale, shift, mirror, size, source_size):
    """Maps from the pixels of a crop to those of the picture that it is taken from.

    angle: (B,) radians, the roll of the content, clockwise in the picture.  scale: (B,) source pixels per
    crop pixel.  shift: (B, 2) source pixels, from the picture's centre to the crop's.  mirror: (B,) bool,
    left and right exchanged before the roll.  size, source_size: int, pixels.
    Returns (B, 2, 3) float32: source uv = matrix @ (u, v, 1).
    """
    flip = 1 - 2 * ops.cast(mirror, "float32")
    cosine, sine = scale * ops.cos(angle), scale * ops.sin(angle)
    linear = ops.stack([ops.stack([flip * cosine, flip * sine], -1), ops.stack([-sine, cosine], -1)], -2)
    middle = (source_size - 1) / 2 + shift - (size - 1) / 2 * ops.sum(linear, -1)
    return ops.concatenate([linear, middle[..., None]], -1)


def apply_inverse(matrix, uv_source):
    """Points (B, K, 2) of the picture -> (B, K, 2) of the crop; matrix (B, 2, 3) as of `similarity`."""
    a, b, c, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1]
    inverse = ops.stack([ops.stack([d, -b], -1), ops.stack([-c, a], -1)], -2) / (a * d - b * c)[:, None, None]
    return ops.matmul(uv_source - matrix[:, None, :, 2], ops.swapaxes(inverse, 1, 2))


def _superellipse(u, v, radius, angle):
    """Value below 1 inside a rounded rectangle about the origin; all arguments broadcast."""
    cosine, sine = ops.cos(angle), ops.sin(angle)
    along = ops.square((u * cosine + v * sine) / radius[0])
    across = ops.square((v * cosine - u * sine) / radius[1])
    return along * along + across * across


def blob(shape, size):
    """Soft-edged rounded rectangles, (B, size, size, 1) float32 in 0..1.

    shape: (B, 5): centre u, v and half axes in pixels, angle in radians.
    """
    grid = ops.arange(size, dtype="float32")
    u, v, *rest = (shape[:, k, None, None] for k in range(5))
    level = _superellipse(grid[None, None, :] - u, grid[None, :, None] - v, rest[:2], rest[2])
    return ops.clip((1.2 - level) * 4, 0, 1)[..., None]


def in_blob(uv, shape):
    """(B, K, 2) points -> (B, K) bool, covered by `blob`."""
    u, v, *rest = (shape[:, k, None] for k in range(5))
    return _superellipse(uv[..., 0] - u, uv[..., 1] - v, rest[:2], rest[2]) < 1.1


def blur(image, sigma):
    """Gaussian low-pass as two matrix products.

    image: (B, N, N, C).  sigma: (B, 2) pixels along u and v, may be 0.  The filter is cut off at the border.
    """
    _, size, _, channels = image.shape
    grid = ops.arange(size, dtype="float32")
    distance = ops.square(grid[None] - grid[:, None])
    matrix = ops.exp(-distance / (2 * ops.square(ops.maximum(sigma, 0.05)))[:, :, None, None])
    matrix = matrix / ops.sum(matrix, -1, keepdims=True)
    image = ops.matmul(matrix[:, 1], ops.reshape(image, (-1, size, size * channels)))
    image = ops.transpose(ops.reshape(image, (-1, size, size, channels)), (0, 2, 1, 3))
    image = ops.matmul(matrix[:, 0], ops.reshape(image, (-1, size, size * channels)))
    return ops.transpose(ops.reshape(image, (-1, size, size, channels)), (0, 2, 1, 3))


def local_contrast(image, sigma, gain):
    """Each pixel's ratio to its surroundings, to the power of 1 + gain.

    image: (B, N, N, C) in -0.5..0.5.  sigma: (B, 2) pixels along u and v, of the Gaussian surroundings.
    gain: (B,), 0 changes nothing, 1 squares the ratios, -1 leaves the surroundings alone.
    """
    value = ops.maximum(image + 0.5, BLACK)
    ratio = ops.log(value / blur(value, sigma))
    change = ops.expm1(gain[:, None, None, None] * ratio)
    return ops.minimum(image + (image + 0.5) * change, 0.5)


def colour_matrix(hue, saturation, gain):
    """hue (B,) radians, saturation (B,) factor, gain (B, 3) of the channels -> (B, 3, 3).

    The new colours are rgb @ matrix: turned about the grey axis and scaled towards it, as YIQ does it but
    with equal weights.
    """
    cosine, sine = ops.cos(hue)[:, None, None], ops.sin(hue)[:, None, None]
    grey = ops.ones((3, 3)) / 3
    turn = ops.convert_to_tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    matrix = grey + saturation[:, None, None] * (cosine * (ops.eye(3) - grey) + sine * turn)
    return matrix * gain[:, None, :]


def recolour(image, matrix, offset):
    """rgb @ matrix + offset.  image (B, H, W, 3); matrix (B, 3, 3); offset (B,)."""
    matrix = matrix[:, None, None]
    return sum(image[..., k, None] * matrix[..., k, :] for k in range(3)) + offset[:, None, None, None]


def render(picture, background, drawn, size):
    """The work on pixels: a pure function.

    picture (B, S, S, 5) uint8, background (B, size, size, 3) uint8, drawn: dict of tensors as of
    `Augment.draw`.  Returns image (B, size, size, 3) float32 in -0.5..0.5 and covers (B, size, size, 2)
    float32 in 0..1, how much of each pixel the person and the hand fill.
    """
    warped, inside = warp(picture, drawn["matrix"], size)
    gone = drawn["gone"][:, None, None]
    covers = warped[..., 3:] / 255 * inside * (1 - gone[..., :1])
    person, hand = (
        covers[..., :1] * (1 - gone[..., 1:] * covers[..., 1:]),
        covers[..., 1:] * (1 - gone[..., 1:]),
    )
    # colours are linear up to here, so they can be changed before the layers are put together
    image = (warped[..., :3] * inside + GREY * (1 - inside)) / 255
    image = recolour(image, drawn["colour"], drawn["offset"])
    other = ops.cast(background, "float32") / 255
    texture = recolour(ops.flip(other, 2), drawn["texture_colour"], drawn["texture_offset"])
    other = recolour(other, drawn["other_colour"], drawn["other_offset"])
    replace = ops.maximum(drawn["replace"][:, None, None, None], ops.max(gone, -1, keepdims=True))
    image = other + (image - other) * ops.maximum(person, 1 - replace)
    behind, front = blob(drawn["behind"], size), blob(drawn["front"], size)
    image = image + (texture - image) * ops.maximum(behind * (1 - hand), front)
    covers = ops.concatenate([person, hand], -1) * (1 - front)
    image = ops.clip(image, 0, 1)
    image = image + drawn["bend"][:, None, None, None] * image * (1 - image)
    image = image + drawn["noise"][:, None, None, None] * drawn["grain"]
    return ops.clip(image, 0, 1) - 0.5, covers


def render_at(size):
    """`render` for one size, as a function of tensors only."""

    def render_pixels(picture, background, drawn):
        return render(picture, background, drawn, size)

    return render_pixels
