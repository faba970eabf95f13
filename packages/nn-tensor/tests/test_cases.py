"""Each row of the tables, checked in every way that holds for all operations."""

from __future__ import annotations

import contextlib
import sys
import types
from typing import Any

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor, no_grad
from nn_tensor.testing import assert_close, gradcheck

from .cases import ELEMENTWISE, Case
from .cases_of_arrays import ARRAYS
from .cases_of_products import INDEXING, LINALG

CASES = [*ELEMENTWISE, *ARRAYS, *INDEXING, *LINALG]
DIFFERENTIABLE = [case for case in CASES if case.differentiable]
BROADCASTING = [case for case in CASES if case.broadcasts]

# What has no values to compare: checked in test_creation.py and test_devices.py.
ELSEWHERE = {"to_device"}

each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_differentiable = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)


def as_list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def leaves(case: Case, arrays: list[np.ndarray], device: str = "cpu") -> list[Tensor]:
    wrt = case.differentiable
    return [Tensor(x, device=device, requires_grad=i in wrt) for i, x in enumerate(arrays)]


def walk(case: Case, arrays: list[np.ndarray], device: str = "cpu") -> list[np.ndarray]:
    """Return the gradients for one fixed weighting of the results."""
    inputs = leaves(case, arrays, device)
    outputs = as_list(case(*inputs))
    rng = np.random.default_rng(1)
    total: Any = 0.0
    for y in outputs:
        weight = Tensor(rng.normal(size=y.shape).astype(y.dtype), device=device)
        total = total + (y * weight).sum()
    total.backward()
    return [inputs[i].grad.numpy() for i in case.differentiable]


def test_every_operation_has_a_row() -> None:
    rows = {case.name for case in CASES} | ELSEWHERE
    names = {name for name, value in vars(nn_tensor.ops).items() if callable(value)}
    names = {name for name in names if not name.startswith("_")}
    assert names - rows == set()
    assert rows - names == set()


def test_every_operation_is_offered_at_the_top() -> None:
    for name in {case.name for case in CASES} | ELSEWHERE:
        assert getattr(nn_tensor, name) is getattr(nn_tensor.ops, name)


def test_labels_are_distinct() -> None:
    labels = [str(case) for case in CASES]
    assert sorted(set(labels)) == sorted(labels)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward(case: Case, dtype: str, device: str) -> None:
    arrays = case.draw(dtype)
    expected = case.expect(*arrays)
    given = [Tensor(x, device=device) for x in arrays]
    outputs = as_list(case(*given))
    on_arrays = as_list(case(*(x.data for x in given)))
    assert len(outputs) == len(expected) == len(on_arrays)
    for y, bare, reference in zip(outputs, on_arrays, expected, strict=True):
        assert type(y) is Tensor
        assert y.device == device
        assert not y.requires_grad
        assert_close(y, reference, name=str(case))
        assert not isinstance(bare, Tensor)
        assert bare.dtype == y.dtype
        np.testing.assert_array_equal(Tensor(bare).numpy(), y.numpy())


@each_differentiable
def test_gradients_of_both_orders(case: Case, device: str) -> None:
    inputs = [Tensor(x, device=device) for x in case.draw()]
    gradcheck(case, inputs, order=2, wrt=case.differentiable)


@each_case
def test_what_is_recorded(case: Case, device: str) -> None:
    arrays = case.draw()
    outputs = as_list(case(*leaves(case, arrays, device)))
    assert all(y.requires_grad == bool(case.differentiable) for y in outputs)
    with no_grad():
        outputs = as_list(case(*leaves(case, arrays, device)))
    assert not any(y.requires_grad for y in outputs)


@each_differentiable
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_gradient_keeps_dtype_and_shape(case: Case, dtype: str, device: str) -> None:
    arrays = case.draw(dtype)
    gradients = walk(case, arrays, device)
    # the same values in float64; float16 has 11 bits, of which a chain of a few steps keeps 7
    exact = walk(case, [x.astype(float) if x.dtype.kind == "f" else x for x in arrays], device)
    for i, gradient, reference in zip(case.differentiable, gradients, exact, strict=True):
        assert gradient.dtype == dtype
        assert gradient.shape == arrays[i].shape
        bound = 1e-4 if dtype == "float32" else 3e-2
        scale = max(np.abs(reference).max(initial=0.0), 1.0)
        assert_close(gradient, reference, rtol=bound, atol=bound * scale, check_dtype=False)


@each_case
def test_inputs_stay_as_they_are(case: Case) -> None:
    arrays = case.draw()
    before = [x.copy() for x in arrays]
    for x in arrays:
        x.flags.writeable = False
    case(*arrays)
    if case.differentiable:
        walk(case, arrays)
    for x, y in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(x, y)


