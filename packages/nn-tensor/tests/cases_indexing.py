"""The rows of ops that index."""

from __future__ import annotations

from typing import Any

import nn_tensor as nt
import numpy as np

from .cases import Row

T3 = (2, 3, 4)

_INDICES: dict[str, Any] = {
    "integer": 1,
    "negative": -1,
    "slice": slice(1, None),
    "reversed": slice(None, None, -1),
    "step": (slice(None), slice(0, 3, 2)),
    "ellipsis": (Ellipsis, 0),
    "new axis": (None, slice(None), None),
    "list": [2, 0, 2],
    "rows": np.array([[0, 2], [2, 2]]),
    "small integers": np.array([2, 0, 2], np.int8),
    "boolean": np.array([True, False, True]),
    "mask": np.arange(12).reshape(3, 4) % 3 == 0,
    "mask and integer": (np.array([True, False, True]), 1),
    "pairs": (np.array([0, 2, 2]), np.array([1, 3, 3])),
    "mixed": (slice(None), [3, 0, 3]),
    "nothing": [],
    "tuple in a tuple": ((0, 0, 2),),
    "tuple of integers": ((2, 0, 2), slice(1, 3)),
    "range": range(2),
    "nested nothing": [[]],
    "0-d array": np.array(2),
}


def _assign(x: np.ndarray, value: np.ndarray, index: Any) -> np.ndarray:
    result = x.copy()
    result[index] = value
    return result


def _added(x: np.ndarray, indices: np.ndarray, values: np.ndarray, axis: int = -1) -> np.ndarray:
    result = x.copy()
    where = list(np.ogrid[tuple(map(slice, indices.shape))])
    where[axis] = indices
    np.add.at(result, tuple(where), values)
    return result


def _gathered(x: np.ndarray, indices: np.ndarray, axis: int = -1) -> np.ndarray:
    where = list(np.ogrid[tuple(map(slice, indices.shape))])
    where[axis] = indices
    return x[tuple(where)]


COLUMNS = np.array([[3, 3], [0, 1], [2, 2]])
ROWS = np.array([[2, 0, 0, 2]])

INDEXING = [
    *(
        Row(nt.get_item, lambda x, index: x[index], (("normal", (3, 4)),), label, {"index": index})
        for label, index in _INDICES.items()
    ),
    *(
        Row(nt.set_item, _assign, (("normal", (3, 4)), ("normal", shape)), label, {"index": index})
        for label, index, shape in (
            ("row", 1, (4,)),
            ("scalar", 1, ()),
            ("column", (slice(None), slice(0, 1)), (3, 1)),
            ("broadcast", slice(0, 2), (2, 1)),
            ("list", [2, 0], (2, 4)),
            ("repeated", [2, 0, 2], (3, 4)),
            ("repeated pairs", (np.array([0, 0, 1]), np.array([1, 1, 1])), ()),
            ("mask", np.arange(12).reshape(3, 4) % 3 == 0, (4,)),
        )
    ),
    Row(
        nt.gather,
        _gathered,
        (("normal", (3, 4)), COLUMNS),
        torch=lambda f, x, i: f.gather(x, -1, i),
    ),
    Row(
        nt.gather,
        _gathered,
        (("normal", (3, 4)), ROWS),
        "first",
        {"axis": 0},
        torch=lambda f, x, i: f.gather(x, 0, i),
    ),
    Row(nt.gather, _gathered, (("normal", (3, 4)), COLUMNS[:, :0]), "empty"),
    Row(
        nt.scatter_add,
        _added,
        (("normal", (3, 4)), COLUMNS, ("normal", (3, 2))),
        torch=lambda f, x, i, v: f.scatter_add(x, -1, i, v),
    ),
    Row(
        nt.scatter_add,
        _added,
        (("normal", (3, 4)), ROWS, ("normal", (1, 4))),
        "first",
        {"axis": 0},
        torch=lambda f, x, i, v: f.scatter_add(x, 0, i, v),
    ),
    Row(nt.scatter_add, _added, (("normal", (3, 4)), COLUMNS, ("normal", ())), "broadcast"),
    *(
        Row(
            nt.take,
            lambda x, i, axis=None: np.take(x, i, axis),
            (("normal", T3), i),
            label,
            options,
        )
        for label, i, options in (
            ("flat", np.array([3, -1, 3]), {}),
            ("axis", np.array([[1, 0], [2, 2]]), {"axis": 1}),
            ("last", np.array([1, -4, 0]), {"axis": -1}),
            ("first", np.array([1, 1, 1]), {"axis": 0}),
            ("empty", np.array([], np.intp), {"axis": 0}),
            ("0-d", np.array(1), {"axis": 0}),
        )
    ),
    *(
        Row(nt.take, np.take, (("normal", T3), i), label, options)
        for label, i, options in (
            ("wrapped", np.array([5, -7, 0]), {"axis": 1, "mode": "wrap"}),
            ("clipped", np.array([5, -7, 1]), {"axis": 1, "mode": "clip"}),
            ("flat wrapped", np.array([[25, -25]]), {"mode": "wrap"}),
        )
    ),
    *(
        Row(
            nt.take_along_axis,
            np.take_along_axis,
            (("normal", shape), i),
            label,
            {"axis": axis},
            torch=torch and (lambda f, x, i, axis=axis: f.take_along_dim(x, i, axis)),
        )
        for label, shape, i, axis, torch in (
            ("", (3, 4), COLUMNS, -1, True),
            ("first", (3, 4), ROWS, 0, True),
            ("negative", (3, 4), COLUMNS - 4, 1, False),
            ("flat", (3, 4), np.array([11, -1, 0, 11]), None, False),
            ("x broadcasts", (1, 4), COLUMNS, 1, True),
            ("indices broadcast", (3, 4), COLUMNS[:1], 1, True),
            ("empty", (3, 4), COLUMNS[:, :0], 1, False),
            ("of nothing", (0, 4), np.zeros((0, 2), int), 1, False),
        )
    ),
    Row(
        lambda c: nt.stack(nt.where(c)),
        lambda c: np.stack(np.where(c)),
        (("booleans", (3, 4)),),
        "one argument",
        name="where",
        wrt=(),
    ),
    Row(
        lambda c: nt.where(c)[0],
        lambda c: np.where(c)[0],
        (np.zeros(3),),
        "one argument, nothing",
        name="where",
        wrt=(),
    ),
    Row(
        nt.one_hot,
        lambda i, num_classes: np.eye(num_classes, dtype=np.float32)[i],
        (np.array([[2, 0], [1, 1]]),),
        "",
        {"num_classes": 4},
    ),
    Row(
        nt.one_hot,
        lambda i, num_classes: np.eye(num_classes, dtype=np.float32)[i],
        (np.array([], np.intp),),
        "empty",
        {"num_classes": 4},
    ),
    Row(nt.one_hot, lambda i: np.eye(3, dtype=np.float32)[i], (np.array(2),), "0-d"),
]
