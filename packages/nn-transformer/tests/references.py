"""Transformers in plain NumPy; parameters are dicts by path, as `named_parameters` has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Parameters = Mapping[str, Array]


def part(p: Parameters, prefix: str) -> Parameters:
    """Return the parameters of the module at `prefix`."""
    start = f"{prefix}."
    return {path[len(start) :]: x for path, x in p.items() if path.startswith(start)}


def softmax(scores: Array) -> Array:
    """Return the softmax of each row; zeros for a row of -inf only."""
    largest = scores.max(-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    weights = np.exp(scores - largest)
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1)


def attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Any = None,
    causal: bool = False,
    scale: Any = None,
) -> Array:
    scores = query @ np.swapaxes(key, -1, -2)
    scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        targets, sources = scores.shape[-2:]
        scores = np.where(np.tri(targets, sources, sources - targets, dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return softmax(scores) @ value


def dense(x: Array, p: Parameters) -> Array:
    return x @ p["weights"] + p.get("bias", 0)


def layer_norm(x: Array, p: Parameters) -> Array:
    deviation = x - x.mean(-1, keepdims=True)
    normal = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-5)
    return normal * p["weights"] + p.get("bias", 0)


def sinusoids(length: int, size: int) -> Array:
    table = np.empty((length, size))
    for i in range(size):
        angles = np.arange(length) / 10000 ** ((i - i % 2) / size)
        table[:, i] = np.cos(angles) if i % 2 else np.sin(angles)
    return table


def rotate(x: Array) -> Array:
    """Rotate (batch, length, heads, size) by position: each pair is a complex number."""
    length, size = x.shape[1], x.shape[-1]
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, size, 2) / size)
    pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
    return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)


def multi_head_attention(
    query: Array,
    key: Array,
    value: Array,
    p: Parameters,
    num_heads: int,
    mask: Any = None,
    causal: bool = False,
    rotary: bool = False,
) -> Array:
    heads = []
    for name, x in (("query", query), ("key", key), ("value", value)):
        y = dense(x, part(p, name))
        size = query.shape[-1] // num_heads
        y = y.reshape(*y.shape[:2], y.shape[-1] // size, size)
        if rotary and name != "value":
            y = rotate(y)
        heads.append(np.repeat(y.swapaxes(1, 2), num_heads // y.shape[2], axis=1))
    mixed = attention(*heads, mask, causal).swapaxes(1, 2)
    return dense(mixed.reshape(query.shape), part(p, "output"))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _gelu_tanh(x: Array) -> Array:
    return x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2


ACTIVATIONS = {"relu": _relu, "gelu_tanh": _gelu_tanh}


def layer(
    x: Array,
    p: Parameters,
    num_heads: int,
    memory: Any = None,
    *,
    activation: str = "relu",
    norm_first: bool = False,
    mask: Any = None,
    memory_mask: Any = None,
    **options: Any,
) -> Array:
    """Return what a layer of an encoder, or with `memory` of a decoder, computes."""

    def residual(x: Array, norm: str, sublayer: Any) -> Array:
        if norm_first:
            return x + sublayer(layer_norm(x, part(p, norm)))
        return layer_norm(x + sublayer(x), part(p, norm))

    def attend(y: Array) -> Array:
        return multi_head_attention(y, y, y, part(p, "attention"), num_heads, mask, **options)

    def cross_attend(y: Array) -> Array:
        cross = part(p, "cross_attention")
        return multi_head_attention(y, memory, memory, cross, num_heads, memory_mask)

    def feed_forward(y: Array) -> Array:
        hidden = dense(y, part(p, "feed_forward.hidden"))
        return dense(ACTIVATIONS[activation](hidden), part(p, "feed_forward.output"))

    x = residual(x, "attention_norm", attend)
    if memory is not None:
        x = residual(x, "cross_attention_norm", cross_attend)
    return residual(x, "feed_forward_norm", feed_forward)


def stack(
    tokens: Array,
    p: Parameters,
    num_heads: int,
    memory: Any = None,
    *,
    positions: str = "sinusoidal",
    padding_idx: int | None = None,
    **options: Any,
) -> Array:
    """Return what an encoder, or with `memory` a decoder, computes."""
    x = p["embedding.weights"][tokens]
    if positions == "sinusoidal":
        x = x * x.shape[-1] ** 0.5 + sinusoids(*x.shape[1:])
    if positions == "learned":
        x = x + p["positions.weights"][: x.shape[1]]
    if "segment_embedding.weights" in p:
        x = x + p["segment_embedding.weights"][0]
    if embedding_norm := part(p, "embedding_norm"):
        x = layer_norm(x, embedding_norm)
    if padding_idx is not None:
        options["mask"] = (tokens != padding_idx)[:, None, None]
    options["rotary"] = positions == "rotary"
    number = 0
    while parameters := part(p, f"layers.{number}"):
        x = layer(x, parameters, num_heads, memory, **options)
        number += 1
    final_norm = part(p, "final_norm")
    return layer_norm(x, final_norm) if final_norm else x
