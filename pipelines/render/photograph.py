"""How a scene looks: its light, the colours of skin, hair, eyes and clothes, and the exposure."""

import functools

import numpy as np

from hand3d.skeleton import HAND_SLICES, SIDES
from pipelines.render import lighting
from pipelines.render.develop import develop, undo_roll_off
from pipelines.render.skin import DETAIL_VARIANTS, skin_uniforms, to_linear
from pipelines.render.surface import THING

MIDDLE, METERING = 0.2, 0.4  # linear light that people are exposed for; power of the way there, 1 all of it
IRISES = np.array([[60, 40, 25], [90, 60, 35], [70, 100, 130], [80, 95, 60]])  # sRGB
HAIRS = np.array([[22, 18, 16], [50, 34, 24], [95, 65, 40], [170, 130, 80], [120, 55, 30]])


def photograph(renderer, shot, picture, rng):
    """Light, draw and photograph a shot before a background (H, W, 3) uint8 -> image (H, W, 3) uint8.

    renderer: `scene.Renderer`, with the shot in its rasteriser.  shot: as of `scene`.
    """
    shoulder = rng.uniform(0.0, 6.0)
    background = undo_roll_off(to_linear_table()[picture], np.float32(shoulder))  # a camera much like ours
    camera, character = shot["camera"], shot["character"]
    up = camera.rotation @ np.array([0, 1.0, 0])
    # a white wall that faces the light would come out at about `exposure`
    exposure = np.exp(rng.normal(-0.12, 0.25))
    ambient = rng.uniform(0.1, 0.55)
    harmonics = lighting.harmonics(background, ambient * exposure, rng)
    lights = lighting.lamps(rng, up, (1.0 - ambient) * rng.uniform(1.4, 4.5) * exposure)
    materials = _materials(shot, rng)
    variant = character.attributes["age"] / 80 * DETAIL_VARIANTS + rng.normal(0, 2.0)
    variant = int(np.clip(variant, 0, DETAIL_VARIANTS - 1))
    hand = shot["xyz"][HAND_SLICES[SIDES[shot["side"]]]]
    pixels = renderer.rasteriser.draw_colours(
        materials,
        lights,
        harmonics,
        centre=hand.mean(0),
        occlusion=float(rng.uniform(0.9, 1.8)),
        detail=renderer.detail(variant),
    )
    background = background * np.exp(rng.normal(0.0, 0.25))
    linear = metered(pixels) * pixels[..., :3] + (1 - np.clip(pixels[..., 3:], 0, 1)) * background
    return develop(linear, shoulder, rng)


def metered(pixels):
    """Factor for the light on people that a camera which looks at them would take: part of the way to MIDDLE.

    pixels: (H, W, 4) linear colour premultiplied with coverage, coverage.
    """
    covered = pixels[..., 3] > 0.5
    if not covered.any():
        return 1.0
    mean = max(float(pixels[covered, :3].mean()), MIDDLE / 100)
    return (MIDDLE / mean) ** METERING


def _materials(shot, rng):
    """Uniforms of the shading programs: colours of skin, hair, eyes and clothes of this picture."""
    attributes = shot["character"].attributes
    tone = attributes["skin_tone"] + rng.normal(0, 0.07) if rng.random() < 0.6 else rng.beta(1.0, 1.7)
    skin = skin_uniforms(float(np.clip(tone, 0, 1)), attributes["age"], rng)
    iris = to_linear(IRISES[rng.integers(4)] / 255)
    if attributes["age"] > 50 and rng.random() < 0.6:  # grey
        hair = np.full(3, rng.uniform(0.2, 0.6))
    else:
        hair = to_linear(HAIRS[rng.choice(5, p=[0.4, 0.25, 0.15, 0.1, 0.1])] / 255)
    garments = [cloth_uniforms(rng) for _ in ("top", "bottom", THING)]
    if shot["posed"].things:
        garments[-1] |= {"u_folds": 0.0, "u_scale": garments[-1]["u_scale"] * 0.5}
    return {
        "skin": skin,
        "hair": {"u_colour_a": hair, "u_strands": float(rng.uniform(0.6, 1.4))},
        "eye": {"u_colour_a": iris, "u_colour_b": np.array([0.70, 0.66, 0.62])},
        "cloth": {key: np.stack([garment[key] for garment in garments]) for key in garments[0]},
    }


def cloth_uniforms(rng):
    """Colours and pattern of a garment; greys, whites, blacks and denim more often than strong colours."""

    def dye():
        kind = rng.random()
        if kind < 0.4:
            return to_linear(np.clip(rng.uniform(0.04, 0.95) + rng.normal(0, 0.02, 3), 0, 1))
        if kind < 0.55:
            return to_linear(np.clip(np.array([0.2, 0.28, 0.42]) * rng.uniform(0.5, 1.6), 0, 1))
        if kind < 0.62:  # the colour of skin
            skin = np.array([0.85, 0.66, 0.56]) * rng.uniform(0.5, 1.1)
            return to_linear(np.clip(skin + rng.normal(0, 0.02, 3), 0, 1))
        return to_linear(rng.uniform(0.03, 0.95, 3))

    pattern = int(rng.choice(8, p=[0.42, 0.1, 0.06, 0.08, 0.05, 0.06, 0.12, 0.11]))
    first = dye()
    return {
        "u_colour_a": first * 0.9,
        "u_colour_b": (first * rng.uniform(0.5, 0.9) if pattern == 7 else dye()) * 0.9,
        "u_pattern": pattern,
        "u_scale": float(rng.uniform(0.012, 0.07)),
        "u_folds": float(rng.uniform(0.004, 0.03)),
        "u_sheen": float(rng.uniform(0, 0.5)),
    }


@functools.cache
def to_linear_table():
    """(256,) float32: linear value of each sRGB byte."""
    return to_linear(np.arange(256) / 255).astype(np.float32)
