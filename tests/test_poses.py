"""Hand poses without pictures: the file, its splits, the same result whatever the workers."""

import numpy as np
import pytest

from hand3d import skeleton
from pipelines import poses
from pipelines.render.actions import ACTIONS_EVALUATION
from pipelines.render.body import load_body
from pipelines.render.character import make_character
from pipelines.render.posing import pose_keypoints, pose_person


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    options = ["--split", "evaluation", "--count", "6", "--seed", "3", "--workers", "1"]
    assert poses.main(["--out", str(path), *options]) == 0
    return path


def test_file_holds_plausible_hands(file):
    found = poses.read_poses(file)
    assert found["split"] == "evaluation" and 6 <= len(found["side"]) <= 12
    assert set(found["side"]) == {0, 1} and set(found["action"]) <= set(ACTIONS_EVALUATION)
    start, end = skeleton.SCALE_BONE
    bone = np.linalg.norm(found["xyz"][:, start] - found["xyz"][:, end], axis=-1)
    assert (0.02 < bone).all() and (bone < 0.07).all()
    assert found["xyz"].dtype == np.float32 and found["xyz"][..., 2].min() > poses.NEAREST
    assert found["visible"].all() and list(file.parent.iterdir()) == [file]


def test_same_seed_same_hands(file):
    again = poses.draw_chunk("evaluation", 3, 0, 6)
    np.testing.assert_allclose(poses.read_poses(file)["xyz"], np.stack(again["xyz"]), atol=1e-5)
    other = poses.draw_chunk("evaluation", 4, 0, 6)
    assert np.abs(np.stack(other["xyz"])[0] - np.stack(again["xyz"])[0]).max() > 0.01


def test_independent_fingers(tmp_path):
    options = ["--split", "evaluation", "--count", "2", "--seed", "3", "--workers", "1"]
    path = tmp_path / "poses.npz"
    assert poses.main(["--out", str(path), *options, "--independent", "1"]) == 0
    found = poses.read_poses(path)["xyz"]
    np.testing.assert_allclose(found, np.stack(poses.draw_chunk("evaluation", 3, 0, 2, 1)["xyz"]), atol=1e-5)
    actions = np.stack(poses.draw_chunk("evaluation", 3, 0, 2, 0)["xyz"])
    assert found.shape != actions.shape or np.abs(found - actions).max() > 0.01


def test_splits_share_no_character():
    seeds = [
        {poses.character_seed(split, seed, number) for seed in (0, 1) for number in range(500)}
        for split in poses.SPLITS
    ]
    assert not seeds[0] & seeds[1] and min(seeds[0] | seeds[1]) >= poses.FIRST_CHARACTER


def test_keypoints_alone_equal_the_posed_persons():
    person = make_character(load_body(), 3)
    for number, actions in enumerate((("fist", "flat_hand"), ("flat_hand", "clap"))):
        posed = pose_person(person, *actions, np.random.default_rng(number))
        (alone,) = pose_keypoints([(person, *actions, np.random.default_rng(number))])
        np.testing.assert_array_equal(alone, posed.keypoints)


@pytest.mark.parametrize(
    "bad", ["--count 0", "--out poses.txt", "--workers 0", "--seed -1", "--independent 1.1"]
)
def test_bad_arguments(bad, capsys):
    with pytest.raises(SystemExit):
        poses.parse(["--out", "poses.npz", "--split", "training", "--count", "5", *bad.split()])
    assert bad.split()[0] in capsys.readouterr().err
