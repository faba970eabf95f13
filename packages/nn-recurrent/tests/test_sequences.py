"""Lengths, states, directions, dropout, half precision: what holds for whole sequences."""

from __future__ import annotations

from typing import Any

import nn_recurrent as nr
import numpy as np
import pytest
from nn_layers.ops.dropout import dropout
from nn_tensor import Tensor, concatenate, grad, stack, zeros
from nn_tensor.extend import mark_dirty
from nn_tensor.testing import assert_close, gradcheck

from . import references

KINDS = {
    "LSTM": lambda **options: nr.LSTM(2, 3, **options),
    "projected LSTM": lambda **options: nr.LSTM(2, 3, projection=2, **options),
    "GRU": lambda **options: nr.GRU(2, 3, **options),
    "GRU reset before": lambda **options: nr.GRU(2, 3, reset_after=False, **options),
    "RNN": lambda **options: nr.RNN(2, 3, **options),
}
LENGTHS = np.array([2, 0, 5, 1, 5, 3])
BATCH, TIME = 6, 5

every_kind = pytest.mark.parametrize("kind", KINDS)


def states(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def initial(layer: Any, batch: int, rng: np.random.Generator) -> Any:
    """Return random initial states, as the layer takes them."""
    cells = [cell for cells in layer.layers for cell in cells.values()]
    given = tuple(Tensor(rng.normal(size=(len(cells), batch, n))) for n in cells[0].state_sizes)
    return given if len(given) > 1 else given[0]


def part(state: Any, batch: Any) -> Any:
    chosen = tuple(s[:, batch] for s in states(state))
    return chosen if len(chosen) > 1 else chosen[0]


@every_kind
@pytest.mark.parametrize("both", [False, True])
def test_padded_batch_equals_each_sequence_alone(
    kind: str, both: bool, rng: np.random.Generator, device: str
) -> None:
    layer = KINDS[kind](num_layers=2, bidirectional=both, rng=0, dtype="float64")
    x, state = rng.normal(size=(BATCH, TIME, 2)), initial(layer, BATCH, rng)
    layer.to(device)
    given = part(state, slice(None)) if device == "cpu" else _moved(state, device)
    output, final = layer(Tensor(x, device=device), given, LENGTHS)
    for n, length in enumerate(LENGTHS):
        alone, last = layer(Tensor(x[n : n + 1, :length], device=device), part(given, [n]))
        assert_close(output[n, :length], alone[0], rtol=1e-12, atol=1e-13)
        assert not output.numpy()[n, length:].any()
        for mine, other in zip(states(final), states(last), strict=True):
            assert_close(mine[:, n], other[:, 0], rtol=1e-12, atol=1e-13)


def _moved(state: Any, device: str) -> Any:
    moved = tuple(s.to(device) for s in states(state))
    return moved if len(moved) > 1 else moved[0]


@every_kind
def test_chunks_equal_the_whole(kind: str, rng: np.random.Generator) -> None:
    layer = KINDS[kind](num_layers=2, rng=0, dtype="float64")
    x = Tensor(rng.normal(size=(3, 7, 2)))
    whole, last = layer(x)
    outputs, state = [], None
    for start, stop in ((0, 1), (1, 4), (4, 4), (4, 7)):
        output, state = layer(x[:, start:stop], state)
        outputs.append(output)
    assert_close(concatenate(outputs, axis=1), whole, rtol=1e-12, atol=1e-13)
    for mine, other in zip(states(state), states(last), strict=True):
        assert_close(mine, other, rtol=1e-12, atol=1e-13)


@every_kind
def test_cells_in_a_loop_equal_the_layer(kind: str, rng: np.random.Generator) -> None:
    """Values, gradients and second derivatives."""
    layer = KINDS[kind](rng=0, dtype="float64")
    cell = layer.layers[0]["forward"]
    x = Tensor(rng.normal(size=(2, 4, 2)), requires_grad=True)

    def loop() -> Any:
        state, outputs = None, []
        for t in range(4):
            state = cell(x[:, t], state)
            outputs.append(states(state)[0])
        return stack(outputs, axis=1)

    results = []
    for output in (layer(x)[0], loop()):
        first = grad((output**2).sum(), [x, *layer.parameters], create_graph=True)
        total: Any = sum((g * g).sum() for g in first)
        second = grad(total, [x, *layer.parameters])
        results.append([output, *first, *second])
    for mine, other in zip(*results, strict=True):
        assert_close(mine, other, rtol=1e-10, atol=1e-12)


@every_kind
@pytest.mark.parametrize("both", [False, True])
def test_gradients_of_both_orders(kind: str, both: bool, rng: np.random.Generator) -> None:
    layer = KINDS[kind](num_layers=2, bidirectional=both, rng=0, dtype="float64")

    def function(x: Any) -> Any:
        output, final = layer(x, None, [3, 1, 0])
        return [output, *states(final)]

    gradcheck(function, [rng.normal(size=(3, 3, 2))], order=2)


@every_kind
def test_padding_is_never_read(kind: str, rng: np.random.Generator, device: str) -> None:
    layer = KINDS[kind](num_layers=2, bidirectional=True, rng=0, dtype="float64").to(device)
    clean = rng.normal(size=(BATCH, TIME, 2))
    dirty = clean.copy()
    for n, length in enumerate(LENGTHS):
        dirty[n, length:] = [np.nan, np.inf]
    results = []
    for values in (clean, dirty):
        x = Tensor(values, device=device, requires_grad=True)
        layer.zero_grad()
        output, final = layer(x, lengths=LENGTHS)
        total = sum(((s * s).sum() for s in states(final)), (output * output).sum())
        total.backward()
        results.append([output, *states(final), x.grad, *(p.grad for p in layer.parameters)])
    for mine, other in zip(*results, strict=True):
        assert_close(mine, other)
        assert np.isfinite(mine.numpy()).all()


@pytest.mark.parametrize(
    "convert",
    [
        list,
        np.asarray,
        Tensor,
        lambda lengths: np.asarray(lengths, np.uint8),
        lambda lengths: np.arange(TIME) < np.asarray(lengths)[:, None],
        lambda lengths: Tensor(np.arange(TIME) < np.asarray(lengths)[:, None]),
    ],
    ids=["list", "array", "Tensor", "bytes", "mask", "Tensor mask"],
)
def test_kinds_of_lengths(convert: Any, rng: np.random.Generator) -> None:
    layer, x = nr.GRU(2, 3, rng=0), rng.normal(size=(BATCH, TIME, 2))
    expected = layer(x, lengths=LENGTHS.tolist())
    for mine, other in zip(layer(x, lengths=convert(LENGTHS)), expected, strict=True):
        assert_close(mine, other)


def test_reverse_keeps_the_places_of_the_outputs(rng: np.random.Generator) -> None:
    layer, x = nr.RNN(2, 3, reverse=True, rng=0, dtype="float64"), rng.normal(size=(2, 4, 2))
    forward = nr.RNN(2, 3, rng=1, dtype="float64")
    forward.load_state_dict(
        {k.replace("backward", "forward"): v for k, v in layer.state_dict().items()}
    )
    assert_close(layer(x)[0], forward(x[:, ::-1].copy())[0].numpy()[:, ::-1])


def test_lengths_of_zero_only(rng: np.random.Generator) -> None:
    layer = nr.LSTM(2, 3, bidirectional=True, rng=0, dtype="float64")
    state = initial(layer, 2, rng)
    output, final = layer(np.full((2, 4, 2), np.nan), state, [0, 0])
    assert output.shape == (2, 4, 6)
    assert not output.numpy().any()
    for mine, other in zip(final, state, strict=True):
        assert_close(mine, other)


ERRORS = [
    ({"lengths": [3, 2]}, ValueError, r"lengths: expected 3 lengths.*shape \(2,\)"),
    ({"lengths": [3, 2, 5]}, ValueError, r"lengths\[2\]: expected 0 to 4.*got 5"),
    ({"lengths": [3, -1, 2]}, ValueError, r"lengths\[1\]: expected 0 to 4.*got -1"),
    ({"lengths": [3.0, 2.0, 1.0]}, TypeError, "lengths: expected an integer"),
    ({"lengths": 3}, ValueError, "lengths: expected 3 lengths"),
    ({"lengths": np.ones((3, 5), bool)}, ValueError, r"mask of shape \(3, 4\), got shape \(3, 5\)"),
    (
        {"lengths": np.array([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]], bool)},
        ValueError,
        "row 1 of the mask has padding before the end.*pad on the right",
    ),
    ({"state": np.zeros((1, 3, 3))}, ValueError, r"state: expected a tuple \(h, c\)"),
    (
        {"state": (np.zeros((1, 3, 3)), np.zeros((1, 3, 4)))},
        ValueError,
        r"state: c: expected shape \(1, 3, 3\), got \(1, 3, 4\)",
    ),
    ({"state": (np.zeros((1, 3, 3)), np.zeros((1, 3, 3), int))}, TypeError, "state: c: .*floats"),
]


