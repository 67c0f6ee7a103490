"""Speed of training beside matrix products, and what runs spent their time with."""

import json

import keras
import pytest

pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import benchmark_training as benchmark  # noqa: E402

TINY = ["--set", "width=0.25", "--set", "batch=2", "--set", "crop_size=32", "--set", "cut=48"]


@pytest.mark.slow
def test_steps_beside_matrix_products(tmp_path, capsys):
    path = str(tmp_path / "speed.json")
    stages = ["posenet", "lifting"]
    benchmark.main(["--stages", *stages, *TINY, "--rounds", "1", "--json", path])
    with open(path, encoding="utf-8") as file:
        measured = json.load(file)["stages"]
    assert list(measured) == stages
    for stage in stages:
        rows = measured[stage]["rows"]
        names = {benchmark.PRODUCT, benchmark.STEP, benchmark.NETWORK, benchmark.GIVEN_BACK}
        assert set(rows) == names and measured[stage]["batch"] == 2
        assert rows[benchmark.PRODUCT]["share"] == pytest.approx(1)
        assert all(row["ms"] > 0 and row["GFLOP/s"] > 0 for row in rows.values())
    assert measured["posenet"]["GFLOP"] > 0
    assert "posenet, batch 2" in capsys.readouterr().out


def test_what_a_run_spent_its_time_with(tmp_path, monkeypatch):
    run, ends = tmp_path / "run", (100.0, 120.0, 145.0)
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"epoch_steps": 10, "batch": 8}))
    (run / "log.csv").write_text("epoch,examples_per_s,waiting_share\n0,8,0.5\n1,8,0.01\n2,4,0.03\n")
    monkeypatch.setattr(benchmark, "_ended", lambda _: {i: ("a", t) for i, t in enumerate(ends)})
    spent = benchmark.spent(str(run))
    assert spent == {"epochs": 2, "waiting_share": 0.02, "rest_share": pytest.approx((0.5 + 0.2) / 2)}


def test_epochs_ends_are_read_from_tensorboard(tmp_path):
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard" / "train"))
    with writer.as_default():
        for epoch in range(3):
            tf.summary.scalar("epoch_loss", 1.0, step=epoch)
    writer.close()
    ended = benchmark._ended(str(tmp_path))
    assert sorted(ended) == [0, 1, 2] and len({path for path, _ in ended.values()}) == 1


def test_arguments_and_folders_that_cannot_be_used(tmp_path, capsys):
    for wrong, message in (
        (["--rounds", "0"], "--rounds 0: at least 1"),
        (["--set", "nothing=1"], "--set nothing=1: no such key"),
        (["--stages", "lifting", "--set", "crop_size=32"], "--set crop_size=32: no such key"),
        (["--stages", "posenet", "--set", "frozen=stem"], "--set frozen=stem: operations are counted"),
    ):
        with pytest.raises(SystemExit):
            benchmark.parse(wrong)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match=f"{tmp_path}: no recipe.json"):
        benchmark.main(["--runs", str(tmp_path)])
