"""Element-wise functions against exact values, counted in units in the last place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor
import numpy as np
import pytest
from nn_tensor import Tensor

# The bound that NumPy's maintainers state for its own functions.
ULPS = 4

DOMAINS: dict[str, tuple[float, float]] = {
    "exp": (-80, 80),
    "exp2": (-100, 100),
    "expm1": (-20, 20),
    "log": (1e-30, 1e30),
    "log2": (1e-30, 1e30),
    "log10": (1e-30, 1e30),
    "log1p": (-0.9, 1e6),
    "sqrt": (0, 1e30),
    "sin": (-20, 20),
    "cos": (-20, 20),
    "tan": (-1.5, 1.5),
    "arcsin": (-1, 1),
    "arccos": (-1, 1),
    "arctan": (-50, 50),
    "sinh": (-20, 20),
    "cosh": (-20, 20),
    "tanh": (-20, 20),
    "arcsinh": (-50, 50),
    "arccosh": (1, 50),
    "arctanh": (-0.99, 0.99),
    "sigmoid": (-80, 80),
    "softplus": (-80, 80),
    "erf": (-6, 6),
}


def exact(name: str) -> Callable[[float], Any]:
    mp = pytest.importorskip("mpmath", reason="mpmath gives the exact values").mp
    mp.prec = 200
    others = {
        "exp2": lambda x: mp.mpf(2) ** x,
        "log2": lambda x: mp.log(x, 2),
        "arcsin": mp.asin,
        "arccos": mp.acos,
        "arctan": mp.atan,
        "arcsinh": mp.asinh,
        "arccosh": mp.acosh,
        "arctanh": mp.atanh,
        "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
        "softplus": lambda x: mp.log1p(mp.exp(x)),
    }
    function: Callable[[float], Any] = others.get(name) or getattr(mp, name)
    return lambda x: function(mp.mpf(x))


def samples(name: str, dtype: np.dtype[Any]) -> np.ndarray:
    low, high = DOMAINS[name]
    rng = np.random.default_rng(0)
    spread = rng.uniform(low, high, 150)
    if high / max(low, 1e-30) > 1e20 or low < 0:  # small values matter, too
        tiny = np.exp(rng.uniform(np.log(1e-6), np.log(min(high, 10)), 100))
        spread = np.concatenate([spread, tiny, -tiny if low < -10 else tiny])
    spread = np.clip(spread, low, high)
    return spread.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DOMAINS)
def test_within_four_units_in_the_last_place(name: str, dtype: str) -> None:
    function = exact(name)
    x = samples(name, np.dtype(dtype))
    y = getattr(nn_tensor, name)(Tensor(x)).numpy()
    errors = [
        abs(function(float(a)) - float(b)) / float(np.spacing(np.abs(b)))
        for a, b in zip(x, y, strict=True)
    ]
    worst = int(np.argmax([float(e) for e in errors]))
    assert errors[worst] <= ULPS, f"{name}({x[worst]!r}) = {y[worst]!r}, {errors[worst]} ULP off"


# float16 has so few values that all can be tried, against float64 rounded once.
HALF: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "relu": lambda x: np.where(x > 0, x, np.where(np.isnan(x), x, 0)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "erf": lambda x: nn_tensor.erf(x),
}


@pytest.mark.parametrize("name", HALF)
def test_all_values_of_float16(name: str) -> None:
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        y = getattr(nn_tensor, name)(Tensor(x)).numpy()
        expected = HALF[name](x.astype(np.float64))
        rounded = expected.astype(np.float16)
        unit = np.maximum(np.spacing(np.abs(rounded)), np.spacing(np.float16(0))).astype(float)
        error = np.abs(y.astype(float) - expected) / unit
    assert y.dtype == np.float16
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(rounded))
    finite = np.isfinite(rounded)
    assert error[finite].max() <= ULPS


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "erf", "tanh"])
def test_at_the_ends(name: str) -> None:
    limits = {
        "sigmoid": (0.0, 1.0),
        "softplus": (0.0, np.inf),
        "erf": (-1.0, 1.0),
        "tanh": (-1.0, 1.0),
    }
    function = getattr(nn_tensor, name)
    y = function(Tensor([-np.inf, -1e30, 1e30, np.inf])).tolist()
    low, high = limits[name]
    assert y[:2] == [low, low]
    assert y[3] == high
    assert np.isnan(function(Tensor(np.nan)).item())
    x = Tensor([-1e4, 0.0, 1e4], requires_grad=True)
    function(x).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits(name: str, dtype: str) -> None:
    rows = [[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0], [-1e4, -1e4, -1e4], [-np.inf, -np.inf, 3.0]]
    x = Tensor(np.array(rows, dtype), requires_grad=True)
    y = getattr(nn_tensor, name)(x, axis=-1)
    assert not np.isnan(y.numpy()).any()
    nn_tensor.where(nn_tensor.isfinite(y.detach()), y, 0).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert x.grad.dtype == dtype
    nothing = getattr(nn_tensor, name)(Tensor([-np.inf, -np.inf]), axis=-1)
    assert not np.isnan(nothing.numpy()).any()
    assert np.isnan(getattr(nn_tensor, name)(Tensor([0.0, np.nan]), axis=-1).numpy()).any()


@pytest.mark.parametrize("name", ["max", "min"])
def test_gradient_goes_to_nan(name: str) -> None:
    x = Tensor([[1.0, np.nan, 3.0], [1.0, 2.0, 2.0]], requires_grad=True)
    getattr(nn_tensor, name)(x, axis=1).sum().backward()
    ties = [0.0, 0.5, 0.5] if name == "max" else [1.0, 0.0, 0.0]
    assert x.grad.tolist() == [[0, 1, 0], ties]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_product_of_matrices_within_its_bound(dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 300)).astype(dtype), rng.normal(size=(300, 20)).astype(dtype)
    reference = a.astype(np.longdouble) @ b.astype(np.longdouble)
    bound = 300 * np.finfo(dtype).eps * (np.abs(a).astype(float) @ np.abs(b).astype(float))
    assert (np.abs((Tensor(a) @ Tensor(b)).numpy() - reference) <= bound).all()