@pytest.mark.parametrize(("options", "kind", "message"), ERRORS)
def test_errors_of_calls(options: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        nr.LSTM(2, 3)(np.zeros((3, 4, 2)), **options)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 2), r"input has 2 dimensions, expected 3: \(batch, time, features\)"),
        ((3, 4, 5), r"GRU\(2→3\): input has 5 features, expected 2"),
    ],
)
def test_errors_of_shapes(shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nr.GRU(2, 3)(np.zeros(shape))


def test_other_errors() -> None:
    lengths = np.ma.array([1, 2], mask=[False, True])
    with pytest.raises(TypeError, match="lengths: a masked array would lose its mask"):
        nr.GRU(2, 3)(np.zeros((2, 2, 2)), lengths=lengths)
    with pytest.raises(TypeError, match="input is int64, expected floats"):
        nr.GRU(2, 3)(np.zeros((1, 2, 2), int))
    with pytest.raises(ValueError, match="dropout: acts between layers"):
        nr.GRU(2, 3, dropout=0.5)
    with pytest.raises(ValueError, match="reverse: a bidirectional layer processes both"):
        nr.GRU(2, 3, bidirectional=True, reverse=True)
    with pytest.raises(TypeError, match="give reset_after=True by name"):
        nr.GRU(2, 3, 1, True)  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"expected \(batch, 2\): one step"):
        nr.GRUCell(2, 3)(np.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match=r"state: expected a tuple \(h, c\)"):
        nr.LSTMCell(2, 3)(np.zeros((1, 2)), np.zeros((1, 3)))
    with pytest.raises(TypeError, match="layer: expected an LSTM, GRU or RNN"):
        nr.Bidirectional("LSTM")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="layer: expected one direction, forward"):
        nr.Bidirectional(nr.GRU(2, 3, bidirectional=True))
    with pytest.raises(ValueError, match="backward: has input and output sizes"):
        nr.Bidirectional(nr.GRU(2, 3), nr.GRU(2, 4, reverse=True), merge="sum")
    with pytest.raises(ValueError, match="state: expected a pair"):
        nr.Bidirectional(nr.GRU(2, 3))(np.zeros((1, 2, 2)), np.zeros((1, 1, 3)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU reset before", "RNN"])
def test_recurrent_dropout_has_one_mask_for_all_steps(kind: str, rng: np.random.Generator) -> None:
    layer = KINDS[kind](recurrent_dropout=0.5, rng=0, dtype="float64")
    cell = layer.layers[0]["forward"]
    values = [p.numpy() for p in layer.parameters]
    x = rng.normal(size=(4, 6, 2))
    layer.rng = np.random.default_rng(7)
    mask = dropout(np.ones((4, 3)), 0.5, np.random.default_rng(7))
    output = layer(x)[0].numpy()
    zero = np.zeros((1, 3))
    for n in range(4):
        m = mask[n]
        step = {
            "LSTM": lambda x, h, c, m=m: references.lstm_step(x, h, c, *values, m=m),
            "GRU": lambda x, h, m=m: [references.gru_step(x, h, *values, m=m)],
            "GRU reset before": lambda x, h, m=m: [
                references.gru_step_reset_before(x, h, *values, m=m)
            ],
            "RNN": lambda x, h, m=m: [references.rnn_step(x, h, *values, m=m)],
        }[kind]
        expected, _ = references.run(step, x[n : n + 1], [zero] * len(cell.states))
        np.testing.assert_allclose(output[n], expected[0], rtol=1e-10, atol=1e-12)
    same = layer.eval()(x)[0]
    layer.recurrent_dropout = 0.0
    assert_close(same, layer(x)[0])


def test_dropout_acts_between_layers_and_not_after_the_last(rng: np.random.Generator) -> None:
    layer = nr.GRU(2, 3, num_layers=2, dropout=0.5, rng=0, dtype="float64")
    x = rng.normal(size=(2, 4, 2))
    first, second = layer(x)[0], layer(x)[0]
    assert (first.numpy() != second.numpy()).any()
    assert (first.numpy() != 0).all()
    assert_close(layer.eval()(x)[0], layer(x)[0])


def test_forget_bias() -> None:
    for options, expected in (({}, 1.0), ({"forget_bias": 0.5}, 0.5), ({"forget_bias": 0}, 0.0)):
        bias = nr.LSTM(2, 3, **options).layers[0]["forward"].bias.numpy()  # type: ignore[arg-type]
        np.testing.assert_array_equal(bias, [*[0.0] * 3, *[expected] * 3, *[0.0] * 6])


def test_recurrent_weights_are_orthogonal_gate_by_gate() -> None:
    recurrent = nr.GRU(2, 5, rng=0, dtype="float64").layers[0]["forward"].recurrent_weights
    for block in np.split(recurrent.numpy(), 3, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(5), atol=1e-12)


@every_kind
def test_half_precision_is_computed_in_float32(kind: str, rng: np.random.Generator) -> None:
    layer = KINDS[kind](rng=0)
    x = rng.normal(size=(2, 50, 2)).astype(np.float16)
    layer.set_dtype("float16")
    output, _ = layer(x)
    assert output.dtype == "float16"
    layer.set_dtype("float32")
    exact = layer(x.astype(np.float32))[0].numpy()
    np.testing.assert_allclose(output.numpy(), exact, rtol=1e-3, atol=1e-3)


def test_an_output_that_is_changed_in_place_is_refused(rng: np.random.Generator) -> None:
    x = Tensor(rng.normal(size=(2, 3, 2)), requires_grad=True)
    output, _ = nr.GRU(2, 3, rng=0, dtype="float64")(x)
    with pytest.raises(RuntimeError, match="is a view"):
        output += 1
    output.data[...] = 0
    mark_dirty(output.data)
    with pytest.raises(RuntimeError, match=r"gru saved .* changed in place"):
        output.sum().backward()


def test_truncated_backpropagation(rng: np.random.Generator) -> None:
    """The state of one chunk, detached, goes into the next: gradients end at the border."""
    layer = nr.LSTM(2, 3, rng=0, dtype="float64")
    x = [Tensor(rng.normal(size=(2, 4, 2)), requires_grad=True) for _ in range(2)]
    _, state = layer(x[0])
    output, _ = layer(x[1], tuple(s.detach() for s in state))
    output.sum().backward()
    assert not x[0].grad.numpy().any()
    assert x[1].grad.numpy().any()


def test_same_seed_gives_the_same_layer() -> None:
    first, second = (nr.LSTM(2, 3, num_layers=2, bidirectional=True, rng=5) for _ in range(2))
    for a, b in zip(first.parameters, second.parameters, strict=True):
        assert_close(a, b)
    assert len(first.parameters) == 12
    assert (first.parameters[0].numpy() != first.parameters[3].numpy()).any()


def test_summary_counts_parameters() -> None:
    text = nr.LSTM(2, 3, rng=0).summary((4, 5, 2))
    assert "72 parameters" in text  # 4 * 3 * (2 + 3 + 1)


def test_states_of_a_frozen_input_are_not_part_of_the_graph() -> None:
    layer = nr.GRU(2, 3, rng=0)
    output, final = layer(zeros(2, 3, 2))
    assert output.requires_grad
    assert final.requires_grad
    with layer.no_grad():
        assert not layer(zeros(2, 3, 2))[0].requires_grad


def test_inactive_units_get_no_gradient_whatever_comes(device: str) -> None:
    layer = nr.RNN(1, 2, nonlinearity="relu", bias=False, rng=0).to(device, "float64")
    values = [np.array([[1.0, -1.0]]), np.zeros((2, 2))]
    for parameter, value in zip(layer.parameters, values, strict=True):
        parameter.data[...] = Tensor(value, device).data
    x = Tensor(np.ones((1, 1, 1)), device, requires_grad=True)
    y, _ = layer(x)
    assert y.tolist() == [[[1, 0]]]
    y.backward(Tensor(np.array([[[2.0, np.inf]]]), device))
    assert x.grad.tolist() == [[[2]]]
