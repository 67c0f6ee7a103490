"""Photographs named by a list: which file is meant, what a panorama shows, what cannot be had."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from pipelines import photographs


def row(file, source="Debian some-walls", split="training"):
    return {"split": split, "file": file, "source": source}


@pytest.fixture
def package(tmp_path):
    """A package as it lies unpacked: one picture twice in two sizes, others with like names."""
    colours = {
        "usr/share/wallpapers/Kite/contents/images/64x48.png": (64, 48, (250, 0, 0)),
        "usr/share/wallpapers/Kite/contents/images/320x240.png": (320, 240, (0, 250, 0)),
        "usr/share/walls/nature/Wood.jpg": (40, 40, (0, 0, 250)),
        "usr/share/walls/Driftwood.jpg": (40, 40, (250, 250, 0)),
        "usr/share/walls/adwaita-l.webp": (40, 40, (0, 250, 250)),
    }
    for name, (width, height, colour) in colours.items():
        path = tmp_path / "some-walls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.random.default_rng(width).integers(0, 6, (height, width, 3), np.uint8))
        Image.blend(picture, Image.new("RGB", (width, height), colour), 0.95).save(path)
    return tmp_path / "some-walls"


@pytest.mark.parametrize(
    "file, width, channel",
    [("some-walls-Kite.jpg", 320, 1), ("some-walls-Wood.jpg", 40, 2), ("some-walls-adwaita_l.jpg", 40, 1)],
)
def test_the_largest_file_of_that_name_is_taken(package, file, width, channel):
    picture = photographs.find(package, row(file), "some-walls")
    assert picture.size[0] == width and np.asarray(picture)[..., channel].mean() > 200
    if file.endswith("Wood.jpg"):
        assert np.asarray(picture)[..., :2].mean() < 50  # not Driftwood


def test_pictures_are_fetched_once_and_what_is_missing_is_named(package, tmp_path, monkeypatch, capsys):
    asked = []

    def download(kind, name, folder):
        asked.append((kind, name))
        if name == "gone":
            raise subprocess.CalledProcessError(100, "apt-get", stderr="E: Unable to locate package gone")
        return package

    monkeypatch.setattr(photographs, "download", download)
    listed = tmp_path / "list.tsv"
    rows = ["training\tsome-walls-Wood.jpg\tDebian some-walls", "evaluation\tgone-x.jpg\tDebian gone 1.0"]
    rows += [
        "evaluation\tsome-walls-Kite.jpg\tDebian some-walls",
        "training\tsome-walls-no.jpg\tDebian some-walls",
    ]
    listed.write_text("\n".join(["split\tfile\tsource", *rows]) + "\n")
    arguments = ["--list", str(listed), "--out", str(tmp_path / "out")]
    assert photographs.main(arguments) == 1
    assert asked == [("Debian", "some-walls"), ("Debian", "gone")]
    kept = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert kept == ["evaluation/some-walls-Kite.jpg", "training/some-walls-Wood.jpg"]
    shown = capsys.readouterr()
    assert "2 of 4 pictures" in shown.out and "Unable to locate package gone" in shown.err
    assert "some-walls-no.jpg: no such picture in some-walls" in shown.err
    first = (tmp_path / "out" / "training" / "some-walls-Wood.jpg").stat().st_mtime_ns
    photographs.main(arguments)  # again: what is there stays
    assert (tmp_path / "out" / "training" / "some-walls-Wood.jpg").stat().st_mtime_ns == first


def test_where_pictures_come_from():
    named = {
        "Debian blender-data 3.4.1 (lights)": ("Debian", "blender-data"),
        "Debian lxqt-themes": ("Debian", "lxqt-themes"),
        "npm @pmndrs/assets 1.7.0 (Poly Haven)": ("npm", "@pmndrs/assets@1.7.0"),
        "PyPI scikit-image 0.26": ("PyPI", "scikit-image==0.26.*"),
        "PyPI scikit-learn": ("PyPI", "scikit-learn"),
    }
    assert {source: photographs.package_of(source) for source in named} == named


def test_a_view_of_a_panorama_looks_where_it_should():
    panorama = np.full((64, 128, 3), 0.1, np.float32)
    panorama[28:36, 60:68] = 4.0  # straight ahead of yaw pi, at the horizon
    panorama[:8] = (0.0, 0.0, 4.0)  # the sky above all
    ahead, aside = (np.asarray(photographs.look(panorama, yaw), float) for yaw in (np.pi, 0.0))
    middle = photographs.VIEW_SIZE // 2
    assert ahead[middle, middle].mean() > 200 > 150 > aside[middle, middle].mean()
    bright = np.flatnonzero(ahead[middle].mean(-1) > 200)
    assert 20 < len(bright) and abs(bright.mean() - middle) < 20


def test_dark_holes_around_lamps_are_filled():
    panorama = np.full((8, 16, 3), 0.1, np.float32)
    panorama[4, 8] = 50.0
    panorama[4, 9] = (-3.0, -2.0, 0.05)
    panorama[0, 0, 1] = -0.1  # far from any lamp: its neighbours' colour
    filled = photographs.without_ringing(panorama)
    assert (filled[4, 9] == 50.0).all() and (filled[0, 0] == np.float32(0.1)).all()
    changed = (filled != panorama).any(-1)
    assert changed.sum() == 2


@pytest.mark.parametrize(
    "text, message",
    [
        ("file\tsource\na.jpg\tDebian x\n", "columns split, file and source"),
        ("split\tfile\tsource\ntraining\t../a.jpg\tDebian x\n", "a plain name expected"),
        ("split\tfile\tsource\ntest\ta.jpg\tDebian x\n", "'test' and 'a.jpg'"),
        ("split\tfile\tsource\ntraining\ta.jpg\ta friend\n", "source 'a friend': Debian, npm or PyPI"),
    ],
)
def test_bad_lists(tmp_path, capsys, text, message):
    listed = tmp_path / "list.tsv"
    listed.write_text(text)
    with pytest.raises(SystemExit):
        photographs.main(["--list", str(listed), "--out", str(tmp_path)])
    assert message in capsys.readouterr().err


def test_the_list_of_lite_is_readable():
    rows = photographs.read_list(photographs.LIST)
    assert len(rows) == 290 and {photographs.package_of(each["source"])[0] for each in rows} == {
        "Debian",
        "npm",
        "PyPI",
    }
