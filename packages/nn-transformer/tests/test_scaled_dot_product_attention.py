"""Attention block by block: exact for every shape, mask and length, in little memory."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, grad, use_kernels
from nn_tensor.testing import gradcheck
from nn_transformer import MultiHeadAttention, scaled_dot_product_attention
from nn_transformer.modules import blockwise_attention

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "matrices": ((5, 4), (7, 4), (7, 3)),
    "batch": ((3, 5, 4), (3, 7, 4), (3, 7, 4)),
    "heads": ((3, 2, 5, 4), (3, 2, 7, 4), (3, 2, 7, 2)),
    "groups": ((2, 2, 3, 5, 4), (2, 2, 1, 7, 4), (2, 2, 1, 7, 4)),
    "one key for all": ((3, 2, 5, 4), (7, 4), (7, 4)),
    "one query": ((3, 2, 1, 4), (3, 2, 7, 4), (3, 2, 7, 4)),
    "more queries than keys": ((2, 7, 4), (2, 5, 4), (2, 5, 4)),
}
MASKS = ["none", "boolean", "floating", "causal", "causal and boolean"]


@pytest.fixture(params=["whole", "in blocks", "in blocks, computed again"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Cut even small scores into many blocks."""
    if request.param != "whole":
        monkeypatch.setattr(blockwise_attention, "_BLOCK_SIZE", 12)
        monkeypatch.setattr(blockwise_attention, "_MIN_ROWS", 2)
    if request.param == "in blocks, computed again":
        monkeypatch.setattr(blockwise_attention, "_MAX_SAVED_KEYS", 0)
    return str(request.param)


def operands(name: str, device: str, dtype: Any = np.float64) -> list[Tensor]:
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES[name]]
    return [Tensor(array, device, requires_grad=True) for array in arrays]


def mask_for(kind: str, shapes: Any, device: str) -> tuple[Any, bool]:
    """Return a mask, and whether attention is causal; the last query may attend to nothing."""
    scores = shapes[0][-2], shapes[1][-2]
    rng = np.random.default_rng(5)
    mask: Any = None
    if "boolean" in kind:
        mask = rng.random(scores) < 0.6
        mask[-1] = False
    elif kind == "floating":
        mask = rng.standard_normal(scores)
        mask[0, :2] = -np.inf
    return None if mask is None else Tensor(mask, device), "causal" in kind


def expected(arrays: Any, mask: Any, causal: bool) -> np.ndarray:
    """Compute attention by its formula."""
    query, key, value = arrays
    scores = query @ np.swapaxes(key, -1, -2) / np.sqrt(query.shape[-1])
    targets, sources = scores.shape[-2:]
    allowed = np.ones((targets, sources), bool)
    if causal:
        allowed = np.tri(targets, sources, sources - targets, dtype=bool)
    if mask is not None and mask.dtype == bool:
        allowed = allowed & mask
    elif mask is not None:
        scores = scores + mask
    weights = np.where(allowed, np.exp(scores), 0.0)
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total == 0, 1, total) @ value


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("name", list(SHAPES))
def test_equals_the_formula(name: str, kind: str, device: str) -> None:
    inputs = operands(name, device)
    mask, causal = mask_for(kind, SHAPES[name], device)
    result = scaled_dot_product_attention(*inputs, mask=mask, causal=causal)
    wanted = expected([x.numpy() for x in inputs], None if mask is None else mask.numpy(), causal)
    assert result.shape == wanted.shape
    np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("name", list(SHAPES))
def test_gradients(name: str, kind: str, device: str) -> None:
    mask, causal = mask_for(kind, SHAPES[name], device)
    gradcheck(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, mask, causal=causal),
        operands(name, device),
    )


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("sources", [7, 300])
def test_either_backward_pass_takes_what_either_forward_pass_saved(sources: int, kind: str) -> None:
    rng = np.random.default_rng(1)
    shapes = (2, 3, 20, 8), (2, 3, sources, 8), (2, 3, sources, 4), (2, 3, 20, 4)
    query, key, value, g = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    mask, causal = mask_for(kind, shapes, "cpu")
    mask = True if mask is None else mask.numpy()
    mask = mask.astype(np.float32) if kind == "floating" else mask
    options = blockwise_attention.AttentionOptions(0.3, causal, 0.0, 0, True)
    arrays = query, key, value, mask
    forward, backward = blockwise_attention.forward, blockwise_attention.backward
    wanted, saved = forward.reference(np, *arrays, options)
    gradients = backward.reference(np, g, *arrays, saved, options)
    for of_output in (forward, forward.reference):
        output, saved = of_output(np, *arrays, options)
        np.testing.assert_allclose(output, wanted, rtol=2e-5, atol=2e-6)
        for of_gradients in (backward, backward.reference):
            results = of_gradients(np, g, *arrays, saved, options)
            for result, right in zip(results, gradients, strict=True):
                np.testing.assert_allclose(result, right, rtol=2e-5, atol=5e-6)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", ["matrices", "groups"])
