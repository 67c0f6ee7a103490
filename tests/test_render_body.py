"""The body model and the characters: parts, keypoints at rest, determinism."""

import numpy as np
import pytest

from hand3d import skeleton
from pipelines.render.body import KINDS, MATERIALS, load_body
from pipelines.render.character import (
    CHARACTERS_EVALUATION,
    CHARACTERS_TRAINING,
    macro_weights,
    make_character,
)


@pytest.fixture(scope="module")
def body():
    return load_body()


def test_body_arrays_agree(body):
    count = len(body.uv)
    assert body.faces.shape == (len(body.part), 3) and body.faces.max() < count
    assert body.refine.shape == (count, body.num_control)
    assert 20_000 <= count <= 35_000
    assert set(np.unique(body.part)) == set(range(1, 34))
    assert body.material.max() < len(MATERIALS) and body.kind.max() < len(KINDS)
    assert (body.uv >= 0).all() and (body.uv <= 1).all()
    np.testing.assert_allclose(np.asarray(body.refine.sum(1)).ravel(), 1, atol=1e-5)
    np.testing.assert_allclose(np.asarray(body.skin.sum(1)).ravel(), 1, atol=1e-3)
    assert all(parent < bone for bone, parent in enumerate(body.parents))


def test_parts_are_mirrored_and_nails_are_on_the_last_bones(body):
    counts = np.bincount(body.part, minlength=34)
    np.testing.assert_allclose(counts[2:18], counts[18:34], rtol=0.05)
    nails = body.part[body.material == MATERIALS.index("nail")]
    tips = [first + 3 * finger for first in (2, 18) for finger in range(5)]
    assert np.isin(nails, tips).mean() > 0.97 and set(tips) <= set(nails)


def test_macro_weights_are_a_partition():
    weights = macro_weights(30.0, 0.3, 0.7, 0.2, 0.6, 0.4, np.array([0.2, 0.3, 0.5]))
    assert weights[:18].sum() == pytest.approx(1) and weights[18:48].sum() == pytest.approx(1)
    assert weights.min() > -1e-6


def test_characters_are_people_and_differ(body):
    seeds = CHARACTERS_TRAINING + CHARACTERS_EVALUATION
    assert len(CHARACTERS_TRAINING) == 16 and len(CHARACTERS_EVALUATION) == 4 and len(set(seeds)) == 20
    lengths = []
    for seed in seeds[:3] + seeds[-2:]:
        person = make_character(body, seed)
        assert np.isfinite(person.control).all()
        skin = (body.refine @ person.control)[np.unique(body.faces[body.kind == 0])]
        assert 1.1 < np.ptp(skin[:, 1]) < 2.15
        lengths.append(person.attributes["hand_length"])
        assert 0.12 < lengths[-1] < 0.25
        assert 0 <= person.attributes["skin_tone"] <= 1
    assert np.ptp(lengths) > 0.003


def test_character_is_deterministic(body):
    first, second = make_character(body, 12345), make_character(body, 12345)
    np.testing.assert_array_equal(first.control, second.control)
    np.testing.assert_array_equal(first.drawn, second.drawn)
    assert first.attributes == second.attributes
    with pytest.raises(TypeError, match="seed"):
        make_character(body, 1.5)


def test_hands_at_rest(body):
    person = make_character(body, 1)
    for side, rig in enumerate(person.hands):
        assert rig.side == side
        # the left hand is at +x; frames are rotations; the palm looks away from the back of the hand
        assert (rig.pivots[0, 0] > 0) == (side == 0)
        np.testing.assert_allclose(
            rig.frames @ rig.frames.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-9
        )
        local = (rig.tips - rig.pivots[0]) @ rig.frames[0]
        assert (local[1:, 1] > 0).all() and local[0, 2] < -0.01  # thumb in front of the palm
        across = local[4, 0] - local[1, 0]  # index to little: x on a right hand, -x on a left one
        assert np.sign(across) == (1 if side else -1)
        assert len(rig.tips) == len(skeleton.FINGERS)
