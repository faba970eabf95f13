"""The rows of operations that are not element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor
import numpy as np

from .cases import Case

T3 = (2, 3, 4)


def _reductions(
    name: str, domain: str, reference: Callable[..., Any] | None = None, **more: Any
) -> list[Case]:
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
    rows = [Case(name, reference, ((domain, T3),), k, o, **more) for k, o in ways.items()]
    rows.append(Case(name, reference, ((domain, (5,)),), "vector", **more))
    if name not in ("var", "std"):
        rows.append(Case(name, reference, ((domain, ()),), "0-d", **more))
    empty = {"axis": 1} if name not in ("var", "std") else {"axis": 0}
    rows.append(Case(name, reference, ((domain, (2, 3, 0)),), "empty", empty, **more))
    return rows


def _logsumexp(x: np.ndarray, axis: Any = None, keepdims: bool = False) -> np.ndarray:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


REDUCTIONS = [
    *_reductions("sum", "real"),
    *_reductions("mean", "real"),
    *_reductions("max", "apart"),
    *_reductions("min", "apart"),
    *_reductions("prod", "not zero"),
    *_reductions("var", "real"),
    *_reductions("std", "real"),
    *_reductions("logsumexp", "real", _logsumexp),
    *_reductions("argmax", "real", wrt=()),
    *_reductions("argmin", "real", wrt=()),
    *_reductions("any", "booleans", wrt=()),
    *_reductions("all", "booleans", wrt=()),
    Case("sum", np.sum, (("real", (3, 0)),), "of nothing", {"axis": 1}),
    Case("sum", np.sum, (("integers", T3),), "of integers", {"axis": 1}),
    Case("sum", np.sum, (("booleans", T3),), "of booleans", {"axis": 1}),
    Case("prod", np.prod, (("real", (3, 0)),), "of nothing", {"axis": 1}),
    Case("prod", np.prod, (np.array([[0.0, 2, 3], [4, 0, 0], [1, 2, 5]]),), "zeros", {"axis": 1}),
    Case("prod", np.prod, (np.array([[0.0, 2], [4, 1.5]]),), "one zero"),
    Case("var", np.var, (("real", T3),), "ddof", {"axis": 1, "ddof": 1}),
    Case("std", np.std, (("real", T3),), "ddof", {"ddof": 2}),
    *(
        Case(name, getattr(np, name), ((domain, shape),), label, options, torch=torch)
        for name, domain in (("cumsum", "real"), ("cumprod", "not zero"))
        for label, shape, options, torch in (
            ("all", T3, {}, None),
            ("first", T3, {"axis": 0}, lambda f, x, name=name: getattr(f, name)(x, 0)),
            ("last", T3, {"axis": -1}, lambda f, x, name=name: getattr(f, name)(x, -1)),
            ("0-d", (), {}, None),
            ("empty", (2, 0), {"axis": 1}, None),
        )
    ),
    Case("cumprod", np.cumprod, (np.array([2.0, 0, 3, 0, 4]),), "zeros"),
    Case("cumprod", np.cumprod, (np.array([[2.0, 0], [3, 5], [0, 4]]),), "column", {"axis": -2}),
    *(
        Case(name, reference, (("real", shape),), label, options, torch=torch)
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


def _plain(name: str, **options: Any) -> Case:
    """Return the row of an operation that takes what NumPy's function of that name takes."""
    label = " ".join(f"{k}={v}" for k, v in options.items())
    return Case(name, getattr(np, name), (("real", T3),), label, options)


def _pad2d(x: np.ndarray, padding: Any, value: float = 0.0) -> np.ndarray:
    sides = {int: lambda p: ((p, p), (p, p)), tuple: lambda p: p}[type(padding)](padding)
    sides = [(p, p) if isinstance(p, int) else p for p in sides]
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + sides, constant_values=value)


