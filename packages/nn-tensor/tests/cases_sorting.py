"""The rows of sorting and of order statistics."""

from __future__ import annotations

from typing import Any

import nn_tensor as nt
import numpy as np

from .cases import Row
from .cases_reductions import KINK

T3 = (2, 3, 4)

_SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "": (T3, {}),
    "first": (T3, {"axis": 0}),
    "middle": (T3, {"axis": -2}),
    "flat": (T3, {"axis": None}),
    "vector": ((5,), {}),
    "empty": ((0, 3), {}),
    "of nothing": ((3, 0), {}),
}


def _topk(x: np.ndarray, k: int, axis: int = -1, largest: bool = True) -> np.ndarray:
    ordered = np.sort(x, axis)
    ordered = np.flip(ordered, axis) if largest else ordered
    return np.take(ordered, np.arange(k), axis)


SORTING = [
    *(
        Row(
            nt.sort,
            np.sort,
            (("distinct", shape),),
            label,
            options,
            skip=KINK,
            torch=lambda f, x, options=options: (
                f.sort(
                    x.flatten() if options.get("axis", 0) is None else x,
                    dim=options.get("axis", -1) or 0,
                ).values
                if x.numel()
                else x * 1
            ),
        )
        for label, (shape, options) in _SHAPES.items()
    ),
    *(
        Row(nt.argsort, np.argsort, (("distinct", shape),), label, options, wrt=())
        for label, (shape, options) in _SHAPES.items()
    ),
    Row(nt.sort, np.sort, (np.array([2, 1, 2, 0]),), "integers"),
    Row(
        nt.argsort,
        lambda x: np.argsort(x, kind="stable"),
        (np.array([1.0, 0, 1, 0, np.nan, -np.inf]),),
        "ties",
        wrt=(),
    ),
    *(
        Row(
            lambda x, **options: nt.topk(x, **options).values,
            _topk,
            (("distinct", shape),),
            label,
            options,
            name="topk",
            skip=KINK,
            torch=torch,
        )
        for label, shape, options, torch in (
            ("", T3, {"k": 2}, lambda f, x: f.topk(x, 2).values),
            (
                "smallest",
                T3,
                {"k": 3, "axis": 1, "largest": False},
                lambda f, x: f.topk(x, 3, 1, largest=False).values,
            ),
            ("none", T3, {"k": 0}, None),
            ("empty", (0, 3), {"k": 2}, None),
        )
    ),
    Row(
        lambda x: nt.topk(x, 2).indices,
        lambda x: np.array([1, 3]),
        (np.array([1.0, 5, 2, 5, 5]),),
        "ties",
        name="topk",
        wrt=(),
    ),
    *(
        Row(nt.median, np.median, (("distinct", shape),), label, options, skip=KINK, torch=torch)
        for label, shape, options, torch in (
            ("", T3, {}, lambda f, x: f.quantile(x, 0.5)),  # its median is the lower one
            ("odd", (3, 5), {"axis": 1}, lambda f, x: f.median(x, 1).values),
            (
                "first",
                (4, 3),
                {"axis": 0, "keepdims": True},
                lambda f, x: f.quantile(x, 0.5, 0, keepdim=True),
            ),
            ("two", T3, {"axis": (0, -1)}, None),
            ("two kept", T3, {"axis": (2, 0), "keepdims": True}, None),
            ("0-d", (), {}, lambda f, x: f.median(x)),
            ("empty", (0, 3), {"axis": 1}, None),
        )
    ),
    *(
        Row(
            nt.quantile,
            # of an array of q NumPy makes float64 whatever x is
            lambda x, q, **options: np.quantile(x, q, **options).astype(x.dtype),
            (("distinct", shape),),
            f"{label} {method}",
            {**options, "method": method},
            skip=KINK,
            # NumPy computes in float64 and rounds once
            tolerances={"float32": 1e-6},
            torch=torch
            and (
                lambda f, x, method=method: f.quantile(
                    x, f.tensor([0.1, 0.5], dtype=x.dtype), 1, keepdim=True, interpolation=method
                )
            ),
        )
        for method in ("linear", "lower", "higher", "nearest", "midpoint")
        for label, shape, options, torch in (
            ("", T3, {"q": 0.3}, False),
            ("several", (3, 7), {"q": [0.1, 0.5], "axis": 1, "keepdims": True}, True),
            ("table", T3, {"q": [[0.0, 0.2], [0.77, 1.0]], "axis": (0, 2)}, False),
            ("0-d", (), {"q": 0.5}, False),
        )
    ),
    *(
        Row(
            nt.average,
            lambda x, **options: np.average(x, **options).astype(x.dtype),
            (("normal", shape),),
            label,
            options,
        )
        for label, shape, options in (
            ("", T3, {}),
            ("axis", T3, {"axis": 1, "keepdims": True}),
            ("weights", (3, 4), {"axis": 0, "weights": [1.0, 2.0, 4.0]}),
            ("two", T3, {"axis": (2, 0), "weights": [[1.0, 2], [3, 4], [5, 6], [7, 8]]}),
        )
    ),
    Row(
        lambda x, w: nt.average(x, 1, w),
        lambda x, w: np.average(x, 1, w),
        (("normal", T3), ("positive", T3)),
        "weights that are recorded",
        name="average",
    ),
    Row(
        lambda x, w: list(nt.average(x, 1, w, returned=True)),
        lambda x, w: list(np.average(x, 1, w, returned=True)),
        (("normal", T3), ("positive", (3,))),
        "returned",
        name="average",
    ),
]
