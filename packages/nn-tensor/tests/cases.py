"""The table of cases: for every public operation what it takes and what NumPy makes of it.

A row says nothing about how it is checked; `test_cases.py` does that for all rows alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import nn_tensor
import numpy as np
from nn_tensor.extend import array_module

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def _between(low: float, high: float) -> Draw:
    return lambda rng, shape: rng.uniform(low, high, shape)


def _apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return values without ties, nowhere near 0 or a half integer, so away from every kink."""
    size = int(np.prod(shape, dtype=int))
    values = 0.1 + 0.3 * np.arange(size) / max(size, 1) + rng.integers(-3, 3, size)
    return rng.permutation(values).reshape(shape)


DOMAINS: dict[str, Draw] = {
    "real": lambda rng, shape: rng.normal(size=shape),
    "positive": _between(0.3, 3.0),
    "unit": _between(-0.9, 0.9),
    "above one": _between(1.2, 3.0),
    "above minus one": _between(-0.7, 3.0),
    "above three": _between(3.1, 5.0),
    "quarter turn": _between(-1.2, 1.2),
    "apart": _apart,
    "not zero": lambda rng, shape: rng.uniform(0.5, 2, shape) * rng.choice([-1.0, 1.0], shape),
    "integers": lambda rng, shape: rng.integers(-9, 9, shape),
    "booleans": lambda rng, shape: rng.random(shape) < 0.5,
    "some equal": lambda rng, shape: rng.integers(-1, 2, shape).astype(float),
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    reference: Callable[..., Any]
    inputs: tuple[Any, ...]  # a pair of domain and shape, or an array that is what it is
    label: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None  # where the operation takes its inputs otherwise
    wrt: Sequence[int] | None = None  # inputs with a gradient; by default all floating ones
    torch: str | Callable[..., Any] | None = None
    broadcasts: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.label}".strip()

    def __call__(self, *inputs: Any) -> Any:
        function = self.function or getattr(nn_tensor, self.name)
        return function(*inputs, **self.options)

    def expect(self, *inputs: np.ndarray) -> list[np.ndarray]:
        result = self.reference(*inputs, **({} if self.function else self.options))
        results = result if isinstance(result, (list, tuple)) else [result]
        return [np.asarray(x) for x in results]

    def draw(self, dtype: Any = np.float64, seed: int = 0) -> list[np.ndarray]:
        """Return inputs with floating ones in `dtype`, different for every row and seed."""
        rng = np.random.default_rng([seed, zlib.crc32(str(self).encode())])
        drawn = [
            np.asarray(DOMAINS[x[0]](rng, x[1])) if isinstance(x, tuple) else x for x in self.inputs
        ]
        return [x.astype(dtype) if x.dtype.kind == "f" else x for x in drawn]

    @property
    def differentiable(self) -> list[int]:
        if self.wrt is not None:
            return list(self.wrt)
        return [i for i, x in enumerate(self.draw()) if x.dtype.kind == "f"]

    def with_shapes(self, *shapes: tuple[int, ...]) -> Case:
        inputs = tuple((x[0], shape) for x, shape in zip(self.inputs, shapes, strict=True))
        return Case(**{**self.__dict__, "inputs": inputs, "label": f"{self.label} {shapes}"})


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


M = (3, 4)


def _unary(name: str, domain: str, reference: Any = None, torch: str | None = "") -> list[Case]:
    reference = reference or getattr(np, name)
    torch = name if torch == "" else torch
    shapes = {"": M, "0-d": (), "empty": (2, 0)}
    return [Case(name, reference, ((domain, s),), k, torch=torch) for k, s in shapes.items()]


def _binary(name: str, first: str, second: str, reference: Any = None, **more: Any) -> list[Case]:
    reference = reference or getattr(np, name)
    more = {"torch": name, **more}
    return [Case(name, reference, ((first, M), (second, M)), broadcasts=True, **more)]


