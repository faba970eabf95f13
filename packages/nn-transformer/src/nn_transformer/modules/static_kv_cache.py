"""A KV cache of constant shape, whose valid length is a number in an array.

Each step of a decoder with it is the same program on the same arrays: what it reads and writes
follows from the length. A program that is recorded once and replayed (nn-jit) therefore serves
every token, and every prompt for which there is room in the buffer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    Device,
    accumulation_dtype,
    array_module,
    device_of,
    device_scope,
    external,
    new_tensor,
    noted,
    put,
)

from nn_transformer.modules.few_queries import attend_few_queries
from nn_transformer.modules.kv_cache import Angles, DecoderCache, KVCache
from nn_transformer.modules.token_step import attend_token

__all__ = [
    "StaticDecoderCache",
    "StaticKVCache",
    "count_position",
    "new_state",
    "selected_state",
]

Array = Any

# Where the state has the number of positions so far, the same with the new one, and the number of
# those of the encoder's output; the rest is the number of padding tokens of each row, where there
# are any.
_LENGTH, _STOP, _SOURCES, _PADDING = 0, 1, 2, 3


def new_state(length: int, sources: int, padding: np.ndarray | None) -> np.ndarray:
    """Return the state that a `StaticDecoderCache` reads, integers on the host."""
    counts = [] if padding is None else padding.tolist()
    return np.array([length, length + 1, sources, *counts], np.int64)


def count_position(state: np.ndarray) -> None:
    """Count a new position in the state."""
    state[_LENGTH] += 1
    state[_STOP] += 1


def selected_state(state: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the state of these rows."""
    padding = state[_PADDING:]
    return np.concatenate([state[:_PADDING], padding[rows] if len(padding) else padding])


class StaticKVCache(KVCache):
    """The keys and values of one layer, a part of the buffer of a `StaticDecoderCache`."""

    def __init__(self, cache: StaticDecoderCache, layer: int) -> None:
        super().__init__(cache.max_length)
        self._cache, self._layer = cache, layer

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Append keys and values of one position; return what the queries there attend to.

        Args:
            queries: ``(batch, kv_heads, queries, d_head)``: each head has a group of queries.
            keys: ``(batch, kv_heads, 1, d_head)``.
            values: as `keys`.
        """
        cache = self._cache
        operands = queries, keys, values, cache.buffer, cache.state
        return Tensor(external(_append_and_attend, *operands, self._layer))

    def attend_to_memory(self, queries: Tensor) -> Tensor:
        """Return what queries attend to in the encoder's output; shapes as for `attend`."""
        cache = self._cache
        operands = queries, cache.memory, cache.memory_mask, cache.state
        return Tensor(external(_attend_to_memory, *operands, self._layer))

    def takes_tokens(self, rows: int, dtype: Any) -> bool:
        """Return what `KVCache.takes_tokens` does."""
        return bool(self._cache.buffer.dtype == dtype)

    def attend_token(self, x: Tensor, parameters: list[Any], angles: Angles, mask: Any) -> Tensor:
        """Return what `KVCache.attend_token` does."""
        cache = self._cache
        operands = x, cache.buffer, cache.state, self._layer, *parameters, *angles
        # told as an operation: what it writes into the buffer, a replay writes there again
        return new_tensor(noted(_attend_token, *operands))

    def attend_token_to_memory(self, x: Tensor, parameters: list[Any], mask: Any) -> Tensor:
        """Return what `KVCache.attend_token_to_memory` does."""
        cache = self._cache
        operands = x, cache.memory, cache.memory_mask, cache.state, self._layer, *parameters
        return new_tensor(noted(_attend_token_to_memory, *operands))


