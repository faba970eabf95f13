"""Attention and whole models in half precision inside autocast, against float32."""

import numpy as np
import pytest
from nn_tensor import Tensor, autocast, log_softmax, one_hot, parse_dtype
from nn_transformer import LanguageModel, Transformer, scaled_dot_product_attention
from nn_transformer.modules import blockwise_attention

UNITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # half a unit in the last place near 1
SHAPES = {
    "batch": ((3, 5, 4), (3, 7, 4), (3, 7, 4)),
    "heads": ((3, 2, 9, 8), (3, 2, 9, 8), (3, 2, 9, 8)),
    "groups": ((2, 2, 3, 5, 4), (2, 2, 1, 7, 4), (2, 2, 1, 7, 4)),
    "long": ((2, 40, 8), (2, 300, 8), (2, 300, 8)),
}


@pytest.fixture(params=["float16", pytest.param("bfloat16", marks=pytest.mark.cuda)])
def half(request):
    """Name a half-precision dtype that the device has."""
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="could not import 'ml_dtypes'")
    return request.param


@pytest.fixture(params=["whole", "in blocks", "in blocks, computed again"])
def blocks(request, monkeypatch):
    """Cut even small scores into many blocks."""
    if request.param != "whole":
        monkeypatch.setattr(blockwise_attention, "_BLOCK_SIZE", 64)
        monkeypatch.setattr(blockwise_attention, "_MIN_ROWS", 2)
    if request.param == "in blocks, computed again":
        monkeypatch.setattr(blockwise_attention, "_MAX_SAVED_KEYS", 0)


def attend(arrays, dtype, device, mask, **options):
    """Return the output of attention and the gradients of its inputs, in float64."""
    leaves = [Tensor(a, device=device, requires_grad=True) for a in arrays]
    out = scaled_dot_product_attention(*(x.astype(dtype) for x in leaves), mask, **options)
    assert out.dtype == parse_dtype(dtype)
    weights = np.random.default_rng(1).normal(size=out.shape).astype(np.float32)
    (out.astype("float32") * Tensor(weights, device=device)).sum().backward()
    return [x.numpy().astype(np.float64) for x in (out, *(x.grad for x in leaves))]


@pytest.mark.parametrize("mask", ["none", "boolean", "floating", "causal", "dropout"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=list(SHAPES))
def test_attention_is_near_that_of_float32(shapes, mask, half, device, blocks):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    given, options = None, {}
    scores = shapes[0][-2], shapes[1][-2]
    if mask == "boolean":
        given = rng.random(scores) < 0.6
        given[-1] = False
    elif mask == "floating":
        given = rng.normal(size=scores).astype(np.float32)
        given[0, :2] = -np.inf
    elif mask == "causal":
        options = {"causal": True}
    elif mask == "dropout":
        options = {"dropout": 0.3}
    given = None if given is None else Tensor(given, device=device)
    results = []
    for dtype in ("float32", half):
        seeded = options | ({"rng": np.random.default_rng(4)} if mask == "dropout" else {})
        results.append(attend(arrays, dtype, device, given, **seeded))
    for exact, rounded in zip(*results, strict=True):
        bound = 16 * UNITS[half] * max(1.0, abs(exact).max())
        np.testing.assert_allclose(rounded, exact, rtol=0, atol=bound)


@pytest.mark.cuda
def test_large_scores_do_not_overflow(half):
    x = np.full((1, 4, 64), 100.0, np.float32)  # products of 640,000, beyond float16
    out, *gradients = attend([x, x, x], half, "cuda", None, scale=1.0)
    np.testing.assert_array_equal(out, x)
    assert all(np.isfinite(g).all() for g in gradients)


def language_model(device):
    model = LanguageModel(23, 32, 2, 2, max_seq_len=12, rng=0)
    model.set_device(device)
    tokens = Tensor(np.random.default_rng(0).integers(0, 23, (3, 12)), device=device)
    return model, lambda: model(tokens)


def transformer(device):
    model = Transformer(23, 23, d_model=32, num_heads=2, max_seq_len=12, rng=0)
    model.set_device(device)
    rng = np.random.default_rng(0)
    tokens = [Tensor(rng.integers(0, 23, (3, 12)), device=device) for _ in range(2)]
    return model, lambda: model(*tokens)


@pytest.mark.parametrize("make", [language_model, transformer])
def test_models_are_near_float32(make, half, device):
    target = Tensor(np.random.default_rng(5).integers(0, 23, (3, 12)), device=device)
    chosen, losses, gradients = one_hot(target, 23), [], []
    for enabled in (False, True):
        model, run = make(device)
        with autocast(half, enabled=enabled):
            loss = -(log_softmax(run()) * chosen).sum(-1).mean()
        assert loss.dtype == np.float32
        loss.backward()
        assert {p.grad.dtype for p in model.parameters} == {np.dtype(np.float32)}
        losses.append(loss.item())
        gradients.append(np.concatenate([p.grad.numpy().reshape(-1) for p in model.parameters]))
    assert losses[1] == pytest.approx(losses[0], rel=4 * UNITS[half])
    exact, rounded = gradients
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert error < 32 * UNITS[half]  # the Transformer rounds in a dozen layers
