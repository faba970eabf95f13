"""Rows of half precision: long sequences and large batches, whose sums float16 cannot hold."""

from __future__ import annotations

from typing import Any

import nn_recurrent as nr
import numpy as np
from nn_recurrent.ops import packing
from nn_recurrent.ops.gru import gru
from nn_recurrent.ops.lstm import lstm
from nn_recurrent.ops.rnn import rnn
from nn_recurrent.ops.steps import Steps
from nn_tensor.testing import MANY, LayerCase, OpCase

from .cases import _GRU, _LSTM, _RNN

__all__ = ["HALF"]

Shape = tuple[int, ...]

# Sums of so many are beyond 2048, where adding ones in float16 stops.
SOME = 4099

# A layer computes in float32 and rounds once; cells and two layers round in between.
_CELL = 1e-2

_SMALL: Any = (-0.5, 0.5)


def _op(function: Any, label: str, *shapes: Shape, name: str) -> OpCase:
    return OpCase(function, None, [(_SMALL, s) for s in shapes], label, name=name)


def _of_steps() -> list[OpCase]:
    rows = []
    for label, steps in (
        ("batch", Steps([SOME, SOME], SOME)),
        ("time", Steps([2] * 2100, 2)),
        ("ragged", Steps([SOME, SOME - 1, 3], SOME)),
    ):
        n, total = steps.batch, steps.total
        rows += [
            _op(
                lambda x, w, r, b, h, c, m, steps=steps: lstm(x, w, r, b, h, c, m, 1.0, steps),
                label,
                *[(total, 2), (2, 12), (3, 12), (12,), (n, 3), (n, 3), (n, 3)],
                name="lstm",
            ),
            _op(
                lambda x, w, r, b, h, c, p, steps=steps: lstm(x, w, r, b, h, c, 1.0, p, steps),
                f"{label} projected",
                *[(total, 2), (2, 12), (2, 12), (12,), (n, 2), (n, 3), (3, 2)],
                name="lstm",
            ),
            *(
                _op(
                    lambda x, w, r, b, s, h, m, steps=steps, after=after: gru(
                        x, w, r, b, s if after else 0.0, h, m, steps, after
                    ),
                    f"{label} {'reset after' if after else 'reset before'}",
                    *[(total, 2), (2, 9), (3, 9), (9,), (3,), (n, 3), (n, 3)],
                    name="gru",
                )
                for after in (True, False)
            ),
            *(
                _op(
                    lambda x, w, r, b, h, m, steps=steps, kind=kind: rnn(
                        x, w, r, b, h, m, steps, kind
                    ),
                    f"{label} {kind}",
                    *[(total, 2), (2, 3), (3, 3), (3,), (n, 3), (n, 3)],
                    name="rnn",
                )
                for kind in ("tanh", "relu")
            ),
        ]
    return rows


OPS = [
    *_of_steps(),
    OpCase(packing.take_rows, None, [("normal", (MANY, 2)), np.arange(MANY)[::-2]], "many"),
    OpCase(
        packing.put_rows,
        None,
        [("normal", (MANY, 2)), np.arange(MANY)],
        "many",
        {"count": MANY + 1},
    ),
]


def _bidirectional(**options: Any) -> Any:
    class Outputs(nr.Bidirectional):
        def forward(self, *arguments: Any) -> Any:
            return super().forward(*arguments)[0]

    return Outputs(nr.GRU(2, 3, rng=0), rng=1, **options)


_SIZES: dict[str, Any] = {"input_size": 2, "hidden_size": 3, "rng": 0}

LAYERS = [
    *(
        LayerCase(
            layer,
            None,
            [("normal", shape)],
            label,
            {**_SIZES, **options},
            name=layer.__name__.strip("_"),
            half_bound=_CELL if options else 2e-3,
        )
        for layer in (_LSTM, _GRU, _RNN)
        for label, shape, options in (
            ("batch", (SOME, 2, 2), {}),
            ("time", (2, 2100, 2), {}),
            ("two layers, both ways", (SOME, 2, 2), {"num_layers": 2, "bidirectional": True}),
        )
    ),
    *(
        LayerCase(cell, None, [("normal", (SOME, 2))], "batch", _SIZES, half_bound=_CELL)
        for cell in (nr.LSTMCell, nr.GRUCell, nr.RNNCell)
    ),
    *(
        LayerCase(
            _bidirectional,
            None,
            [("normal", (SOME, 2, 2))],
            merge,
            {"merge": merge},
            name="Bidirectional",
        )
        for merge in ("concat", "sum", "mul", "mean")
    ),
]

HALF = [*LAYERS, *OPS]
