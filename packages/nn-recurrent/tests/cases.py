"""The rows of the layers, and of the operations and kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_recurrent as nr
import numpy as np
from nn_recurrent.ops import packing
from nn_recurrent.ops.gru import gru
from nn_recurrent.ops.gru_before_steps import gru_before_backward_steps, gru_before_forward_steps
from nn_recurrent.ops.gru_steps import gru_backward_steps, gru_forward_steps
from nn_recurrent.ops.lstm import lstm
from nn_recurrent.ops.lstm_steps import lstm_backward_steps, lstm_forward_steps
from nn_recurrent.ops.rnn import rnn
from nn_recurrent.ops.rnn_steps import rnn_backward_steps, rnn_forward_steps
from nn_recurrent.ops.steps import Steps
from nn_tensor.testing import KernelCase, LayerCase, OpCase

from . import references

Array = np.ndarray[Any, Any]
Generator = np.random.Generator

# sizes of the steps, batch
STEPS: dict[str, tuple[list[int], int]] = {
    "": ([2, 2, 2], 2),
    "ragged": ([3, 3, 2, 1], 4),
    "one step": ([3], 3),
    "no steps": ([], 2),
    "all of length 0": ([0, 0], 2),
    "no sequences": ([0, 0], 0),
}
_INPUTS, _SIZE, _STATE = 2, 3, 2


def _normal(*shapes: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [("normal", shape) for shape in shapes]


def _lstm_rows() -> list[OpCase]:
    rows = []
    for label, (sizes, batch) in STEPS.items():
        steps = Steps(sizes, batch)
        for kind in ("", "masked", "projected", "masked and projected", "without bias"):
            if kind and label not in ("", "ragged"):
                continue
            masked, projected = "masked" in kind, "projected" in kind
            state = _STATE if projected else _SIZE
            bias = [] if kind == "without bias" else [(4 * _SIZE,)]
            shapes = [(steps.total, _INPUTS), (_INPUTS, 4 * _SIZE), (state, 4 * _SIZE), *bias]
            shapes += [(batch, state), (batch, _SIZE)]
            shapes += [(batch, state)] * masked + [(_SIZE, state)] * projected

            def read(
                arrays: Any, kind: str = kind, masked: bool = masked, projected: bool = projected
            ) -> list[Any]:
                x, w, r, *rest = arrays
                b = 0.0 if kind == "without bias" else rest.pop(0)
                h, c = rest.pop(0), rest.pop(0)
                m = rest.pop(0) if masked else 1.0
                return [x, w, r, b, h, c, m, rest.pop(0) if projected else 1.0]

            def function(*arrays: Any, steps: Steps = steps, read: Any = read) -> Any:
                return lstm(*read(arrays), steps)

            def reference(*arrays: Any, steps: Steps = steps, read: Any = read) -> Array:
                x, w, r, b, h, c, m, p = read(arrays)
                p = None if isinstance(p, float) else p

                def step(x: Array, h: Array, c: Array, n: int) -> Any:
                    mask = m if isinstance(m, float) else m[:n]
                    return references.lstm_step(x, h, c, w, r, b, p, mask)

                return references.sequences(step, x, [h, c], steps)

            name = f"{label} {kind}".strip()
            rows.append(OpCase(function, reference, _normal(*shapes), name, name="lstm"))
    return rows


def _gru_rows() -> list[OpCase]:
    rows = []
    for label, (sizes, batch) in STEPS.items():
        steps = Steps(sizes, batch)
        for kind in ("", "masked", "reset before", "reset before masked"):
            if kind and label not in ("", "ragged"):
                continue
            masked, after = "masked" in kind, "before" not in kind
            shapes: list[tuple[int, ...]] = [(steps.total, _INPUTS), (_INPUTS, 3 * _SIZE)]
            shapes += [(_SIZE, 3 * _SIZE), (3 * _SIZE,)] + [(_SIZE,)] * after
            shapes += [(batch, _SIZE)] * (1 + masked)

            def read(arrays: Any, masked: bool = masked, after: bool = after) -> list[Any]:
                x, w, r, b, *rest = arrays
                second = rest.pop(0) if after else 0.0
                h = rest.pop(0)
                return [x, w, r, b, second, h, rest.pop(0) if masked else 1.0]

            def function(
                *arrays: Any, steps: Steps = steps, after: bool = after, read: Any = read
            ) -> Any:
                return gru(*read(arrays), steps, after)

            def reference(
                *arrays: Any, steps: Steps = steps, after: bool = after, read: Any = read
            ) -> Array:
                x, w, r, b, second, h, m = read(arrays)

                def step(x: Array, h: Array, n: int) -> Any:
                    mask = m if isinstance(m, float) else m[:n]
                    if after:
                        return [references.gru_step(x, h, w, r, b, second, mask)]
                    return [references.gru_step_reset_before(x, h, w, r, b, mask)]

                return references.sequences(step, x, [h], steps)

            name = f"{label} {kind}".strip()
            rows.append(OpCase(function, reference, _normal(*shapes), name, name="gru"))
    return rows


def _rnn_rows() -> list[OpCase]:
    rows = []
    for label, (sizes, batch) in STEPS.items():
        steps = Steps(sizes, batch)
        for kind in ("tanh", "relu", "masked"):
            if kind != "tanh" and label not in ("", "ragged"):
                continue
            relu, masked = kind == "relu", kind == "masked"
            shapes = [(steps.total, _INPUTS), (_INPUTS, _SIZE), (_SIZE, _SIZE), (_SIZE,)]
            shapes += [(batch, _SIZE)] * (1 + masked)

            def function(
                *arrays: Any, steps: Steps = steps, relu: bool = relu, masked: bool = masked
            ) -> Any:
                mask = arrays[5] if masked else 1.0
                return rnn(*arrays[:5], mask, steps, "relu" if relu else "tanh")

            def reference(
                *arrays: Any, steps: Steps = steps, relu: bool = relu, masked: bool = masked
            ) -> Array:
                x, w, r, b, h, *m = arrays

                def step(x: Array, h: Array, n: int) -> Any:
                    return [references.rnn_step(x, h, w, r, b, m[0][:n] if m else 1.0, relu)]

                return references.sequences(step, x, [h], steps)

            name = f"{label} {kind}".strip()
            rows.append(
                OpCase(function, reference, _normal(*shapes), name, name="rnn", step=1e-4)
                if relu
                else OpCase(function, reference, _normal(*shapes), name, name="rnn")
            )
    return rows


_INDEX = np.array([3, 0, 4])

OPS = [
    *_lstm_rows(),
    *_gru_rows(),
    *_rnn_rows(),
    OpCase(packing.take_rows, lambda x, i: x[i], [("normal", (5, 2)), _INDEX]),
    OpCase(packing.take_rows, lambda x, i: x[i], [("normal", (5, 2)), _INDEX[:0]], "none"),
    OpCase(
        packing.put_rows,
        lambda x, i, count: np.eye(count, dtype=x.dtype)[:, i] @ x,
        [("normal", (3, 2)), _INDEX],
        "",
        {"count": 5},
    ),
    OpCase(
        packing.put_rows,
        lambda x, i, count: x[[1, 2, 0]],
        [("normal", (3, 2)), np.array([2, 0, 1])],
        "all",
        {"count": 3},
    ),
]


def _lstm_kernel(
    sizes: list[int], batch: int, size: int, multiply: bool, backward: bool
) -> Callable[[Generator], list[Any]]:
    steps = Steps(sizes, batch)
    rows = steps.total

    def draw(rng: Generator) -> list[Any]:
        def normal(*shape: int) -> Array:
            return rng.normal(size=shape)

        last = len(sizes) if multiply else min(1, len(sizes))
        common: list[Any] = [steps.spans, 0, last]
        if backward:
            common.append(multiply)
            gates = rng.uniform(size=(rows, 4 * size))
            return [
                np.zeros((rows, 4 * size)),
                normal(batch, size),
                normal(batch, size),
                normal(rows, size),
                normal(4 * size, size) / np.sqrt(size),
                gates,
                normal(batch + rows, size),
                rng.uniform(-1, 1, (rows, size)),
                *common,
            ]
        return [
            3 * normal(rows, 4 * size),
            None if multiply else normal(batch, 4 * size),
            normal(size, 4 * size) / np.sqrt(size),
            normal(4 * size),
            normal(batch + rows, size),
            normal(rows, size),
            normal(batch + rows, size),
            *common,
        ]

    return draw


def _gru_kernel(
    sizes: list[int], batch: int, size: int, multiply: bool, backward: bool
) -> Callable[[Generator], list[Any]]:
    steps = Steps(sizes, batch)
    rows = steps.total

    def draw(rng: Generator) -> list[Any]:
        def normal(*shape: int) -> Array:
            return rng.normal(size=shape)

        last = len(sizes) if multiply else min(1, len(sizes))
        common: list[Any] = [steps.spans, 0, last]
        if backward:
            common.append(multiply)
            return [
                np.zeros((rows, 4 * size)),
                normal(batch, size),
                normal(rows, size),
                normal(3 * size, size) / np.sqrt(size),
                rng.uniform(size=(rows, 3 * size)),
                normal(rows, size),
                normal(batch + rows, size),
                *common,
            ]
        return [
            3 * normal(rows, 3 * size),
            None if multiply else normal(batch, 3 * size),
            normal(size, 3 * size) / np.sqrt(size),
            normal(4 * size),
            normal(rows, size),
            normal(batch + rows, size),
            *common,
        ]

    return draw


def _gru_before_kernel(
    sizes: list[int], batch: int, size: int, masked: bool, backward: bool
) -> Callable[[Generator], list[Any]]:
    steps = Steps(sizes, batch)
    rows = steps.total

    def draw(rng: Generator) -> list[Any]:
        def normal(*shape: int) -> Array:
            return rng.normal(size=shape)

        mask = normal(batch, size) if masked else 1.0
        if backward:
            grads = np.zeros((rows, 4 * size)), normal(batch, size), normal(rows, size)
            read = normal(3 * size, size) / np.sqrt(size), rng.uniform(size=(rows, 3 * size))
            grad_mask = np.zeros((batch, size)) if masked else None
            return [*grads, *read, normal(batch + rows, size), mask, grad_mask, steps.spans]
        written = normal(rows, size), normal(batch + rows, size)
        return [
            3 * normal(rows, 3 * size),
            normal(size, 3 * size) / np.sqrt(size),
            normal(4 * size),
            *written,
            mask,
            steps.spans,
        ]

    return draw


def _rnn_kernel(nonlinearity: str) -> Any:
    def kernel(
        sizes: list[int], batch: int, size: int, masked: bool, backward: bool
    ) -> Callable[[Generator], list[Any]]:
        steps = Steps(sizes, batch)
        rows = steps.total

        def draw(rng: Generator) -> list[Any]:
            def normal(*shape: int) -> Array:
                return rng.normal(size=shape)

            mask = normal(batch, size) if masked else 1.0
            if backward:
                grads = np.zeros((rows, size)), normal(batch, size), normal(rows, size)
                hidden = rng.uniform(-1, 1, (batch + rows, size))
                grad_mask = np.zeros((batch, size)) if masked else None
                common = mask, grad_mask, steps.spans, nonlinearity
                return [*grads, normal(size, size) / np.sqrt(size), hidden, *common]
            hidden = normal(batch + rows, size)
            return [
                hidden,
                normal(size, size) / np.sqrt(size),
                mask,
                steps.spans,
                batch,
                nonlinearity,
            ]

        return draw

    return kernel


_TOLERANCES = {"float32": 5e-6}

KERNELS = [
    KernelCase(
        kernel,
        None,
        draw(sizes, batch, size, multiply, backward),
        f"{label} {' '.join(kind.split() if multiply else kind.split()[:-1])}".strip(),
        tolerances=_TOLERANCES,
    )
    for draw, kernels, kind in (
        (_lstm_kernel, (lstm_forward_steps, lstm_backward_steps), "products"),
        (_gru_kernel, (gru_forward_steps, gru_backward_steps), "products"),
        (_gru_before_kernel, (gru_before_forward_steps, gru_before_backward_steps), "masked"),
        (_rnn_kernel("tanh"), (rnn_forward_steps, rnn_backward_steps), "masked"),
        (_rnn_kernel("relu"), (rnn_forward_steps, rnn_backward_steps), "relu masked"),
    )
    for backward, kernel in enumerate(kernels)
    for label, sizes, batch, size in (
        ("", [2, 2, 2], 2, 4),
        ("ragged, odd", [3, 2, 1], 4, 5),
        ("wide", [2, 2], 2, 19),
        ("many", [19, 18, 9, 1], 19, 16),
        ("widest", [10, 10], 11, 76),
        ("no sequences", [0, 0], 0, 3),
    )
    for multiply in (False, True)
]


class _Outputs:
    """Gives a layer's output and states as one list, the batch first."""

    def forward(self, *arguments: Any) -> Any:
        output, state = super().forward(*arguments)  # type: ignore[misc]
        states = state if isinstance(state, tuple) else (state,)
        return [output, *(s.swapaxes(0, 1) for s in states)]


