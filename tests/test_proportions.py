"""Fingers of other lengths: bones and skin go together, hands of different people differ."""

import numpy as np
import pytest

from pipelines.render import proportions
from pipelines.render.body import load_body
from pipelines.render.character import make_character


@pytest.fixture(scope="module")
def rest():
    body = load_body()
    count, bones = body.num_control, len(body.bones)
    points = body.base.astype(np.float64)
    return body, points[:count], points[count : count + bones], points[count + bones :]


def test_bones_have_the_lengths_asked_for(rest):
    body, control, heads, tails = rest
    lengths = np.ones((5, 3))
    lengths[1] = 1.1, 0.9, 1.2
    skin, new_heads, new_tails = proportions.stretch(body, control, heads, tails, lengths)
    before, after = np.linalg.norm(tails - heads, axis=1), np.linalg.norm(new_tails - new_heads, axis=1)
    changed = np.ones(len(before))
    for side in "LR":
        bones = [body.bone(f"finger2-{k}.{side}") for k in (1, 2, 3)]
        changed[bones] = lengths[1]
        np.testing.assert_allclose(new_heads[bones[1:]], new_tails[bones[:2]], atol=1e-6)
        # skin of the last bone alone: what is at its end has moved as the bone's end has
        alone = np.asarray(body.skin[:, [bones[2]]].todense()).ravel() == 1
        axis = tails[bones[2]] - heads[bones[2]]
        along = (control - heads[bones[2]]) @ axis / (axis @ axis)
        end = alone & (along > 0)
        assert end.sum() > 10
        expected = new_heads[bones[2]] - heads[bones[2]] + 0.2 * along[end, None] * axis
        np.testing.assert_allclose(skin[end] - control[end], expected, atol=1e-5)
    np.testing.assert_allclose(after, changed * before, rtol=1e-4)
    other = [k for k, name in enumerate(body.bones) if not name.startswith("finger2")]
    still = np.asarray(body.skin[:, other].sum(1)).ravel() > 0.999
    np.testing.assert_allclose(skin[still], control[still], atol=1e-4)


def test_lengths_as_they_were_change_nothing(rest):
    body, *points = rest
    for new, old in zip(proportions.stretch(body, *points, np.ones((5, 3))), points, strict=True):
        np.testing.assert_array_equal(new, old)


def test_people_differ():
    drawn = np.stack([proportions.sample_phalanges(np.random.default_rng(k)) for k in range(400)])
    np.testing.assert_allclose(np.median(drawn, 0), proportions.USUAL, rtol=0.02)
    spread = np.log(drawn).std(0)
    assert (spread[1:] > 0.06).all() and (spread < 0.09).all() and 0.7 < drawn.min() and drawn.max() < 1.5
    shapes = []
    for seed in range(6):
        hand = make_character(load_body(), seed).hands[0]
        joints = np.concatenate([hand.pivots[5:].reshape(5, 3, 3), hand.tips[:, None]], 1)
        bones = np.linalg.norm(np.diff(joints, axis=1), axis=-1)
        shapes.append(np.log(bones / bones.sum()))
    assert np.median(np.std(shapes, 0)) > 0.045  # MakeHuman's own: 0.032
