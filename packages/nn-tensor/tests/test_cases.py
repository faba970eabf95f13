"""Every op of the package has a row, and each row passes the checks of `nn_tensor.testing`."""

from __future__ import annotations

import contextlib
import sys
import types
from typing import Any

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import Check, assert_close, each_check, missing_cases
from nn_tensor.testing.assertions import flatten

from .cases import Row
from .cases_elementwise import ELEMENTWISE
from .cases_indexing import INDEXING
from .cases_linalg import DECOMPOSITIONS, LINALG, MATRICES
from .cases_reductions import REDUCTIONS
from .cases_shape import SHAPES
from .cases_sorting import SORTING

CASES = [*ELEMENTWISE, *REDUCTIONS, *SHAPES, *INDEXING, *SORTING, *LINALG, *MATRICES]
CASES += DECOMPOSITIONS
NAMES = {
    name
    for name, value in vars(nn_tensor.ops).items()
    if callable(value) and not name.startswith("_")
}
LINALG_NAMES = set(nn_tensor.linalg.__all__)
EXEMPT = {"to_device": "has no values to compare: test_devices.py"}


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


def test_every_operation_has_a_row() -> None:
    assert missing_cases(NAMES | LINALG_NAMES, CASES, EXEMPT) == []
    assert {case.name for case in CASES} <= NAMES | LINALG_NAMES


def test_every_operation_is_offered_at_the_top() -> None:
    for name in NAMES:
        assert getattr(nn_tensor, name) is getattr(nn_tensor.ops, name)


class _Device(contextlib.nullcontext[None]):
    id = 1


class _Elsewhere:
    """What an array on a device looks like, as far as the check of devices goes."""

    device = _Device()

    def __init__(self, host: Any) -> None:
        self.host = host

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)


def _computed_elsewhere(name: str) -> Any:
    function = getattr(np, name)
    return lambda x, *options, **named: _Elsewhere(function(x.host, *options, **named))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that CuPy is there, and return what puts an array on its device."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray = _Elsewhere  # type: ignore[attr-defined]
    cupy.__getattr__ = _computed_elsewhere  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return _Elsewhere


# One row of each op is enough, as the check has one place.
SEVERAL = {case.name: case for case in CASES if len(case.inputs) > 1 and case.differentiable}


@pytest.mark.parametrize("case", SEVERAL.values(), ids=str)
def test_mixed_devices_are_refused(case: Row, elsewhere: Any) -> None:
    first, *others = case.draw()
    for wrap in (lambda x: x, Tensor):
        with pytest.raises(ValueError, match=r"different devices.*cpu.*cuda:1") as caught:
            case(wrap(first), *(wrap(elsewhere(x)) for x in others))
        assert "float64" in str(caught.value)


# The first row of each op that takes arrays whose elements count.
FIRST = {case.name: case for case in reversed(CASES) if case.inputs}


@pytest.mark.parametrize("case", FIRST.values(), ids=str)
def test_masked_arrays_are_refused(case: Row) -> None:
    arrays = case.draw()
    for i, x in enumerate(arrays):
        masked = np.ma.array(x, mask=np.ones(x.shape, bool))
        others = [Tensor(y) for y in arrays]
        others[i] = masked
        with pytest.raises(TypeError, match="mask"):
            case(*others)


class _Foreign:
    """An array of another library, as far as NumPy is concerned."""

    def __init__(self, values: Any) -> None:
        self.values, self.shape, self.dtype = values, values.shape, f"foreign.{values.dtype}"
        self.ndim, self.size = values.ndim, values.size

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values if dtype is None else self.values.astype(dtype)


@pytest.mark.parametrize("case", SEVERAL.values(), ids=str)
def test_foreign_arrays_are_taken(case: Row) -> None:
    arrays = case.draw()
    expected = case(*map(Tensor, arrays))
    for i in range(1, len(arrays)):
        given = [_Foreign(x) if i == j else Tensor(x) for j, x in enumerate(arrays)]
        for y, z in zip(flatten(case(*given)), flatten(expected), strict=True):
            assert_close(y, z)


def _takes_numbers(case: Row) -> bool:
    """Return whether all integers are valid: some matrices are singular, others fail a check."""
    known = {"invert", *(row.name for row in DECOMPOSITIONS)}
    return case.name not in known and all(np.isfinite(x).all() for x in case.draw())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "bool"])
@pytest.mark.parametrize("case", [*filter(_takes_numbers, FIRST.values())], ids=str)
def test_floating_results_of_small_integers(case: Row, dtype: str) -> None:
    """They are those of the same numbers as floats: nothing wraps around on the way."""
    # so small that float16, which NumPy computes in for them, has room for their exponentials
    positive = [np.abs(x) * 40 % 12 if x.dtype.kind == "f" else x for x in case.draw()]
    if dtype == "bool":
        positive = [x > 6 if x.dtype.kind == "f" else x for x in positive]
    small = [x.astype(dtype) if x.dtype.kind in "fb" else x for x in positive]
    wide = [x.astype(float) if x.dtype == dtype else x for x in small]
    with np.errstate(all="ignore"):
        try:
            results = flatten(case(*map(Tensor, small)))
        except TypeError:
            return  # not defined for them, as a negative for booleans
        expected = flatten(case(*map(Tensor, wide)))
    for y, z in zip(results, expected, strict=True):
        if y.dtype.kind == "f":
            rtol = 1e-3 if y.dtype == "float16" else 1e-6
            assert_close(y, z.numpy(), rtol, 1e-3, check_dtype=False)