class _LSTM(_Outputs, nr.LSTM):
    pass


class _GRU(_Outputs, nr.GRU):
    pass


class _RNN(_Outputs, nr.RNN):
    pass


def _cell_step(layer: Any, options: dict[str, Any]) -> Any:
    """Return the parameters' number, and the step of a reference from them."""
    bias, after = options.get("bias", True), options.get("reset_after", True)
    if issubclass(layer, nr.LSTM):
        projected = options.get("projection") is not None

        def lstm_step(parameters: list[Array]) -> Any:
            w, r, *rest = parameters
            b = rest.pop(0) if bias else 0.0
            p = rest.pop(0) if projected else None
            return lambda x, h, c: references.lstm_step(x, h, c, w, r, b, p)

        return 2 + bias + projected, lstm_step
    if issubclass(layer, nr.GRU):

        def gru_step(parameters: list[Array]) -> Any:
            w, r, *rest = parameters
            b = rest.pop(0) if bias else 0.0
            second = rest.pop(0) if bias and after else 0.0
            if after:
                return lambda x, h: [references.gru_step(x, h, w, r, b, second)]
            return lambda x, h: [references.gru_step_reset_before(x, h, w, r, b)]

        return 2 + bias + (bias and after), gru_step

    def rnn_step(parameters: list[Array]) -> Any:
        w, r, *b = parameters
        relu = options.get("nonlinearity") == "relu"
        return lambda x, h: [references.rnn_step(x, h, w, r, b[0] if b else 0.0, relu=relu)]

    return 2 + bias, rnn_step


