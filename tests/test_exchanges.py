"""Exchanged pictures: what fits prove, with made-up fits, and with the network on a converted set."""

import json
import types

import miniature
import numpy as np
import pytest
from converting import convert, left_out

from hand3d import manifest
from pipelines import inspect, picture_check, pictures
from pipelines.convert import content
from pipelines.convert.__main__ import main
from pipelines.exchanges import GAIN, GOOD, TRY, candidates, exchanges, shift
from pipelines.fits import FLOOR, Label, crop, fits, label_of
from pipelines.records import shard_paths

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
WRONG, RIGHT = GOOD - 2, GOOD + 1


def moved(order, count=8):
    """(own, tried) of labels of which label i belongs to picture order[i]; the others belong to their own."""
    matrix = np.full((count, count), WRONG)
    for label in range(count):
        matrix[label, order.get(label, label)] = RIGHT
    return np.diag(matrix).copy(), matrix


def test_rings_are_found_and_nothing_else():
    assert exchanges(*moved({})) == []
    assert exchanges(*moved({2: 5, 5: 2})) == [(2, 5)]
    assert sorted(exchanges(*moved({2: 5, 5: 2, 0: 7, 7: 0}))) == [(0, 7), (2, 5)]
    assert exchanges(*moved({1: 3, 3: 6, 6: 1})) == [(1, 3, 6)]
    own, tried = moved({2: 5})  # the label of 5 fits neither: no exchange
    assert exchanges(own, tried) == []
    own, tried = moved({2: 5, 5: 2})
    for change in (GOOD - 0.01, TRY):  # not good; not better by enough
        slight = tried.copy()
        slight[5, 2] = change
        fits_own = own.copy()
        fits_own[5] = change - GAIN + 0.01 if change > GOOD else own[5]
        assert exchanges(fits_own, slight) == []
    tried[2, 5] = np.nan  # not tried
    assert exchanges(own, tried) == [] and exchanges([], np.zeros((0, 0))) == []
    hard = np.full((8, 8), WRONG)  # hands that the network does not know
    assert exchanges(np.diag(hard), hard) == []


def test_the_clearest_pair_is_taken():
    own, tried = moved({2: 5, 5: 2})
    tried[2, 6], tried[6, 2], own[6] = RIGHT - 0.3, RIGHT - 0.3, WRONG
    assert exchanges(own, tried) == [(2, 5)]


def test_shifts():
    rng = np.random.default_rng(0)
    own, after = np.full(60, RIGHT), np.full(60, np.nan)
    assert shift(own, after) is None
    own[20:45], after[20:45] = WRONG, RIGHT
    after[30] = WRONG  # one that the network does not know
    assert shift(own, after) == (20, 44)
    own[:], after[:] = RIGHT, np.nan
    few = [3, 9, 17, 40, 41, 58]
    own[few], after[few] = WRONG, RIGHT  # hits, but no run of them
    assert shift(own, after) is None
    own[:], after[:] = WRONG, np.where(rng.random(60) < 0.1, RIGHT, WRONG)  # pictures of another set
    assert shift(own, after) is None


def test_candidates_are_the_nearest_pictures():
    distance = np.array([[0.1, 0.5, 0.2], [0.3, 0.1, np.inf], [np.inf] * 3])
    assert candidates(distance, 2) == {(0, 2), (1, 0)}


def test_fits_are_those_of_the_labelled_place():
    """Maps with a peak of known width at the label: the mass that the Gaussian of `fits` gives to it."""
    uv = np.full((21, 2), 40, np.float32) + np.arange(21)[:, None]
    label = Label(uv, np.ones(21, bool), np.array([50.0, 50.0]), 64.0)
    size, crop_size, factor = 16, 64, 1.25
    cells = ((uv - label.centre) * crop_size / (factor * 64) + (crop_size - 1) / 2 - 1.5) / 4
    away = np.arange(size)[:, None] - cells[:, None]
    away = (np.arange(size)[:, None, None] - cells) ** 2
    logits = -(away[None, :, :, 0] + away[:, None, :, 1])[None] * 50
    nearest = np.rint(cells) - cells
    expected = np.log(np.exp(-(nearest**2).sum(-1) / 2) + FLOOR)
    clear = (np.abs(np.abs(nearest) - 0.5) > 0.1).all(-1)  # on the edge of two cells the mass is shared
    only = Label(uv, clear, label.centre, 64.0)
    np.testing.assert_allclose(fits(logits, [only], crop_size, factor), expected[clear].mean(), atol=0.02)
    far = Label(uv + 15, clear, label.centre, 64.0)
    assert fits(logits, [far], crop_size, factor)[0] < np.log(2 * FLOOR)


