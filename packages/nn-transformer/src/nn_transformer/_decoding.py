"""What generation and beam search share: how a prompt is read, and a step of a model."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from nn_tensor import Tensor, no_grad
from nn_tensor.extend import device_of, put

from nn_transformer._cache import Cache
from nn_transformer._inputs import positive
from nn_transformer._language_model import LanguageModel
from nn_transformer._transformer import Transformer

__all__ = ["Decoding", "Model", "Request", "evaluating", "read_request"]

Model = LanguageModel | Transformer


class Request:
    """What is to be continued, checked and in arrays."""

    tokens: np.ndarray  # (rows, width), the prompts, padded on the left
    padding: np.ndarray  # (rows,), how many tokens of each are padding
    source: np.ndarray | None  # (rows, sources), padded on the right
    count: int  # how many new tokens at most
    stops: np.ndarray


def read_request(
    model: Model, prompt: Any, max_new_tokens: Any, source: Any, stop_tokens: Any
) -> Request:
    """Check what both functions are asked for, or raise."""
    if not isinstance(model, (LanguageModel, Transformer)):
        raise TypeError(
            f"model: expected a LanguageModel or a Transformer, got {type(model).__name__}"
        )
    translates = isinstance(model, Transformer)
    vocab_size = model.tgt_vocab_size if isinstance(model, Transformer) else model.vocab_size
    request = Request()
    request.count = positive("max_new_tokens", max_new_tokens)
    request.stops = _stops(stop_tokens, vocab_size)
    rows = _rows("prompt", prompt, vocab_size)
    lengths = np.array([len(row) for row in rows])
    longest = int(lengths.max())
    if longest + request.count > model.max_seq_len:
        raise ValueError(
            f"max_new_tokens: {request.count} after a prompt of {longest} tokens are more than "
            f"max_seq_len={model.max_seq_len}"
        )
    request.padding = longest - lengths
    request.tokens = np.stack(
        [np.pad(row, (fill, 0)) for row, fill in zip(rows, request.padding, strict=True)]
    )
    request.source = None
    if translates and source is None:
        raise ValueError("source: a Transformer needs source tokens, got None")
    if not translates and source is not None:
        raise ValueError("source: a LanguageModel has none, it continues the prompt alone")
    if isinstance(model, Transformer):
        request.source = _source(model, source, len(rows))
    return request


def _stops(stop_tokens: Any, vocab_size: int) -> np.ndarray:
    """Return the tokens that end a row, or raise."""
    given = stop_tokens if isinstance(stop_tokens, Iterable) else [stop_tokens]
    try:
        stops = [operator.index(token) for token in given]
    except TypeError:
        raise TypeError(f"stop_tokens: expected integers, got {stop_tokens!r}") from None
    for token in stops:
        if not 0 <= token < vocab_size:
            raise IndexError(f"stop_tokens: {token} is no token of a vocabulary of {vocab_size}")
    return np.unique(np.array(stops, np.int64))


def _rows(name: str, given: Any, vocab_size: int) -> list[np.ndarray]:
    """Return token ids, of one row or several, as an array for each row, or raise."""
    if isinstance(given, Tensor) or hasattr(given, "dtype"):
        array = _host(given)
        if array.ndim not in (1, 2):
            raise ValueError(f"{name}: expected one axis or two, got shape {array.shape}")
        rows = [array] if array.ndim == 1 else list(array)
    elif not isinstance(given, (list, tuple)):
        raise TypeError(f"{name}: expected lists of tokens or an array, got {given!r}")
    else:
        flat = len(given) > 0 and all(np.ndim(row) == 0 for row in given)
        rows = [_host(row) for row in ([given] if flat else given)]
    if not rows:
        raise ValueError(f"{name}: has no row")
    return [_row(name, i, row, vocab_size) for i, row in enumerate(rows)]


def _host(row: Any) -> np.ndarray:
    """Return an array that NumPy reads, from wherever it is."""
    if isinstance(row, Tensor) or not hasattr(row, "dtype"):
        return row.numpy() if isinstance(row, Tensor) else np.asarray(row)
    return Tensor(row).numpy()


def _row(name: str, index: int, row: np.ndarray, vocab_size: int) -> np.ndarray:
    if row.ndim != 1:
        raise ValueError(f"{name}: row {index} has shape {row.shape}, expected one axis")
    if row.size == 0:
        raise ValueError(f"{name}: row {index} is empty, expected one token at least")
    if row.dtype.kind not in "iu":
        raise TypeError(f"{name}: row {index} is {row.dtype}, expected integers")
    wrong = (row < 0) | (row >= vocab_size)
    if wrong.any():
        raise IndexError(
            f"{name}: {row[wrong][0]} in row {index} is no token of a vocabulary of "
            f"{vocab_size}, expected 0 to {vocab_size - 1}"
        )
    return row.astype(np.int64)


def _source(model: Transformer, source: Any, count: int) -> np.ndarray:
    """Return the source tokens, padded on the right, or raise."""
    rows = _rows("source", source, model.src_vocab_size)
    if len(rows) != count:
        raise ValueError(f"source: has {len(rows)} rows, the prompt {count}")
    longest = max(len(row) for row in rows)
    fill = 0 if model.padding_idx is None else model.padding_idx
    if model.padding_idx is None and min(len(row) for row in rows) < longest:
        raise ValueError("source: rows of unequal lengths need a model with a padding_idx")
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=fill) for row in rows])


@contextlib.contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put the model in eval mode and record nothing; afterwards all is as before."""
    modes = [(module, module.training) for module in model.modules]
    try:
        model.eval()
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


class Decoding:
    """A batch of sequences under way: it gets their next tokens, and returns what could follow.

    It is where the kinds of models differ, and where decoding with a cache, or without, does.
    """

    def __init__(self, model: Model, request: Request, use_cache: bool) -> None:
        self._model = model
        self._padding = request.padding
        self._memory = self._memory_mask = None
        if request.source is not None and isinstance(model, Transformer):
            source = Tensor(request.source, device=model.device)
            self._memory_mask = model.source_mask(source)
            self._memory = model.encode(source, self._memory_mask)
        self._cache = self._new_cache() if use_cache else None
        self._seen = request.tokens[:, :0]  # what has to be computed again without a cache

    def _new_cache(self) -> Cache:
        return self._model.new_cache(self._padding.tolist())

    def step(self, tokens: np.ndarray) -> Tensor:
        """Return the scores ``(rows, vocab_size)`` of what follows ``(rows, new)`` tokens."""
        cache = self._cache
        if cache is None:
            tokens = self._seen = np.concatenate([self._seen, tokens], axis=1)
            cache = self._new_cache()
        ids = Tensor(tokens, device=self._model.device)
        if isinstance(self._model, Transformer):
            assert self._memory is not None
            scores = self._model.decode(ids, self._memory, None, self._memory_mask, cache)
        else:
            scores = self._model(ids, cache=cache)
        return scores[:, -1]

    def select(self, rows: np.ndarray, same_sources: bool = False) -> None:
        """Keep these rows, in this order.

        Args:
            rows: their indices; one may come several times.
            same_sources: whether each new row has the source of the old row in its place.
        """
        self._padding = self._padding[rows]
        if self._cache is None:
            self._seen = self._seen[rows]
        else:
            self._cache.select(rows, memory=not same_sources)
        if self._memory is not None and not same_sources:
            indices = put(rows, device_of(self._memory.data))
            self._memory = self._memory[indices]
            if self._memory_mask is not None:
                self._memory_mask = self._memory_mask[indices]
