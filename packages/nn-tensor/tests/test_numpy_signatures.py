"""Functions with NumPy's names take NumPy's arguments, or refuse them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor as nn
import numpy as np
import pytest
from nn_tensor import Tensor
from nn_tensor.testing import assert_close

from .numpy_signatures import EXPLAINED, comparisons

X = np.arange(6.0).reshape(2, 3)


def test_no_parameter_of_numpy_is_unexplained() -> None:
    found = comparisons()
    assert [str(c) for c in found if c.status == "unexplained"] == []
    assert len(found) > 500
    assert {name for name, _ in EXPLAINED} <= {c.function for c in found}


Call = Callable[[Any, Any], Any]

# Calls of a module, NumPy or this package, with an array or a Tensor.
CALLS: dict[str, Call] = {
    "sum dtype": lambda m, x: m.sum(x, 0, np.float64),
    "sum initial": lambda m, x: m.sum(x, 0, None, None, True),
    "any": lambda m, x: m.any(x, 0, None),
    "all": lambda m, x: m.all(x, (0, 1), None, True),
    "pad constant": lambda m, x: m.pad(x, 1, "constant"),
    "pad values": lambda m, x: m.pad(x, ((1, 0), (2, 1)), constant_values=5),
    "pad edge": lambda m, x: m.pad(x, 1, "edge"),
    "pad reflect": lambda m, x: m.pad(x, 2, mode="reflect"),
    "clip": lambda m, x: m.clip(x, a_min=0, a_max=2),
    "clip array API": lambda m, x: m.clip(x, min=1, max=2),
    "clip open": lambda m, x: m.clip(x, None, 2),
    "einsum": lambda m, x: m.einsum("ij,kj->ik", x, x, optimize=True),
    "einsum plain": lambda m, x: m.einsum("ij,kj->ik", x, x, optimize=False),
    "tile": lambda m, x: m.tile(x, reps=2),
    "take": lambda m, x: m.take(x, indices=[0]),
    "take wrapped": lambda m, x: m.take(x, [7, -1], 1, None, "wrap"),
    "split": lambda m, x: m.split(x, indices_or_sections=3, axis=1)[1],
    "mean dtype": lambda m, x: m.mean(x, dtype=np.float64),
    "mean half": lambda m, x: m.mean(x, 1, np.float16, None, True),
    "var": lambda m, x: m.var(x, 1, np.float64, None, 1, True),
    "var mean": lambda m, x: m.var(x, 1, mean=m.mean(x, 1, keepdims=True), correction=1),
    "std": lambda m, x: m.std(x, 0, np.float64, ddof=1),
    "prod": lambda m, x: m.prod(x, 0, np.float64, None, True),
    "max": lambda m, x: m.max(x, 1, None, True),
    "argmin": lambda m, x: m.argmin(x, 1, None, keepdims=True),
    "cumsum": lambda m, x: m.cumsum(x, 1, np.float64),
    "cumprod": lambda m, x: m.cumprod(x, 1, np.float64),
    "concatenate": lambda m, x: m.concatenate([x, x], 1, None, dtype=np.float64),
    "stack": lambda m, x: m.stack([x, x], axis=2, dtype=np.float64),
    "round": lambda m, x: m.round(x, decimals=1),
    "trace": lambda m, x: m.trace(x, 1, 0, 1, np.float64),
    "sort": lambda m, x: m.sort(x, 0, "stable"),
    "quantile": lambda m, x: m.quantile(x, 0.3, 1, None, False, "linear", True),
    "norm": lambda m, x: m.linalg.norm(x, 1, (0, 1)),
    "svd": lambda m, x: m.linalg.svd(x, False, False),
    "linspace": lambda m, x: m.linspace(0, 1, 5, False, dtype=np.float64),
    "linspace step": lambda m, x: (
        m.asarray(m.linspace(0, 1, 5, retstep=True)[1])
        if m is np
        else Tensor(np.asarray(m.linspace(0, 1, 5, retstep=True)[1]))
    ),
    "eye": lambda m, x: m.eye(3, 4, 1, np.float64),
    "ones": lambda m, x: m.ones((2, 3), np.float64),
    "zeros": lambda m, x: m.zeros((2, 3), dtype=np.float32),
    "full": lambda m, x: m.full((2,), fill_value=3.0, dtype=np.float64),
    "full_like": lambda m, x: m.full_like(x, 3, shape=(4,)),
    "arange": lambda m, x: m.arange(0, 3, 1, np.float64),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_calls_as_numpy_takes_them(call: Call) -> None:
    expected = np.asarray(call(np, X.astype(np.float32)))
    assert_close(call(nn, Tensor(X.astype(np.float32))), expected)
    result = call(np, Tensor(X.astype(np.float32)))  # through NumPy's protocol
    assert_close(Tensor(result), expected)


def test_arrays_by_name() -> None:
    x = Tensor(X, requires_grad=True)
    for y, expected in (
        (np.sum(a=x), X.sum()),
        (np.clip(a=x, a_min=1, a_max=2), X.clip(1, 2)),
        (np.pad(array=x, pad_width=1), np.pad(X, 1)),
        (np.flip(m=x), np.flip(X)),
        (np.take(a=x, indices=[1]), X.take([1])),
        (np.linalg.norm(x=x, axis=1), np.linalg.norm(X, axis=1)),
    ):
        assert isinstance(y, Tensor)
        assert y.requires_grad
        np.testing.assert_allclose(y.numpy(), expected)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "out": (lambda x: nn.sum(x, 0, None, X), "sum: out"),
    "out of max": (lambda x: np.max(x, 0, X), "max: out"),
    "keepdims by position": (lambda x: x.max(0, True), "max: out.*keepdims=True"),
    "keepdims for dtype": (lambda x: x.sum(0, True), "dtype.*keepdims=True"),
    "where": (lambda x: np.sum(x, where=X > 0), "sum: where"),
    "initial": (lambda x: nn.max(x, initial=3), "max: initial"),
    "order": (lambda x: nn.reshape(x, (3, 2), "F"), "reshape.*takes 2 arguments"),
    "a mode of pad": (lambda x: np.pad(x, 1, "mean"), "pad: mode"),
    "overwrite_input": (lambda x: np.median(x, overwrite_input=True), "overwrite_input"),
    "weights": (lambda x: nn.quantile(x, 0.5, weights=[1]), "weights"),
    "dtype twice": (lambda x: nn.ones((2,), "f8", dtype="f4"), "dtype: given twice"),
    "both names": (lambda x: nn.clip(x, 1, min=2), "a_min and a_max, or min and max"),
    "casting": (lambda x: nn.stack([x], casting="no"), "casting"),
    "k": (lambda x: nn.topk(x, 9), "topk: k=9"),
    "axis of topk": (lambda x: nn.topk(x, 1, 5), "topk: axis=5"),
    "one of two": (lambda x: nn.where(x, 1), "where: argument 'y'"),
    "0-d condition": (lambda x: nn.where(x[0, 0]), "condition.*0-d"),
    "weights of average": (lambda x: nn.average(x, 1, [1, 2]), r"weights: shape \(2,\)"),
    "q": (lambda x: nn.quantile(x, 1.5), "q: expected numbers from 0 to 1"),
    "quantile of nothing": (lambda x: nn.quantile(x[:0], 0.5, 0), "no elements"),
    "method": (lambda x: nn.quantile(x, 0.5, method="weibull"), "method"),
    "kind": (lambda x: nn.sort(x, kind="bogo"), "kind"),
    "not square": (lambda x: nn.linalg.inv(x), r"inv: a: expected square.*\(2, 3\)"),
    "singular": (lambda x: nn.linalg.inv(x[:, :2] * 0), "inv.*[Ss]ingular"),
    "indefinite": (lambda x: nn.linalg.cholesky(-x[:, 1:]), "cholesky"),
    "UPLO": (lambda x: nn.linalg.eigh(x[:, 1:], "X"), "UPLO"),
    "full svd": (lambda x: nn.linalg.svd(x), "full_matrices=False"),
    "ord": (lambda x: nn.norm(x, "huge"), "ord='huge'"),
    "mode of take": (lambda x: nn.take(x, [0], mode="no"), "mode"),
    "take_along_axis": (lambda x: nn.take_along_axis(x, [0], 1), "as many axes"),
    "repeats": (lambda x: nn.repeat(x, [1, 2], 1), "repeats: expected one count or 3"),
    "array_split": (lambda x: nn.array_split(x, 0), "at least 1"),
    "copy": (lambda x: nn.nan_to_num(x, copy=False), "copy"),
    "memory": (lambda x: nn.from_dlpack(X, device="tpu"), "device"),
}


@pytest.mark.parametrize(("call", "match"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call: Callable[[Any], Any], match: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError), match=match):
        call(Tensor(X, requires_grad=True))


def test_methods_of_numpys_arrays() -> None:
    x = Tensor(X)
    for name in ("argsort", "cumprod", "ravel", "trace", "diagonal", "round"):
        assert_close(getattr(x, name)(), getattr(X, name)())
    assert_close(x.dot(X.T), X.dot(X.T))
    assert_close(x.clip(1, 2), X.clip(1, 2))
    assert (x.nbytes, x.itemsize) == (X.nbytes, X.itemsize)
    assert_close(x.mT, X.mT)


def test_round_and_divmod_of_python() -> None:
    x = Tensor([2.567, -7.4], dtype="float64")
    assert_close(round(x, 1), np.round(x.numpy(), 1))
    assert round(Tensor(2.6)) == 3
    for ours, theirs in zip(divmod(x, 2), divmod(x.numpy(), 2), strict=True):
        assert_close(ours, theirs)
    for ours, theirs in zip(divmod(10, x), divmod(10, x.numpy()), strict=True):
        assert_close(ours, theirs)


def test_star_import_leaves_round_and_divmod_to_python() -> None:
    names: dict[str, Any] = {}
    exec("from nn_tensor import *", names)
    assert "round" not in names
    assert "divmod" not in names
