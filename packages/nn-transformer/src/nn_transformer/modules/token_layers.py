"""The layers of a stack for one new token of few rows, by the kernels of `token_step`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nn_layers import Base_Layer
from nn_tensor import Tensor
from nn_tensor.extend import (
    array_of,
    current_modes,
    current_observer,
    is_anomaly_detected,
    new_tensor,
    noted,
)

from nn_transformer.modules.decoder_layer import DecoderLayer
from nn_transformer.modules.encoder_layer import EncoderLayer
from nn_transformer.modules.feed_forward import FeedForward
from nn_transformer.modules.kv_cache import Angles, DecoderCache
from nn_transformer.modules.multi_head_attention import MultiHeadAttention
from nn_transformer.modules.rotary_embedding import Rotation
from nn_transformer.modules.static_kv_cache import StaticDecoderCache
from nn_transformer.modules.token_step import (
    attention_parameters,
    feed_forward_parameters,
    feed_forward_token,
    is_plain,
    register_plain,
)

__all__ = ["run_token"]

_ROWS = 8  # of a batch; for more, matrix products of BLAS take less time
_DTYPES = np.dtype(np.float32), np.dtype(np.float64)
_call = Base_Layer.__call__  # which a program may replace, to see what passes

register_plain(DecoderLayer, EncoderLayer, FeedForward, MultiHeadAttention)


def run_token(
    layers: Sequence[Any],
    x: Tensor,
    mask: Any,
    memory_mask: Any,
    rotation: Rotation | None,
    cache: DecoderCache,
) -> Tensor | None:
    """Return the output of the layers for ``(rows, 1, d_model)``, None if this is for the modules.

    Keys and values are then as they were. The arguments are those of `TransformerStack.run`.
    """
    array = array_of(x)
    rows, length, d_model = array.shape
    if length != 1 or rows > _ROWS or type(array) is not np.ndarray or array.dtype not in _DTYPES:
        return None
    is_static = isinstance(cache, StaticDecoderCache)
    if current_modes()[2] is not None or is_anomaly_detected() or Base_Layer.__call__ is not _call:
        return None
    if not is_static and current_observer() is not None:  # which cannot follow a cache that grows
        return None
    own_mask, of_memory = _of_rows(mask, rows), _of_rows(memory_mask, rows)
    if own_mask is False or of_memory is False:
        return None
    parts = [_parameters(layer) for layer in layers]
    if None in parts or not all(kv.takes_tokens(rows, array.dtype) for kv in cache.layers):
        return None
    angles: Angles = (None, None)
    if rotation is not None:
        cosines, sines = (a.astype(x.dtype).reshape(-1, a.shape[-1]) for a in rotation)
        angles = cosines, sines
    y = x.reshape(rows, d_model)
    for kv, (own, cross, feed_forward) in zip(cache.layers, filter(None, parts), strict=True):
        y = kv.attend_token(y, own, angles, own_mask)
        if cross is not None:
            y = kv.attend_token_to_memory(y, cross, of_memory)
        y = new_tensor(noted(feed_forward_token, np, y, *feed_forward))
    return y.reshape(rows, 1, d_model)


def _of_rows(mask: Any, rows: int) -> Any:
    """Return a padding mask as ``(1 or rows, positions)``, None for None, and False for others."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.ndim != 4 or mask.dtype != bool:
        return False
    array = array_of(mask)
    fits = array.shape[0] in (1, rows) and array.shape[1:3] == (1, 1)
    return array[:, 0, 0] if fits and type(array) is np.ndarray else False


def _parameters(layer: Any) -> tuple[list[Any], list[Any] | None, list[Any]] | None:
    """Return the parameters of self-attention, cross-attention and feed-forward network."""
    cross = None
    if is_plain(layer, DecoderLayer):
        if not is_plain(layer.cross_attention, MultiHeadAttention):
            return None
        cross = attention_parameters(
            layer, layer.cross_attention, layer.cross_attention_norm, False
        )
        if cross is None:
            return None
    elif not is_plain(layer, EncoderLayer):
        return None
    if not is_plain(layer.attention, MultiHeadAttention):
        return None
    if not is_plain(layer.feed_forward, FeedForward):
        return None
    own = attention_parameters(layer, layer.attention, layer.attention_norm)
    feed_forward = feed_forward_parameters(layer)
    return None if own is None or feed_forward is None else (own, cross, feed_forward)
