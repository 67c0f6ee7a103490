"""Backgrounds: crops of photographs out of a folder, or rooms and clutter made up on the spot."""

import functools
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
SPLITS = ("training", "evaluation")
LARGEST = 1024


class Backgrounds:
    """Pictures for one split.  Folders named `training` and `evaluation` are taken as such; without them,
    every sixth file, by a hash of its name, goes to the evaluation.  (So a photograph that comes under
    several names, say one per resolution, has to be put into those folders.)

    Raises FileNotFoundError when `folder` holds no picture for the split.
    """

    def __init__(self, folder, split, made_up=0.25):
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
        self.split, self.made_up = split, made_up
        self.files = find_pictures(folder, split) if folder else []

    def sample(self, rng, size):
        """-> (size, size, 3) uint8, name."""
        if not self.files or rng.random() < self.made_up:
            return make_up(rng, size), "procedural"
        path = self.files[rng.integers(len(self.files))]
        return crop(_open(str(path)), rng, size), path.name


def find_pictures(folder, split):
    """Paths of a split's pictures in a folder, in order; see `Backgrounds`."""
    folder = Path(folder)
    sorted_out = any((folder / name).is_dir() for name in SPLITS)
    inside = folder / split if sorted_out else folder
    files = sorted(path for path in inside.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not sorted_out:
        files = [p for p in files if (zlib.crc32(p.name.encode()) % 6 == 0) == (split == "evaluation")]
    if not files:
        raise FileNotFoundError(
            f"no picture for the split {split!r} in {folder}: give a folder with more photographs, "
            f"or with the folders {' and '.join(SPLITS)} in it"
        )
    return files


@functools.lru_cache(maxsize=48)
def _open(path):
    return open_picture(path)


def open_picture(path):
    """A background picture, reduced to LARGEST pixels; ValueError naming the file if it is damaged."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (LARGEST, LARGEST))
            image = image.convert("RGB")
    except Exception as error:  # a damaged file raises almost anything
        raise ValueError(f"{path} is no readable picture ({error}); take it out of the folder") from error
    image.thumbnail((LARGEST, LARGEST))
    return image


def crop(image, rng, size):
    """A random square part of a PIL image, at times mirrored or out of focus, (size, size, 3) uint8."""
    side = min(image.size) * (rng.uniform(0.4, 1.0) if rng.random() < 0.75 else 1.0)
    x, y = rng.uniform(0, image.size[0] - side), rng.uniform(0, image.size[1] - side)
    out = image.resize((size, size), Image.BILINEAR, box=(x, y, x + side, y + side), reducing_gap=1.5)
    if rng.random() < 0.5:
        out = out.transpose(Image.FLIP_LEFT_RIGHT)
    return np.asarray(defocus(out, rng, size))


def defocus(image, rng, size):
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 4.0) * size / 320))
    return image


def colour(rng, kind=None):
    """A colour of rooms and things, (r, g, b) ints: walls, wood, skin-like, grey or strong."""
    kind = kind or rng.choice(["wall", "wood", "skin", "grey", "any"], p=[0.35, 0.2, 0.12, 0.18, 0.15])
    if kind == "wall":
        base = rng.uniform(110, 245) + rng.normal(0, 14, 3) + np.array([8, 3, -8]) * rng.normal(0.5, 1)
    elif kind == "wood":
        base = np.array([150, 105, 65]) * rng.uniform(0.4, 1.4) + rng.normal(0, 10, 3)
    elif kind == "skin":
        base = np.array([222, 170, 145]) * rng.uniform(0.35, 1.1) + rng.normal(0, 8, 3)
    elif kind == "grey":
        base = rng.uniform(10, 235) + rng.normal(0, 4, 3)
    else:
        base = rng.uniform(10, 245, 3)
    return tuple(int(c) for c in np.clip(base, 0, 255))


def make_up(rng, size):
    """A room-like picture of gradients, furniture, shelves, blobs and noise, (size, size, 3) uint8."""
    image = Image.new("RGB", (size, size), colour(rng, "wall" if rng.random() < 0.7 else None))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        horizon = rng.uniform(0.4, 0.95) * size
        draw.polygon(
            [(0, horizon), (size, horizon + rng.normal(0, 0.08) * size), (size, size), (0, size)],
            fill=colour(rng, "wood" if rng.random() < 0.5 else None),
        )
    if rng.random() < 0.4:
        corner = rng.uniform(0, 1) * size
        draw.polygon(
            [(corner, 0), (size, 0), (size, size), (corner + rng.normal(0, 0.05) * size, size)],
            fill=colour(rng, "wall"),
        )
    for painter in rng.choice(PAINTERS, rng.integers(2, 7)):
        painter(draw, rng, size)
    if rng.random() < 0.2:
        image = image.rotate(rng.uniform(-25, 25), Image.BILINEAR, expand=False, fillcolor=colour(rng))
    image = defocus(image, rng, size)
    picture = np.asarray(image, np.float32)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    a, b, c = rng.normal(0, 0.22, 3)
    picture = picture * (1 + a * x + b * y - abs(c) * (x * x + y * y))[..., None]
    for grain in (4, 16, 64):
        if rng.random() < 0.6:
            coarse = rng.normal(0, rng.uniform(2, 16), (-(-size // grain) + 2,) * 2).astype(np.float32)
            noise = Image.fromarray(coarse).resize((size, size), Image.BICUBIC)
            picture = picture + np.asarray(noise)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _box(rng, size, low=0.05, high=0.5):
    w, h = rng.uniform(low, high, 2) * size
    x, y = rng.uniform(-0.1, 1.0, 2) * size
    return x, y, x + w, y + h


def _rectangles(draw, rng, size):
    for _ in range(rng.integers(1, 10)):
        draw.rectangle(
            _box(rng, size),
            fill=colour(rng),
            outline=colour(rng) if rng.random() < 0.4 else None,
            width=int(rng.integers(1, 6)),
        )


def _shelves(draw, rng, size):
    x0, y0, x1, _ = _box(rng, size, 0.3, 0.9)
    rows, pitch = rng.integers(2, 6), rng.uniform(0.1, 0.25) * size
    wood = colour(rng, "wood")
    for row in range(rows):
        floor = y0 + (row + 1) * pitch
        x = x0
        palette = [colour(rng) for _ in range(rng.integers(1, 6))]
        while x < x1:
            width = rng.uniform(0.012, 0.06) * size
            top = floor - pitch * rng.uniform(0.4, 0.9)
            draw.rectangle((x, top, x + width, floor), fill=palette[rng.integers(len(palette))])
            x += width + rng.exponential(0.006) * size
        draw.rectangle((x0, floor, x1, floor + 0.015 * size), fill=wood)


def _stripes(draw, rng, size):
    x0, y0, x1, y1 = _box(rng, size, 0.3, 1.2)
    pitch, a, b = rng.uniform(0.01, 0.09) * size, colour(rng), colour(rng)
    upright = rng.random() < 0.6
    draw.rectangle((x0, y0, x1, y1), fill=a)
    for at in np.arange(x0 if upright else y0, x1 if upright else y1, 2 * pitch):
        draw.rectangle((at, y0, at + pitch, y1) if upright else (x0, at, x1, at + pitch), fill=b)


def _window(draw, rng, size):
    x0, y0, x1, y1 = _box(rng, size, 0.2, 0.6)
    draw.rectangle(
        (x0, y0, x1, y1),
        fill=tuple(int(v) for v in rng.uniform(200, 255, 3)),
        outline=colour(rng, "grey"),
        width=int(rng.integers(2, 9)),
    )
    draw.line(((x0 + x1) / 2, y0, (x0 + x1) / 2, y1), fill=colour(rng, "grey"), width=int(rng.integers(2, 6)))


def _blobs(draw, rng, size):
    """Round things and finger-like capsules, some of the colour of skin."""
    for _ in range(rng.integers(1, 12)):
        fill = colour(rng, "skin" if rng.random() < 0.4 else None)
        if rng.random() < 0.5:
            draw.ellipse(_box(rng, size, 0.02, 0.3), fill=fill)
        else:
            start, width = rng.uniform(0, size, 2), rng.uniform(0.02, 0.09) * size
            end = start + rng.normal(0, 0.2 * size, 2)
            draw.line((*start, *end), fill=fill, width=int(width) + 1)
            for p in (start, end):
                draw.ellipse(
                    (p[0] - width / 2, p[1] - width / 2, p[0] + width / 2, p[1] + width / 2), fill=fill
                )


def _bokeh(draw, rng, size):
    for _ in range(rng.integers(5, 30)):
        r, (x, y) = rng.uniform(0.01, 0.06) * size, rng.uniform(0, size, 2)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour(rng, "any" if rng.random() < 0.5 else "wall"))


def _leaves(draw, rng, size):
    hue = np.array([60, 120, 50]) * rng.uniform(0.5, 1.5)
    for _ in range(rng.integers(20, 90)):
        x, y = rng.uniform(0, size, 2)
        points = [(x + dx, y + dy) for dx, dy in rng.normal(0, 0.05 * size, (3, 2))]
        draw.polygon(
            points,
            fill=tuple(int(v) for v in np.clip(hue * rng.uniform(0.5, 1.5) + rng.normal(0, 10, 3), 0, 255)),
        )


PAINTERS = np.array(
    [_rectangles, _rectangles, _shelves, _shelves, _stripes, _window, _blobs, _bokeh, _leaves]
)
