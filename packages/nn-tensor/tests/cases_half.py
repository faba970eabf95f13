"""Rows of half precision: each op with more elements than float16 counts, along every axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import nn_tensor as nt
import numpy as np
from nn_tensor import linalg
from nn_tensor.testing import MANY, OpCase

from .cases_elementwise import ELEMENTWISE

__all__ = ["HALF"]

Shape = tuple[int, ...]

# Ones add up to 2048 in float16: a product over 8192 is far beyond, and stays in its range.
SOME = 8192

# Shapes of the last two inputs of an elementwise op: broadcasting is undone along every axis.
_BROADCASTS: dict[str, tuple[Shape, Shape]] = {
    "first": ((MANY, 2), (2,)),
    "last": ((2, MANY), (2, 1)),
    "middle": ((2, MANY, 2), (2, 1, 2)),
    "all": ((MANY,), ()),
}

# Rules that compute from the rounded output, of which the derivative keeps fewer digits: of the
# output y of a logistic function 1 - y, of a logarithm of about -12, rounded to 0.004, its exp.
_ROUNDED_OUTPUT = {"sigmoid": 4e-3, "log_softmax": 8e-3}

# Along every axis: the shape, and which axis is long.
AXES: dict[str, tuple[Shape, int]] = {
    "first": ((MANY, 2, 2), 0),
    "middle": ((2, MANY, 2), 1),
    "last": ((2, 2, MANY), -1),
}


def _elementwise() -> list[OpCase]:
    """Return the rows of elementwise ops, of many elements and broadcast along every axis."""
    rows = []
    for row in ELEMENTWISE:
        if row.label or not all(isinstance(x, tuple) for x in row.inputs):
            continue
        if row.name in _ROUNDED_OUTPUT:
            row = dataclasses.replace(row, half_bound=_ROUNDED_OUTPUT[row.name])
        if not row.elementwise:
            inputs = tuple((x[0], (MANY,)) for x in row.inputs)
            rows.append(dataclasses.replace(row, inputs=inputs, label="many"))
            continue
        for label, (first, second) in _BROADCASTS.items():
            for order, pair in {"": (first, second), "swapped": (second, first)}.items():
                shapes: list[Shape] = [first] * (len(row.inputs) - 2)
                shapes += pair
                inputs = tuple((x[0], s) for x, s in zip(row.inputs, shapes, strict=True))
                name = f"{label} {order}".strip()
                rows.append(dataclasses.replace(row, inputs=inputs, label=name))
    return rows


def _along(
    functions: Iterable[Callable[..., Any]],
    domain: Any = "normal",
    half_bound: float = 2e-3,
    **options: Any,
) -> list[OpCase]:
    """Return rows of functions of an axis, for each axis."""
    return [
        OpCase(
            function,
            None,
            [(domain, shape)],
            label,
            {"axis": axis, **options},
            half_bound=half_bound,
        )
        for function in functions
        for label, (shape, axis) in AXES.items()
    ]


def _flat(
    functions: Iterable[Callable[..., Any]], domain: Any = "normal", **options: Any
) -> list[OpCase]:
    """Return rows of functions over all elements."""
    return [
        OpCase(function, None, [(domain, (MANY // 2, 2))], "all", options) for function in functions
    ]


# Values around 1: a sum stops at 2048 in float16, a sum of squares becomes infinite.
_OFFSET = (0.5, 1.5)
# A product of 70,000 of them neither under- nor overflows.
_NEAR_ONE = (1 - 2e-3, 1 + 2e-3)

REDUCTIONS = [
    *_along([nt.mean, nt.var, nt.std], _OFFSET),
    *_flat([nt.mean, nt.var, nt.std], _OFFSET),
    *_along([nt.sum, nt.cumsum], (0.0, 1.0)),
    *_flat([nt.sum, nt.cumsum], (0.0, 1.0)),
    *_along([nt.prod, nt.cumprod], _NEAR_ONE),
    *_flat([nt.prod, nt.cumprod], _NEAR_ONE),
    *_along([nt.max, nt.min, nt.argmax, nt.argmin, nt.logsumexp]),
    *_flat([nt.max, nt.min, nt.argmax, nt.argmin, nt.logsumexp]),
    *_along([nt.any, nt.all], "booleans"),
    *_flat([nt.any, nt.all], "booleans"),
    *_along([nt.softmax]),
    *_along([nt.log_softmax], half_bound=_ROUNDED_OUTPUT["log_softmax"]),
    *_along([nt.median]),
    *_along([nt.quantile], q=0.3),
    *_flat([nt.median]),
    *_along([nt.average], _OFFSET),
    *(
        OpCase(
            lambda x, w, axis: nt.average(x, axis, w),
            None,
            [("normal", shape), (_OFFSET, (MANY,))],
            f"weights {label}",
            {"axis": axis},
            name="average",
        )
        for label, (shape, axis) in AXES.items()
    ),
    # Equal elements share a gradient: their number goes beyond the largest of float16.
    *(
        OpCase(function, None, [np.ones(shape, np.float16)], f"ties {label}", {"axis": axis})
        for function in (nt.max, nt.min)
        for label, (shape, axis) in AXES.items()
    ),
]

SORTING = [
    *_along([nt.sort, nt.argsort], "distinct"),
    *(
        OpCase(
            lambda x, **options: list(nt.topk(x, **options)),
            None,
            [("normal", shape)],
            label,
            {"k": 2, "axis": axis},
            name="topk",
        )
        for label, (shape, axis) in AXES.items()
    ),
]


def _repeated(shape: Shape, axis: int) -> np.ndarray[Any, Any]:
    """Return indices of `shape`, of which many are the same, into an axis of length 2."""
    index = np.arange(shape[axis]) % 3 == 0
    spread = [1] * len(shape)
    spread[axis] = -1
    return np.broadcast_to(index.astype(int).reshape(spread), shape).copy()


def _short(shape: Shape, axis: int) -> Shape:
    """Return the shape with 2 elements along an axis."""
    changed = list(shape)
    changed[axis] = 2
    return tuple(changed)


def _single(shape: Shape, axis: int) -> Shape:
    """Return the shape with 1 element along an axis."""
    return tuple(1 if i == axis % len(shape) else n for i, n in enumerate(shape))


_INDICES: dict[str, Any] = {
    "list": ([0] * MANY,),
    "columns": (slice(None), np.zeros(MANY, int)),
    "pairs": (np.zeros(MANY, int), np.ones(MANY, int)),
    "mask": (np.ones((2, 2), bool),),
    "slice": (slice(None), slice(1)),
}

INDEXING = [
    *(
        OpCase(nt.get_item, None, [("normal", (2, 2))], label, {"index": index})
        for label, index in _INDICES.items()
    ),
    OpCase(nt.get_item, None, [("normal", (MANY, 2))], "many", {"index": slice(None, None, 2)}),
    *(
        OpCase(nt.set_item, None, [("normal", (MANY, 2)), ("normal", shape)], label, {"index": i})
        for label, i, shape in (
            ("row", slice(None), (2,)),
            ("column", slice(None), (MANY, 1)),
            ("scalar", slice(1, None), ()),
            ("repeated", [0] * MANY, (2,)),
        )
    ),
    *(
        OpCase(function, None, [("normal", _short(shape, axis)), index], label, {"axis": axis})
        for function in (nt.gather, nt.take_along_axis)
        for label, (shape, axis) in AXES.items()
        for index in [_repeated(shape, axis)]
    ),
    OpCase(
        nt.take_along_axis,
        None,
        [("normal", (MANY, 1)), np.zeros((1, 2), int)],
        "broadcasts",
        {"axis": 1},
    ),
    *(
        OpCase(
            nt.scatter_add,
            None,
            [("normal", _short(shape, axis)), index, ((0.0, 1.0), values)],
            f"{label} {kind}".strip(),
            {"axis": axis},
        )
        for label, (shape, axis) in AXES.items()
        for index in [_repeated(shape, axis)]
        for kind, values in {"": shape, "broadcast": _single(shape, axis)}.items()
    ),
    *(
        OpCase(
            nt.take,
            None,
            [("normal", _short(shape, axis)), np.zeros(MANY, int)],
            label,
            {"axis": axis},
        )
        for label, (shape, axis) in AXES.items()
    ),
    OpCase(nt.take, None, [("normal", (2, 2)), np.zeros((MANY, 1), int)], "flat"),
    OpCase(nt.one_hot, None, [np.arange(MANY) % 3], "", {"num_classes": 3}),
]


def _list(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Let a function of one list be called on its elements."""
    return lambda *arrays: function(list(arrays), **options)


