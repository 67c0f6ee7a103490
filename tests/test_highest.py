"""hand3d.highest: the first of the highest values, on every backend."""

import numpy as np
import pytest
from keras import ops

from hand3d.highest import argmax


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_as_numpy_has_it(axis):
    x = np.random.default_rng(0).integers(0, 5, (3, 7, 4)).astype(np.float32)  # with many ties
    found = ops.convert_to_numpy(argmax(x, axis))
    np.testing.assert_array_equal(found, np.argmax(x, axis))
    assert found.dtype == np.int32


def test_values_that_are_no_numbers_stay_in_range():
    x = np.full((2, 5), np.nan, np.float32)
    assert (ops.convert_to_numpy(argmax(x)) < 5).all()
    assert ops.convert_to_numpy(argmax(np.array([-np.inf, -np.inf], np.float32))) == 0
    assert ops.convert_to_numpy(argmax(np.array([-0.0, 0.0], np.float32))) == 0
