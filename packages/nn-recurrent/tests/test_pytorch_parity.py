"""Parity with PyTorch: values, states and gradients of every combination of options."""

from __future__ import annotations

import itertools
from typing import Any

import nn_recurrent as nr
import numpy as np
import pytest
from nn_recurrent import from_torch_recurrent, to_torch_recurrent, torch_recurrent_settings
from nn_tensor import Tensor, use_kernels
from nn_tensor.testing import assert_close

torch = pytest.importorskip("torch")

INPUTS, SIZE, BATCH, TIME = 3, 4, 5, 6
LENGTHS = [2, 6, 1, 6, 3]
KINDS = ["LSTM", "GRU", "RNN tanh", "RNN relu", "LSTM projected"]
GRADIENT_TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def pair(kind: str, layers: int, both: bool, bias: bool, dropout: float = 0.0) -> tuple[Any, Any]:
    """Return the same layer here and there."""
    name, _, option = kind.partition(" ")
    torch.manual_seed(0)
    more = {"proj_size": 2} if option == "projected" else {}
    if name == "RNN":
        more = {"nonlinearity": option}
    theirs = getattr(torch.nn, name)(
        INPUTS,
        SIZE,
        layers,
        bidirectional=both,
        bias=bias,
        dropout=dropout,
        batch_first=True,
        dtype=torch.float64,
        **more,
    )
    state = theirs.state_dict()
    options: dict[str, Any] = torch_recurrent_settings(state)
    if name == "RNN":
        options["nonlinearity"] = option
    ours = getattr(nr, name)(**options, dtype="float64")
    ours.load_state_dict(from_torch_recurrent(state))
    return ours, theirs


def states_of(layer: Any, rng: np.random.Generator) -> list[Any]:
    sizes = [cell.state_sizes for cells in layer.layers for cell in cells.values()]
    return [rng.normal(size=(len(sizes), BATCH, n)) for n in sizes[0]]


def compare(
    ours: Any, theirs: Any, rng: np.random.Generator, state: bool, lengths: list[int] | None
) -> None:
    x = rng.normal(size=(BATCH, TIME, INPUTS))
    initial = states_of(ours, rng) if state else []
    leaves = [Tensor(a, requires_grad=True) for a in (x, *initial)]
    there = [torch.tensor(a, requires_grad=True) for a in (x, *initial)]
    given = tuple(leaves[1:]) if len(initial) > 1 else (leaves[1] if initial else None)
    output, final = ours(leaves[0], given, lengths)
    finals = list(final) if isinstance(final, tuple) else [final]
    entry = there[0]
    if lengths is not None:
        entry = torch.nn.utils.rnn.pack_padded_sequence(
            entry, lengths, batch_first=True, enforce_sorted=False
        )
    given = tuple(there[1:]) if len(initial) > 1 else (there[1] if initial else None)
    expected, last = theirs(entry, given)
    if lengths is not None:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(
            expected, batch_first=True, total_length=TIME
        )
    expected_finals = list(last) if isinstance(last, tuple) else [last]
    results = list(zip([output, *finals], [expected, *expected_finals], strict=True))
    total: Any = 0.0
    total_there: Any = 0.0
    for mine, other in results:
        assert_close(mine, other.detach().numpy(), **GRADIENT_TOLERANCE)
        weight = rng.normal(size=mine.shape)
        total = total + (mine * weight).sum()
        total_there = total_there + (other * torch.tensor(weight)).sum()
    total.backward()
    total_there.backward()
    for mine, other in zip(leaves, there, strict=True):
        assert_close(mine.grad, other.grad.numpy(), **GRADIENT_TOLERANCE)
    compare_weights(ours, theirs)


def compare_weights(ours: Any, theirs: Any) -> None:
    """The gradients of the weights: those there, brought into our layout, of one of two biases."""
    gradients = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    for name in gradients:
        if name.startswith("bias_hh"):
            gru = gradients[name].size == 3 * SIZE
            gradients[name] = gradients[name].copy()
            gradients[name][: 2 * SIZE if gru else None] = 0
    expected = from_torch_recurrent(gradients)
    mine = dict(ours.named_parameters())
    assert set(mine) == set(expected)
    for path, parameter in mine.items():
        assert_close(parameter.grad, expected[path], **GRADIENT_TOLERANCE, name=path)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_combination(kind: str, state: bool, ragged: bool, rng: np.random.Generator) -> None:
    for layers, both, bias in itertools.product((1, 2, 3), (False, True), (False, True)):
        compare(*pair(kind, layers, both, bias), rng, state, LENGTHS if ragged else None)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_kernels(kind: str, rng: np.random.Generator) -> None:
    ours, theirs = pair(kind, 2, True, True)
    with use_kernels("reference"):
        compare(ours, theirs, rng, True, LENGTHS)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("size", [70, 131])
def test_sizes_with_library_products(name: str, size: int, rng: np.random.Generator) -> None:
    theirs = getattr(torch.nn, name)(8, size, batch_first=True, dtype=torch.float64)
    state = theirs.state_dict()
    ours = getattr(nr, name)(**torch_recurrent_settings(state), dtype="float64")
    ours.load_state_dict(from_torch_recurrent(state))
    x = rng.normal(size=(33, 5, 8))
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    output, _ = ours(mine)
    expected, _ = theirs(other)
    assert_close(output, expected.detach().numpy(), **GRADIENT_TOLERANCE)
    weight = rng.normal(size=output.shape)
    (output * weight).sum().backward()
    (expected * torch.tensor(weight)).sum().backward()
    assert_close(mine.grad, other.grad.numpy(), **GRADIENT_TOLERANCE)
    mine_r = ours.layers[0]["forward"].recurrent_weights.grad
    assert_close(mine_r, theirs.weight_hh_l0.grad.numpy().T, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN relu", "LSTM projected"])
def test_weights_survive_a_round_trip(kind: str) -> None:
    ours, theirs = pair(kind, 2, True, True)
    state = {k: torch.from_numpy(v) for k, v in to_torch_recurrent(ours).items()}
    theirs.load_state_dict(state)
    x = np.random.default_rng(0).normal(size=(BATCH, TIME, INPUTS))
    expected, _ = theirs(torch.tensor(x))
    assert_close(ours(x)[0], expected.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_initialization_of_torch_has_its_distribution() -> None:
    layer = nr.LSTM(20, 100, initialization="torch", rng=0)
    bound = 0.1
    for parameter in layer.parameters[:2]:
        values = parameter.numpy()
        assert np.abs(values).max() <= bound
        np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.02)
    bias = layer.layers[0]["forward"].bias.numpy()
    np.testing.assert_allclose(bias.std(), bound * np.sqrt(2 / 3), rtol=0.1)


def test_dropout_between_layers_scales_as_there() -> None:
    ours, _ = pair("GRU", 2, False, True)
    ours.dropout = 1.0  # nothing of the first layer reaches the second
    x = np.random.default_rng(0).normal(size=(2, 3, INPUTS))
    first = ours.train()(x)[0]
    second = ours(x * 2)[0]
    assert_close(first, second)
    assert not np.allclose(ours.eval()(x)[0].numpy(), first.numpy())
