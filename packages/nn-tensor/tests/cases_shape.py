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
    *(
        Row(getattr(nt, name), getattr(np, name), (("normal", shape),), label, options)
        for name in ("split", "array_split")
        for label, shape, options in (
            ("", T3, {"indices_or_sections": 2}),
            ("at", T3, {"indices_or_sections": [1, 3], "axis": -1}),
            ("empty", (0, 3), {"indices_or_sections": 2}),
            ("beyond", (3,), {"indices_or_sections": [2, 5]}),
        )
    ),
    _plain("array_split", indices_or_sections=3, axis=2),
    _plain("array_split", indices_or_sections=5, axis=1),
    _plain("flip"),
    _plain("flip", axis=1),
    _plain("flip", axis=(0, -1)),
    *(
        Row(nt.roll, np.roll, (("normal", shape),), label, options, torch=torch)
        for label, shape, options, torch in (
            ("", T3, {"shift": 5}, lambda f, x: f.roll(x, 5)),
            ("back", T3, {"shift": -1, "axis": 1}, lambda f, x: f.roll(x, -1, 1)),
            ("far", T3, {"shift": 9, "axis": -1}, lambda f, x: f.roll(x, 9, -1)),
            ("two", T3, {"shift": (1, 2), "axis": (0, 2)}, lambda f, x: f.roll(x, (1, 2), (0, 2))),
            ("both for one", T3, {"shift": 1, "axis": (0, 1)}, None),
            ("0-d", (), {"shift": 2}, None),
            ("empty", (0, 3), {"shift": 2, "axis": 1}, None),
        )
    ),
    *(
        Row(nt.rot90, np.rot90, (("normal", shape),), label, options, torch=torch)
        for label, shape, options, torch in (
            ("", (2, 3), {}, "rot90"),
            ("half", (2, 3), {"k": 2}, "rot90"),
            ("back", T3, {"k": -1, "axes": (2, 0)}, lambda f, x: f.rot90(x, -1, (2, 0))),
            ("none", T3, {"k": 4}, "rot90"),
            ("empty", (0, 3), {}, None),
        )
    ),
    *(
        Row(
            function,
            reference,
            tuple(("normal", shape) for shape in shapes),
            label,
            name=name,
            torch=lambda f, *x, name=name: getattr(f, name)(x),
        )
        for name, function, reference in (
            ("vstack", _list(nt.vstack), _list(np.vstack)),
            ("hstack", _list(nt.hstack), _list(np.hstack)),
        )
        for label, shapes in (
            ("", ((2, 3), (2, 3))),
            ("vectors", ((3,), (3,))),
            ("0-d", ((), ())),
            ("more axes", (T3, T3)),
            ("empty", ((0, 3), (0, 3))),
        )
    ),
    *(
        Row(
            nt.repeat,
            np.repeat,
            (("normal", shape),),
            label,
            options,
            torch=lambda f, x, o=options: f.repeat_interleave(
                x, f.tensor(np.asarray(o["repeats"], int)), o.get("axis")
            ),
        )
        for label, shape, options in (
            ("", T3, {"repeats": 2}),
            ("last", T3, {"repeats": 3, "axis": -1}),
            ("0-d", (), {"repeats": 2}),
            ("none", T3, {"repeats": 0}),
            ("one of each", T3, {"repeats": [2], "axis": 0}),
            ("each", T3, {"repeats": [1, 0, 3], "axis": 1}),
            ("each of all", (2, 2), {"repeats": np.array([0, 2, 1, 1])}),
            ("not one", T3, {"repeats": [0, 0], "axis": 0}),
            ("empty", (0, 3), {"repeats": [2, 0, 1], "axis": 1}),
            ("of nothing", (0, 3), {"repeats": [], "axis": 0}),
        )
    ),
    *(
        Row(
            nt.tile,
            np.tile,
            (("normal", shape),),
            label,
            {"reps": reps},
            torch=lambda f, x, reps=reps: f.tile(x, reps if isinstance(reps, tuple) else (reps,)),
        )
        for label, shape, reps in (
            ("", T3, 2),
            ("many", (2, 3), (2, 1, 3)),
            ("0-d", (), (2, 2)),
            ("none", (2, 3), (0, 1)),
        )
    ),
    *(
        Row(nt.pad, np.pad, (("normal", shape),), label, options)
        for label, shape, options in (
            ("", T3, {"pad_width": 1}),
            ("pair", T3, {"pad_width": (1, 2), "constant_values": 3.0}),
            ("each", (2, 3), {"pad_width": ((0, 1), (2, 0))}),
            ("values", (2, 3), {"pad_width": 2, "constant_values": ((1, 2), (3, 4))}),
            ("empty", (0, 3), {"pad_width": ((0, 1), (2, 0))}),
            ("0-d", (), {"pad_width": 1}),
            *(
                (mode, (2, 3), {"pad_width": ((1, 2), (0, 4)), "mode": mode})
                for mode in ("edge", "reflect", "symmetric", "wrap")
            ),
            ("edge nothing", (0, 3), {"pad_width": ((0, 0), (1, 1)), "mode": "edge"}),
        )
    ),
    Row(
        nt.pad,
        lambda x, pad_width: np.pad(x, ((0, 0), (0, 0), (1, 2))),
        (("normal", T3),),
        "by axis",
        {"pad_width": {-1: (1, 2)}},
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
