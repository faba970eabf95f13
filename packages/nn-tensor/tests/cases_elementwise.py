"""The rows of elementwise ops."""

from __future__ import annotations

from typing import Any

import nn_tensor as nt
import numpy as np
from nn_tensor.extend import array_module

from .cases import Row


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, np.zeros_like(x))


def _erf(x: np.ndarray) -> np.ndarray:
    """Sum the Taylor series, which is exact enough where test values lie."""
    term = total = np.asarray(x, np.float64)
    for n in range(1, 120):
        term = -term * np.asarray(x, np.float64) ** 2 / n
        total = total + term / (2 * n + 1)
    return (total * 2 / np.sqrt(np.pi)).astype(x.dtype)


def tied(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return values of which some are equal."""
    return rng.integers(-1, 2, shape).astype(float)


M = (3, 4)


def _unary(name: str, domain: Any, reference: Any = None, torch: str | None = "") -> list[Row]:
    function, reference = getattr(nt, name), reference or getattr(np, name)
    torch = name if torch == "" else torch
    shapes = {"": M, "0-d": (), "empty": (2, 0)}
    return [Row(function, reference, ((domain, s),), k, torch=torch) for k, s in shapes.items()]


def _binary(name: str, first: Any, second: Any, reference: Any = None, **more: Any) -> list[Row]:
    reference = reference or getattr(np, name)
    more = {"torch": name, **more}
    return [Row(getattr(nt, name), reference, ((first, M), (second, M)), elementwise=True, **more)]


SMOOTH = [
    *_unary("exp", "normal"),
    *_unary("exp2", "normal"),
    *_unary("expm1", "normal"),
    *_unary("log", "positive"),
    *_unary("log2", "positive"),
    *_unary("log10", "positive"),
    *_unary("log1p", (-0.7, 3.0)),
    *_unary("sqrt", "positive"),
    *_unary("square", "normal"),
    *_unary("abs", "distinct"),
    *_unary("sin", "normal"),
    *_unary("cos", "normal"),
    *_unary("tan", (-1.2, 1.2)),
    *_unary("arcsin", (-0.9, 0.9)),
    *_unary("arccos", (-0.9, 0.9)),
    *_unary("arctan", "normal"),
    *_unary("sinh", "normal"),
    *_unary("cosh", "normal"),
    *_unary("tanh", "normal"),
    *_unary("arcsinh", "normal"),
    *_unary("arccosh", (1.2, 3.0)),
    *_unary("arctanh", (-0.9, 0.9)),
    *_unary("negative", "normal"),
    *_unary("reciprocal", "nonzero"),
    *_unary("sigmoid", "normal", _sigmoid),
    *_unary("softplus", "normal", _softplus, "nn.functional.softplus"),
    *_unary("erf", "normal", _erf),
    *_unary("relu", "distinct", lambda x: np.maximum(x, 0)),
    *_unary("copy", "normal", lambda x: x, "clone"),
    *_binary("add", "normal", "normal"),
    *_binary("subtract", "normal", "normal"),
    *_binary("multiply", "normal", "normal"),
    *_binary("divide", "normal", "nonzero"),
    *_binary("power", "positive", "normal", torch="pow"),
    *_binary("arctan2", "nonzero", "nonzero"),
    *_binary("hypot", "nonzero", "nonzero"),
    *_binary("logaddexp", "normal", "normal"),
    *_binary("maximum", "distinct", "normal", lambda x, y: np.maximum(x, y)),
    *_binary("minimum", "distinct", "normal", lambda x, y: np.minimum(x, y)),
    *_binary("remainder", "positive", (3.1, 5.0)),
    Row(
        nt.remainder,
        np.remainder,
        (np.array([5.3, -5.3, 7.1]), np.array([2.0, 3.0, -4.0])),
        "both",
        torch="remainder",
    ),
    Row(nt.power, lambda x, y: x**y, (("nonzero", M), np.array([3])), "of integers"),
    Row(lambda x: x**2, lambda x: x**2, (("normal", M),), "square", name="power"),
    Row(lambda x: x**-1.5, lambda x: x**-1.5, (("positive", M),), "root", name="power"),
    Row(lambda x: 2**x, lambda x: 2**x, (("normal", M),), "of two", name="power"),
    Row(
        nt.where,
        np.where,
        (("booleans", M), ("normal", M), ("normal", M)),
        torch="where",
        elementwise=True,
    ),
    Row(
        nt.clip,
        lambda x, a_min, a_max: np.clip(x, a_min, a_max),
        (("distinct", M),),
        options={"a_min": -1.0, "a_max": 1.5},
    ),
    Row(nt.clip, lambda x, a_min: np.maximum(x, a_min), (("distinct", M),), "low", {"a_min": -1.0}),
    Row(nt.clip, lambda x, max: np.minimum(x, max), (("distinct", M),), "high", {"max": 1.0}),
    Row(
        lambda x: nt.clip(x, array_module(x).zeros((3, 1), x.dtype), 2),
        lambda x: np.clip(x, np.zeros((3, 1), x.dtype), 2),
        (("distinct", M),),
        "array",
        name="clip",
    ),
    *(
        Row(nt.nan_to_num, np.nan_to_num, (x,), label, options, order=order, torch=torch)
        for label, x, options, order, torch in (
            ("", ("normal", M), {}, 2, "nan_to_num"),
            ("0-d", ("normal", ()), {}, 2, None),
            ("empty", ("normal", (0, 2)), {}, 2, None),
        )
    ),
    Row(
        nt.nan_to_num,
        np.nan_to_num,
        (np.array([np.nan, np.inf, -np.inf, 2.0]),),
        "replaced",
        {"nan": 1.0, "posinf": 2.0, "neginf": -3.0},
        torch="nan_to_num",
        skip={
            "gradients": "finite differences at infinity",
            "memory_layout broadcast": "finite differences at NaN",
        },
    ),
    Row(
        nt.round,
        lambda x, decimals: np.round(x, decimals),
        (("distinct", M),),
        "decimals",
        {"decimals": 1},
        wrt=(),
    ),
]

STEPS = [
    case
    for name in ("sign", "floor", "ceil", "trunc", "round")
    for case in (
        Row(getattr(nt, name), getattr(np, name), (("distinct", M),), wrt=(), torch=name),
        Row(getattr(nt, name), getattr(np, name), (("distinct", ()),), "0-d", wrt=()),
        Row(getattr(nt, name), getattr(np, name), (("distinct", (0, 2)),), "empty", wrt=()),
    )
]

COMPARISONS = [
    *(
        case
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        for case in _binary(name, tied, tied, wrt=())
    ),
    *(
        case
        for name in ("logical_and", "logical_or", "logical_xor")
        for case in (
            *_binary(name, "booleans", "booleans", wrt=()),
            Row(getattr(nt, name), getattr(np, name), ((tied, M), (tied, M)), "of floats", wrt=()),
        )
    ),
    *(
        case
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
        for case in (
            *_binary(name, "integers", "integers", wrt=()),
            Row(
                getattr(nt, name),
                getattr(np, name),
                (("booleans", M), ("booleans", M)),
                "of booleans",
                wrt=(),
            ),
        )
    ),
    Row(nt.logical_not, np.logical_not, ((tied, M),), wrt=()),
    Row(nt.invert, np.invert, (("booleans", M),), wrt=()),
    Row(nt.invert, np.invert, (("integers", M),), "of integers", wrt=()),
    *_binary("floor_divide", "normal", "nonzero", wrt=()),
    *(
        Row(
            getattr(nt, name),
            getattr(np, name),
            (np.array([0.0, np.nan, np.inf, -np.inf]),),
            wrt=(),
        )
        for name in ("isnan", "isinf", "isfinite")
    ),
]

ELEMENTWISE = [*SMOOTH, *STEPS, *COMPARISONS]
