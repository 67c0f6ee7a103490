import numpy as np
import pytest
from PIL import Image

from experiments import same_pose, value
from hand3d.skeleton import SIDES
from pipelines.render import hand_pose, posing, refit, workers
from pipelines.render.body import load_body
from pipelines.render.camera import project
from pipelines.render.character import make_character
from pipelines.render.scene import CHARACTERS


def rig(side):
    return make_character(load_body(), int(CHARACTERS["training"][0])).hands[side]


@pytest.mark.parametrize("side", [0, 1])
def test_angles_of_a_hand_are_found_again(side):
    chain = hand_pose.make_chain([rig(side)])
    low, high = hand_pose.LIMITS.T
    angles = np.random.default_rng(side).uniform(0.7 * low, 0.7 * high)
    xyz = posing.keypoints_of(hand_pose.forward(chain, angles[None]))[0]
    turned = 900 * xyz @ hand_pose.rotation(0, np.array(0.8)).T + (10, 20, 500)
    found, error = refit.fit_angles(chain, turned)
    assert error < 3
    again = posing.keypoints_of(hand_pose.forward(chain, found[None]))[0]
    assert 1000 * np.linalg.norm(again - xyz, axis=1).mean() < 3


def test_a_given_hand_is_rendered_where_the_camera_has_it():
    chain = hand_pose.make_chain([rig(1)])
    angles = np.clip(np.full(22, 0.15), *hand_pose.LIMITS.T)
    xyz = posing.keypoints_of(hand_pose.forward(chain, angles[None]))[0] @ np.diag([1.0, -1, -1])
    xyz = 1000 * xyz + (0, 80, 600)
    camera = np.array([[300.0, 0, 111.5], [0, 300, 111.5], [0, 0, 1]])
    given, error = refit.given_hand(rig(1), 1, xyz, camera, 128 / 224)
    assert error < 3
    with workers.Pool(1, {"size": 128}) as pool:
        sample = workers.result(pool.submit(workers.render, 3, "training", given))
    uv = sample["uv"].reshape(len(SIDES), -1, 2)[1]
    wanted = (project(xyz, camera) + 0.5) * 128 / 224 - 0.5
    assert np.linalg.norm(uv - wanted, axis=1).mean() < 4
    assert sample["meta"]["side"] == "right" and sample["meta"]["view"] == "given"


def test_areas_are_of_the_photographs_pixels():
    class Hand:
        keypoints_uv = np.zeros((21, 2))

    class Prediction:
        def __init__(self, *hands):
            self.hands = hands

    off = np.zeros((21, 2))
    off[:, 0] = 20
    seen = same_pose.areas(
        [Prediction(Hand), Prediction(Hand), Prediction()], np.stack([off] * 3), [1, 0.5, 1]
    )
    np.testing.assert_allclose(seen, [1 / 3, 2 / 3, 0], atol=0.01)


def test_contrast_is_of_the_hand_alone_and_of_ratios():
    image = np.full((64, 64, 3), 255, np.uint8)
    uv = np.stack([np.full(21, 20.0), np.linspace(4, 60, 21)], 1)
    image[:, 10:30] = 188, 90, 60  # even in and around the bones, white farther off
    np.testing.assert_allclose(same_pose.hand_contrast(image, uv), 0, atol=1e-9)
    bright = image.copy()
    bright[:32, 10:30] = 255, 124, 84  # twice as much light on half of the bones
    luminance, redness, paling = same_pose.hand_contrast(bright, uv)
    assert luminance == pytest.approx(np.log(2) / 2, abs=0.03)
    assert redness < 0.02 and paling == pytest.approx(0, abs=0.05)
    pale = image.copy()
    pale[:32, 10:30] = 255, 152, 112  # more light of a paler colour
    colours = same_pose.to_linear(np.array([[188, 90, 60], [255, 152, 112]]) / 255) + same_pose.DARK
    redder = np.log(colours[:, 0] / colours[:, 1])
    fall = -np.diff(redder) / np.diff(np.log(colours @ [0.2126, 0.7152, 0.0722]))
    assert same_pose.hand_contrast(pale, uv)[2] == pytest.approx(fall[0], rel=0.05) and fall[0] > 0.1
    red = image.copy()
    red[:32, 10:30, 0] = 255
    assert same_pose.hand_contrast(red, uv)[1] == pytest.approx(np.log(2) / 2, abs=0.03)
    assert np.isnan(same_pose.hand_contrast(image, uv + 500)).all()


@pytest.mark.parametrize("text", ["60", "1,x", ""])
def test_numbers_that_are_none_are_named(text):
    with pytest.raises(ValueError, match="not a number from 0 to 59"):
        same_pose._numbers(text, 60)


def test_labels_without_cameras_are_named(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    arrays = {"names": np.array(["a.jpg"]), "uv": np.zeros((1, 21, 2)), "xyz": np.zeros((1, 21, 3))}
    np.savez(tmp_path / "truth.npz", side=np.array(["left"]), **arrays)
    assert value.read_labels(tmp_path)[0]
    assert same_pose.main(["--photos", str(tmp_path)]) == 1
    assert "lacks K" in capsys.readouterr().err


def test_what_cannot_be_rendered_is_an_error_and_not_a_traceback(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "images" / "a.png")
    xyz = np.random.default_rng(0).normal(size=(1, 21, 3)) + (0, 0, 9)
    arrays = {"names": np.array(["a.png"]), "uv": np.zeros((1, 21, 2)), "xyz": xyz, "K": np.eye(3)[None]}
    np.savez(tmp_path / "truth.npz", side=np.array(["left"]), **arrays)
    arguments = ["--photos", str(tmp_path), "--renders", "1", "--backgrounds", str(tmp_path / "none")]
    assert same_pose.main(arguments) == 1
    assert "give a folder with more photographs" in capsys.readouterr().err
