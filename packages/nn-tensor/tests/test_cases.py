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
from nn_tensor.testing import Check, each_check, missing_cases

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