_LONG = [("normal", (MANY, 2)), ("normal", (MANY, 2))]

SHAPES = [
    *(
        OpCase(function, None, [("normal", shape)], label, options)
        for function, label, shape, options in (
            (nt.reshape, "", (MANY, 2), {"shape": (2, MANY)}),
            (nt.flatten, "", (MANY, 2), {}),
            (nt.ravel, "", (2, MANY), {}),
            (nt.transpose, "", (MANY, 2), {}),
            (nt.swapaxes, "", (MANY, 2), {"axis1": 0, "axis2": 1}),
            (nt.moveaxis, "", (MANY, 2, 2), {"source": 0, "destination": -1}),
            (nt.squeeze, "", (MANY, 1), {}),
            (nt.expand_dims, "", (MANY,), {"axis": 0}),
            (nt.broadcast_to, "first", (1, 2), {"shape": (MANY, 2)}),
            (nt.broadcast_to, "last", (2, 1), {"shape": (2, MANY)}),
            (nt.broadcast_to, "new", (2,), {"shape": (MANY, 2)}),
            (nt.broadcast_to, "0-d", (), {"shape": (MANY,)}),
            (nt.split, "", (MANY, 2), {"indices_or_sections": 2}),
            (nt.array_split, "", (2, MANY), {"indices_or_sections": 3, "axis": 1}),
            (nt.flip, "", (MANY, 2), {}),
            (nt.roll, "", (MANY, 2), {"shift": 3, "axis": 0}),
            (nt.rot90, "", (MANY, 2), {}),
            (nt.repeat, "all", (2, 2), {"repeats": MANY}),
            (nt.repeat, "first", (2, 2), {"repeats": MANY, "axis": 0}),
            (nt.repeat, "last", (2, 2), {"repeats": MANY, "axis": -1}),
            (nt.repeat, "each", (2, 2), {"repeats": [MANY, 1], "axis": 0}),
            (nt.tile, "first", (2, 2), {"reps": (MANY, 1)}),
            (nt.tile, "last", (2, 2), {"reps": MANY}),
            (nt.pad, "", (MANY, 2), {"pad_width": 1}),
            *(
                (nt.pad, f"{mode} {axis}", (2, 2), {"pad_width": width, "mode": mode})
                for mode in ("edge", "reflect", "symmetric", "wrap")
                for axis, width in enumerate((((MANY, 0), (0, 0)), ((0, 0), (0, MANY))))
            ),
            (nt.pad2d, "", (2, MANY), {"padding": 1}),
            (nt.cast, "", (MANY,), {"dtype": "float32"}),
            (nt.tril, "", (MANY, 2), {}),
            (nt.triu, "", (2, MANY), {}),
            (nt.diagonal, "", (2, 2, MANY), {}),
            (nt.trace, "", (2, 2, MANY), {}),
        )
    ),
    OpCase(nt.trace, None, [((1.0, 2.0), (2500, 2500))], "long"),
    *(
        OpCase(_list(function, **options), None, _LONG, label, name=function.__name__)
        for function, label, options in (
            (nt.concatenate, "first", {"axis": 0}),
            (nt.concatenate, "last", {"axis": 1}),
            (nt.stack, "first", {"axis": 0}),
            (nt.stack, "last", {"axis": -1}),
            (nt.vstack, "", {}),
            (nt.hstack, "", {}),
        )
    ),
]


