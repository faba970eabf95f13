"""Checks that the modules of this package share."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import device_scope

__all__ = ["as_tokens", "choice", "positive", "probability", "read_padding_idx", "read_tokens"]


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return `value` if it is one of the known words, or raise."""
    words = list(known)
    if value not in words:
        raise ValueError(f"{name}: expected one of {words}, got {value!r}")
    return str(value)


def read_padding_idx(padding_idx: Any, vocab_size: int) -> int | None:
    """Return the token that fills up, or raise if the vocabulary does not have it."""
    if padding_idx is None:
        return None
    try:
        number = operator.index(padding_idx)
    except TypeError:
        raise TypeError(f"padding_idx: expected a token, got {padding_idx!r}") from None
    if not 0 <= number < vocab_size:
        raise ValueError(f"padding_idx: {number} is no token of a vocabulary of {vocab_size}")
    return number


def positive(name: str, value: Any) -> int:
    """Return `value` as an int of at least 1, or raise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a positive integer, got {value!r}")
    if number < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
    return number


def probability(name: str, value: Any) -> float:
    """Return `value` as a float from 0 to 1, or raise."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number, got {value!r}") from None
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a probability between 0 and 1, got {value!r}")
    return number


def as_tokens(tokens: Any, device: str) -> Tensor:
    """Return token ids as a Tensor: lists go to `device`, what has a dtype stays where it is."""
    if isinstance(tokens, Tensor):
        return tokens
    return Tensor(tokens, None if hasattr(tokens, "dtype") else device)


def read_tokens(name: str, tokens: Any, vocab_size: int, device: str) -> Tensor:
    """Return token ids as a Tensor of integers below `vocab_size`, or raise.

    Lists go to `device`; what has a dtype has a place of its own, and is not moved.
    """
    ids = as_tokens(tokens, device)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {ids.dtype} of shape {ids.shape}")
    values = ids.data
    with device_scope(values):
        wrong = (values < 0) | (values >= vocab_size)
        if wrong.any():
            raise IndexError(
                f"{name}: {values[wrong].reshape(-1)[0].item()} is no token of a vocabulary of "
                f"{vocab_size}, expected 0 to {vocab_size - 1}"
            )
    return ids
