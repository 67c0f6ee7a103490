"""hand3d.candidates: several objects of a mask, the best of which is the hand."""

import keras
import numpy as np
import pytest

from hand3d import networks
from hand3d.candidates import BestRegions, SplitHands, hand_regions
from hand3d.graph import full_graph
from hand3d.segmentation import hand_component


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def masks():
    """One mask with two objects, the smaller one surer, and one with none."""
    masks = np.zeros((2, 64, 64), np.float32)
    masks[0, 5:25, 5:25] = 0.8
    masks[0, 50:58, 48:56] = 0.9
    return masks


def test_objects_come_surest_first_and_do_not_overlap(masks):
    regions = numpy(hand_regions(masks, 3, stride=4)).reshape(2, 3, 64, 64)
    assert regions.sum((2, 3)).tolist() == [[64, 400, 0], [0, 0, 0]]
    np.testing.assert_array_equal(regions[:, 0], numpy(hand_component(masks, stride=4)))
    np.testing.assert_array_equal(regions[0].sum(0), masks[0] > 0.5)


def test_the_best_region_is_taken_first_of_equals():
    score = np.array([0.1, 0.4, 0.9, 0.2, 0, 0], np.float32)
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert numpy(BestRegions(2)([score, values])).tolist() == [[2, 3], [4, 5], [8, 9]]
    assert numpy(BestRegions(3)([score, score])).tolist() == pytest.approx([0.9, 0.2])


def skin_detector():
    """A HandSegNet by hand: red pixels are hand, the brighter the surer."""
    image = keras.Input((None, None, 3))
    logits = keras.layers.Conv2D(2, 1)(image)
    model = keras.Model(image, logits)
    model.layers[-1].set_weights([np.array([[[[0, 9.0], [0, -9], [0, 0]]]]), np.array([0, -1.0])])
    return model


def test_the_graph_takes_the_better_of_two():
    """The paper's rule takes the object with the surest pixel, two candidates the one with the best score."""
    images = np.zeros((2, 96, 96, 3), np.float32)
    images[0, 8:40, 8:40, 0], images[0, 56:88, 52:84, 0] = 180, 230  # a dim and a bright object
    images[0, 20:24, 20:24, 0] = 255  # the surest pixels are the dim one's
    images[1, 56:88, 52:84, 0] = 230  # one object alone
    side = np.zeros((len(images), 2), np.float32)
    parts = [skin_detector(), networks.posenet(width=1 / 32), networks.poseprior(), networks.viewpoint()]
    options = dict(segment_size=96, crop_size=64, map_mode="probability")
    alone, both = (
        {
            key: numpy(value)
            for key, value in full_graph(*parts, candidates=count, **options)([images, side]).items()
        }
        for count in (1, 2)
    )
    assert {key: value.shape for key, value in both.items()} == {
        key: value.shape for key, value in alone.items()
    }
    np.testing.assert_allclose(alone["box_centre"], [[23.5, 23.5], [67.5, 71.5]], atol=0.6)
    np.testing.assert_allclose(both["box_centre"], [[67.5, 71.5]] * 2, atol=0.6)
    assert both["score"][0] > alone["score"][0] + 0.001
    for key, value in both.items():  # all of the outputs are those of the same object
        value = value if key != "mask" else value[1:]
        np.testing.assert_allclose(value[0], value[-1], atol=0.02 * np.abs(value).max(), err_msg=key)


def test_candidates_must_be_a_number():
    with pytest.raises(ValueError, match="candidates is 0"):
        full_graph(None, None, None, None, candidates=0)


def test_hands_of_batches_of_open_size_are_split_on_every_backend():
    values = keras.Input((3,))
    split = keras.Model(values, SplitHands(2)(values))
    assert split.output.shape == (None, 2, 3)
    found = keras.ops.convert_to_numpy(split(np.arange(12, dtype=np.float32).reshape(4, 3)))
    np.testing.assert_array_equal(found, np.arange(12).reshape(2, 2, 3))