def test_crop_shows_the_labelled_place():
    v, u = np.mgrid[:90, :120]
    image = np.stack([2 * u, 2 * v, 0 * u], -1).astype(np.uint8)
    for centre, extent in (((60.0, 40.0), 32.0), ((10.0, 80.0), 32.0)):
        label = Label(np.zeros((21, 2), np.float32), np.ones(21, bool), np.array(centre), extent)
        shown = crop(image, label, 40, 1.25).astype(float)  # a pixel of the crop is one of the image
        rows, columns = np.mgrid[:40, :40]
        at_u, at_v = centre[0] + columns - 19.5, centre[1] + rows - 19.5
        inside = (at_u > 0) & (at_u < 119) & (at_v > 0) & (at_v < 89)
        np.testing.assert_allclose(shown[inside][:, 0], 2 * at_u[inside], atol=1)
        np.testing.assert_allclose(shown[inside][:, 1], 2 * at_v[inside], atol=1)
        off = (at_u < -1) | (at_v > 90)
        assert (np.abs(shown[off] - 127.5) <= 1).all()
    away = Label(np.zeros((21, 2), np.float32), np.ones(21, bool), np.array((500.0, 40.0)), 32.0)
    assert (crop(image, away, 40, 1.25) == 128).all()


class Known:
    """Stands in for `fits.Judge`: knows which picture belongs to which label by the picture's first pixel."""

    def __init__(self, belongs):
        self.belongs = belongs  # {u of the label's centre, rounded: value of the picture}

    def crop(self, image, label):
        return int(image[0, 0, 0])

    def look(self, looks):
        for key, value, label in looks:
            yield key, RIGHT if abs(self.belongs[round(float(label.centre[0]))] - value) < 3 else WRONG


@pytest.fixture
def plain_set(tmp_path):
    """A csv set of 30 grey pictures with one hand each: (folder, stand-in for the network)."""
    from toy_samples import FLAT_HAND

    hand = FLAT_HAND[:, :2] / np.ptp(FLAT_HAND[:, :2], 0).max() * 40
    hand = hand - (hand.min(0) + hand.max(0)) / 2
    rows = ["path,side,name,u,v,visible,split"]
    belongs = {}
    for number in range(30):
        image = np.full((96, 96, 3), 8 * number, np.uint8)
        (tmp_path / f"{number:02d}.png").write_bytes(pictures.encode_png(image))
        uv = hand + (30 + number, 48)
        rows += [
            f"{number:02d}.png,left,{name},{u:.4f},{v:.4f},1,training"
            for name, (u, v) in zip(miniature.KEYPOINT_NAMES, uv, strict=True)
        ]
        belongs[30 + number] = 8 * number
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path, Known(belongs)


def check(folder, judge, monkeypatch, out="out"):
    monkeypatch.setattr(picture_check, "Judge", lambda: judge)
    monkeypatch.setattr(picture_check, "label_of", _label)
    return convert("csv", folder, folder / out, "training", check=None)


def _label(sample):
    uv = sample["uv"][:21]
    return Label(uv, sample["present"][:21], (uv.min(0) + uv.max(0)) / 2, 40.0)


def exchange(folder, one, other):
    a, b = (folder / f"{number:02d}.png" for number in (one, other))
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


def test_exchanged_pictures_are_left_out_by_name(plain_set, monkeypatch):
    folder, judge = plain_set
    report = check(folder, judge, monkeypatch)
    assert report["samples"] == 30 and not report["samples_left_out"]
    assert report["pictures"]["judged"] == 30 and not report["pictures"]["exchanged"]
    exchange(folder, 4, 17)
    report = check(folder, judge, monkeypatch, "again")
    reasons = left_out(report)
    assert set(reasons) == {"04.png", "17.png"} and report["samples"] == 28
    for words in reasons.values():
        assert "04.png and 17.png are exchanged (samples 04.png and 17.png)" in words
    ids = {sample["id"].decode() for sample in miniature.read_all(folder / "again", "training")}
    assert len(ids) == 28 and not ids & set(reasons)
    assert json.loads((folder / "again" / "report-training.json").read_text())["pictures"]["exchanged"]


def test_shifted_pictures_are_an_error(plain_set, monkeypatch):
    folder, judge = plain_set
    kept = {number: (folder / f"{number:02d}.png").read_bytes() for number in range(30)}
    for number in range(10, 29):  # the label of 11 fits picture 12, and so on; that of 10 fits both
        (folder / f"{number + 1:02d}.png").write_bytes(kept[number])
    with pytest.raises(ValueError, match=r"from 11.png .* to 28.png .* 1 after theirs.*incomplete"):
        check(folder, judge, monkeypatch)
    for number, content_ in kept.items():
        (folder / f"{number:02d}.png").write_bytes(content_)
    assert check(folder, judge, monkeypatch)["samples"] == 30  # the same folder, with the pictures put right


def test_suspects_and_copies_are_told_and_kept(plain_set, monkeypatch):
    folder, judge = plain_set
    (folder / "05.png").write_bytes((folder / "20.png").read_bytes())
    report = check(folder, judge, monkeypatch)
    assert report["samples"] == 30 and not report["samples_left_out"]
    (suspect,) = report["pictures"]["suspects"]
    assert suspect["id"] == suspect["file"] == "05.png"
    (copy,) = report["pictures"]["copies"]
    assert copy["files"] == ["05.png", "20.png"] and not report["pictures"]["doubles"]
    notes = " ".join(report["notes"])
    assert "1 of 30 pictures fit their labels badly, the worst 05.png" in notes
    assert "1 pictures occur more than once, with other labels; the first: 05.png and 20.png" in notes


