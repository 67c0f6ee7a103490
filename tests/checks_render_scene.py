"""Samples of the renderer: labels agree with pixels, the same seed gives the same sample.

`test_render_scene.py` runs these in a process of their own.
"""

import sys

import numpy as np
import pytest

from hand3d.skeleton import HAND_SLICES, NUM_KEYPOINTS, SIDES
from pipelines import records
from pipelines.render import context, develop, photograph
from pipelines.render.scene import CHARACTERS, Renderer, render_sample

pytest.importorskip("moderngl", reason="moderngl is not installed")

SIZE = 160


@pytest.fixture(scope="module")
def renderer():
    try:
        return Renderer(SIZE)
    except context.GraphicsUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def samples(renderer):
    return [render_sample(renderer, seed, "evaluation", SIZE) for seed in range(4)]


def test_schema(samples):
    for number, sample in enumerate(samples):
        records.check_sample(sample, str(number))
        assert sample["depth"].dtype == np.float32 and sample["visible"].dtype == bool
        assert sample["mask"].max() <= 33
        assert ((sample["depth"] > 0) == (sample["mask"] > 0)).all()


def test_projection_agrees_with_uv(samples):
    for sample in samples:
        p = sample["xyz"] @ sample["K"].T
        seen = p[:, 2] > 0.05
        np.testing.assert_allclose((p[:, :2] / p[:, 2:])[seen], sample["uv"][seen], rtol=1e-4, atol=2e-2)


def test_a_rendered_point_lands_on_its_pixel(renderer):
    """A small triangle around a known point covers the pixel that K says, and no other."""
    matrix = np.array([[200.0, 0, 81.3], [0, 210.0, 77.9], [0, 0, 1]])
    raster = renderer.rasteriser
    for u, v in ((40, 55), (0, 0), (SIZE - 1, SIZE - 1), (120, 3)):
        centre = np.linalg.inv(matrix) @ [u, v, 1.0] * 0.5
        spread = 0.5 / 200 * np.array([[-0.7, -0.4, 0], [0.7, -0.4, 0], [0, 0.8, 0]]) * 0.9
        vertices = centre + spread
        zeros = np.zeros((3, 4))
        attributes = vertices, zeros[:, :2], zeros[:, :3], zeros
        faces = np.array([[0, 2, 1]])  # towards the camera
        raster.upload(*attributes, faces, np.array([33], np.uint8), np.zeros(1, np.uint8))
        mask, depth = raster.draw_labels(matrix)
        assert np.argwhere(mask).tolist() == [[v, u]]
        assert mask[v, u] == 33 and depth[v, u] == pytest.approx(0.5, abs=1e-4)


def test_visible_keypoints_lie_on_their_own_hand(samples):
    for sample in samples:
        at = np.rint(sample["uv"]).astype(int)
        for number in np.flatnonzero(sample["visible"]):
            part = sample["mask"][at[number, 1], at[number, 0]]
            side = number // NUM_KEYPOINTS
            assert 2 + 16 * side <= part <= 17 + 16 * side
        assert max(sample["visible"][HAND_SLICES[side]].sum() for side in SIDES) >= 9


def test_finger_tips_have_the_mask_of_their_finger(samples):
    """Where a finger tip is seen, the mask has one of that finger's three ids: ids follow side and finger."""
    right = seen = 0
    for sample in samples:
        for side in range(len(SIDES)):
            for finger in range(5):
                number = side * NUM_KEYPOINTS + 1 + 4 * finger
                if sample["visible"][number]:
                    u, v = np.rint(sample["uv"][number]).astype(int)
                    first = 2 + 16 * side + 3 * finger
                    seen += 1
                    right += first <= sample["mask"][v, u] <= first + 2
    assert seen >= 8 and right >= 0.75 * seen


def test_left_is_left(renderer):
    """Seen from the front, the person's left hand is on the right side of the picture."""
    from pipelines.render.camera import WORLD_TO_DOWN
    from pipelines.render.character import make_character

    hands = make_character(renderer.body, CHARACTERS["evaluation"][0]).hands
    left, right = (WORLD_TO_DOWN @ hand.pivots[0] for hand in hands)  # a camera on the z axis
    assert left[0] > 0 > right[0]
    assert np.linalg.det(WORLD_TO_DOWN) == 1  # no mirror


def test_same_seed_same_sample(renderer, samples):
    again = render_sample(renderer, 1, "evaluation", SIZE)
    for key in ("image", "mask", "uv", "xyz", "visible", "K", "depth"):
        np.testing.assert_array_equal(again[key], samples[1][key], err_msg=key)
    assert again["meta"] == samples[1]["meta"]
    assert not np.array_equal(samples[0]["image"], samples[1]["image"])


def test_wrong_arguments(renderer):
    with pytest.raises(ValueError, match="split"):
        render_sample(renderer, 0, "test", SIZE)
    with pytest.raises(ValueError, match="size"):
        render_sample(renderer, 0, "training", SIZE + 1)


def test_the_splits_share_no_character():
    assert not set(CHARACTERS["training"]) & set(CHARACTERS["evaluation"])


