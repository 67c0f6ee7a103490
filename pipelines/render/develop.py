"""What a small camera makes of the light that falls into it."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

FIXED = 0.18  # linear light that the tone curve leaves as it is


def _gain(shoulder):
    """What light is multiplied by before it rolls off, so that FIXED stays."""
    return 1 / (1 + shoulder * (1 - FIXED))


def roll_off(linear, shoulder):
    """Tone curve of a camera on linear light >= 0, each colour by itself: highlights are dimmer and paler.

    shoulder: 0 none.  What is brighter than FIXED comes out darker, what is darker a little brighter;
    light of 1 + shoulder * (1 - FIXED) comes out as 1.
    """
    gain = _gain(shoulder)
    return linear * gain * (1 + shoulder) / (1 + shoulder * gain * linear)


def undo_roll_off(value, shoulder):
    """The light of which `roll_off` makes `value`, 0 to 1."""
    gain = _gain(shoulder)
    return value / (gain * (1 + shoulder) - shoulder * gain * value)


def develop(linear, shoulder, rng):
    """What a small camera makes of light (H, W, 3): white balance, blur, tone curve, noise, JPEG -> uint8.

    shoulder: of `roll_off`.
    """
    linear = (
        linear * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.12)))
    )
    if rng.random() < 0.45:
        linear = ndimage.gaussian_filter(linear, (*[rng.uniform(0.3, 0.9)] * 2, 0))
    if rng.random() < 0.06:
        length = int(rng.integers(3, 8))
        linear = ndimage.uniform_filter1d(linear, length, axis=int(rng.integers(2)))
    linear = roll_off(np.maximum(linear, 0), np.float32(shoulder))
    value = np.clip(linear, 0, 1) ** np.float32(1 / rng.uniform(1.95, 2.5))
    contrast = rng.normal(0.4, 0.3)
    value = value + contrast * (value - value * value) * (2 * value - 1)  # s-curve
    grey = value.mean(-1, keepdims=True)
    value = grey + np.float32(rng.uniform(0.75, 1.25)) * (value - grey)
    if rng.random() < 0.75:
        noise = rng.standard_normal(value.shape, np.float32)
        if rng.random() < 0.4:
            noise = ndimage.uniform_filter(noise, (2, 2, 1)) * 1.6
        value = value + np.float32(rng.gamma(1.5, 0.006)) * noise * (1.2 - value)
    image = (np.clip(value, 0, 1) * 255 + 0.5).astype(np.uint8)
    if rng.random() < 0.35:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(35, 90)))
        image = np.asarray(Image.open(buffer).convert("RGB"))
    return image
