import numpy as np
import pytest
from PIL import Image

from pipelines import pictures


def pictures_of_every_kind():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (13, 21), np.uint8)
    return {
        "grey PNG": pictures.encode_png(grey),
        "16-bit PNG": pictures.encode_png(grey.astype(np.uint16) * 200),
        "colour PNG": pictures.encode_png(np.stack([grey] * 3, -1)),
        "JPEG": pictures.encode_jpeg(np.stack([grey] * 3, -1)),
    }


@pytest.mark.parametrize("kind", pictures_of_every_kind())
def test_check_finds_what_decoding_finds(kind):
    content = pictures_of_every_kind()[kind]
    assert pictures.check(content) == (21, 13)
    for damaged in (content[: len(content) // 2], content[:-30], b"", content[:4] + b"x" + content[5:]):
        with pytest.raises(ValueError, match="cannot be decoded"):
            pictures.check(damaged)
        with pytest.raises(ValueError, match="cannot be decoded"):
            pictures.decode(damaged)
    if "PNG" in kind:  # every flipped bit is found; a JPEG has no checksum
        for place in range(20, len(content) - 12, 7):
            flipped = bytearray(content)
            flipped[place] ^= 4
            with pytest.raises(ValueError):
                pictures.check(bytes(flipped))


def test_reduce_moves_labels_with_the_pixels():
    v, u = np.mgrid[:40, :60]
    image = np.stack([u * 4, v * 6, 0 * u], -1).astype(np.uint8)
    K = np.array([[50.0, 0, 29.5], [0, 50.0, 19.5], [0, 0, 1]])
    sample = {"image": image, "uv": np.array([[20.0, 10.0], [-0.5, 39.5]]), "K": K}
    sample |= {"mask": (u >= 30).astype(np.uint8), "box": np.array([[10.0, 4.0, 30.0, 20.0], [0, 0, 0, 0]])}
    small = pictures.reduce(sample, 30)
    assert small["image"].shape == (20, 30, 3) and small["mask"].shape == (20, 30)
    np.testing.assert_allclose(small["uv"], [[9.75, 4.75], [-0.5, 19.5]])
    np.testing.assert_allclose(small["box"], [[4.75, 1.75, 14.75, 9.75], [0, 0, 0, 0]])
    # the colour under a point stays: 4 u and 6 v
    value = small["image"][5, 10].astype(float)
    np.testing.assert_allclose(value[:2], (4 * (2 * 10 + 0.5), 6 * (2 * 5 + 0.5)), atol=1)
    point = np.array([0.1, -0.2, 1.0])
    before, after = K @ point, small["K"] @ point
    np.testing.assert_allclose(after[:2] + 0.5, (before[:2] + 0.5) / 2)
    assert pictures.reduce(sample, 60) is sample


def test_read_rgb_keeps_plain_jpegs_only(tmp_path):
    image = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    image.save(tmp_path / "plain.jpg")
    image.convert("L").save(tmp_path / "grey.jpg")
    image.save(tmp_path / "image.png")
    assert pictures.read_rgb(str(tmp_path / "plain.jpg"))[1] == (tmp_path / "plain.jpg").read_bytes()
    for name in ("grey.jpg", "image.png"):
        pixels, content = pictures.read_rgb(str(tmp_path / name))
        assert content is None and pixels.shape == (8, 8, 3)
