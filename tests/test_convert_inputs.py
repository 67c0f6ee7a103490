"""The input functions on records of different sources, and on a mix of them."""

import functools
import os

import miniature
import numpy as np
import pytest

from hand3d.skeleton import NUM_KEYPOINTS, TIPS
from pipelines import records, rules
from pipelines.convert.run import run
from pipelines.inspect import defaults
from pipelines.mix import main as mix_main
from pipelines.mix import mix

pytest.importorskip("google_crc32c", reason="needs google-crc32c: pip install google-crc32c")
tf = pytest.importorskip("tensorflow")
from pipelines import inputs  # noqa: E402

SIZES = dict(side=48, crop_size=32, check=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """{source: folder of records} with a training split, but for those that have none."""
    home, folders = tmp_path_factory.mktemp("sets"), {"render": miniature.RENDERS}
    writers = {
        "rhd": lambda folder: miniature.write_rhd(folder),
        "freihand": lambda folder: miniature.write_freihand(folder),
        "csv": lambda folder: (os.makedirs(folder), miniature.write_csv(folder, split=False)),
        "stb": lambda folder: miniature.write_stb(folder, frames=4, cameras=("SK",)),
        "dexter": lambda folder: miniature.write_dexter(folder, sequences=("Grasp1",)),
    }
    for name, write in writers.items():
        write(home / name)
        split = "evaluation" if name in ("stb", "dexter") else "training"
        given = {"csv": ("--evaluation-share", "0"), "stb": ("--cameras", "SK")}.get(name, ())
        folders[name] = str(home / f"{name}-records")
        run(name, str(home / name), folders[name], split, workers=1, options=defaults(name, given))
    return folders


@functools.cache
def everything(folder, split):
    batches = inputs.posenet_batches(folder, split, batch=64, training=False, **SIZES)
    batches = list(batches.as_numpy_iterator())
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


@pytest.mark.slow
def test_batches_are_alike_for_every_source(sets):
    kinds = {}
    for name, folder in sets.items():
        split = "training" if name in ("rhd", "freihand", "csv") else "evaluation"
        hands = everything(folder, split)
        kinds[name] = {key: (value.dtype, value.shape[1:]) for key, value in hands.items()}
        assert kinds[name] == kinds["render"], name
        assert set(hands["source"]) == {records.SOURCES.index(name)}
        count = {"render": 20, "rhd": 20, "csv": 20, "freihand": 20, "stb": 6, "dexter": 20}[name]
        assert len(hands["uv"]) >= count, (name, len(hands["uv"]))
        assert (hands["has_mask"] == (name in ("render", "rhd", "freihand"))).all()
        assert hands["present_xyz"].any() == (name != "csv")
        assert not hands["xyz"][~hands["present_xyz"]].any() or name == "dexter"
        inside = hands["present"] & (hands["uv"] > 0).all(-1) & (hands["uv"] < 47).all(-1)
        assert inside.sum() > 0.9 * hands["visible"].sum()
    assert np.array_equal(
        everything(sets["rhd"], "training")["uv"], everything(sets["render"], "evaluation")["uv"]
    )


@pytest.mark.slow
def test_roots_become_palms(sets):
    truth = miniature.renders()
    hands = everything(sets["csv"], "training")
    assert hands["present"].all()
    stb = everything(sets["stb"], "evaluation")  # has the palm already: it is not moved again
    bone = np.linalg.norm(stb["xyz"][:, 12] - stb["xyz"][:, 0], axis=-1)
    assert np.median(bone / rules.scale_length(stb["xyz"])) < 1.4
    labelled = [sample["xyz"][:NUM_KEYPOINTS] for sample in miniature.read_all(sets["stb"], "evaluation")]
    np.testing.assert_array_equal(inputs.load_poses(sets["stb"], "evaluation", check=False)["xyz"], labelled)
    wrist = np.concatenate([sample["xyz"].reshape(2, 21, 3) for sample in truth])
    found = inputs.load_poses(sets["rhd"], "training", check=False)["xyz"]
    before = (wrist[..., 2] > 0).all(1)
    np.testing.assert_allclose(found, rules.palm_from_wrist(wrist[before]), atol=1e-6)


def test_fingertips_alone_are_marked(sets):
    hands = everything(sets["dexter"], "evaluation")
    others = [k for k in range(NUM_KEYPOINTS) if k not in TIPS]
    assert not hands["present"][:, others].any() and hands["present"][:, list(TIPS)].mean() > 0.95
    with pytest.raises(ValueError, match="no labelled hand"):
        inputs.load_poses(sets["dexter"], "evaluation", check=False)  # they cannot train lifting
    with pytest.raises(ValueError, match="no labelled hand"):
        inputs.load_poses(sets["csv"], "training", check=False)


def test_samples_without_a_mask_do_not_train_segmentation(sets):
    def count(name, split):
        data = inputs.handsegnet_batches(sets[name], split, batch=64, training=False, zooms=False, **SIZES)
        return sum(len(batch["picture"]) for batch in data)

    assert count("csv", "training") == 0 and count("stb", "evaluation") == 0
    assert count("rhd", "training") == count("freihand", "training") == 24
    (batch,) = inputs.handsegnet_batches(
        sets["freihand"], "training", batch=64, training=False, zooms=False, **SIZES
    )
    person, hand = np.moveaxis(batch["picture"].numpy()[..., 3:], -1, 0)
    assert person.min() == 255 and 0.01 < hand.mean() / 255 < 0.4  # what is no hand may be a person


def test_absent_keypoints_count_for_nothing(sets):
    from hand3d.training import PoseNetTraining

    class Keep:
        """In place of the augmentation: the picture as it is."""

        size = 48

        def __call__(self, picture, background, training=False, up=None):
            return picture[..., :3], None, {"mirror": np.zeros(len(picture), bool)}

        def move_keypoints(self, uv, visible, drawn, occluded_weight):
            return tf.constant(uv), tf.where(visible, 1.0, occluded_weight)

    batch = {key: value[:4] for key, value in everything(sets["dexter"], "evaluation").items()}
    model = PoseNetTraining(lambda image, training: tf.zeros((4, 12, 12, 21)), Keep())
    weight = model.call(batch)["weight"].numpy()
    np.testing.assert_array_equal(weight > 0, batch["present"])


@pytest.mark.slow
def test_mix_keeps_the_weights(sets, tmp_path):
    out = str(tmp_path / "mix")
    mix([sets["rhd"], sets["freihand"], sets["csv"]], [2, 1, 1], out)
    data = inputs.posenet_batches(
        out, "training", batch=32, training=True, background_count=4, limit=20, **SIZES
    )
    sources = np.concatenate([batch["source"] for batch in data.take(15).as_numpy_iterator()])
    for name, share in (("rhd", 0.5), ("freihand", 0.25), ("csv", 0.25)):
        assert abs((sources == records.SOURCES.index(name)).mean() - share) < 0.08
    assert sum(1 for _ in records.read_records(out, "training")) == 72
    hands = inputs.load_poses(out, "training", check=False)
    assert len(hands["side"]) > 24
    # a set that does not fit into memory is decoded anew
    data = inputs.posenet_batches(
        out, "training", batch=8, training=True, background_count=4, memory=0, **SIZES
    )
    assert sum(len(batch["uv"]) for batch in data.take(12)) == 96


def test_mix_refuses_what_does_not_fit(sets, tmp_path, capsys):
    rhd, csv, out = sets["rhd"], sets["csv"], str(tmp_path / "mix")
    for folders, weights, words in (
        ([rhd, csv], ["1"], "1 numbers for 2 folders"),
        ([rhd, csv], ["1", "-1"], "positive numbers"),
        ([rhd, rhd], ["1", "1"], "occurs twice"),
        ([rhd, sets["stb"]], ["1", "1"], "no split 'training'"),
        ([rhd, str(tmp_path)], ["1", "1"], "info.json does not exist"),
    ):
        assert mix_main(["--in", *folders, "--weights", *weights, "--out", out]) == 1
        assert words in capsys.readouterr().err
    assert mix_main(["--in", rhd, csv, "--out", rhd]) == 1
    assert "records of its own" in capsys.readouterr().err and not os.path.exists(out)
    assert mix_main(["--in", rhd, csv, "--out", out]) == 0
    assert "training: 48 samples" in capsys.readouterr().out


def test_records_of_version_1_read_as_before(tmp_path):
    """Without the features of version 2: everything present, wrist, full mask, rendered."""
    from pipelines.tfrecord_io import example_class, read_tfrecord, write_tfrecord

    (path,) = records.shard_paths(miniature.RENDERS, "evaluation")
    payloads = []
    for payload in read_tfrecord(path):
        example = example_class().FromString(payload)
        for name in ("present_xyz", "root", "mask_kind", "box", "source"):
            del example.features.feature[name]
        payloads.append(example.SerializeToString(deterministic=True))
    write_tfrecord(tmp_path / "old", payloads)
    records.write_info(tmp_path, "evaluation", {"old": len(payloads)}, licence="CC0-1.0", generator={})
    text = (tmp_path / "info.json").read_text().replace('"schema_version": 2', '"schema_version": 1')
    (tmp_path / "info.json").write_text(text)
    old, new = everything(str(tmp_path), "evaluation"), everything(miniature.RENDERS, "evaluation")
    for key in new:
        np.testing.assert_array_equal(old[key], new[key], err_msg=key)
