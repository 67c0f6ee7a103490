"""Matching, fitting and Chamfer search on toy data, and the table that holds them."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from toy_hands import toy_poses, toy_views

from experiments.baselines import chamfer, fitting, matching, table, views
from experiments.baselines.interface import BASELINES, Baseline, Hands, Prediction, Training, make
from hand3d import crops
from hand3d.skeleton import BONES

SIZE = 128


def toy_hands(count, seed=1, noise=0.0):
    """`Hands` of toy poses; the detections are the true keypoints with noise, and the mean pose in 3D."""
    poses, rng = toy_poses(count, seed), np.random.default_rng(seed)
    uv = toy_views(poses, SIZE)
    image = rng.integers(0, 255, (count, SIZE, SIZE, 3)).astype(np.uint8)
    return Hands(
        image=image,
        cover=image[..., 0],
        uv_crop=uv,
        xyz_relative=poses["xyz_relative"],
        scale_mm=np.full(count, 40, np.float32),
        side=poses["side"],
        visible=np.ones(uv.shape[:2], bool),
        in_3d=np.ones(count, bool),
        window=np.tile(np.float32([150, 160, 200]), (count, 1)),
        detected_uv=uv + rng.normal(0, noise, uv.shape).astype(np.float32),
        detected_score=np.ones(uv.shape[:2], np.float32),
        detected_xyz=np.repeat(poses["xyz_relative"].mean(0)[None], count, 0),
    )


def errors_mm(prediction, hands):
    return 40 * np.linalg.norm(prediction.xyz_relative - hands.xyz_relative, axis=-1)


@pytest.fixture(scope="module")
def poses():
    return toy_poses(1500)


# ---------------------------------------------------------------- interface


def test_mirroring_twice_changes_nothing_and_makes_left_hands():
    hands = toy_hands(6)
    left = hands.as_left()
    assert set(hands.side) == {0, 1} and not left.side.any()
    again = dataclasses.replace(left, side=hands.side).as_left()
    for name in ("image", "cover", "uv_crop", "xyz_relative", "window", "detected_uv"):
        np.testing.assert_allclose(getattr(again, name), getattr(hands, name), atol=1e-4, err_msg=name)
    back = Prediction(left.uv_crop, left.xyz_relative).mirrored_back(hands.side, SIZE)
    np.testing.assert_allclose(back.uv_crop, hands.uv_crop, atol=1e-4)
    np.testing.assert_allclose(
        left.to_frame(left.uv_crop)[hands.side == 1][..., 0].mean(),
        319 - hands.to_frame(hands.uv_crop)[hands.side == 1][..., 0].mean(),
        rtol=1e-4,
    )


def test_frame_pixels_follow_the_crop():
    hands = toy_hands(3)
    wanted = crops.crop_to_image(hands.uv_crop, hands.window[:, :2], hands.window[:, 2], SIZE)
    np.testing.assert_allclose(hands.to_frame(hands.uv_crop), np.asarray(wanted), atol=1e-3)


def test_unknown_system_names_the_known_ones():
    with pytest.raises(KeyError, match="matching"):
        make("nothing")


@pytest.mark.parametrize("key", BASELINES)
def test_every_system_says_what_it_is(key):
    system = make(key)
    assert system.name and system.reference and system.simplifications
    assert set(system.learns_from) <= {field.name for field in dataclasses.fields(Training)}
    assert system.sees_detections == (key in ("matching", "fitting", "deepmodel"))


# ---------------------------------------------------------------- matching


def test_matching_gets_better_with_its_bank(poses):
    system, hands = matching.Matching(), toy_hands(80, noise=1.0)
    system.bank = matching.make_bank(poses)
    errors = [np.median(errors_mm(system.predict(hands, count=count), hands)) for count in (10, 100, 3000)]
    assert errors[0] > 1.15 * errors[1] > 1.3 * errors[2]


def test_matching_finds_a_pose_that_it_knows_and_keeps_what_was_seen(poses):
    bank = matching.make_bank(poses, turns=0)
    uv = toy_views(poses)[:40]
    exemplar = matching.lift(bank, uv, poses["side"][:40], np.ones((40, 21)), keep_detected=False)
    np.testing.assert_allclose(exemplar, poses["xyz_relative"][:40], atol=1e-4)
    uv[:, 8] += 10  # a keypoint that no exemplar has there
    kept = matching.lift(bank, uv, poses["side"][:40], np.ones((40, 21)))
    flat = uv - uv[:, :1]
    ratio = np.linalg.norm(kept[..., :2], axis=(1, 2)) / np.linalg.norm(flat, axis=(1, 2))
    np.testing.assert_allclose(kept[..., :2], flat * ratio[:, None, None], rtol=1e-3, atol=1e-3)


def test_matching_does_not_look_at_keypoints_without_weight(poses):
    bank, weight = matching.make_bank(poses, turns=0), np.ones((30, 21))
    uv = toy_views(poses)[:30]
    plain = matching.lift(bank, uv, poses["side"][:30], weight, keep_detected=False)
    weight[:, 5] = 0
    uv[:, 5] += 3  # little enough that the scale of the whole stays what it is
    found = matching.lift(bank, uv, poses["side"][:30], weight, keep_detected=False)
    assert (np.abs(found - plain).max((1, 2)) < 1e-6).mean() > 0.8


# ---------------------------------------------------------------- fitting


def test_fitting_lowers_the_reprojection_error_and_keeps_a_hand(poses, tmp_path):
    fitted, hands = fitting.Fitting(), toy_hands(24, noise=1.0)
    fitted.train(Training(None, poses), str(tmp_path))
    fitted.load(str(tmp_path))
    prediction = fitted.predict(hands)
    network = fitting.placed(hands.detected_xyz, hands.detected_uv) - hands.detected_uv
    off = prediction.uv_crop - hands.detected_uv
    assert np.sqrt((off**2).sum(-1).mean()) < 0.5 * np.sqrt((network**2).sum(-1).mean())
    assert np.median(errors_mm(prediction, hands)) < 0.5 * np.median(
        errors_mm(Prediction(None, hands.detected_xyz), hands)
    )
    lengths, known = (_lengths(xyz) for xyz in (prediction.xyz_relative, poses["xyz_relative"]))
    assert (lengths > 0.8 * known.min(0)).all() and (lengths < 1.25 * known.max(0)).all()
    bends, known = (_bends(xyz) for xyz in (prediction.xyz_relative, poses["xyz_relative"]))
    assert bends.max() < known.max() + 0.5
    assert "Reprojection" in fitted.notes(hands)[0]


def _lengths(xyz):
    return np.stack([np.linalg.norm(xyz[:, a] - xyz[:, b], axis=-1) for a, b in BONES], 1)


def _bends(xyz):
    """Angles between a bone and the next one of its finger, (N, 15)."""
    angles = []
    for parent, keypoint in BONES:
        if parent:
            one = xyz[:, keypoint] - xyz[:, parent]
            two = xyz[:, parent] - xyz[:, dict((child, above) for above, child in BONES)[parent]]
            cosine = (one * two).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(two, axis=-1)
            angles.append(np.arccos(np.clip(cosine, -1, 1)))
    return np.stack(angles, 1)


# ---------------------------------------------------------------- Chamfer search


def bars(angles, tile=64):
    """Edge maps (N, T, T): the outline of a bar and of a shorter one beside it, turned by `angles`."""
    v, u = np.mgrid[:tile, :tile] - (tile - 1) / 2
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    x, y = cos * u + sin * v, cos * v - sin * u
    inside = ((np.abs(x) < 26) & (np.abs(y) < 5)) | ((np.abs(x - 8) < 5) & (np.abs(y - 10) < 8))
    return views.depth_edges(np.where(inside, 0.5, 0).astype(np.float32))


def test_chamfer_distance_of_points_by_hand():
    one, others = np.zeros((16, 16), bool), np.zeros((2, 16, 16), bool)
    one[3, 3] = others[0, 3, 7] = others[1, 15, 15] = True
    others[0, 3, 9] = True
    found = chamfer.chamfer(one, others)
    np.testing.assert_allclose(found, [4 + (4 + 6) / 2, 2 * chamfer.FARTHEST])
    np.testing.assert_allclose(chamfer.chamfer(one, one[None]), 0)


def test_maps_of_a_batch_do_not_see_each_other():
    edges = bars(np.linspace(0, 1, 5))
    np.testing.assert_allclose(chamfer.distances(edges)[3], chamfer.distances(edges[3:4])[0])


def test_canny_finds_the_border_of_a_square_once():
    grey = np.zeros((1, 64, 64), np.float32)
    grey[:, 20:44, 20:44] = 100
    edges = chamfer.canny(grey)[0]
    assert edges[32, 18:22].sum() == 1 and edges[32, 24:40].sum() == 0 and edges[40:48, 30].sum() == 1


def test_chamfer_search_gets_better_with_its_database(monkeypatch):
    monkeypatch.setattr(chamfer, "SHORTLIST", 20)
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2 * np.pi, 600)
    packed = np.packbits(bars(angles).reshape(len(angles), -1), axis=1)
    pose = np.stack([np.cos(angles), np.sin(angles), 0 * angles], -1)[:, None].repeat(21, 1)
    database = chamfer.Database({"edges": packed, "uv": pose[..., :2], "xyz": pose})
    asked = rng.uniform(0, 2 * np.pi, 20)
    truth = np.stack([np.cos(asked), np.sin(asked)], -1)
    off = [
        np.linalg.norm(
            database.xyz[database.search(bars(asked), count)[0][:, 0], 0, :2] - truth, axis=-1
        ).mean()
        for count in (10, 60, 600)
    ]
    assert off[0] > 2 * off[1] > 4 * off[2]
    known, least = database.search(database.unpacked(slice(0, 5)))
    np.testing.assert_array_equal(known[:, 0], np.arange(5))
    np.testing.assert_allclose(least[:, 0], 0, atol=1e-6)
    assert known.shape == (5, chamfer.NEAREST) and (np.diff(least) >= 0).all()


def test_tile_holds_the_hand_in_its_middle():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.05, (50, 3))
    rotation, translation = np.eye(3)[None], np.array([[0.1, 0, 0.5]])
    matrix = views.tile_matrices(points, rotation, translation)[0]
    u, v, z = matrix @ np.column_stack([points, np.ones(50)]).T
    uv = np.stack([u / z, v / z])
    np.testing.assert_allclose(uv.min(1) + uv.max(1), views.TILE - 1, atol=1e-3)
    assert np.ptp(uv, axis=1).max() == pytest.approx(views.TILE / views.REACH, rel=1e-4)


@pytest.mark.slow
def test_rendered_views_show_the_labelled_hand(tmp_path):
    command = [sys.executable, "-m", "experiments.baselines.views", "--out", str(tmp_path)]
    subprocess.run([*command, "--views", "10", "--workers", "1"], check=True)
    found = views.read_views(str(tmp_path))
    edges = chamfer.unpacked(found["edges"])
    assert len(edges) == views.PEOPLE * views.VIEWS_A_PERSON and edges.any((1, 2)).mean() > 0.99
    tips = found["uv"][:, [4, 8, 12, 16, 20]].reshape(-1, 2)
    assert ((tips > -1) & (tips < views.TILE)).mean() > 0.99  # near the edges, which are those of the hand
    number = np.arange(len(edges)).repeat(5)
    row, column = np.clip(np.round(tips[:, ::-1]), 0, 63).astype(int).T
    near = chamfer.distances(edges)[number, row, column]
    assert np.median(near) < 4


# ---------------------------------------------------------------- the table


class Known(Baseline):
    """Gives the labels, but no 2D of every second hand."""

    name, reference, simplifications, parameters = "Known", "none", "none", 3

    def train(self, training, run):
        pass

    def load(self, run):
        pass

    def predict(self, hands):
        uv = hands.uv_crop.copy()
        uv[1::2] = np.nan
        return Prediction(uv, hands.xyz_relative)

    def variants(self, hands):
        return {", 3D alone": Prediction(None, hands.xyz_relative)}


def test_scores_of_perfect_and_missing_hands():
    found = table.measure(Known(), toy_hands(10), 1.5)
    row, variant = found["rows"]
    assert row["values"][table.MEDIAN_PX] == 0 and row["values"][table.AUC_PX] == pytest.approx(0.5)
    assert row["values"][table.AUC_MM] == 1 and row["values"]["training_s"] == 1.5
    assert variant["values"][table.PX] is None and variant["missing"][table.PX] == table.NOT_2D


def test_hands_without_3d_have_a_reason():
    hands = dataclasses.replace(toy_hands(4), in_3d=np.zeros(4, bool))
    values, missing = table.scores(Prediction(None, hands.xyz_relative), hands)
    assert missing[table.MM] == table.NO_3D and missing[table.PX] == table.NOT_2D and values[table.MM] is None
