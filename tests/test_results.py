"""Results as files and tables, what was published, and the README's section of results."""

import json
import os

import keras
import numpy as np
import pytest

if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import plots, published, report, results

COLUMNS = [results.column("epe_px", "EPE, px", 2), results.column("auc", "AUC", 3)]
DATA = {"name": "toy", "split": "evaluation", "samples": 3, "sha256": "0" * 64}


def toy(experiment="table1", rows=None, **more):
    rows = [results.row("GT crop", {"epe_px": 1.234, "auc": 0.5})] if rows is None else rows
    return results.make(experiment, "Toy", COLUMNS, rows, **{"data": DATA} | more)


def test_a_result_comes_back_from_its_file(tmp_path):
    figure = plots.lines([results.curve("a", [0, 1], [0.5, np.nan])], "x", "y")
    made = toy(curves=[results.curve("a", [0, 1], [0.5, np.nan], auc=0.5)], seed=3)
    path = results.save(made, str(tmp_path), {"pck": figure})
    assert results.load(path) == made and results.value(made, "GT crop", "auc") == 0.5
    assert sorted(os.listdir(tmp_path)) == ["table1-pck.pdf", "table1-pck.png", "table1.json", "table1.md"]
    assert (tmp_path / "table1-pck.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "table1-pck.pdf").read_bytes().startswith(b"%PDF")
    assert made["curves"][0]["y"] == [0.5, None] and made["seed"] == 3 and made["versions"]["keras"]
    first = (tmp_path / "table1-pck.png").read_bytes()
    results.save(made, str(tmp_path), {"pck": figure}, name="other")
    assert (tmp_path / "other-pck.png").read_bytes() == first


def test_what_has_no_value_is_marked_with_the_reason():
    rows = [
        results.row("found", {"epe_px": np.float32(2), "auc": float("inf")}),
        results.row("lost", {"epe_px": float("nan"), "auc": 0.0}, "no hand was found"),
        results.absent_row("nowhere", COLUMNS, "no labels in 3D"),
    ]
    table = results.markdown(toy(rows=rows)).splitlines()
    assert table[2] == "| found | 2.00 | n/a (1) |"
    assert table[3] == "| lost | n/a (2) | 0.000 |"
    assert table[4] == "| nowhere | n/a (3) | n/a (3) |"
    assert table[6] == "(1) no value. (2) no hand was found. (3) no labels in 3D."
    with pytest.raises(ValueError, match="row 'x' has \\['speed'\\]"):
        toy(rows=[results.row("x", {"speed": 1})])
    with pytest.raises(KeyError, match="only \\['found', 'lost', 'nowhere'\\]"):
        results.value(toy(rows=rows), "gone", "auc")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no result"),
        (
            json.dumps({"format": 99, "experiment": "table2", "revision": "abc"}),
            "layout 99.*abc.*table2 again",
        ),
        (json.dumps({"format": results.FORMAT, "experiment": "table2"}), "lacks title, columns"),
    ],
)
def test_files_that_are_no_results_of_this_revision(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match=f"x.json.*{message}"):
        results.load(str(tmp_path / "x.json"))


def test_identities_follow_the_content(tmp_path, tiny_weights):
    for name, content in (("a.npz", b"1"), ("b.npz", b"2"), ("c.npz", b"1")):
        (tmp_path / name).write_bytes(content)
    hashes = [results.data_identity(str(tmp_path / f"{k}.npz"), "evaluation", 5)["sha256"] for k in "abc"]
    assert hashes[0] == hashes[2] != hashes[1]
    weights = results.weights_identity(str(tiny_weights))
    assert weights["name"] == "tiny" and len(weights["sha256"]) == 64
    with pytest.raises(ValueError, match="no such set"):
        results.weights_identity("no such set")


@pytest.mark.parametrize("name", ["PSO", "ICPPSO", "CHPR", "Zimmermann & Brox"])
def test_published_curves_have_the_published_area(name):
    (curve,) = [one for one in published.stb_curves() if one["name"] == name]
    expected = {"PSO": 0.709, "ICPPSO": 0.748, "CHPR": 0.839, "Zimmermann & Brox": 0.948}[name]
    assert curve["auc"] == expected and published.area(curve) == pytest.approx(expected, abs=6e-4)
    assert np.all(np.diff(curve["y"]) > 0) and curve["x"][-1] == 50


def test_the_section_shows_paper_rerun_and_ours(tmp_path):
    values = {key: 0.5 for key in ("epe_median_px", "epe_px", "auc_0_30px")}
    columns = [results.column(key, key) for key in values]
    rows = [results.row("GT crop", values), results.row("GT crop, root", values)]
    result = results.make("table1", "Table 1", columns, rows, data=DATA)
    results.save(result, str(tmp_path), {"pck": plots.lines([], "x", "y")})
    text = report.section(str(tmp_path))
    assert "| EPE median, px | 5.001 |  | 0.50 |" in text  # GT crop
    assert "| AUC 0-30 px |  | 0.679 | n/a |" in text  # Net crop is not among ours
    assert "| Table 2: direct | EPE median, mm | 20.9 | 20.848 | n/a |" in text
    assert "GT crop, root" not in text  # only in the file
    assert "table1-pck.png" in text and "toy (evaluation, 3 samples, 00000000)" in text


def test_results_of_other_weights_are_not_shown(tmp_path):
    old = {"name": "lite", "sha256": "f" * 64}
    results.save(toy(weights=old), str(tmp_path))
    text = report.section(str(tmp_path))
    assert "n/a: measured with other weights lite (ffffffff, now" in text and "1.23" not in text
    results.save(toy(weights=results.weights_identity("lite")), str(tmp_path))
    assert "| GT crop | 1.23 | 0.500 |" in report.section(str(tmp_path))


def test_report_writes_between_the_markers_and_checks(tmp_path, capsys):
    readme, new, kept = tmp_path / "README.md", tmp_path / "new", tmp_path / "kept"
    arguments = ["--readme", str(readme), "--results", str(kept)]
    results.save(toy(), str(new), {"pck": plots.lines([], "x", "y")})
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    assert report.main([*arguments, "--take", str(new)]) == 0
    assert sorted(os.listdir(kept)) == ["table1-pck.png", "table1.json"]
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "1.23" in text
    assert report.main([*arguments, "--check"]) == 0
    readme.write_text(text.replace("1.23", "0.99"))
    assert report.main([*arguments, "--check"]) == 1 and "differ" in capsys.readouterr().err
    assert "0.99" in readme.read_text()  # check writes nothing
    readme.write_text("no markers")
    assert report.main(arguments) == 1 and "markers" in capsys.readouterr().err


def test_readme_and_results_agree():
    if not os.path.exists(report.README):
        pytest.skip("README.md is not beside the package here")
    with open(report.README, encoding="utf-8") as file:
        text = file.read()
    assert report.merged(text, report.section(report.FOLDER)) == text, "run python -m experiments.report"
