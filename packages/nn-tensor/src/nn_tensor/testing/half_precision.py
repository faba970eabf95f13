"""Half precision: the results of float16 against those of float64 on the same values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nn_tensor.testing.assertions import require
from nn_tensor.testing.cases import Case, Check

__all__ = ["MANY", "assert_close_in_half", "half_precision_checks", "weights_in_half"]

MANY = 70_000
"""A number of elements that float16 cannot count: its largest number is 65,504."""

_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def half_precision_checks(cases: Iterable[Case]) -> list[Check]:
    """List one check for each row: that it computes in float16 what it computes in float64.

    The rows of such a table have many elements, along one axis after another. Sums, counts and
    gradients that accumulate in float16 fail: ones add up to 2048 there, and a count of more than
    65,504 is infinite. Rows of ops, layers, losses and metrics compare results and all gradients,
    rows of optimizers the parameters after some steps::

        HALF = [OpCase(nn_tensor.mean, None, [("normal", (MANY, 2))], options={"axis": 0})]

        @pytest.mark.parametrize("check", half_precision_checks(HALF), ids=str)
        def test_half_precision(check, device):
            check(device)

    >>> from nn_tensor import mean
    >>> from nn_tensor.testing import MANY, OpCase
    >>> checks = half_precision_checks([OpCase(mean, None, [("normal", (MANY,))])])
    >>> for check in checks:
    ...     check()
    >>> str(checks[0])
    'mean: half_precision'
    """
    checks = [Check(case, "half_precision") for case in cases]
    names = [str(check) for check in checks]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"cases: several rows give {sorted(repeated)}; give them labels")
    return checks


def assert_close_in_half(actual: Any, expected: Any, bound: float, name: str) -> None:
    """Raise unless float16 values are those of a computation in float64, up to rounding.

    The error of an element is at most `bound` times its size plus the root of the mean square of
    all, plus two steps of the smallest numbers of float16, 1.2e-7. What is beyond the largest one,
    65,504, is infinite. Integers and booleans must be equal.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    require(actual.shape == expected.shape, f"{name}: {actual.shape}, expected {expected.shape}")
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, name)
        return
    values, exact = actual.astype(float), expected.astype(float)
    inside = np.abs(exact) < _LARGEST
    typical = np.sqrt(np.mean(np.square(exact[inside]))) if inside.any() else 0.0
    with np.errstate(invalid="ignore"):
        error = np.where(values == exact, 0, np.abs(values - exact))
    allowed = bound * (np.abs(exact) + typical) + 2 * _SMALLEST
    beyond = (np.abs(values) >= _LARGEST) & (np.sign(values) == np.sign(exact))
    right = np.where(inside, error <= allowed, beyond | (np.isnan(values) & np.isnan(exact)))
    if not right.all():
        worst = np.where(right, -np.inf, np.nan_to_num(error - allowed, nan=np.inf))
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(worst)), exact.shape))
        raise AssertionError(
            f"{name}: {int((~right).sum())} of {right.size} elements differ; at {at} "
            f"{values[at]:.6g}, in float64 {exact[at]:.6g} with an error of at most "
            f"{allowed[at]:.2g}"
        )


def weights_in_half(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Return gradients of a result, all positive, so that a sum of many stops where it may not."""
    return np.asarray(rng.uniform(0, 0.5, shape).astype(np.float16))
