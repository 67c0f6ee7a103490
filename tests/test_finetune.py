import json
import os
import shutil

import miniature
import numpy as np
import pytest

from pipelines import records
from pipelines.convert.run import run as convert
from pipelines.inspect import defaults

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
pytest.importorskip("tensorflow")
from experiments import finetune  # noqa: E402

SHORT = [f"--set={setting}" for setting in ("steps=2", "epoch_steps=1", "batch=4", "warmup=0")]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Records of a csv set in both splits."""
    folder = tmp_path_factory.mktemp("mine")
    miniature.write_csv(folder)
    for split in ("training", "evaluation"):
        convert("csv", str(folder), str(folder / "records"), split, workers=1, options=defaults("csv"))
    return str(folder / "records")


def test_labels_say_what_can_be_trained(mine):
    count = finetune.teachable(mine, "training")
    assert count["posenet"] > 18 and count["handsegnet"] == count["lifting"] == 0
    count = finetune.teachable(miniature.RENDERS, "evaluation")
    assert count["handsegnet"] == 24 and count["lifting"] > 24 and count["posenet"] == 48


@pytest.mark.slow
def test_finetunes_what_it_can_and_keeps_the_rest(mine, tiny_weights, tmp_path, capsys):
    from hand3d import HandPoseEstimator, manifest

    run = str(tmp_path / "run")
    arguments = ["--data", mine, "--weights", str(tiny_weights), "--run", run, "--freeze", "stem", *SHORT]
    assert finetune.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "handsegnet: frozen; no mask" in shown and "3 layers frozen" in shown
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert np.isfinite([scores["posenet"][when]["epe_px"] for when in ("before", "after")]).all()
    old = manifest.load(manifest.find(str(tiny_weights)))
    new = manifest.load(manifest.find(os.path.join(run, "weights")))
    assert old.keys() == new.keys()
    for role in old:
        same = [
            np.array_equal(a, b)
            for a, b in zip(old[role].get_weights(), new[role].get_weights(), strict=True)
        ]
        if role == "posenet":
            names = [weight.path.split("/")[0] for weight in new[role].weights]
            assert all(equal == name.startswith("stem") for equal, name in zip(same, names, strict=True))
        else:
            assert all(same)
    assert finetune.main([*arguments[: -len(SHORT)], "--freeze", "neck", *SHORT]) == 1
    assert "--freeze neck: no such layers" in capsys.readouterr().err
    estimator = HandPoseEstimator(os.path.join(run, "weights"))
    assert len(estimator.predict([miniature.renders()[0]["image"]])) == 1


@pytest.mark.slow
def test_masks_and_3d_train_the_other_networks(tiny_weights, tmp_path):
    from hand3d import manifest

    folder, weights = str(tmp_path / "records"), str(tmp_path / "weights")
    for split in ("training", "evaluation"):
        miniature.write_rhd(tmp_path / "rhd", split, miniature.renders()[:12])
        convert("rhd", str(tmp_path / "rhd"), folder, split, workers=1)
    shutil.copytree(tiny_weights, weights)
    entry = manifest.find(weights).entry
    for role in ("poseprior", "viewpoint"):  # of the size that is trained
        model = manifest.build_network(role, {})
        entry["networks"][role] = manifest.save_network(model, weights, f"{role}-32.h5", role, {})
    manifest.write_manifest(weights, {"tiny": entry})
    wanted = ["--networks", "handsegnet,lifting", "--run", str(tmp_path / "run")]
    assert finetune.main(["--data", folder, "--weights", weights, *wanted, *SHORT]) == 0
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert {"handsegnet", "lifting"} < set(scores) and "posenet" not in scores
    old, new = (manifest.load(manifest.find(place)) for place in (weights, tmp_path / "run" / "weights"))
    for role in old:
        pairs = zip(old[role].get_weights(), new[role].get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs) == (role == "posenet"), role


def test_errors(mine, tiny_weights, tmp_path, capsys):
    given = ["--run", str(tmp_path / "run"), "--weights", str(tiny_weights)]
    only = tmp_path / "only"
    only.mkdir()
    info = json.loads(open(os.path.join(mine, records.INFO)).read())
    del info["splits"]["evaluation"]
    (only / records.INFO).write_text(json.dumps(info))
    for arguments, words in (
        (["--data", str(tmp_path)], "info.json does not exist"),
        (["--data", str(only)], "missing"),
        (["--data", mine, "--networks", "lifting"], "nothing there to train lifting on"),
        (["--data", mine, "--networks", "hands"], "--networks hands: known are posenet"),
        (["--data", mine, "--set", "stepz=3"], "--set stepz=3: no such key; known are"),
        (["--data", mine, "--weights", str(tmp_path / "none")], "neither a shipped set"),
    ):
        assert finetune.main([*given, *arguments]) == 1
        assert words in capsys.readouterr().err, words