def _layer_reference(layer: Any, options: dict[str, Any], state_sizes: list[int]) -> Any:
    count, make = _cell_step(layer, options)

    def reference(x: Array, *parameters: Array) -> list[Array]:
        left, finals = list(parameters), []
        both, reverse = options.get("bidirectional", False), options.get("reverse", False)
        for _ in range(options.get("num_layers", 1)):
            outputs = []
            for backward in (False, True) if both else (reverse,):
                step = make([left.pop(0) for _ in range(count)])
                states = [np.zeros((len(x), n)) for n in state_sizes]
                y, final = references.run(step, x, states, reverse=backward)
                outputs.append(y)
                finals.append(final)
            x = np.concatenate(outputs, -1)
        return [x, *(np.stack(parts, 1) for parts in zip(*finals, strict=True))]

    return reference


_SIZES = (0, -1, 1.5, "8")
_INVALID: dict[str, Any] = {
    "input_size": _SIZES,
    "hidden_size": _SIZES,
    "initialization": ("zero", None),
    "device": ("gpu", 1),
    "dtype": ("int64", bool),
    "rng": ("seed", 1.5),
}
_INVALID_LAYER: dict[str, Any] = {
    **_INVALID,
    "num_layers": _SIZES,
    "bidirectional": ("yes", 2),
    "reverse": ("yes", 2),
    "dropout": (-0.1, 1.1, np.nan, "a", 0.5),
    "recurrent_dropout": (-0.1, 1.1, np.nan, "a"),
}
_INVALID_OWN: dict[str, Any] = {
    "LSTM": {"forget_bias": (np.nan, "a"), "projection": _SIZES},
    "GRU": {"reset_after": ("no", 2)},
    "RNN": {"nonlinearity": ("sigmoid", None)},
}
# A step rounds several times, and the next ones go on from its result.
_HALF = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-12}