def _fortran(x: np.ndarray) -> np.ndarray:
    return np.asfortranarray(x)


def _strided(x: np.ndarray) -> np.ndarray:
    wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def _reversed(x: np.ndarray) -> np.ndarray:
    back = tuple(slice(None, None, -1) for _ in x.shape)
    return np.array(x[back])[back]


@each_case
@pytest.mark.parametrize("layout", [_fortran, _strided, _reversed])
def test_memory_layout_does_not_matter(case: Case, layout: Any) -> None:
    plain = case.draw()
    arrays = [layout(x) if x.ndim else x for x in plain]
    for y, reference in zip(as_list(case(*arrays)), as_list(case(*plain)), strict=True):
        assert_close(y, reference)
    if case.differentiable:
        for gradient, reference in zip(walk(case, arrays), walk(case, plain), strict=True):
            assert_close(gradient, reference, rtol=1e-11, atol=1e-12)


# Equal elements are a kink of the others.
STRETCHABLE = [case for case in DIFFERENTIABLE if case.name not in ("max", "min", "std")]


@pytest.mark.parametrize("case", STRETCHABLE, ids=str)
def test_inputs_that_are_read_only_broadcasts(case: Case) -> None:
    arrays = [
        np.broadcast_to(x[:1], x.shape) if x.ndim and x.shape[0] and x.dtype.kind == "f" else x
        for x in case.draw()
    ]
    gradcheck(case, [x.copy() for x in arrays], wrt=case.differentiable)
    copies = walk(case, [x.copy() for x in arrays])
    for gradient, reference in zip(walk(case, arrays), copies, strict=True):
        assert_close(gradient, reference, rtol=1e-11, atol=1e-12)


_SHAPES = {
    "equal": [(3, 4), (3, 4)],
    "row": [(3, 4), (4,)],
    "column": [(3, 4), (3, 1)],
    "both": [(3, 1), (1, 4)],
    "scalar": [(3, 4), ()],
    "scalars": [(), ()],
    "more axes": [(3, 4), (2, 1, 4)],
    "no rows": [(0, 4), (4,)],
    "stretched to nothing": [(2, 0), (2, 1)],
}


@pytest.mark.parametrize("shapes", _SHAPES, ids=str)
@pytest.mark.parametrize("case", BROADCASTING, ids=str)
def test_broadcasting(case: Case, shapes: str, device: str) -> None:
    first, second = _SHAPES[shapes]
    for pair in ((first, second), (second, first)):
        row = case.with_shapes(
            *((3, 1) if shapes == "both" else (),) * (len(case.inputs) - 2), *pair
        )
        arrays = row.draw()
        inputs = [Tensor(x, device=device) for x in arrays]
        assert_close(row(*inputs), row.expect(*arrays)[0])
        if row.differentiable:
            gradcheck(row, inputs, order=2, wrt=row.differentiable)


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


# One row of each is enough, as the check has one place.
SEVERAL = {case.name: case for case in CASES if len(case.inputs) > 1 and case.differentiable}


@pytest.mark.parametrize("case", SEVERAL.values(), ids=str)
def test_mixed_devices_are_refused(case: Case, elsewhere: Any) -> None:
    first, *others = case.draw()
    for wrap in (lambda x: x, Tensor):
        with pytest.raises(ValueError, match=r"different devices.*cpu.*cuda:1") as caught:
            case(wrap(first), *(wrap(elsewhere(x)) for x in others))
        assert "float64" in str(caught.value)


IN_PYTORCH = [case for case in DIFFERENTIABLE if case.torch]


@pytest.mark.parametrize("case", IN_PYTORCH, ids=str)
def test_gradients_equal_those_of_pytorch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    function: Any = case.torch
    if isinstance(function, str):
        function = torch
        for name in str(case.torch).split("."):
            function = getattr(function, name)
    arrays = case.draw()
    ours = leaves(case, arrays)
    theirs = [torch.tensor(x, requires_grad=i in case.differentiable) for i, x in enumerate(arrays)]
    y = case(*ours)
    z = (
        function(*theirs, **case.options)
        if isinstance(case.torch, str)
        else function(torch, *theirs)
    )
    weight = np.random.default_rng(2).normal(size=y.shape)
    assert_close(y, z.detach().numpy(), rtol=1e-12, atol=1e-12)
    y.backward(weight)
    z.backward(torch.tensor(weight))
    for i in case.differentiable:
        assert_close(ours[i].grad, theirs[i].grad.numpy(), rtol=1e-9, atol=1e-12)