class StaticDecoderCache(DecoderCache):
    """The KV caches of all layers in one buffer, for steps of one token.

    What it is made of is passed to each step; between two steps, their caller counts the position.

    Args:
        state: the result of `new_state`, in a Tensor on the CPU.
        buffer: keys and values of all layers, ``(layers, 2, batch, kv_heads, capacity, d_head)``.
        memory: keys and values of an encoder's output, ``(layers, 2, batch, kv_heads, sources,
            d_head)``; the batch may be 1 for all rows.
        memory_mask: booleans, ``(batch, 1, 1, sources)``.
    """

    def __init__(
        self,
        state: Tensor,
        buffer: Tensor,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> None:
        super().__init__(0, buffer.shape[-2])
        self.state, self.buffer = state, buffer
        self.memory, self.memory_mask = memory, memory_mask
        self.layers = [StaticKVCache(self, n) for n in range(buffer.shape[0])]

    def begin(self, batch: int, length: int, num_layers: int) -> None:
        """Check that there is one new position for each row."""
        assert (batch, length, num_layers) == (self.buffer.shape[2], 1, len(self.layers))
        external(_check_room, self.state, self.max_length)

    def commit(self, batch: int, length: int) -> None:
        """Leave it to the caller to count the position."""

    def positions(self, length: int, device: Device) -> Any:
        """Return the position of the new tokens."""
        return external(_positions, self.state, device)

    def padding_mask(self, length: int, device: Device) -> Tensor | None:
        """Return None: the attention leaves out the padding."""
        return None


def _positions(state: np.ndarray, device: Device) -> Array:
    length, padding = state[_LENGTH], state[_PADDING:]
    if not len(padding):
        return put(state[_LENGTH : _LENGTH + 1].copy(), device)
    return put(np.maximum(length - padding, 0)[:, None], device)


def _check_room(state: np.ndarray, capacity: int) -> None:
    if state[_LENGTH] >= capacity:
        raise ValueError(
            f"the KV cache has room for {capacity} positions, this is number {state[_STOP]}"
        )


def _append_and_attend(
    query: Array, key: Array, value: Array, buffer: Array, state: np.ndarray, layer: int
) -> Array:
    with device_scope(buffer):
        keys, values, stop = buffer[layer, 0], buffer[layer, 1], int(state[_STOP])
        keys[:, :, stop - 1] = key[:, :, 0]
        values[:, :, stop - 1] = value[:, :, 0]
        mask: Any = True
        if len(state) > _PADDING:
            allowed = np.arange(stop) >= state[_PADDING:, None]
            mask = put(allowed[:, None, None], device_of(buffer))
        return _attend(query, keys[:, :, :stop], values[:, :, :stop], mask)


def _attend_token(
    x: Array, buffer: Array, state: np.ndarray, layer: int, *parameters: Any
) -> Array:
    padding = state[_PADDING:] if len(state) > _PADDING else None
    positions = buffer[layer, 0], buffer[layer, 1], padding, state[_STOP : _STOP + 1]
    return attend_token(np, x, *parameters, *positions)


def _attend_token_to_memory(
    x: Array, memory: Array, mask: Array | None, state: np.ndarray, layer: int, *parameters: Any
) -> Array:
    keys, values = memory[layer]
    allowed = None if mask is None else mask[:, 0, 0]
    given = None, None, keys, values, allowed, state[_SOURCES : _SOURCES + 1]
    return attend_token(np, x, *parameters, *given)


def _attend_to_memory(
    query: Array, memory: Array, mask: Array | None, state: np.ndarray, layer: int
) -> Array:
    stop = int(state[_SOURCES])
    with device_scope(memory):
        keys, values = memory[layer, 0, :, :, :stop], memory[layer, 1, :, :, :stop]
        if len(keys) != len(query):
            xp, shape = array_module(query), (*query.shape[:2], *keys.shape[2:])
            keys, values = xp.broadcast_to(keys, shape), xp.broadcast_to(values, shape)
        return _attend(query, keys, values, True if mask is None else mask[..., :stop])


def _attend(query: Array, key: Array, value: Array, mask: Any) -> Array:
    """Return what `scaled_dot_product_attention` does, without its checks."""
    xp, dtype = array_module(query), query.dtype
    wide = accumulation_dtype(dtype) if xp is np else None
    if wide is not None:
        query, key, value = (x.astype(wide) for x in (query, key, value))
    out = attend_few_queries(xp, query, key, value, mask, 1 / math.sqrt(query.shape[-1]))
    return out if wide is None else out.astype(dtype)
