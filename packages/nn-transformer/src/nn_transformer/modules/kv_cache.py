"""The KV cache: keys and values of earlier positions, so that each is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, is_grad_enabled
from nn_tensor.extend import (
    array_module,
    array_of,
    device_of,
    device_scope,
    new_tensor,
    put,
)

from nn_transformer.modules.token_step import attend_token

__all__ = ["Angles", "DecoderCache", "KVCache"]

Angles = tuple[Tensor | None, Tensor | None]


def _array(x: Any) -> Any:
    return array_of(x) if isinstance(x, Tensor) else x


class KVCache:
    """The keys and values of one layer, ``(batch, heads, length, d_head)``.

    `MultiHeadAttention` appends to it; a `DecoderCache` has one for each layer.

    Args:
        max_length: the maximum number of positions.

    Attributes:
        length: the number of positions so far.
        memory_kv: keys and values of an encoder's output, for cross-attention; None until computed.

    >>> from nn_tensor import ones
    >>> from nn_transformer import KVCache
    >>> cache = KVCache(max_length=10)
    >>> keys, values = cache.append(ones(1, 2, 3, 4), ones(1, 2, 3, 4))
    >>> keys, values = cache.append(ones(1, 2, 1, 4), ones(1, 2, 1, 4))
    >>> keys.shape
    (1, 2, 4, 4)
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length: int = 0
        self.memory_kv: tuple[Tensor, Tensor] | None = None
        self._buffer: Any = None  # (2, batch, heads, capacity, d_head): keys, then values

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of new positions, of equal shapes, and return all."""
        start, stop = self.length, self.length + keys.shape[-2]
        with device_scope(keys.data):
            buffer = self._reserve(keys.data, stop)
            buffer[0, ..., start:stop, :] = keys.data
            buffer[1, ..., start:stop, :] = values.data
        self.length = stop
        return Tensor(buffer[0, ..., :stop, :]), Tensor(buffer[1, ..., :stop, :])

    def takes_tokens(self, rows: int, dtype: Any) -> bool:
        """Return whether `attend_token` serves: there is something to attend to, of this dtype."""
        buffer = self._buffer
        return buffer is not None and buffer.dtype == dtype and buffer.shape[1] == rows

    def attend_token(self, x: Tensor, parameters: list[Any], angles: Angles, mask: Any) -> Tensor:
        """Append a token of each row and return its attention sublayer; see `attend_token`.

        Args:
            x: ``(batch, d_model)``, on the CPU.
            parameters: the result of `attention_parameters`.
            angles: the rotary embedding, or two times None.
            mask: booleans ``(1 or batch, positions)``, or None.
        """
        stop = self.length + 1
        buffer = self._buffer
        if stop > buffer.shape[-2]:
            buffer = self._reserve(buffer[0], stop)
        given = *map(_array, parameters), *map(_array, angles)
        result = attend_token(np, array_of(x), *given, buffer[0], buffer[1], mask, stop)
        self.length = stop
        return new_tensor(result)

    def attend_token_to_memory(self, x: Tensor, parameters: list[Any], mask: Any) -> Tensor:
        """Return the cross-attention sublayer for a token; arguments as for `attend_token`."""
        assert self.memory_kv is not None
        keys, values = map(array_of, self.memory_kv)
        positions = None, None, keys, values, mask, keys.shape[2]
        return new_tensor(attend_token(np, array_of(x), *map(_array, parameters), *positions))

    def _reserve(self, like: Any, length: int) -> Any:
        """Return a buffer for at least `length` positions; each is twice as long as the last."""
        old = self._buffer
        if old is None or length > old.shape[-2]:
            capacity = min(self.max_length, max(length, 2 * self.length, 32))
            shape = (2, *like.shape[:-2], capacity, like.shape[-1])
            self._buffer = array_module(like).empty(shape, like.dtype)
            if old is not None:
                self._buffer[..., : self.length, :] = old[..., : self.length, :]
        return self._buffer

    def keep_memory(self, keys: Tensor, values: Tensor) -> None:
        """Keep the keys and values of an encoder's output, each head's in one run of memory."""
        arrays = [x.data for x in (keys, values)]
        with device_scope(arrays[0]):
            keys, values = (Tensor(array_module(x).ascontiguousarray(x)) for x in arrays)
        self.memory_kv = keys, values

    def stored(self) -> Any:
        """Return the array of all keys and values, ``(2, batch, heads, length, d_head)``."""
        return self._buffer[..., : self.length, :]

    def truncate(self, length: int) -> None:
        """Drop all but the first `length` positions."""
        self.length = length
        if length == 0:
            self._buffer = self.memory_kv = None

    def select(self, rows: Any, memory: bool = True) -> None:
        """Keep these rows of the batch, in this order; see `DecoderCache.select`."""
        if memory and self.memory_kv is not None:
            keys, values = self.memory_kv
            if keys.shape[0] > 1 or len(rows) == 1:  # otherwise one memory for all rows
                indices = put(rows, device_of(keys.data))
                self.memory_kv = keys[indices], values[indices]
        old = self._buffer
        if old is not None:
            with device_scope(old):
                self._buffer = array_module(old).empty((2, len(rows), *old.shape[2:]), old.dtype)
                used = old[..., : self.length, :]
                self._buffer[..., : self.length, :] = used[:, put(rows, device_of(old))]


class DecoderCache:
    """The KV caches of all layers of a decoder, for one batch; ``model.new_cache()`` makes one.

    It is passed as ``cache`` to the model's calls, which then get only the new tokens, and appends
    their keys and values. The keys and values of an encoder's output are projected at the first
    call; what later calls pass as ``memory`` is ignored. A call that fails leaves the cache as it
    was.

    Attributes:
        length: the number of positions so far.
        batch: the batch size, None before the first call.
        layers: the `KVCache` of each layer.

    Raises:
        ValueError: when it is used, for another batch size than before, more positions than the
            model's `max_seq_len`, or a model with another number of layers.
        RuntimeError: when it is used while gradients are recorded: none would flow through it.
        IndexError: from `select`, for a row that does not exist.

    >>> from nn_tensor import no_grad
    >>> from nn_transformer import LanguageModel
    >>> model = LanguageModel(10, d_model=8, num_heads=2, num_layers=1, max_seq_len=16).eval()
    >>> cache = model.new_cache()
    >>> with no_grad():
    ...     logits = model([[3, 1, 4]], cache=cache)
    ...     logits = model([[1]], cache=cache)
    >>> logits.shape, cache.length
    ((1, 1, 10), 4)
    """

    def __init__(self, num_layers: int, max_length: int, padding: Any = None) -> None:
        self.length: int = 0
        self.batch: int | None = None
        self.max_length = max_length
        self.padding: np.ndarray[Any, Any] | None = None
        if padding is not None:
            counts = np.asarray(padding)
            if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
                raise ValueError(
                    f"padding: expected a count of at least 0 for each row, got {padding!r}"
                )
            self.padding = counts if counts.any() else None
        self.layers: list[KVCache] = [KVCache(max_length) for _ in range(num_layers)]

    def begin(self, batch: int, length: int, num_layers: int) -> None:
        """Check that `length` new positions of `batch` rows fit, and drop those of failed calls."""
        if is_grad_enabled():
            raise RuntimeError("cache: records no gradients; call the model inside no_grad()")
        if num_layers != len(self.layers):
            raise ValueError(
                f"cache: belongs to a model with {len(self.layers)} layers, this one has "
                f"{num_layers}"
            )
        rows = self.batch if self.padding is None else len(self.padding)
        if rows not in (None, batch):
            raise ValueError(f"tokens: have {batch} rows, the cache has {rows}")
        if self.length + length > self.max_length:
            raise ValueError(
                f"input has {self.length + length} positions with those in the cache, max_seq_len "
                f"is {self.max_length}"
            )
        for layer in self.layers:
            layer.truncate(self.length)

    def commit(self, batch: int, length: int) -> None:
        """Count the new positions, once all layers have appended them."""
        self.batch = batch
        self.length += length

    def positions(self, length: int, device: Any) -> Any:
        """Return the positions of `length` new tokens: ``(length,)``, or one row for each row."""
        indices = np.arange(self.length, self.length + length)
        if self.padding is not None:
            indices = np.maximum(indices - self.padding[:, None], 0)
        return put(indices, device)

    def padding_mask(self, length: int, device: Any) -> Tensor | None:
        """Return the mask of the padding, `length` new positions included, None without padding."""
        if self.padding is None:
            return None
        allowed = np.arange(self.length + length) >= self.padding[:, None]
        return Tensor(put(allowed[:, None, None], device))

    def select(self, rows: Any, memory: bool = True) -> None:
        """Keep these rows of the batch, in this order, as beam search does.

        Args:
            rows: the indices of the rows; a row may be repeated.
            memory: whether to select the rows of the encoder's output too; False where each new row
                has the same source as the row that it replaces.
        """
        rows = np.asarray(rows)
        count = self.batch if self.padding is None else len(self.padding)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size:
            raise IndexError(f"rows: expected indices of rows, got {rows.tolist()!r}")
        if rows.min() < 0 or (count is not None and rows.max() >= count):
            raise IndexError(f"rows: {rows.tolist()} are not all rows of the {count} there are")
        if self.padding is not None:
            self.padding = self.padding[rows]
        for layer in self.layers:
            layer.select(rows, memory)
        if self.batch is not None:
            self.batch = len(rows)
