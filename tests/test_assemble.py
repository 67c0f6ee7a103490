"""experiments.assemble: a weight set out of run folders, which the estimator takes."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import assemble, handsegnet, lifting, posenet
from hand3d import HandPoseEstimator, manifest
from hand3d.networks.standardised import fold


def make_run(folder, program, recipe):
    """A run folder as training leaves it, with weights that were not trained."""
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe)))
    (folder / "log.csv").write_text("epoch,loss\n0,1.0\n1,0.5\n")
    network = program.build(recipe)
    network.set_weights([np.random.default_rng(0).normal(0, 0.1, w.shape) for w in network.get_weights()])
    if program is posenet:  # another one each time
        network.set_weights([w * len(list(folder.parent.iterdir())) for w in network.get_weights()])
    network.save_weights(folder / "last.weights.h5")
    return network


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = dict(width=0.25, crop_size=64)
    made = {
        "segment": (handsegnet, handsegnet.Recipe(**small)),
        "pose1": (posenet, posenet.Recipe(stages=1, **small)),
        "pose2": (posenet, posenet.Recipe(stages=1, **small)),
        "pose3": (posenet, posenet.Recipe(stages=2, **small)),
        "lift": (lifting, lifting.Recipe()),
    }
    networks = {name: make_run(folder / name, *options) for name, options in made.items()}
    (folder / "data").mkdir()
    info = {"splits": {"training": {"samples": 7, "generator": {"seed": 3}}}}
    (folder / "data" / "info.json").write_text(json.dumps(info))
    return folder, networks


def command(folder, out, posenet_runs, *more):
    arguments = ["--name", "toy", "--out", out, "--data", folder / "data", "--handsegnet", folder / "segment"]
    arguments += ["--posenet", ",".join(str(folder / run) for run in posenet_runs)]
    return [str(argument) for argument in [*arguments, "--lifting", folder / "lift", *more]]


@pytest.mark.slow
def test_the_set_can_be_used_and_says_how_it_was_made(runs, tmp_path):
    folder, networks = runs
    arguments = ("--posenet-share", 0.25, "--revision", "abc", "--min-score", 0)
    assert assemble.main(command(folder, tmp_path, ("pose1", "pose2"), *arguments)) == 0
    weight_set = manifest.find(tmp_path)
    entry = weight_set.entry
    assert [phase["steps_done"] for phase in entry["recipe"]["posenet"]] == [200, 200]
    assert entry["recipe"]["posenet_share"] == 0.25
    assert entry["data"]["records"] == [
        {"training": {"samples": 7, "generator": {"seed": 3}}, "renderer_revision": "abc"}
    ]
    # a quarter of the second run, three quarters of the first
    network = posenet.build(posenet.Recipe(stages=1, width=0.25))
    pairs = zip(networks["pose1"].get_weights(), networks["pose2"].get_weights(), strict=True)
    network.set_weights([0.75 * first + 0.25 * second for first, second in pairs])
    expected = fold(network, posenet.build(posenet.Recipe(stages=1, width=0.25), folded=True))
    for found, wanted in zip(
        manifest.load(weight_set)["posenet"].get_weights(), expected.get_weights(), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-4)  # float16 on disk
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for hand in HandPoseEstimator(weight_set)(image):
        assert np.isfinite(hand.keypoints_xyz).all()

    (tmp_path / "scores.json").write_text('{"rendered": {"posenet_gt_crop": 1.5}}')
    scores = ["--name", "toy", "--out", str(tmp_path), "--scores", str(tmp_path / "scores.json")]
    assert assemble.main(scores) == 0
    assert manifest.find(tmp_path).entry["scores"] == {"rendered": {"posenet_gt_crop": 1.5}}


@pytest.mark.parametrize(
    "posenet_runs, more, words",
    [
        (("pose1",), ("--posenet-share", 0.5), "two runs at least"),
        (("pose1", "pose3"), ("--posenet-share", 0.5), "networks of one kind"),
        (("pose1",), ("--revision", "a,b"), "--revision a,b"),
        (("nowhere",), (), "nowhere"),
    ],
)
def test_bad_arguments(runs, tmp_path, capsys, posenet_runs, more, words):
    assert assemble.main(command(runs[0], tmp_path, posenet_runs, *more)) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "manifest.json").exists()


def test_share_out_of_range(runs, tmp_path, capsys):
    with pytest.raises(SystemExit):
        assemble.main(command(runs[0], tmp_path, ("pose1", "pose2"), "--posenet-share", 0))
    assert "--posenet-share 0.0" in capsys.readouterr().err
