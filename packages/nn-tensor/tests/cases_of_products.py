"""The rows of operations that index, and of products over axes."""

from __future__ import annotations

from typing import Any

import nn_tensor
import numpy as np

from .cases import Case

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
        Case("get_item", lambda x, index: x[index], (("real", (3, 4)),), label, {"index": index})
        for label, index in _INDICES.items()
    ),
    *(
        Case("set_item", _assign, (("real", (3, 4)), ("real", shape)), label, {"index": index})
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
    Case(
        "gather", _gathered, (("real", (3, 4)), COLUMNS), torch=lambda f, x, i: f.gather(x, -1, i)
    ),
    Case(
        "gather",
        _gathered,
        (("real", (3, 4)), ROWS),
        "first",
        {"axis": 0},
        torch=lambda f, x, i: f.gather(x, 0, i),
    ),
    Case("gather", _gathered, (("real", (3, 4)), COLUMNS[:, :0]), "empty"),
    Case(
        "scatter_add",
        _added,
        (("real", (3, 4)), COLUMNS, ("real", (3, 2))),
        torch=lambda f, x, i, v: f.scatter_add(x, -1, i, v),
    ),
    Case(
        "scatter_add",
        _added,
        (("real", (3, 4)), ROWS, ("real", (1, 4))),
        "first",
        {"axis": 0},
        torch=lambda f, x, i, v: f.scatter_add(x, 0, i, v),
    ),
    Case("scatter_add", _added, (("real", (3, 4)), COLUMNS, ("real", ())), "broadcast"),
    *(
        Case("take", lambda x, i, axis=None: np.take(x, i, axis), (("real", T3), i), label, options)
        for label, i, options in (
            ("flat", np.array([3, -1, 3]), {}),
            ("axis", np.array([[1, 0], [2, 2]]), {"axis": 1}),
            ("last", np.array([1, -4, 0]), {"axis": -1}),
            ("first", np.array([1, 1, 1]), {"axis": 0}),
            ("empty", np.array([], np.intp), {"axis": 0}),
            ("0-d", np.array(1), {"axis": 0}),
        )
    ),
    Case(
        "one_hot",
        lambda i, num_classes: np.eye(num_classes, dtype=np.float32)[i],
        (np.array([[2, 0], [1, 1]]),),
        "",
        {"num_classes": 4},
    ),
    Case(
        "one_hot",
        lambda i, num_classes: np.eye(num_classes, dtype=np.float32)[i],
        (np.array([], np.intp),),
        "empty",
        {"num_classes": 4},
    ),
    Case("one_hot", lambda i: np.eye(3, dtype=np.float32)[i], (np.array(2),), "0-d"),
]

_PRODUCTS = {
    "": ((3, 4), (4, 2)),
    "vectors": ((4,), (4,)),
    "row": ((4,), (4, 2)),
    "column": ((3, 4), (4,)),
    "stacks": ((2, 3, 4), (2, 4, 5)),
    "stack and matrix": ((2, 3, 4), (4, 5)),
    "matrix and stack": ((3, 4), (2, 4, 5)),
    "stacks broadcast": ((2, 1, 3, 4), (5, 4, 2)),
    "stack and vector": ((2, 3, 4), (4,)),
    "vector and stack": ((4,), (2, 4, 3)),
    "empty": ((0, 4), (4, 2)),
    "empty stack": ((2, 3, 0), (0, 4)),
    "empty inner": ((3, 0), (0, 2)),
}

LINALG = [
    *(
        Case("matmul", np.matmul, (("real", a), ("real", b)), label, torch="matmul")
        for label, (a, b) in _PRODUCTS.items()
    ),
    *(
        Case("dot", np.dot, (("real", a), ("real", b)), label)
        for label, (a, b) in {
            "": ((3, 4), (4, 2)),
            "vectors": ((4,), (4,)),
            "scalar": ((), (3, 4)),
            "many": ((2, 3), (4, 3, 2)),
        }.items()
    ),
    Case("outer", np.outer, (("real", (3,)), ("real", (4,))), torch="outer"),
    Case("outer", np.outer, (("real", (3, 2)), ("real", ())), "flattened"),
    *(
        Case("tensordot", np.tensordot, (("real", a), ("real", b)), label, {"axes": axes})
        for label, a, b, axes in (
            ("", T3, (3, 4, 5), 2),
            ("none", (2, 3), (4,), 0),
            ("pairs", T3, (4, 5, 2), ([0, 2], [2, 0])),
            ("one", T3, (5, 3), (1, -1)),
        )
    ),
    *(
        Case(
            "einsum",
            lambda *x, s=s: np.einsum(s, *x),
            tuple(("real", a) for a in shapes),
            s,
            function=lambda *x, s=s: nn_tensor.einsum(s, *x),
            torch=None if "i," in s and "ii" in s else lambda f, *x, s=s: f.einsum(s, *x),
        )
        for s, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 4))),
            ("bij,bjk->bik", ((2, 3, 4), (2, 4, 2))),
            ("ij->ji", ((2, 3),)),
            ("ij->", ((2, 3),)),
            ("ij->i", ((2, 3),)),
            ("ii->i", ((3, 3),)),
            ("ii", ((3, 3),)),
            ("i,j->ij", ((2,), (3,))),
            ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
            ("...ij,...jk->...ik", ((2, 2, 3), (3, 2))),
            ("bhqd,bhkd->bhqk", ((1, 2, 3, 2), (1, 2, 4, 2))),
            ("ij,jk", ((2, 3), (3, 4))),
            ("ij,kj->i", ((2, 3), (4, 3))),
            ("ij,j->j", ((2, 1), (3,))),
            ("ij,jk->k", ((2, 1), (3, 4))),
        )
    ),
]
