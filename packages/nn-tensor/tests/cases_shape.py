"""The rows of ops that change shape, order or dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_tensor as nt
import numpy as np

from .cases import Row

T3 = (2, 3, 4)


def _plain(name: str, **options: Any) -> Row:
    """Return the row of an operation that takes what NumPy's function of that name takes."""
    label = " ".join(f"{k}={v}" for k, v in options.items())
    return Row(getattr(nt, name), getattr(np, name), (("normal", T3),), label, options)


def _pad2d(x: np.ndarray, padding: Any, value: float = 0.0) -> np.ndarray:
    sides = {int: lambda p: ((p, p), (p, p)), tuple: lambda p: p}[type(padding)](padding)
    sides = [(p, p) if isinstance(p, int) else p for p in sides]
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + sides, constant_values=value)


def _list(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of one list be called on its elements."""
    return lambda *arrays: function(list(arrays))


SHAPES = [
    Row(nt.reshape, lambda x, shape: x.reshape(shape), (("normal", T3),), "", {"shape": (4, -1)}),
    Row(nt.reshape, lambda x, shape: x.reshape(shape), (("normal", T3),), "flat", {"shape": -1}),
    Row(nt.reshape, lambda x, shape: x.reshape(shape), (("normal", ()),), "0-d", {"shape": (1, 1)}),
    Row(
        nt.reshape,
        lambda x, shape: x.reshape(shape),
        (("normal", (0, 3)),),
        "empty",
        {"shape": (3, 0, 2)},
    ),
    Row(nt.flatten, lambda x: x.reshape(-1), (("normal", T3),)),
    Row(nt.flatten, lambda x: x.reshape(-1), (("normal", ()),), "0-d"),
    Row(
        nt.flatten,
        lambda x, start_axis: x.reshape(2, -1),
        (("normal", T3),),
        "one",
        {"start_axis": 1},
    ),
    Row(
        nt.flatten,
        lambda x, start_axis: x.reshape(0, 12),
        (("normal", (0, 3, 4)),),
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
    Row(nt.squeeze, np.squeeze, (("normal", (1, 3, 1)),)),
    Row(nt.squeeze, np.squeeze, (("normal", (1, 3, 1)),), "last", {"axis": -1}),
    Row(nt.squeeze, np.squeeze, (("normal", (1, 3, 1)),), "two", {"axis": (0, 2)}),
    _plain("expand_dims", axis=1),
    _plain("expand_dims", axis=(0, -1)),
    Row(nt.broadcast_to, np.broadcast_to, (("normal", (3, 1)),), "", {"shape": (2, 3, 4)}),
    Row(nt.broadcast_to, np.broadcast_to, (("normal", ()),), "0-d", {"shape": (2, 2)}),
    Row(nt.broadcast_to, np.broadcast_to, (("normal", (1, 3)),), "empty", {"shape": (0, 3)}),
    *(
        Row(
            function,
            reference,
            (("normal", (2, 3)), ("normal", second), ("normal", (2, 3))),
            label,
            name=name,
        )
        for name, label, second, reference, function in (
            ("concatenate", "", (4, 3), _list(np.concatenate), _list(nt.concatenate)),
            (
                "concatenate",
                "last",
                (2, 1),
                lambda *x: np.concatenate(x, -1),
                lambda *x: nt.concatenate(x, -1),
            ),
            (
                "concatenate",
                "flat",
                (5,),
                lambda *x: np.concatenate(x, None),
                lambda *x: nt.concatenate(x, axis=None),
            ),
            ("concatenate", "empty", (0, 3), _list(np.concatenate), _list(nt.concatenate)),
            ("stack", "", (2, 3), _list(np.stack), _list(nt.stack)),
            (
                "stack",
                "last",
                (2, 3),
                lambda *x: np.stack(x, -1),
                lambda *x: nt.stack(x, axis=-1),
            ),
            (
                "stack",
                "middle",
                (2, 3),
                lambda *x: np.stack(x, 1),
                lambda *x: nt.stack(x, axis=1),
            ),
        )
    ),
    Row(
        nt.split, lambda x, sections: np.split(x, sections), (("normal", T3),), "", {"sections": 2}
    ),
    Row(
        nt.split,
        lambda x, sections, axis: np.split(x, sections, axis),
        (("normal", T3),),
        "at",
        {"sections": [1, 3], "axis": -1},
    ),
    _plain("flip"),
    _plain("flip", axis=1),
    _plain("flip", axis=(0, -1)),
    Row(nt.repeat, lambda x, repeats: np.repeat(x, repeats), (("normal", T3),), "", {"repeats": 2}),
    Row(
        nt.repeat,
        lambda x, repeats, axis: np.repeat(x, repeats, axis),
        (("normal", T3),),
        "last",
        {"repeats": 3, "axis": -1},
    ),
    Row(
        nt.repeat,
        lambda x, repeats: np.repeat(x, repeats),
        (("normal", ()),),
        "0-d",
        {"repeats": 2},
    ),
    Row(
        nt.repeat,
        lambda x, repeats: np.repeat(x, repeats),
        (("normal", T3),),
        "none",
        {"repeats": 0},
    ),
    *(
        Row(
            nt.tile,
            lambda x, repetitions: np.tile(x, repetitions),
            (("normal", shape),),
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
        Row(
            nt.pad,
            lambda x, widths, value=0.0: np.pad(x, widths, constant_values=value),
            (("normal", shape),),
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
    Row(nt.pad2d, _pad2d, (("normal", (2, 2, 3)),), "", {"padding": 1}),
    Row(nt.pad2d, _pad2d, (("normal", (2, 2, 3)),), "pair", {"padding": (1, 0), "value": -1.0}),
    Row(nt.pad2d, _pad2d, (("normal", (2, 3)),), "sides", {"padding": ((1, 0), (0, 2))}),
    Row(nt.cast, lambda x, dtype: x.astype(dtype), (("normal", T3),), "", {"dtype": np.float64}),
    Row(
        nt.cast,
        lambda x, dtype: x.astype(dtype),
        (("normal", T3),),
        "integers",
        {"dtype": "int32"},
        wrt=(),
    ),
]
