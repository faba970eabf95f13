"""The arguments that `generate` and `beam_search` share: models, prompts, sources, stop tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import check_integer

from nn_transformer.models.language_model import LanguageModel
from nn_transformer.models.transformer import Transformer
from nn_transformer.modules.token_ids import check_token_ids

__all__ = ["GenerativeModel", "Prompts", "read_prompts"]

GenerativeModel: TypeAlias = LanguageModel | Transformer


@dataclass(frozen=True, eq=False)
class Prompts:
    """What to continue, checked and in arrays.

    Attributes:
        tokens: the prompts, padded on the left, ``(rows, length)``.
        padding: the number of padding tokens of each row, ``(rows,)``.
        source: the source tokens, padded on the right, ``(rows, sources)``.
        max_new_tokens: the maximum number of new tokens.
        stop_tokens: the tokens that end a row, sorted.
    """

    tokens: np.ndarray
    padding: np.ndarray
    source: np.ndarray | None
    max_new_tokens: int
    stop_tokens: np.ndarray


def read_prompts(
    model: GenerativeModel, prompt: Any, max_new_tokens: Any, source: Any, stop_tokens: Any
) -> Prompts:
    """Check the arguments of `generate` and `beam_search`, and return them in arrays."""
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"model: expected a LanguageModel or a Transformer, got {type(model).__name__}"
        )
    vocab_size = model.tgt_vocab_size if isinstance(model, Transformer) else model.vocab_size
    max_new_tokens = check_integer("max_new_tokens", max_new_tokens, 1)
    stops = _read_stop_tokens(stop_tokens, vocab_size)
    rows = _read_rows("prompt", prompt, vocab_size)
    lengths = np.array([len(row) for row in rows])
    longest = int(lengths.max())
    if longest + max_new_tokens > model.max_seq_len:
        raise ValueError(
            f"max_new_tokens: {max_new_tokens} after a prompt of {longest} tokens exceed "
            f"max_seq_len={model.max_seq_len}"
        )
    padding = longest - lengths
    tokens = np.stack([np.pad(row, (count, 0)) for row, count in zip(rows, padding, strict=True)])
    if isinstance(model, Transformer):
        source = _read_source(model, source, len(rows))
    elif source is not None:
        raise ValueError("source: a LanguageModel has no source, it continues the prompt alone")
    return Prompts(tokens, padding, source, max_new_tokens, stops)


def _read_stop_tokens(stop_tokens: Any, vocab_size: int) -> np.ndarray:
    given = stop_tokens if isinstance(stop_tokens, Iterable) else [stop_tokens]
    stops = np.array([check_integer("stop_tokens", token) for token in given], np.int64)
    return np.unique(check_token_ids("stop_tokens", stops, vocab_size, "cpu").numpy())


def _read_rows(name: str, given: Any, vocab_size: int) -> list[np.ndarray]:
    """Return the token ids of one row or several, an array for each row."""
    if isinstance(given, Tensor) or hasattr(given, "dtype"):
        array = _to_numpy(given)
        if array.ndim not in (1, 2):
            raise ValueError(f"{name}: expected one or two dimensions, got shape {array.shape}")
        rows = [array] if array.ndim == 1 else list(array)
    elif not isinstance(given, (list, tuple)):
        raise TypeError(f"{name}: expected lists of tokens or an array, got {given!r}")
    else:
        is_one_row = len(given) > 0 and all(np.ndim(row) == 0 for row in given)
        rows = [_to_numpy(row) for row in ([given] if is_one_row else given)]
    if not rows:
        raise ValueError(f"{name}: has no row")
    return [_check_row(f"{name}: row {i}", row, vocab_size) for i, row in enumerate(rows)]


def _to_numpy(row: Any) -> np.ndarray:
    if hasattr(row, "dtype") and not isinstance(row, Tensor):  # perhaps an array on a device
        row = Tensor(row)
    return row.numpy() if isinstance(row, Tensor) else np.asarray(row)


def _check_row(name: str, row: np.ndarray, vocab_size: int) -> np.ndarray:
    if row.ndim != 1:
        raise ValueError(f"{name} has shape {row.shape}, expected one dimension")
    if row.size == 0:
        raise ValueError(f"{name} is empty, expected at least one token")
    return check_token_ids(name, row, vocab_size, "cpu").numpy().astype(np.int64)


def _read_source(model: Transformer, source: Any, count: int) -> np.ndarray:
    """Return the source tokens, padded on the right."""
    if source is None:
        raise ValueError("source: a Transformer needs source tokens, got None")
    rows = _read_rows("source", source, model.src_vocab_size)
    if len(rows) != count:
        raise ValueError(f"source: has {len(rows)} rows, the prompt {count}")
    longest = max(len(row) for row in rows)
    if model.padding_idx is None and min(len(row) for row in rows) < longest:
        raise ValueError("source: rows of unequal lengths need a model with a padding_idx")
    fill = model.padding_idx or 0
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=fill) for row in rows])
