"""Photographs from files and arrays, whatever their format, as (H, W, 3) uint8 RGB.

A file becomes what a viewer would show: EXIF orientation applied, transparency over white, 16 bits
scaled to 8, the first frame of an animation.  Anything else is an `ImageError` that names the file.
"""

import functools
import io
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from hand3d.files import is_own_picture

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
EXTENSIONS = (
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif .tga .ico"
).split()
MAX_PIXELS = 2**28  # 268 megapixels: above the 200 of a telephone; 1 GiB once decoded to RGB by Pillow
GREY = 128  # what lies outside an image, in training and after: 0 for the networks
PICTURE_SIDE = 1280  # enough for the networks and a picture: the estimator reduces larger files to this

_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _NoPillowLimit:
    """While threads are inside, Pillow has no limit of its own: a module global, too low for telephones."""

    def __init__(self):
        self.lock, self.inside, self.limit = threading.Lock(), 0, None

    def __enter__(self):
        with self.lock:
            if not self.inside:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self.inside += 1

    def __exit__(self, *error):
        with self.lock:
            self.inside -= 1
            if not self.inside:
                Image.MAX_IMAGE_PIXELS = self.limit


_no_pillow_limit = _NoPillowLimit()


class ImageError(ValueError):
    """An image that cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image in memory, possibly smaller than its file.

    seen: what networks look at, (h, w, 3) uint8 RGB array, or Pillow's image of mode RGB.  width, height: of
    the original, in pixels, after its EXIF orientation.  path: str, or None for an array.  notes: what a user
    may want to know, such as "first of 12 frames".  larger: None, or what makes `picture` where it is larger.
    """

    seen: np.ndarray | Image.Image
    width: int
    height: int
    path: str | None = None
    notes: tuple = ()
    larger: Callable | None = None

    @functools.cached_property
    def picture(self):
        """What people look at, as `seen` but perhaps larger: decoded when it is asked for."""
        return self.seen if self.larger is None else self.larger()

    @functools.cached_property
    def pixels(self):
        """(h, w, 3) uint8 RGB: made when it is asked for, which takes longer than decoding did."""
        return as_pixels(self.picture)


def load_image(source, max_side=None, seen_side=None):
    """Image from a path or an array.

    source: path of an image file, or (H, W, 3) uint8 RGB array.
    max_side: larger images are reduced, antialiased, until their longer side has this many pixels;
        None keeps the size.
    seen_side: JPEG files that are at least twice as large are decoded and reduced to this many pixels for
        `seen`, which is much quicker; their `picture`, up to max_side, is decoded from the file's bytes when
        it is asked for.
    Returns a `LoadedImage`.  Raises ImageError for a file that is missing, empty, damaged, too large or no
    image; TypeError or ValueError for an array of another type or shape.
    """
    if isinstance(source, str | os.PathLike):
        return _load_file(os.fspath(source), max_side, seen_side)
    pixels = check_array(source)
    height, width = pixels.shape[:2]
    if max_side is not None and max(height, width) > max_side:
        return LoadedImage(_reduce(Image.fromarray(pixels), (width, height), max_side), width, height)
    return LoadedImage(pixels, width, height)


def check_array(image, name="image"):
    """image as (H, W, 3) uint8 array; TypeError or ValueError with the remedy if it is not one."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(
            f"{name} has dtype {image.dtype}; expected uint8 RGB in 0..255"
            + (
                " (for values in 0..1: (image * 255).round().astype('uint8'))"
                if image.dtype.kind == "f"
                else ""
            )
        )
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"{name} has shape {image.shape}; expected (height, width, 3), RGB")
    if 0 in image.shape:
        raise ValueError(f"{name} has shape {image.shape}: it has no pixels")
    return image


def as_pixels(picture):
    """(h, w, 3) uint8 of Pillow's image of mode RGB; an array as it is."""
    return np.array(picture, dtype=np.uint8) if isinstance(picture, Image.Image) else picture