def _layer_rows() -> list[LayerCase]:
    rows = []
    variants: list[tuple[Any, str, dict[str, Any], list[int]]] = [
        (_LSTM, "", {}, [3, 3]),
        (_LSTM, "two layers, both ways", {"num_layers": 2, "bidirectional": True}, [3, 3]),
        (_LSTM, "projected", {"projection": 2, "num_layers": 2}, [2, 3]),
        (_LSTM, "reversed without bias", {"reverse": True, "bias": False}, [3, 3]),
        (_GRU, "", {}, [3]),
        (_GRU, "both ways", {"bidirectional": True}, [3]),
        (_GRU, "reset before", {"reset_after": False, "num_layers": 2}, [3]),
        (_GRU, "without bias", {"bias": False}, [3]),
        (_RNN, "", {}, [3]),
        (_RNN, "both ways", {"bidirectional": True, "num_layers": 2}, [3]),
    ]
    for layer, label, options, state_sizes in variants:
        name = layer.__name__.strip("_")
        full = {"input_size": 2, "hidden_size": 3, "rng": 0, **options}
        rows.append(
            LayerCase(
                layer,
                _layer_reference(layer, options, state_sizes),
                _normal((2, 4, 2)),
                label,
                full,
                name=name,
                invalid={} if label else {**_INVALID_LAYER, **_INVALID_OWN[name]},
                tolerances=_HALF,
            )
        )
    return rows


