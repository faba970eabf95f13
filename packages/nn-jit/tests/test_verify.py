"""The comparison of the first replay, and of arguments: bit for bit."""

import numpy as np
import pytest
from jit_parts import inputs
from nn_jit import JitError, jit
from nn_tensor import Tensor


@pytest.mark.parametrize(
    ("recorded", "written", "problem"),
    [
        (0.0, -0.0, "the sign of a zero"),
        (1.0, np.nan, "or in NaN"),
        (1.0, 1.5, r"differs by up to 0\.5"),
    ],
)
def test_the_first_replay_is_compared_bit_for_bit(recorded, written, problem):
    numbers = iter([1.0, recorded, written])
    f = jit(lambda x: x * next(numbers))
    x = Tensor(np.ones(3, np.float32))
    f(x)
    f(x)
    with pytest.raises(JitError, match=f"first replay differed.*{problem}"):
        f(x)


def test_a_number_that_is_returned_is_compared_with_its_sign():
    numbers = iter([1.0, 0.0, -0.0])
    f = jit(lambda x: (x * 2, next(numbers)))
    x = inputs()[0]
    f(x)
    f(x)
    with pytest.raises(JitError, match=r"0\.0 in the replay, -0\.0 as written"):
        f(x)


@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_zero_and_minus_zero_are_two_signatures_and_nan_is_one(kind):
    def f(x, number):
        return x * number

    fast = jit(f)
    for number in (kind(0.0), kind(-0.0), kind(np.nan)) * 5:
        x = Tensor(np.ones(3))
        found, expected = fast(x, number).numpy(), f(x, number).numpy()
        np.testing.assert_array_equal(found, expected)
        real = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[real], np.signbit(expected)[real])
    assert fast.explain().signatures == 3