def list_images(path):
    """Paths of the images named by a command-line argument.

    A file is itself; a folder the image files directly in it, by extension, sorted, without hidden files and
    hand3d's own pictures.

    Raises ImageError if the folder cannot be read or has no images.  A missing file is left to `load_image`.
    """
    path = os.fspath(path)
    if not os.path.isdir(path):
        return [path]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ImageError(f"{path}: cannot read the folder: {error.strerror}") from error
    images = [
        os.path.join(path, name)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS
        and name[0] != "."
        and not is_own_picture(name)
        and not os.path.isdir(os.path.join(path, name))
    ]
    if not images:
        raise ImageError(f"{path}: no images in this folder (sub-folders are not searched; name them)")
    return images


def _load_file(path, max_side, seen_side):
    _check_file(path)
    try:
        with open(path, "rb") as file:
            if seen_side and (not max_side or seen_side < max_side):
                data = _jpeg_bytes(file)
                small = data and _open(io.BytesIO(data), path, seen_side, twice=True)
                if small:
                    return replace(small, larger=functools.partial(_larger, data, path, max_side))
            return _open(file, path, max_side)
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image of a known format ({', '.join(FORMATS)})") from error
    except MemoryError as error:
        raise ImageError(f"{path}: the image does not fit into memory") from error
    except Exception as error:  # damaged files make Pillow's decoders raise errors of every kind
        reason = str(error) or type(error).__name__
        raise ImageError(f"{path}: damaged or truncated image ({reason})") from error


def _jpeg_bytes(file):
    """The bytes of a JPEG file, or None of another, which is left at its beginning."""
    beginning = file.read(3)
    file.seek(0)
    return file.read() if beginning == b"\xff\xd8\xff" else None


def _larger(data, path, max_side):
    return _open(io.BytesIO(data), path, max_side).seen


def _open(file, path, max_side, twice=False):
    with _no_pillow_limit:
        return _decode(file, path, max_side, twice)


def _check_file(path):
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):  # a pipe would make us wait
            with open(path, "rb"):
                pass
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageError(f"{path!s}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: is a folder, expected an image file")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: is not a regular file")
    if status.st_size == 0:
        raise ImageError(f"{path}: the file is empty")


def _decode(file, path, max_side, twice):
    """`LoadedImage` of an open file; `twice`: None unless it is at least twice as large as max_side."""
    Image.init()
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    size = image.size
    if min(size) < 1:
        raise ImageError(f"{path}: the image has no pixels")
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{path}: {size[0]} x {size[1]} pixels are more than the limit of {MAX_PIXELS}; reduce it first"
        )
    if twice and max(size) < 2 * max_side:
        return None
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    notes = (f"first of {frames} frames",) if frames > 1 else ()
    draft = image.draft(None, _target(size, max_side)) if max_side and max(size) > max_side else None
    image.load()
    if draft is None:
        size = image.size  # TIFF is turned upright by Pillow while it loads
    orientation = _orientation(image)
    image = _reduce(_to_rgb(image), size, max_side)
    if orientation in _ORIENTATIONS:
        image = image.transpose(_ORIENTATIONS[orientation])
        if orientation >= 5:  # 5 to 8 swap rows and columns
            size = size[::-1]
    return LoadedImage(image, *size, path, notes)


def _orientation(image):
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block must not cost the picture
        return 1


def _reduce(image, size, max_side):
    """image: decoded from an original of `size`, perhaps reduced by a power of two (JPEG draft mode)."""
    if not max_side or max(size) <= max_side:
        return image
    # Draft mode rounds sizes up, so the original's extent can end within the last row and column.
    power = max(1, round(max(size) / max(image.size)))
    extent = tuple(min(side / power, have) for side, have in zip(size, image.size, strict=True))
    target = _target(size, max_side)
    return image.resize(target, Image.Resampling.BILINEAR, box=(0, 0, *extent), reducing_gap=3.0)


def _target(size, max_side):
    """size scaled so that its longer side is max_side, in whole pixels."""
    return tuple(max(1, round(side * max_side / max(size))) for side in size)


def _to_rgb(image):
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def _to_8_bits(values):
    """(H, W) integers of 16 or 32 bits, or floats, as uint8.

    White is 65535 for integers, and for floats the least of 1, 255, 65535 that holds them all; values beyond
    65535 are divided by their maximum.
    """
    tops = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    values = np.nan_to_num(values.astype(np.float32), nan=0.0)
    highest = float(values.max())
    top = next((top for top in tops if highest <= top), highest)
    return np.clip(np.round(values * (255.0 / top)), 0, 255).astype(np.uint8)
