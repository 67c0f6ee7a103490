"""Pictures of records and of data sets on disk: encoded, decoded, and reduced with their labels."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from hand3d.images import ImageError, load_image

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # the EXIF tag


def encode_png(array):
    """(H, W) uint8 or uint16, or (H, W, 3) uint8 -> PNG, bytes, quickly and losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_jpeg(array, quality=95):
    """(H, W, 3) uint8 -> JPEG without chroma subsampling, bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def read_rgb(path):
    """Image file -> ((H, W, 3) uint8 as a viewer shows it, the file as bytes or None).

    The file is given where it can go into a record as it is: a plain RGB JPEG that need not be turned.
    Raises `hand3d.images.ImageError` naming the file.
    """
    pixels = load_image(path).pixels
    with open(path, "rb") as file:
        start = file.read(3)
        if start != JPEG:
            return pixels, None
        content = start + file.read()
    with Image.open(io.BytesIO(content)) as image:
        plain = image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1
    return pixels, content if plain else None


def read_levels(path, modes):
    """Image file whose numbers mean something, such as a mask -> array of its own type, file as bytes.

    modes: Pillow's names of the acceptable kinds, ("L",) or ("RGB",).  Raises ImageError naming the file.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in modes:
                raise ImageError(f"{path}: a picture of kind {image.mode}, expected {' or '.join(modes)}")
            return np.array(image), content
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise errors of every kind
        raise ImageError(f"{path}: damaged or no picture ({error})") from error


def decode(content):
    """Encoded picture, bytes -> array; ValueError if it is damaged."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.array(image)
    except Exception as error:
        raise ValueError(f"picture cannot be decoded ({error})") from error


def check(content):
    """Size (width, height) of an encoded picture once all its data were read; ValueError if it is damaged.

    Much cheaper than `decode`: of a JPEG the entropy code is read, but hardly a pixel made; of a PNG the
    checksums and the compressed data.
    """
    if content.startswith(PNG):
        return _check_png(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
            image.draft("L", (1, 1))
            image.load()
            return size
    except Exception as error:
        raise ValueError(f"picture cannot be decoded ({error})") from error


def _check_png(content):
    try:
        position, data, header = len(PNG), [], None
        while True:
            length, kind = struct.unpack_from(">I4s", content, position)
            body = content[position + 8 : position + 8 + length]
            (checksum,) = struct.unpack_from(">I", content, position + 8 + length)
            if zlib.crc32(kind + body) != checksum:
                raise ValueError(f"wrong checksum at byte {position}")
            position += 12 + length
            if kind == b"IHDR":
                header = struct.unpack(">IIBBBBB", body)
            elif kind == b"IDAT":
                data.append(body)
            elif kind == b"IEND":
                break
        width, height, bits, colours, _, _, interlaced = header
        if not interlaced:
            line = 1 + (width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours] + 7) // 8
            if len(zlib.decompress(b"".join(data))) != height * line:
                raise ValueError("too few or too many pixels")
        return width, height
    except (KeyError, TypeError, ValueError, struct.error, zlib.error) as error:
        raise ValueError(f"PNG cannot be decoded ({error})") from error


def reduce(sample, longest):
    """A sample whose longer side has `longest` pixels at most; labels, boxes and K go with it.

    sample: dict as `pipelines.records.write_shard` takes it.
    """
    height, width = sample["image"].shape[:2]
    if not longest or max(height, width) <= longest:
        return sample
    size = tuple(max(1, round(side * longest / max(height, width))) for side in (width, height))
    factor = np.array(size) / (width, height)
    image = Image.fromarray(sample["image"]).resize(size, Image.Resampling.BOX, reducing_gap=3.0)
    K = np.array(sample["K"], np.float64)
    K[:2, :2] *= factor[:, None]
    if K.any():
        K[:2, 2] = (K[:2, 2] + 0.5) * factor - 0.5
    changed = {"image": np.asarray(image), "image_file": None, "mask_file": None, "K": K}
    changed["uv"] = (np.asarray(sample["uv"], np.float64) + 0.5) * factor - 0.5
    if sample.get("mask") is not None:
        changed["mask"] = np.asarray(Image.fromarray(sample["mask"]).resize(size, Image.Resampling.NEAREST))
    if "box" in sample:
        box, twice = np.asarray(sample["box"], np.float64), np.tile(factor, 2)
        given = box.any(-1, keepdims=True)
        changed["box"] = np.where(given, (box + 0.5) * twice - 0.5, 0)
    return sample | changed
