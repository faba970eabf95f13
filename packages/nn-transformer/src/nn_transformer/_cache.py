"""What a decoder remembers of the positions it has seen, so that each is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, is_grad_enabled
from nn_tensor.extend import array_module, device_of, device_scope, put

__all__ = ["Cache", "KeysAndValues"]


class KeysAndValues:
    """The keys and values of one attention, ``(batch, heads, length, d_head)``, as they grow.

    `MultiHeadAttention` appends to it; a `Cache` has one for each layer.

    Args:
        max_length: how many positions there may be.

    >>> from nn_tensor import ones
    >>> from nn_transformer import KeysAndValues
    >>> known = KeysAndValues(max_length=10)
    >>> key, value = known.append(ones(1, 2, 3, 4), ones(1, 2, 3, 4))
    >>> key, value = known.append(ones(1, 2, 1, 4), ones(1, 2, 1, 4))
    >>> key.shape
    (1, 2, 4, 4)
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._memory: tuple[Any, Any] | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of new positions, and return all."""
        start, stop = self.length, self.length + key.shape[-2]
        with device_scope(key.data):
            memory = self._room(key.data, value.data, stop)
            for old, new in zip(memory, (key.data, value.data), strict=True):
                old[..., start:stop, :] = new
        self.length = stop
        return Tensor(memory[0][..., :stop, :]), Tensor(memory[1][..., :stop, :])

    def _room(self, key: Any, value: Any, needed: int) -> tuple[Any, Any]:
        """Return memory for `needed` positions: twice as much as before each time it grows."""
        old = self._memory
        if old is not None and needed <= old[0].shape[-2]:
            return old
        length = min(self.max_length, max(needed, 2 * self.length, 32))
        xp = array_module(key)
        grown = []
        for i, x in enumerate((key, value)):
            new = xp.empty((*x.shape[:-2], length, x.shape[-1]), x.dtype)
            if old is not None:
                new[..., : self.length, :] = old[i][..., : self.length, :]
            grown.append(new)
        self._memory = grown[0], grown[1]
        return self._memory

    def rewind(self, length: int) -> None:
        """Forget what came after the first `length` positions."""
        self.length = length
        if length == 0:
            self._memory = None

    def select(self, rows: Any) -> None:
        """Keep these rows of the batch, in this order; one may come several times."""
        if self._memory is None:
            return
        chosen = []
        for x in self._memory:
            with device_scope(x):
                new = array_module(x).empty((len(rows), *x.shape[1:]), x.dtype)
                used = x[..., : self.length, :]
                new[..., : self.length, :] = used[put(rows, device_of(x))]
            chosen.append(new)
        self._memory = chosen[0], chosen[1]


class Cache:
    """The state of one decoding of a batch; ``model.new_cache()`` makes one.

    It goes as ``cache`` into the model's calls, which then get only the new tokens, and appends
    their keys and values. The keys of an encoder's output are projected at the first call; what
    later calls pass as ``memory`` is not looked at. A call that fails leaves the cache as it was.

    Attributes:
        length: how many positions were seen.
        batch: how many rows it has, None before the first call.

    Raises:
        ValueError: when it is used, for another number of rows than before, more positions than the
            model's `max_seq_len`, or a model with another number of layers.
        RuntimeError: when it is used while gradients are recorded: none would flow through it.
        IndexError: from `select`, for a row that does not exist.

    >>> from nn_tensor import no_grad
    >>> from nn_transformer import LanguageModel
    >>> model = LanguageModel(10, d_model=8, num_heads=2, num_layers=1, max_seq_len=16).eval()
    >>> cache = model.new_cache()
    >>> with no_grad():
    ...     scores = model([[3, 1, 4]], cache=cache)
    ...     scores = model([[1]], cache=cache)
    >>> scores.shape, cache.length
    ((1, 1, 10), 4)
    """

    def __init__(self, num_layers: int, max_length: int, padding: Any = None) -> None:
        self.length = 0
        self.batch: int | None = None
        self.max_length = max_length
        self.padding = None
        if padding is not None:
            counts = np.asarray(padding)
            if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
                raise ValueError(
                    f"padding: expected a count of at least 0 for each row, got {padding!r}"
                )
            self.padding = counts if counts.any() else None
        self.layers = [KeysAndValues(max_length) for _ in range(num_layers)]
        self.memory: list[tuple[Tensor, Tensor] | None] = [None] * num_layers

    def begin(self, batch: int, count: int, num_layers: int) -> None:
        """Get ready for `count` new positions of `batch` rows, or raise if they do not fit."""
        if is_grad_enabled():
            raise RuntimeError("cache: records no gradients; call the model inside no_grad()")
        if num_layers != len(self.layers):
            raise ValueError(
                f"cache: is of a model with {len(self.layers)} layers, this one has {num_layers}"
            )
        rows = self.batch if self.padding is None else len(self.padding)
        if rows not in (None, batch):
            raise ValueError(f"tokens: have {batch} rows, the cache has {rows}")
        if self.length + count > self.max_length:
            raise ValueError(
                f"input has {self.length + count} positions with those in the cache, max_seq_len "
                f"is {self.max_length}"
            )
        # A call that failed may have got to some of the layers.
        for layer in self.layers:
            layer.rewind(self.length)
        if self.length == 0:
            self.memory = [None] * num_layers

    def end(self, batch: int, count: int) -> None:
        """Take note that all layers have the new positions."""
        self.batch = batch
        self.length += count

    def positions(self, count: int, device: Any) -> Any:
        """Return the positions of `count` new tokens: ``(count,)``, or for each row its own."""
        indices = np.arange(self.length, self.length + count)
        if self.padding is not None:
            indices = np.maximum(indices - self.padding[:, None], 0)
        return put(indices, device)

    def mask(self, count: int, device: Any) -> Tensor | None:
        """Return which keys are no padding once `count` more were seen, or None if none is."""
        if self.padding is None:
            return None
        allowed = np.arange(self.length + count) >= self.padding[:, None]
        return Tensor(put(allowed[:, None, None], device))

    def select(self, rows: Any, memory: bool = True) -> None:
        """Keep these rows of the batch, in this order: the beams that go on.

        Args:
            rows: their indices; one may come several times.
            memory: whether the encoder's output is chosen too; False where each new row has the
                source of the old row in its place.
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
            layer.select(rows)
        if memory:
            self.memory = [self._chosen(pair, rows) for pair in self.memory]
        if self.batch is not None:
            self.batch = len(rows)

    @staticmethod
    def _chosen(pair: tuple[Tensor, Tensor] | None, rows: Any) -> tuple[Tensor, Tensor] | None:
        if pair is None or pair[0].shape[0] == 1 < len(rows):  # one memory for all rows
            return pair
        key, value = (x[put(rows, device_of(x.data))] for x in pair)
        return key, value