def _regular(rng: np.random.Generator, shape: Shape) -> np.ndarray[Any, Any]:
    """Return matrices that are far from singular: half precision has three digits to lose."""
    return rng.uniform(-0.3, 0.3, shape) + 2 * np.eye(shape[-1])


_MATRICES = {
    "inner": ((2, SOME), (SOME, 3)),
    "rows": ((SOME, 2), (2, 3)),
    "columns": ((2, 3), (3, SOME)),
    "vectors": ((SOME,), (SOME,)),
    "row": ((SOME,), (SOME, 2)),
    "column": ((2, SOME), (SOME,)),
    "matrix of many stacks": ((MANY, 1, 2), (2, 2)),
    "many stacks of a matrix": ((2, 2), (MANY, 2, 1)),
}

PRODUCTS = [
    *(
        OpCase(function, None, [((0.0, 1.0), a), ((0.0, 1.0), b)], label)
        for function in (nt.matmul, nt.dot)
        for label, (a, b) in _MATRICES.items()
        if not (function is nt.dot and "stacks" in label)
    ),
    *(
        OpCase(nt.outer, None, [((0.0, 1.0), (m,)), ((0.0, 1.0), (n,))], label)
        for label, m, n in (("first", SOME, 2), ("second", 2, SOME))
    ),
    *(
        OpCase(nt.tensordot, None, [((0.0, 1.0), a), ((0.0, 1.0), b)], label, {"axes": axes})
        for label, a, b, axes in (
            ("inner", (2, 64, 128), (64, 128, 2), 2),
            ("first", (SOME, 2), (SOME, 3), (0, 0)),
            ("outer", (SOME,), (2,), 0),
        )
    ),
    *(
        OpCase(
            lambda *x, s=s: nt.einsum(s, *x),
            None,
            [((0.0, 1.0), shape) for shape in shapes],
            s,
            name="einsum",
        )
        for s, shapes in (
            ("ij,ij->i", ((2, SOME), (2, SOME))),
            ("ji,ji->i", ((SOME, 2), (SOME, 2))),
            ("ij,jk->ik", ((SOME, 2), (2, 3))),
            ("ij->j", ((MANY, 2),)),
            ("ij->i", ((2, MANY),)),
            ("i,j->j", ((SOME,), (2,))),
            ("bij,jk->ik", ((SOME, 2, 2), (2, 2))),
        )
    ),
    *(
        OpCase(nt.norm, None, [((-0.8, 0.8), shape)], f"{ord} {label}", {"axis": axis, "ord": ord})
        for ord in (None, 1, 2, 3, np.inf, -np.inf)
        for label, (shape, axis) in AXES.items()
    ),
    OpCase(nt.norm, None, [((-0.8, 0.8), (2, MANY))], "all"),
    *(
        OpCase(nt.norm, None, [((-0.8, 0.8), (MANY, 2))], f"matrix {ord}", {"ord": ord})
        for ord in ("fro", 1, np.inf, 2, "nuc")
    ),
    *(
        OpCase(function, None, [(_regular, (MANY // 4, 2, 2))], "many", half_bound=5e-3)
        for function in (linalg.inv, linalg.det)
    ),
    OpCase(linalg.solve, None, [(_regular, (2, 2)), ("normal", (MANY, 2, 1))], "many"),
    OpCase(linalg.solve, None, [(_regular, (MANY, 2, 2)), ("normal", (2, 1))], "sides"),
    *(
        OpCase(function, None, [("normal", (MANY // 4, 2, 2))], label, name=name, half_bound=5e-3)
        for label, name, function in (
            (
                "",
                "cholesky",
                lambda x: linalg.cholesky(
                    x @ x.swapaxes(-1, -2) + nt.Tensor(np.eye(2, dtype=x.dtype), x.device)
                ),
            ),
            ("values", "eigh", lambda x: linalg.eigh((x + x.swapaxes(-1, -2)) / 2).eigenvalues),
            ("values", "svd", lambda x: linalg.svd(x, compute_uv=False)),
        )
    ),
]


def _not_finite(rng: np.random.Generator, shape: Shape) -> np.ndarray[Any, Any]:
    return rng.choice([0.0, np.nan, np.inf], shape)


TESTS = [
    OpCase(function, None, [(_not_finite, (MANY,))], "many", wrt=())
    for function in (nt.isnan, nt.isinf, nt.isfinite)
]

HALF = [*TESTS, *_elementwise(), *REDUCTIONS, *SORTING, *INDEXING, *SHAPES, *PRODUCTS]