def test_limits(plain_set, monkeypatch):
    folder, judge = plain_set
    monkeypatch.setattr(picture_check, "Judge", lambda: judge)
    monkeypatch.setattr(picture_check, "label_of", _label)
    report = convert("csv", folder, folder / "out", "training", check=7)
    assert report["pictures"]["looked_at"] == 7 and "23 pictures that were not" in report["not_verified"]
    assert [content.picture_limit(text) for text in ("all", "none", "12")] == [None, 0, 12]
    for text in ("0", "-1", "some"):
        with pytest.raises(SystemExit):
            main(["csv", "--source", str(folder), "--out", "out", "--check-pictures", text])


@pytest.mark.slow
def test_the_network_finds_exchanged_pictures(tmp_path, capsys):
    pytest.importorskip("tensorflow")
    miniature.write_csv(tmp_path, split=False)
    options = "--evaluation-share", "0"
    report = convert("csv", tmp_path, tmp_path / "clean", "training", *options, check=None)
    found = report["pictures"]
    assert found["judged"] > 15 and not report["left_out"]
    assert not any(found[key] for key in ("exchanged", "shifted", "copies", "doubles"))
    one, other = (tmp_path / f"{number}.jpg" for number in (3, 10))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    report = convert("csv", tmp_path, tmp_path / "out", "training", *options, check=None)
    assert set(left_out(report)) == {"3.jpg", "10.jpg"} and report["samples"] == found["samples"] - 2
    convert("csv", tmp_path, tmp_path / "unchecked", "training", *options)
    out = tmp_path / "inspected"
    assert inspect.main([str(tmp_path / "unchecked"), "--check-pictures", "all", "--out", str(out)]) == 0
    assert "3.jpg and 10.jpg are exchanged: each label fits the other's picture" in capsys.readouterr().out
    (ring,) = json.loads((out / "training-pictures.json").read_text())["exchanged"]
    assert ring["ids"] == ["3.jpg", "10.jpg"]


@pytest.mark.slow
def test_found_hands_say_which_pictures_are_likely():
    pytest.importorskip("tensorflow")
    paths = shard_paths(miniature.RENDERS, "evaluation")
    labels = [label_of(sample) for sample in miniature.renders()]
    pool = np.array([number for number, label in enumerate(labels) if label is not None])
    judge = types.SimpleNamespace(weight_set=manifest.find("lite"))
    distance = picture_check._distances(paths, judge, [labels[number] for number in pool], pool)
    assert distance.shape == (len(pool), len(pool)) and len(pool) > 15
    rank = (distance < distance.diagonal()[:, None]).sum(1)  # of the own picture
    assert (rank <= 1).mean() > 0.35  # by chance 0.08; lite finds half of these hands


def test_the_hand_that_is_seen_is_judged():
    """Not the other one beside the picture; of hands without visibility, those in the picture."""
    rng = np.random.default_rng(0)
    left, right = rng.uniform(20, 90, (21, 2)), rng.uniform(400, 470, (21, 2))
    sample = {
        "width": np.array([128]),
        "height": np.array([96]),
        "uv": np.concatenate([left, right]),
        "present": np.ones(42, bool),
        "visible": np.arange(42) < 12,
        "root": "palm",
    }
    label = label_of(sample)
    assert label.seen.sum() == 12 and (label.uv == left.astype(np.float32)).all()
    unknown = label_of(sample | {"visible": np.zeros(42, bool)})
    assert unknown.seen.sum() == 21 and (unknown.uv == label.uv).all()
    assert label_of(sample | {"uv": np.concatenate([right, right])}) is None


def test_many_bad_fits_are_tried_on_likely_pictures(plain_set, monkeypatch):
    folder, judge = plain_set
    exchange(folder, 4, 17)
    exchange(folder, 8, 21)
    exchange(folder, 9, 22)
    monkeypatch.setattr(picture_check, "LOOKS", 1)
    monkeypatch.setattr(picture_check, "FEWEST", 1)
    asked = []

    def distances(paths, judge, labels, pool):
        asked.append(pool.tolist())
        where = {4: 17, 17: 4, 8: 21, 21: 8, 9: 22, 22: 9}
        return np.array([[float(where[i] != j) for j in pool] for i in pool])

    monkeypatch.setattr(picture_check, "_distances", distances)
    found = check(folder, judge, monkeypatch)["pictures"]["exchanged"]
    assert asked == [[4, 8, 9, 17, 21, 22]]
    assert sorted(ring["ids"] for ring in found) == [
        [f"{a:02d}.png", f"{b:02d}.png"] for a, b in ((4, 17), (8, 21), (9, 22))
    ]