def test_second_derivatives(name: str, causal: bool, dropout: float, device: str) -> None:
    def function(*inputs: Tensor) -> Tensor:
        return scaled_dot_product_attention(*inputs, causal=causal, dropout=dropout, rng=7)

    inputs = operands(name, device)
    gradcheck(function, inputs, order=2)
    total = (function(*inputs) ** 2).sum()
    first = grad(total, inputs, retain_graph=True)
    again = grad(total, inputs, create_graph=True)
    for block, recorded in zip(first, again, strict=True):
        np.testing.assert_allclose(block.numpy(), recorded.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("blocks")
def test_dropout_probability_and_seed(device: str) -> None:
    keys = Tensor(np.zeros((4, 60, 8)), device)
    query = Tensor(np.zeros((4, 50, 8)), device)
    identity = Tensor(np.broadcast_to(np.eye(60), (4, 60, 60)).copy(), device)
    weights = scaled_dot_product_attention(query, keys, identity, dropout=0.25, rng=0).numpy() * 60
    assert set(np.unique(weights.round(9))) == {0.0, round(4 / 3, 9)}
    assert abs((weights == 0).mean() - 0.25) < 0.02
    again = scaled_dot_product_attention(query, keys, identity, dropout=0.25, rng=0).numpy() * 60
    np.testing.assert_array_equal(weights, again)
    other = scaled_dot_product_attention(query, keys, identity, dropout=0.25, rng=1).numpy() * 60
    assert (weights != other).any()
    nothing = scaled_dot_product_attention(query, keys, identity, dropout=1.0)
    assert (nothing.numpy() == 0).all()


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scores_of_any_magnitude(size: float, dtype: str, device: str) -> None:
    """Shifted by their maximum or not, the softmax is the same."""
    inputs = [x * (size if i == 0 else 1) for i, x in enumerate(operands("heads", device, dtype))]
    inputs = [x.detach() for x in inputs]
    result = scaled_dot_product_attention(*inputs)
    assert result.dtype == np.dtype(dtype)
    query, key, value = (x.numpy().astype(np.float64) for x in inputs)
    scores = query @ np.swapaxes(key, -1, -2) / 2
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    wanted = weights / weights.sum(-1, keepdims=True) @ value
    tolerance = {"float16": 4e-3, "float32": 2e-3 if size > 100 else 3e-5, "float64": 1e-9}[dtype]
    np.testing.assert_allclose(result.numpy().astype(np.float64), wanted, atol=tolerance * 3)


def test_kernel_implementations_agree(device: str) -> None:
    for causal in (False, True):
        inputs = operands("heads", device)
        a = scaled_dot_product_attention(*inputs, causal=causal)
        with use_kernels("reference"):
            b = scaled_dot_product_attention(*inputs, causal=causal)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_masked_values_have_no_effect(device: str) -> None:
    query, key, value = operands("batch", device)
    mask = Tensor(np.arange(7) < 4, device)
    a = scaled_dot_product_attention(query, key, value, mask)
    with_huge_values = key.numpy()
    with_huge_values[:, 4:] = 1e30
    b = scaled_dot_product_attention(query, Tensor(with_huge_values, device), value, mask)
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_memory_grows_linearly_with_the_length(causal: bool) -> None:
    """At 4,096 positions all scores would take 64 MiB, a direction; it takes a few."""

    def peak(length: int) -> int:
        rng = np.random.default_rng(0)
        inputs = [
            Tensor(rng.standard_normal((1, length, 16)).astype(np.float32), requires_grad=True)
            for _ in range(3)
        ]
        tracemalloc.start()
        scaled_dot_product_attention(*inputs, causal=causal).sum().backward()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(4096) < 12 * 2**20
    assert peak(4096) - peak(2048) < 3 * (peak(2048) - peak(1024)) + 2**20


@pytest.mark.parametrize("sources", [200, 400])
@pytest.mark.parametrize("lowest", [-1e4, -1e9, float(np.finfo(np.float32).min)])
def test_rows_of_very_low_scores_have_right_gradients(
    sources: int, lowest: float, device: str
) -> None:
    """A row that is masked by a large number instead of -inf attends to all alike."""
    rng = np.random.default_rng(0)
    query, key, value = (
        Tensor(rng.standard_normal((n, 8)).astype(np.float32), device, requires_grad=True)
        for n in (3, sources, sources)
    )
    mask = np.zeros((3, sources), np.float32)
    mask[1] = lowest
    out = scaled_dot_product_attention(query, key, value, Tensor(mask, device))
    out.backward(Tensor(np.eye(3, 8, dtype=np.float32), device))
    columns = value.grad.numpy().sum(axis=0)  # the weights of each query sum to 1
    np.testing.assert_allclose(columns, [1, 1, 1, 0, 0, 0, 0, 0], atol=1e-5)


def test_operands_of_several_dtypes(device: str) -> None:
    query, key, value = operands("matrices", device)
    mask = np.zeros((5, 7), np.float32)
    mask[0] = -1e9  # does not fit into half precision
    for dtypes in (("float16", "float32", "float64"), ("float32", "float64", "float32")):
        mixed = [x.detach().astype(d) for x, d in zip((query, key, value), dtypes, strict=True)]
        result = scaled_dot_product_attention(*mixed, mask=Tensor(mask, device))
        assert result.dtype == np.float64
        wide = [x.astype("float64") for x in mixed]
        wanted = scaled_dot_product_attention(*wide, mask=Tensor(mask, device)).numpy()
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_dropout_is_the_same_for_derivatives_of_every_order(device: str) -> None:
    rng = np.random.default_rng(0)
    shapes = [(4, 8), (4, 8), (3, 4, 8)]
    inputs = [Tensor(rng.standard_normal(s), device, requires_grad=True) for s in shapes]
    out = scaled_dot_product_attention(*inputs, dropout=0.5, rng=3)
    total = (out * out).sum()
    first = grad(total, inputs, retain_graph=True)
    again = grad(total, inputs, create_graph=True)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)