def _list(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of one list be called on its elements."""
    return lambda *arrays: function(list(arrays))


SHAPES = [
    Case("reshape", lambda x, shape: x.reshape(shape), (("real", T3),), "", {"shape": (4, -1)}),
    Case("reshape", lambda x, shape: x.reshape(shape), (("real", T3),), "flat", {"shape": -1}),
    Case("reshape", lambda x, shape: x.reshape(shape), (("real", ()),), "0-d", {"shape": (1, 1)}),
    Case(
        "reshape",
        lambda x, shape: x.reshape(shape),
        (("real", (0, 3)),),
        "empty",
        {"shape": (3, 0, 2)},
    ),
    Case("flatten", lambda x: x.reshape(-1), (("real", T3),)),
    Case("flatten", lambda x: x.reshape(-1), (("real", ()),), "0-d"),
    Case(
        "flatten", lambda x, start_axis: x.reshape(2, -1), (("real", T3),), "one", {"start_axis": 1}
    ),
    Case(
        "flatten",
        lambda x, start_axis: x.reshape(0, 12),
        (("real", (0, 3, 4)),),
        "empty",
        {"start_axis": -2},
    ),
    _plain("ravel"),
    _plain("transpose"),
    _plain("transpose", axes=(1, 2, 0)),
    _plain("transpose", axes=(-1, 0, 1)),
    _plain("swapaxes", axis1=0, axis2=-1),
    _plain("moveaxis", source=0, destination=-1),
    _plain("moveaxis", source=(0, 1), destination=(-1, 0)),
    Case("squeeze", np.squeeze, (("real", (1, 3, 1)),)),
    Case("squeeze", np.squeeze, (("real", (1, 3, 1)),), "last", {"axis": -1}),
    Case("squeeze", np.squeeze, (("real", (1, 3, 1)),), "two", {"axis": (0, 2)}),
    _plain("expand_dims", axis=1),
    _plain("expand_dims", axis=(0, -1)),
    Case("broadcast_to", np.broadcast_to, (("real", (3, 1)),), "", {"shape": (2, 3, 4)}),
    Case("broadcast_to", np.broadcast_to, (("real", ()),), "0-d", {"shape": (2, 2)}),
    Case("broadcast_to", np.broadcast_to, (("real", (1, 3)),), "empty", {"shape": (0, 3)}),
    *(
        Case(
            name,
            reference,
            (("real", (2, 3)), ("real", second), ("real", (2, 3))),
            label,
            function=function,
        )
        for name, label, second, reference, function in (
            ("concatenate", "", (4, 3), _list(np.concatenate), _list(nn_tensor.concatenate)),
            (
                "concatenate",
                "last",
                (2, 1),
                lambda *x: np.concatenate(x, -1),
                lambda *x: nn_tensor.concatenate(x, -1),
            ),
            (
                "concatenate",
                "flat",
                (5,),
                lambda *x: np.concatenate(x, None),
                lambda *x: nn_tensor.concatenate(x, axis=None),
            ),
            ("concatenate", "empty", (0, 3), _list(np.concatenate), _list(nn_tensor.concatenate)),
            ("stack", "", (2, 3), _list(np.stack), _list(nn_tensor.stack)),
            (
                "stack",
                "last",
                (2, 3),
                lambda *x: np.stack(x, -1),
                lambda *x: nn_tensor.stack(x, axis=-1),
            ),
            (
                "stack",
                "middle",
                (2, 3),
                lambda *x: np.stack(x, 1),
                lambda *x: nn_tensor.stack(x, axis=1),
            ),
        )
    ),
    Case("split", lambda x, sections: np.split(x, sections), (("real", T3),), "", {"sections": 2}),
    Case(
        "split",
        lambda x, sections, axis: np.split(x, sections, axis),
        (("real", T3),),
        "at",
        {"sections": [1, 3], "axis": -1},
    ),
    _plain("flip"),
    _plain("flip", axis=1),
    _plain("flip", axis=(0, -1)),
    Case("repeat", lambda x, repeats: np.repeat(x, repeats), (("real", T3),), "", {"repeats": 2}),
    Case(
        "repeat",
        lambda x, repeats, axis: np.repeat(x, repeats, axis),
        (("real", T3),),
        "last",
        {"repeats": 3, "axis": -1},
    ),
    Case(
        "repeat", lambda x, repeats: np.repeat(x, repeats), (("real", ()),), "0-d", {"repeats": 2}
    ),
    Case(
        "repeat", lambda x, repeats: np.repeat(x, repeats), (("real", T3),), "none", {"repeats": 0}
    ),
    *(
        Case(
            "tile",
            lambda x, repetitions: np.tile(x, repetitions),
            (("real", shape),),
            label,
            {"repetitions": repetitions},
        )
        for label, shape, repetitions in (
            ("", T3, 2),
            ("many", (2, 3), (2, 1, 3)),
            ("0-d", (), (2, 2)),
            ("none", (2, 3), (0, 1)),
        )
    ),
    *(
        Case(
            "pad",
            lambda x, widths, value=0.0: np.pad(x, widths, constant_values=value),
            (("real", shape),),
            label,
            options,
        )
        for label, shape, options in (
            ("", T3, {"widths": 1}),
            ("pair", T3, {"widths": (1, 2), "value": 3.0}),
            ("each", (2, 3), {"widths": ((0, 1), (2, 0))}),
            ("empty", (0, 3), {"widths": ((0, 1), (2, 0))}),
        )
    ),
    Case("pad2d", _pad2d, (("real", (2, 2, 3)),), "", {"padding": 1}),
    Case("pad2d", _pad2d, (("real", (2, 2, 3)),), "pair", {"padding": (1, 0), "value": -1.0}),
    Case("pad2d", _pad2d, (("real", (2, 3)),), "sides", {"padding": ((1, 0), (0, 2))}),
    Case("cast", lambda x, dtype: x.astype(dtype), (("real", T3),), "", {"dtype": np.float64}),
    Case(
        "cast",
        lambda x, dtype: x.astype(dtype),
        (("real", T3),),
        "integers",
        {"dtype": "int32"},
        wrt=(),
    ),
]

ARRAYS = [*REDUCTIONS, *SHAPES]
