"""hand3d.images: every kind of file gives the right pixels or an ImageError that names the file."""

import io

import numpy as np
import pytest
from PIL import Image

from hand3d.images import MAX_PIXELS, ImageError, check_array, list_images, load_image


@pytest.fixture
def photo():
    """(24, 32, 3) uint8 with a different colour in each corner."""
    image = np.full((24, 32, 3), 128, np.uint8)
    image[:8, :8], image[:8, -8:], image[-8:, :8], image[-8:, -8:] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        255,
    )
    return image


def close(image, expected, tolerance=2):
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).max() <= tolerance


def test_array_and_file_agree(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png")
    assert loaded.pixels.dtype == np.uint8 and np.array_equal(loaded.pixels, photo)
    assert (loaded.width, loaded.height, loaded.path) == (32, 24, str(tmp_path / "a.png"))
    assert np.array_equal(load_image(photo).pixels, photo)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation(photo, tmp_path, orientation, suffix):
    # the stored pixels are what a camera held that way would have written
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(photo)
    stored = stored if undo is None else stored.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    loaded = load_image(tmp_path / f"a.{suffix}")
    assert (loaded.width, loaded.height) == (32, 24)
    assert close(loaded.pixels, photo, 40 if suffix == "jpg" else 0)


def test_grey_16_bit_is_scaled(tmp_path):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        expected = np.repeat(np.arange(256).reshape(16, 16, 1), 3, -1)
        assert close(load_image(tmp_path / name).pixels, expected, 1)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 1e6])
def test_float_tiff_is_scaled(tmp_path, top):
    Image.fromarray(np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)).save(tmp_path / "a.tif")
    pixels = load_image(tmp_path / "a.tif").pixels
    assert pixels.min() == 0 and pixels.max() == 255 and abs(int(pixels[8, 0, 0]) - 128) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_colour_modes(photo, tmp_path, mode):
    image = Image.fromarray(photo).convert(mode)
    name = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    image.save(name)
    expected = np.asarray(image.convert("RGB"))
    assert close(load_image(name).pixels, expected)


def test_cmyk_jpeg(photo, tmp_path):
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    corner = load_image(tmp_path / "a.jpg").pixels[2, 2].astype(int)
    assert corner[0] > 220 and corner[1:].max() < 40


def test_transparency_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert (load_image(tmp_path / "a.png").pixels == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([9, 9, 9] * 256)
    palette.save(tmp_path / "b.png", transparency=0)
    assert (load_image(tmp_path / "b.png").pixels == 255).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_animation_gives_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    loaded = load_image(tmp_path / name)
    assert loaded.notes == ("first of 3 frames",)
    assert close(loaded.pixels, np.full((8, 8, 3), (255, 0, 0)))


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", max_side=100).pixels.tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_very_wide_is_reduced(tmp_path, suffix):
    ramp = np.repeat(np.linspace(0, 255, 20000).astype(np.uint8)[None, :, None], 3, -1).repeat(30, 0)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    loaded = load_image(tmp_path / f"a.{suffix}", max_side=1000)
    assert loaded.pixels.shape == (2, 1000, 3) and (loaded.width, loaded.height) == (20000, 30)
    centres = (np.arange(1000) + 0.5) * 20 - 0.5  # the one pixel rule
    assert np.abs(loaded.pixels[0, :, 0] - centres * 255 / 19999).max() < 3


def test_reduction_with_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 100), "red").save(tmp_path / "a.jpg", exif=exif)
    loaded = load_image(tmp_path / "a.jpg", max_side=100)
    assert loaded.pixels.shape == (100, 25, 3) and (loaded.width, loaded.height) == (100, 400)


@pytest.mark.parametrize("orientation", [1, 6])
def test_networks_see_a_jpeg_reduced_and_people_larger(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.repeat(np.linspace(0, 255, 1300).astype(np.uint8)[None, :, None], 3, -1).repeat(901, 0)
    path = tmp_path / "a.jpg"
    Image.fromarray(ramp).save(path, exif=exif, quality=95)
    whole = load_image(path, max_side=1280)
    loaded = load_image(path, max_side=1280, seen_side=640)
    assert (loaded.width, loaded.height) == (whole.width, whole.height)
    seen, picture = np.array(loaded.seen), path.read_bytes()
    path.unlink()  # the picture is there all the same
    assert np.array_equal(loaded.pixels, whole.pixels)
    assert sorted(seen.shape) == [3, 444, 640]
    along = seen[222, :, 0] if orientation == 1 else seen[:, 222, 0]
    centres = (np.arange(640) + 0.5) * 1300 / 640 - 0.5
    assert np.abs(along - centres * 255 / 1299).max() < 2
    path.write_bytes(picture[: len(picture) // 2])
    with pytest.raises(ImageError, match="damaged or truncated"):
        load_image(path, max_side=1280, seen_side=640)


@pytest.mark.parametrize("name, size", [("a.png", 1280), ("a.jpg", 1279)])
def test_what_is_not_decoded_twice(tmp_path, name, size):
    Image.new("RGB", (size, 90), "red").save(tmp_path / name)
    loaded = load_image(tmp_path / name, max_side=1280, seen_side=640)
    assert loaded.seen is loaded.picture and loaded.seen.size == (size, 90)


def test_more_than_pillows_limit(tmp_path, monkeypatch):
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_image(tmp_path / "a.png").width == 200
    assert Image.MAX_IMAGE_PIXELS == 100


def png_header(width, height):
    """A PNG file that claims a size and has no pixels."""
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def test_bad_files(photo, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(photo).resize((300, 300)).save(buffer, "jpeg")
    whole = buffer.getvalue()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("This is no image.")
    (tmp_path / "huge.png").write_bytes(png_header(60000, 60000))
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(photo).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-40])
    for name, words in {
        "missing.jpg": "no such file",
        "empty.jpg": "empty",
        "text.jpg": "not an image",
        "huge.png": str(MAX_PIXELS),
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        ".": "folder",
    }.items():
        with pytest.raises(ImageError, match=words) as error:
            load_image(tmp_path / name)
        assert str(error.value).count(str(tmp_path)) == 1 and "\n" not in str(error.value)
    with pytest.raises(ImageError):
        load_image("null\0byte.jpg")
    with pytest.raises(ImageError, match="regular"):
        load_image("/dev/null")


def test_every_truncation_is_an_image_error(photo, tmp_path):
    for suffix in ("png", "gif", "bmp", "tif", "webp", "jpg"):
        Image.fromarray(photo).save(tmp_path / f"a.{suffix}")
        content = (tmp_path / f"a.{suffix}").read_bytes()
        for length in range(1, len(content), max(1, len(content) // 12)):
            (tmp_path / "cut").write_bytes(content[:length])
            try:
                assert load_image(tmp_path / "cut").pixels.shape == photo.shape  # trailing bytes
            except ImageError:
                pass


def test_arrays_are_checked():
    with pytest.raises(TypeError, match="float"):
        check_array(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        check_array(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="no pixels"):
        check_array(np.zeros((0, 4, 3), np.uint8))


def test_list_images(photo, tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.png", "a.hand3d.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == [str(tmp_path / "a.png"), str(tmp_path / "b.JPG")]
    assert list_images("anything.else") == ["anything.else"]
    with pytest.raises(ImageError, match="no images"):
        list_images(tmp_path / "empty")