def test_no_weights_are_saved_without_gradients() -> None:
    rng = np.random.default_rng(0)
    inputs = [Tensor(rng.standard_normal((64, 8, 128, 8)).astype(np.float32)) for _ in range(3)]
    tracemalloc.start()
    scaled_dot_product_attention(*inputs)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 8 * 2**20  # all weights would take 32 MiB


def test_arrays_and_lists_are_accepted(device: str) -> None:
    rows = [[1.0, 2.0], [3.0, 4.0]]
    result = scaled_dot_product_attention(rows, np.array(rows, np.float32), rows)
    assert isinstance(result, Tensor)
    assert result.shape == (2, 2)


def test_the_gradient_of_a_mask(device: str) -> None:
    inputs = operands("heads", device)
    mask = Tensor(np.random.default_rng(0).standard_normal((5, 7)), device, requires_grad=True)
    gradcheck(scaled_dot_product_attention, [*inputs, mask], order=2)


@pytest.mark.parametrize("few", [1, 2, 4])
def test_grouped_query_attention_equals_repeated_heads(few: int, device: str) -> None:
    grouped = MultiHeadAttention(16, 4, num_kv_heads=few, dtype="float64", device=device, rng=0)
    full = MultiHeadAttention(16, 4, dtype="float64", device=device, rng=1)
    state = grouped.state_dict()
    for name in ("key.weights", "key.bias", "value.weights", "value.bias"):
        array = state[name]
        split = array.reshape(*array.shape[:-1], few, 4)
        state[name] = np.repeat(split, 4 // few, axis=-2).reshape(*array.shape[:-1], 16)
    full.load_state_dict(state)
    rng = np.random.default_rng(2)
    x = Tensor(rng.standard_normal((2, 5, 16)), device)
    for shape in ((5, 5), (2, 5, 5), (2, 1, 5, 5), (2, 4, 5, 5)):
        mask = Tensor(rng.random(shape) < 0.7, device)
        np.testing.assert_allclose(
            grouped(x, x, x, mask).numpy(), full(x, x, x, mask).numpy(), rtol=1e-12, atol=1e-14
        )
    grouped(x, x, x).sum().backward()
    assert all(p.has_grad for p in grouped.parameters)


WRONG: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"dropout": 1.5}, ValueError, ["dropout", "1.5"]),
    ({"dropout": float("nan")}, ValueError, ["dropout", "nan"]),
    ({"mask": np.ones((2, 9), bool)}, ValueError, ["mask", "(2, 9)"]),
    ({"mask": np.ones((5, 7), np.int8)}, TypeError, ["mask", "int8"]),
    ({"query": Tensor(np.ones((5, 4), int))}, TypeError, ["query", "int64"]),
    (
        {"query": Tensor(np.ones((2, 5, 4)))},
        ValueError,
        ["leading dimensions", "(2, 5, 4)", "(3, 7, 4)"],
    ),
    ({"key": Tensor(np.ones((3, 7, 5)))}, ValueError, ["last dimension", "(3, 7, 5)"]),
    ({"value": Tensor(np.ones((3, 6, 4)))}, ValueError, ["length", "(3, 6, 4)"]),
    ({"value": Tensor(np.ones(4))}, ValueError, ["two dimensions", "(4,)"]),
]


@pytest.mark.parametrize(("change", "kind", "fragments"), WRONG)
def test_wrong_calls(change: dict[str, Any], kind: type[Exception], fragments: list[str]) -> None:
    names = ("query", "key", "value")
    arguments = dict(zip(names, operands("batch", "cpu"), strict=True))
    with pytest.raises(kind) as caught:
        scaled_dot_product_attention(**{**arguments, **change})
    assert [f for f in fragments if f not in str(caught.value)] == [], str(caught.value)