SMOOTH = [
    *_unary("exp", "real"),
    *_unary("exp2", "real"),
    *_unary("expm1", "real"),
    *_unary("log", "positive"),
    *_unary("log2", "positive"),
    *_unary("log10", "positive"),
    *_unary("log1p", "above minus one"),
    *_unary("sqrt", "positive"),
    *_unary("square", "real"),
    *_unary("abs", "apart"),
    *_unary("sin", "real"),
    *_unary("cos", "real"),
    *_unary("tan", "quarter turn"),
    *_unary("arcsin", "unit"),
    *_unary("arccos", "unit"),
    *_unary("arctan", "real"),
    *_unary("sinh", "real"),
    *_unary("cosh", "real"),
    *_unary("tanh", "real"),
    *_unary("arcsinh", "real"),
    *_unary("arccosh", "above one"),
    *_unary("arctanh", "unit"),
    *_unary("negative", "real"),
    *_unary("reciprocal", "not zero"),
    *_unary("sigmoid", "real", _sigmoid),
    *_unary("softplus", "real", _softplus, "nn.functional.softplus"),
    *_unary("erf", "real", _erf),
    *_unary("relu", "apart", lambda x: np.maximum(x, 0)),
    *_unary("copy", "real", lambda x: x, "clone"),
    *_binary("add", "real", "real"),
    *_binary("subtract", "real", "real"),
    *_binary("multiply", "real", "real"),
    *_binary("divide", "real", "not zero"),
    *_binary("power", "positive", "real", torch="pow"),
    *_binary("arctan2", "not zero", "not zero"),
    *_binary("logaddexp", "real", "real"),
    *_binary("maximum", "apart", "real", lambda x, y: np.maximum(x, y)),
    *_binary("minimum", "apart", "real", lambda x, y: np.minimum(x, y)),
    *_binary("remainder", "positive", "above three"),
    Case(
        "remainder",
        np.remainder,
        (np.array([5.3, -5.3, 7.1]), np.array([2.0, 3.0, -4.0])),
        "both",
        torch="remainder",
    ),
    Case("power", lambda x, y: x**y, (("not zero", M), np.array([3])), "of integers"),
    Case("power", lambda x: x**2, (("real", M),), "square", function=lambda x: x**2),
    Case("power", lambda x: x**-1.5, (("positive", M),), "root", function=lambda x: x**-1.5),
    Case("power", lambda x: 2**x, (("real", M),), "of two", function=lambda x: 2**x),
    Case(
        "where",
        np.where,
        (("booleans", M), ("real", M), ("real", M)),
        torch="where",
        broadcasts=True,
    ),
    Case(
        "clip",
        lambda x, low, high: np.clip(x, low, high),
        (("apart", M),),
        options={"low": -1.0, "high": 1.5},
    ),
    Case("clip", lambda x, low: np.maximum(x, low), (("apart", M),), "low", {"low": -1.0}),
    Case("clip", lambda x, high: np.minimum(x, high), (("apart", M),), "high", {"high": 1.0}),
    Case(
        "clip",
        lambda x: np.clip(x, np.zeros((3, 1), x.dtype), 2),
        (("apart", M),),
        "array",
        function=lambda x: nn_tensor.clip(x, array_module(x).zeros((3, 1), x.dtype), 2),
    ),
    Case(
        "round",
        lambda x, decimals: np.round(x, decimals),
        (("apart", M),),
        "decimals",
        {"decimals": 1},
        wrt=(),
    ),
]

STEPS = [
    case
    for name in ("sign", "floor", "ceil", "trunc", "round")
    for case in (
        Case(name, getattr(np, name), (("apart", M),), wrt=(), torch=name),
        Case(name, getattr(np, name), (("apart", ()),), "0-d", wrt=()),
        Case(name, getattr(np, name), (("apart", (0, 2)),), "empty", wrt=()),
    )
]

COMPARISONS = [
    *(
        case
        for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        for case in _binary(name, "some equal", "some equal", wrt=())
    ),
    *(
        case
        for name in ("logical_and", "logical_or", "logical_xor")
        for case in (
            *_binary(name, "booleans", "booleans", wrt=()),
            Case(
                name, getattr(np, name), (("some equal", M), ("some equal", M)), "of floats", wrt=()
            ),
        )
    ),
    *(
        case
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
        for case in (
            *_binary(name, "integers", "integers", wrt=()),
            Case(
                name, getattr(np, name), (("booleans", M), ("booleans", M)), "of booleans", wrt=()
            ),
        )
    ),
    Case("logical_not", np.logical_not, (("some equal", M),), wrt=()),
    Case("invert", np.invert, (("booleans", M),), wrt=()),
    Case("invert", np.invert, (("integers", M),), "of integers", wrt=()),
    *_binary("floor_divide", "real", "not zero", wrt=()),
    *(
        Case(name, getattr(np, name), (np.array([0.0, np.nan, np.inf, -np.inf]),), wrt=())
        for name in ("isnan", "isinf", "isfinite")
    ),
]

ELEMENTWISE = [*SMOOTH, *STEPS, *COMPARISONS]
