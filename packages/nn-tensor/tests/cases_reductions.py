"""The rows of reductions, of cumulative ops and of softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor as nt
import numpy as np

from .cases import Row

T3 = (2, 3, 4)

# What these rows skip: equal elements are a kink.
KINK = {"memory_layout broadcast": "has no derivative where elements are equal"}


def _reductions(
    name: str, domain: str, reference: Callable[..., Any] | None = None, **more: Any
) -> list[Row]:
    """Return rows for every way to name axes."""
    reference = reference or getattr(np, name)
    one_axis = name in ("argmax", "argmin")
    ways: dict[str, dict[str, Any]] = {
        "all": {},
        "first": {"axis": 0},
        "last": {"axis": -1},
        "kept": {"axis": 1, "keepdims": True},
        "all kept": {"keepdims": True},
    }
    if not one_axis:
        ways |= {"two": {"axis": (0, -1)}, "two kept": {"axis": (2, 0), "keepdims": True}}
    rows = [
        Row(getattr(nt, name), reference, ((domain, T3),), k, o, **more) for k, o in ways.items()
    ]
    rows.append(Row(getattr(nt, name), reference, ((domain, (5,)),), "vector", **more))
    if name not in ("var", "std"):
        rows.append(Row(getattr(nt, name), reference, ((domain, ()),), "0-d", **more))
    empty = {"axis": 1} if name not in ("var", "std") else {"axis": 0}
    rows.append(Row(getattr(nt, name), reference, ((domain, (2, 3, 0)),), "empty", empty, **more))
    return rows


def _logsumexp(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


REDUCTIONS = [
    *_reductions("sum", "normal"),
    *_reductions("mean", "normal"),
    *_reductions("max", "distinct", skip=KINK),
    *_reductions("min", "distinct", skip=KINK),
    *_reductions("prod", "nonzero"),
    *_reductions("var", "normal"),
    *_reductions("std", "normal", skip=KINK),
    *_reductions("logsumexp", "normal", _logsumexp),
    *_reductions("argmax", "normal", wrt=()),
    *_reductions("argmin", "normal", wrt=()),
    *_reductions("any", "booleans", wrt=()),
    *_reductions("all", "booleans", wrt=()),
    Row(nt.sum, np.sum, (("normal", (3, 0)),), "of nothing", {"axis": 1}),
    Row(nt.sum, np.sum, (("integers", T3),), "of integers", {"axis": 1}),
    Row(nt.sum, np.sum, (("booleans", T3),), "of booleans", {"axis": 1}),
    Row(nt.prod, np.prod, (("normal", (3, 0)),), "of nothing", {"axis": 1}),
    Row(nt.prod, np.prod, (np.array([[0.0, 2, 3], [4, 0, 0], [1, 2, 5]]),), "zeros", {"axis": 1}),
    Row(nt.prod, np.prod, (np.array([[0.0, 2], [4, 1.5]]),), "one zero"),
    Row(nt.var, np.var, (("normal", T3),), "ddof", {"axis": 1, "ddof": 1}),
    Row(nt.std, np.std, (("normal", T3),), "ddof", {"ddof": 2}, skip=KINK),
    *(
        Row(getattr(nt, name), getattr(np, name), ((domain, shape),), label, options, torch=torch)
        for name, domain in (("cumsum", "normal"), ("cumprod", "nonzero"))
        for label, shape, options, torch in (
            ("all", T3, {}, None),
            ("first", T3, {"axis": 0}, lambda f, x, name=name: getattr(f, name)(x, 0)),
            ("last", T3, {"axis": -1}, lambda f, x, name=name: getattr(f, name)(x, -1)),
            ("0-d", (), {}, None),
            ("empty", (2, 0), {"axis": 1}, None),
        )
    ),
    Row(nt.cumprod, np.cumprod, (np.array([2.0, 0, 3, 0, 4]),), "zeros"),
    Row(nt.cumprod, np.cumprod, (np.array([[2.0, 0], [3, 5], [0, 4]]),), "column", {"axis": -2}),
    *(
        Row(getattr(nt, name), reference, (("normal", shape),), label, options, torch=torch)
        for name, reference in (
            ("softmax", _softmax),
            ("log_softmax", lambda x, axis=-1: np.log(_softmax(x, axis))),
        )
        for label, shape, options, torch in (
            ("", T3, {}, lambda f, x, name=name: getattr(f, name)(x, -1)),
            ("first", T3, {"axis": 0}, lambda f, x, name=name: getattr(f, name)(x, 0)),
            ("vector", (5,), {}, lambda f, x, name=name: getattr(f, name)(x, 0)),
            ("0-d", (), {}, None),
            ("empty", (0, 3), {}, None),
            ("of nothing", (3, 0), {}, None),
        )
    ),
]
