"""Light: surroundings from the colours of the background, lamps of random place, strength and warmth."""

from dataclasses import dataclass

import numpy as np

DIRECTIONS = 256
# irradiance over pi, per radiance: band weights 1, 2/3, 1/4 times the squared norms of the basis
BANDS = (
    4
    * np.pi
    * np.array([1.0, 2 / 3, 2 / 3, 2 / 3, 0.25, 0.25, 0.25, 0.25, 0.25])
    * np.array([0.282095, 0.488603, 0.488603, 0.488603, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274])
    ** 2
)


@dataclass
class Light:
    """direction (3,) towards the light, camera axes; colour (3,) linear; softness: filter radius, metres."""

    direction: np.ndarray
    colour: np.ndarray
    softness: float = 0.01


def sphere(count):
    """Evenly spread unit vectors, (count, 3)."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1)


def basis(n):
    x, y, z = n.T
    return np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], 1)


def harmonics(picture, level, rng):
    """Irradiance of the surroundings that `picture` (H, W, 3), linear, shows a part of.

    The picture stands for what is in front of the camera, its blurred mirror image for what is behind.
    Returns (9, 3) float64; mean irradiance `level`; axes of the camera.
    """
    d = sphere(DIRECTIONS)
    height, width = picture.shape[:2]
    blur = (
        picture[: height // 16 * 16, : width // 16 * 16]
        .reshape(16, height // 16, 16, width // 16, 3)
        .mean((1, 3))
    )
    column = np.clip((0.5 + 0.48 * d[:, 0]) * 16, 0, 15).astype(int)
    row = np.clip((0.5 + 0.48 * d[:, 1]) * 16, 0, 15).astype(int)
    radiance = blur[row, column]
    behind = rng.uniform(0.5, 1.6)
    radiance = radiance * np.where(d[:, 2:] < 0, behind, 1.0)
    sky = rng.uniform(0.1, 1.0)  # more comes from above than from below
    radiance = radiance * (1 - sky * d[:, 1:2]) + 0.05
    grey = radiance.mean(1, keepdims=True)
    radiance = grey + rng.uniform(0.1, 0.45) * (radiance - grey)  # walls and lamps of the room are paler
    coefficients = BANDS[:, None] * (basis(d).T @ radiance) / DIRECTIONS
    return coefficients * level / coefficients[0].mean()


def temperature(warmth):
    """Colour of a lamp, mean 1: -1 bluish .. 0 white .. 1 as orange as a candle."""
    colour = np.array([1 + 0.45 * warmth, 1 - 0.02 * abs(warmth), 1 - 0.5 * warmth])
    return colour / colour.mean()


def lamps(rng, up, key):
    """1 to 3 lights that together give an irradiance of about `key` on a surface facing them.

    Args:
        up: (3,) the direction of the ceiling in camera axes.
    """
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    share = rng.dirichlet([2.5] + [1.0] * (count - 1)) if count > 1 else np.ones(1)
    share = np.sort(share)[::-1]
    lights = []
    for k in range(count):
        direction = (
            rng.normal(size=3) * [1.0, 0.7, 0.8] + 0.9 * up + np.array([0, 0, -0.3])
        )  # the camera's side
        if k and rng.random() < 0.3:
            direction[2] = abs(direction[2])  # from behind
        direction /= np.linalg.norm(direction)
        warmth = np.clip(rng.normal(0.05, 0.2), -0.5, 0.7)
        lights.append(
            Light(
                direction, key * share[k] * temperature(warmth), float(rng.choice([0.003, 0.008, 0.02, 0.04]))
            )
        )
    return lights
