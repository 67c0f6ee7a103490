"""What averaging, clipping and warm-up are worth: which trainings are compared, and how."""

import json
import os

import keras
import numpy as np
import pytest
from toy_samples import write_toy_records

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import ablation, handsegnet, lifting, posenet, recipes, side_by_side  # noqa: E402


@pytest.fixture
def options(tmp_path):
    (tmp_path / "records").mkdir()
    write_toy_records(tmp_path / "records")
    return ["--data", str(tmp_path / "records"), "--run", str(tmp_path / "run"), "--out", str(tmp_path)]


def test_every_variant_is_a_recipe_and_has_a_folder_of_its_own(options):
    arguments = ablation.parse([*options, "--backgrounds", "PHOTOS"])
    made, runs = ablation.trainings(arguments, {arguments.data: "some"})
    assert len(set(runs.values())) == len(made) == 2 * 3 * len(ablation.VARIANTS)
    stages = {"posenet": posenet, "handsegnet": handsegnet, "lifting": lifting}
    for name, (program, given) in made.items():
        stage = name.split(",")[0]
        assert program.endswith(stage) and ("--backgrounds" in given) == (stage != "lifting")
        settings = [one.removeprefix("--set=") for one in given if one.startswith("--set=")]
        recipe = recipes.change(stages[stage].RECIPES["best"], settings)
        ema, clip = ("average" in name or "none" in name), ("clipping" in name or "none" in name)
        assert (recipe.ema == 0, recipe.clip == 0) == (ema, clip), name
        assert (recipe.warmup == 0) == ("warm-up" in name or "none" in name)
    others = ablation.parse([*options, "--backgrounds", "OTHERS"])
    _, moved = ablation.trainings(others, {arguments.data: "some"})
    assert set(moved.values()) & set(runs.values()) == {
        run for (stage, *_), run in runs.items() if stage == "lifting"
    }
    _, again = ablation.trainings(arguments, {arguments.data: "other pictures"})
    assert not set(again.values()) & set(runs.values())


def test_differences_are_those_of_the_last_epochs(options, tmp_path, monkeypatch):
    ends = {"all": [12, 11, 11.5, 11.2, 11.1, 10], "no clipping": [13, 11.5]}

    def train(trainings, jobs):
        for name, (_, given) in trainings.items():
            run = given[given.index("--run") + 1]
            os.makedirs(run)
            (stage, variant), seed = name.split(", seed ")[0].split(", ", 1), int(name.split(", seed ")[1])
            rows = [f"{epoch},{value + seed}" for epoch, value in enumerate(ends.get(variant, [9.0]))]
            with open(os.path.join(run, "log.csv"), "w") as file:
                file.write("\n".join([f"epoch,{ablation.monitor(stage)}", *rows]) + "\n")

    monkeypatch.setattr(side_by_side, "train", train)
    assert ablation.main([*options, "--stages", "posenet", "lifting", "--seeds", "0", "2"]) == 0
    result = json.loads((tmp_path / "ablation.json").read_text())
    rows = {row["name"]: row["values"] for row in result["rows"]}
    assert rows["all"]["posenet"] == 11.0 and rows["all"]["posenet_gain"] == ""
    assert rows["no clipping"]["lifting"] == 12.5 and rows["no clipping"]["lifting_gain"] == "+1.50, +1.50"
    assert rows[ablation.STOPPED]["posenet_gain"] == "+1.00, +1.00 (83% of the steps)"


def test_data_that_is_not_there(tmp_path, capsys):
    options = ["--data", str(tmp_path / "none"), "--run", str(tmp_path / "run")]
    assert ablation.main(options) == 1 and "none" in capsys.readouterr().err


@pytest.mark.slow
def test_trains_and_compares(options, tmp_path, monkeypatch):
    tiny = ("width=0.125", "crop_size=32", "cut=48", "batch=2", "steps=4", "epoch_steps=2", "validation=2")
    monkeypatch.setattr(ablation, "SETTINGS", {"handsegnet": (*tiny, "warmup=1")})
    two = {name: ablation.VARIANTS[name] for name in ("all", "no clipping")}
    monkeypatch.setattr(ablation, "VARIANTS", two)
    for _ in range(2):
        assert ablation.main([*options, "--stages", "handsegnet", "--seeds", "0", "--jobs", "1"]) == 0
        result = json.loads((tmp_path / "ablation.json").read_text())
        values = [row["values"]["handsegnet"] for row in result["rows"]]
        assert len(values) == len(two) + 1 and np.isfinite(values).all()
        monkeypatch.setattr(side_by_side, "_run", lambda *_: pytest.fail("trained again"))