_CELLS: dict[str, tuple[Any, int]] = {
    "LSTM": (nr.LSTMCell, 2),
    "GRU": (nr.GRUCell, 1),
    "RNN": (nr.RNNCell, 1),
}


def _cell_rows() -> list[LayerCase]:
    rows = []
    for kind, (cell, states) in _CELLS.items():
        _, make = _cell_step(getattr(nr, kind), {})

        def reference(x: Array, *rest: Array, make: Any = make, states: int = states) -> Any:
            step = make(list(rest))
            return list(step(x, *[np.zeros((len(x), 3)) for _ in range(states)]))

        rows.append(
            LayerCase(
                cell,
                reference,
                _normal((4, 2)),
                "",
                {"input_size": 2, "hidden_size": 3, "rng": 0},
                invalid={**_INVALID, **_INVALID_OWN[kind]},
                tolerances=_HALF,
            )
        )
    return rows


def _bidirectional(**options: Any) -> Any:
    class Merged(nr.Bidirectional):
        def forward(self, *arguments: Any) -> Any:
            return super().forward(*arguments)[0]

    return Merged(nr.GRU(2, 3, rng=0), rng=1, **options)


def _merged(merge: str) -> Any:
    def reference(x: Array, *parameters: Array) -> Array:
        count, make = _cell_step(nr.GRU, {})
        outputs = [
            references.run(make(list(part)), x, [np.zeros((len(x), 3))], reverse=backward)[0]
            for backward, part in ((False, parameters[:count]), (True, parameters[count:]))
        ]
        if merge == "concat":
            return np.concatenate(outputs, -1)
        if merge == "mul":
            return outputs[0] * outputs[1]
        return sum(outputs) / (1 if merge == "sum" else 2)

    return reference


LAYERS = [
    *_layer_rows(),
    *_cell_rows(),
    *(
        LayerCase(
            _bidirectional,
            _merged(merge),
            _normal((2, 4, 2)),
            merge,
            {"merge": merge},
            name="Bidirectional",
            invalid={"merge": ("max", None)} if merge == "concat" else {},
            tolerances=_HALF,
        )
        for merge in ("concat", "sum", "mul", "mean")
    ),
]