def test_backgrounds_of_the_splits_are_disjoint(tmp_path):
    from PIL import Image

    from pipelines.render.backgrounds import Backgrounds, find_pictures

    for number in range(40):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    training, evaluation = (set(find_pictures(tmp_path, split)) for split in ("training", "evaluation"))
    assert training and evaluation and not training & evaluation
    with pytest.raises(FileNotFoundError, match="no picture"):
        find_pictures(tmp_path / "nothing", "training")
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "damaged.png").write_bytes(b"no picture")
    assert [path.name for path in find_pictures(tmp_path, "training")] == ["damaged.png"]
    with pytest.raises(FileNotFoundError, match="'evaluation'"):  # never those of the other folder
        find_pictures(tmp_path, "evaluation")
    with pytest.raises(ValueError, match="damaged.png"):
        Backgrounds(tmp_path, "training", made_up=0).sample(np.random.default_rng(0), 8)


def test_command_resumes(tmp_path, monkeypatch, renderer, capsys):
    pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
    from pipelines.render import __main__ as command
    from pipelines.render import shards as writer

    monkeypatch.setattr(writer, "SAMPLES_PER_SHARD", 2)
    arguments = f"--out {tmp_path} --split evaluation --count 3 --size 96 --workers 1".split()
    assert command.main(arguments) == 0
    files = sorted(tmp_path.glob("*.tfrecord"))
    assert len(files) == 2 and records.read_info(tmp_path)["splits"]["evaluation"]["samples"] == 3
    before, stamp = files[0].read_bytes(), files[1].stat().st_mtime_ns
    files[0].unlink()
    assert command.main(arguments) == 0
    assert files[0].read_bytes() == before and files[1].stat().st_mtime_ns == stamp
    for other in (["--seed", "1"], ["--count", "4"]):
        capsys.readouterr()
        assert command.main([*arguments, *other]) == 1  # what is there is something else
        assert other[0].strip("-") in capsys.readouterr().err
    assert records.read_info(tmp_path)["splits"]["evaluation"]["generator"]["seed"] == 0


def test_command_reports_bad_input(tmp_path, renderer, capsys, monkeypatch):
    pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
    from pipelines.render import __main__ as command

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for arguments, words in (
        (["--out", f"{tmp_path}/new", "--backgrounds", f"{tmp_path}/empty"], "no picture for the split"),
        (["--out", f"{tmp_path}/file"], "file"),
    ):
        assert command.main([*arguments, "--count", "1"]) == 1
        assert words in capsys.readouterr().err
    for bad in (
        "--count 0",
        "--size 8",
        "--size 100",
        "--seed -1",
        "--workers 0",
        "--independent 2",
        "--split test",
    ):
        with pytest.raises(SystemExit):
            command.parse(["--out", "x", "--count", "1", *bad.split()])
        assert bad.split()[0] in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]

    def unavailable(number):
        raise RuntimeError("libEGL.so not found")

    monkeypatch.setattr(context, "_standalone", unavailable)
    assert command.main(["--out", f"{tmp_path}/new", "--count", "1"]) == 1
    assert "install the packages libegl1 and libgl1-mesa-dri" in capsys.readouterr().err


def test_refuses_to_share_a_process_with_tensorflow(renderer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    if "llvmpipe" in renderer.rasteriser.ctx.info["GL_RENDERER"]:
        with pytest.raises(context.GraphicsUnavailable, match="process of its own"):
            context.create_context()
    else:
        context.create_context().release()


def test_people_are_exposed_part_of_the_way_to_the_middle():
    pixels = np.zeros((8, 8, 4), np.float32)
    assert photograph.metered(pixels) == 1  # nobody there
    pixels[:4] = 0.02, 0.02, 0.02, 1
    pixels[4:, :, :3] = 9  # not covered
    assert photograph.metered(pixels) == pytest.approx(
        (photograph.MIDDLE / 0.02) ** photograph.METERING, rel=1e-5
    )
    pixels[:4, :, :3] = photograph.MIDDLE
    assert photograph.metered(pixels) == pytest.approx(1)
    pixels[:4, :, :3] = 0
    assert np.isfinite(photograph.metered(pixels))


@pytest.mark.parametrize("shoulder", [0.0, 0.3, 6.0])
def test_highlights_roll_off_and_come_back(shoulder):
    light = np.linspace(0, 1 + shoulder * (1 - develop.FIXED), 50)
    value = develop.roll_off(light, shoulder)
    assert value[0] == 0 and value[-1] == pytest.approx(1)
    assert (np.diff(value) > 0).all()
    assert develop.roll_off(develop.FIXED, shoulder) == pytest.approx(develop.FIXED)
    assert develop.undo_roll_off(value, shoulder) == pytest.approx(light)
    bright, dark = develop.roll_off(np.array([[1.0, 0.5], [0.1, 0.05]]), shoulder)
    assert bright[0] / bright[1] <= dark[0] / dark[1] <= 2 + 1e-9  # bright skin is paler than dark
