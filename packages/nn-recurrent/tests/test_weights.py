"""Weights from and to other libraries: gate orders, formulas, refusals."""

from __future__ import annotations

from typing import Any

import nn_recurrent as nr
import numpy as np
import pytest
from nn_recurrent import (
    GATE_ORDERS,
    from_keras_recurrent,
    from_onnx_recurrent,
    from_torch_recurrent,
    reorder_gates,
    to_keras_recurrent,
    to_onnx_recurrent,
    to_torch_recurrent,
)
from nn_tensor.testing import assert_close

from .references import run, sigmoid

INPUTS, SIZE = 3, 4


def keras_lstm(x: Any, h: Any, c: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """``keras.layers.LSTMCell.call``, implementation 2: gates i, f, c, o."""
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def keras_gru(x: Any, h: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """``keras.layers.GRUCell.call``, implementation 2: gates z, r, h; one or two rows of bias."""
    size = h.shape[1]
    after = bias.ndim == 2
    x_z, x_r, x_h = np.split(x @ kernel + (bias[0] if after else bias), 3, axis=1)
    if after:
        inner_z, inner_r, inner_h = np.split(h @ recurrent + bias[1], 3, axis=1)
    else:
        inner_z, inner_r = np.split(h @ recurrent[:, : 2 * size], 2, axis=1)
    z, r = sigmoid(x_z + inner_z), sigmoid(x_r + inner_r)
    inner_h = r * inner_h if after else (r * h) @ recurrent[:, 2 * size :]
    return [z * h + (1 - z) * np.tanh(x_h + inner_h)]


def keras_rnn(x: Any, h: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    return [np.tanh(x @ kernel + bias + h @ recurrent)]


KERAS: dict[str, tuple[Any, int, Any, dict[str, Any]]] = {
    "LSTM": (keras_lstm, 4, (), {}),
    "GRU": (keras_gru, 3, (2,), {}),
    "GRU reset before": (keras_gru, 3, (), {"reset_after": False}),
    "RNN": (keras_rnn, 1, (), {}),
}


@pytest.mark.parametrize("kind", KERAS)
@pytest.mark.parametrize("both", [False, True])
def test_keras(kind: str, both: bool, rng: np.random.Generator) -> None:
    cell, gates, rows, options = KERAS[kind]
    shapes = (INPUTS, gates * SIZE), (SIZE, gates * SIZE), (*rows, gates * SIZE)
    weights = [rng.normal(size=shape) for _ in range(1 + both) for shape in shapes]
    layer = getattr(nr, kind.split()[0])(
        INPUTS, SIZE, bidirectional=both, dtype="float64", **options
    )
    layer.load_state_dict(from_keras_recurrent(weights))
    x, lengths = rng.normal(size=(3, 5, INPUTS)), [5, 2, 0]
    zero = [np.zeros((3, SIZE))] * (2 if kind == "LSTM" else 1)
    parts = []
    for start in range(0, len(weights), 3):

        def step(x: Any, *states: Any, start: int = start) -> Any:
            return cell(x, *states, *weights[start : start + 3])

        parts.append(run(step, x, zero, lengths, reverse=start > 0)[0])
    output, _ = layer(x, lengths=lengths)
    assert_close(output, np.concatenate(parts, -1), rtol=1e-11, atol=1e-12)
    again = from_keras_recurrent(to_keras_recurrent(layer))
    layer.load_state_dict(again)
    assert_close(layer(x, lengths=lengths)[0], output)


ONNX = ["LSTM", "GRU", "GRU reset before", "RNN"]


@pytest.mark.parametrize("kind", ONNX)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_onnxruntime_gives_the_same_outputs(
    kind: str, both: bool, ragged: bool, rng: np.random.Generator
) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    name, after = kind.split()[0], "before" not in kind
    options: dict[str, Any] = {} if after else {"reset_after": False}
    layer = getattr(nr, name)(INPUTS, SIZE, bidirectional=both, rng=0, **options)
    for parameter in layer.parameters:
        parameter.data[...] = rng.normal(size=parameter.shape)
    arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in to_onnx_recurrent(layer).items()}
    x = rng.normal(size=(3, 5, INPUTS)).astype(np.float32)
    lengths = [5, 2, 3] if ragged else [5, 5, 5]
    states = ["h", "c"][: 1 + (name == "LSTM")]
    attributes = {"hidden_size": SIZE, "direction": "bidirectional" if both else "forward"}
    if name == "GRU":
        attributes["linear_before_reset"] = int(after)
    names = ["X", "W", "R", "B", "lengths"]
    node = onnx.helper.make_node(name, names, ["Y", *states], **attributes)
    given = {"X": x.transpose(1, 0, 2).copy(), **arrays, "lengths": np.array(lengths, np.int32)}
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [
            onnx.helper.make_tensor_value_info(
                k, onnx.helper.np_dtype_to_tensor_dtype(v.dtype), v.shape
            )
            for k, v in given.items()
        ],
        [onnx.helper.make_tensor_value_info(k, 1, None) for k in ("Y", *states)],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected, *finals = session.run(None, given)
    output, state = layer(x, lengths=lengths)
    steps, directions, batch, size = expected.shape
    expected = expected.transpose(2, 0, 1, 3).reshape(batch, steps, directions * size)
    assert_close(output, expected, rtol=1e-4, atol=1e-5)
    for mine, other in zip(state if isinstance(state, tuple) else [state], finals, strict=True):
        assert_close(mine, other, rtol=1e-4, atol=1e-5)
    if after:
        layer.load_state_dict(from_onnx_recurrent(arrays["W"], arrays["R"], arrays["B"]))
        assert_close(layer(x, lengths=lengths)[0], output, rtol=1e-6, atol=1e-6)


def test_gate_orders_are_permutations() -> None:
    for layer, gates in GATE_ORDERS["nn_recurrent"].items():
        for library, orders in GATE_ORDERS.items():
            assert sorted(orders[layer]) == sorted(gates), library
            array = np.arange(6 * len(gates)).reshape(2, -1)
            there = reorder_gates(array, layer, "nn_recurrent", library)
            back = reorder_gates(there, layer, library, "nn_recurrent")
            np.testing.assert_array_equal(back, array)
            transposed = reorder_gates(array.T, layer, "nn_recurrent", library, axis=0)
            np.testing.assert_array_equal(transposed, there.T)


def test_errors_of_reorder() -> None:
    with pytest.raises(ValueError, match="source: expected one of"):
        reorder_gates(np.ones(4), "LSTM", "tf", "torch")
    with pytest.raises(ValueError, match="layer: expected one of"):
        reorder_gates(np.ones(4), "lstm", "torch", "torch")
    with pytest.raises(ValueError, match="array: axis -1 has 5 elements"):
        reorder_gates(np.ones(5), "LSTM", "torch", "keras")


def test_errors_of_torch_states_list_everything() -> None:
    good = to_torch_recurrent(nr.LSTM(3, 4, num_layers=2))
    bad = {k: v for k, v in good.items() if k != "bias_hh_l1"}
    bad["weight_ih_l1"] = np.ones((16, 5))
    with pytest.raises(ValueError, match="do not fit") as error:
        from_torch_recurrent(bad)
    for words in (
        "missing: bias_hh_l1",
        "weight_ih_l1: expected shape (16, 4), got (16, 5)",
    ):
        assert words in str(error.value)
    with pytest.raises(ValueError, match="unknown: weight,"):
        from_torch_recurrent({**good, "weight": np.ones(3)})
    with pytest.raises(ValueError, match="missing: weight_hh_l0"):
        from_torch_recurrent({"weight_ih_l0": np.ones((16, 3))})
    with pytest.raises(ValueError, match="of no LSTM, GRU, RNN"):
        from_torch_recurrent({"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 4))})
    with pytest.raises(TypeError, match="state: expected a dict"):
        from_torch_recurrent([1])  # type: ignore[arg-type]


def test_errors_of_export() -> None:
    with pytest.raises(ValueError, match="reset_after=False"):
        to_torch_recurrent(nr.GRU(3, 4, reset_after=False))
    with pytest.raises(ValueError, match="layer: has reverse=True"):
        to_torch_recurrent(nr.GRU(3, 4, reverse=True))
    for function in (to_keras_recurrent, to_onnx_recurrent):
        with pytest.raises(ValueError, match="has 2 layers"):
            function(nr.GRU(3, 4, num_layers=2))
        with pytest.raises(ValueError, match="has a projection"):
            function(nr.LSTM(3, 4, projection=2))
    for function in (to_torch_recurrent, to_keras_recurrent, to_onnx_recurrent):
        with pytest.raises(TypeError, match="layer: expected an LSTM, GRU or RNN"):
            function("LSTM")  # type: ignore[arg-type]


def test_errors_of_import() -> None:
    with pytest.raises(ValueError, match="got 1 arrays"):
        from_keras_recurrent([np.ones((3, 16))])
    with pytest.raises(ValueError, match=r"weights\[0\]: expected shape \(3, 16\)"):
        from_keras_recurrent([np.ones((3, 15)), np.ones((4, 16))])
    with pytest.raises(ValueError, match="w: expected shape"):
        from_onnx_recurrent(np.ones((1, 15, 3)), np.ones((1, 16, 4)))
    with pytest.raises(TypeError, match="w: expected floats"):
        from_onnx_recurrent(np.ones((1, 16, 3), int), np.ones((1, 16, 4)))
