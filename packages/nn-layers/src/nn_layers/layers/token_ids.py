"""Checks of token ids, the integers from 0 to `vocab_size` - 1, for custom layers."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import check_integer, check_range, describe, external

__all__ = ["as_token_ids", "check_ids", "check_padding_idx", "check_token_ids"]


def as_token_ids(tokens: Any, device: str) -> Tensor:
    """Return token ids as a Tensor, unchecked.

    Args:
        tokens: integers of any shape: a Tensor, an array or a nested list.
        device: the device for lists; Tensors and arrays stay on their own device.

    >>> as_token_ids([[3, 1]], "cpu")
    Tensor([[3, 1]])
    """
    if isinstance(tokens, Tensor):
        return tokens
    return Tensor(tokens, None if hasattr(tokens, "dtype") else device)


def check_token_ids(name: str, tokens: Any, vocab_size: int, device: str) -> Tensor:
    """Return token ids as a Tensor of integers below `vocab_size`.

    Args:
        name: the name of the argument, for errors.
        tokens: as for `as_token_ids`.
        vocab_size: the vocabulary size.
        device: as for `as_token_ids`.

    Raises:
        TypeError: if they are not integers.
        IndexError: if one is negative or not less than `vocab_size`; of tokens on a CUDA device,
            when the next value is read.

    >>> check_token_ids("tokens", [5, 9], 8, "cpu")
    Traceback (most recent call last):
        ...
    IndexError: tokens: 9 is out of range for vocab_size=8, expected 0 to 7
    """
    message = f"is out of range for vocab_size={vocab_size}, expected 0 to {vocab_size - 1}"
    return check_ids(name, tokens, vocab_size, device, IndexError, message)


def check_ids(
    name: str, given: Any, count: int, device: str, error: type[Exception], message: str
) -> Tensor:
    """Return integers from 0 to `count` - 1 as a Tensor.

    Args:
        name: the name of the argument, for errors.
        given: as `tokens` for `as_token_ids`.
        count: the number of ids.
        device: as for `as_token_ids`.
        error: the class of the error for an integer out of range.
        message: its text, after the name of the argument and the integer.

    Raises:
        TypeError: if they are not integers.
        Exception: an `error`, if an integer is out of range.

    >>> check_ids("segment_ids", [0, 2], 2, "cpu", ValueError, "is not a segment")
    Traceback (most recent call last):
        ...
    ValueError: segment_ids: 2 is not a segment
    """
    ids = as_token_ids(given, "cpu")  # lists are checked on the host
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {describe(ids)}")
    replaced = external(_replaced_ids, ids, count - 1, error, f"{name}: {{}} {message}")
    if not hasattr(given, "dtype"):
        return ids.to(device)
    return ids if replaced is None else Tensor(replaced)


def _replaced_ids(ids: Any, high: int, error: type[Exception], message: str) -> Any:
    """Check ids; return those that take their place on CUDA, None on the CPU."""
    checked = check_range(ids, 0, high, error, message)
    return None if checked is ids else checked


def check_padding_idx(padding_idx: Any, vocab_size: int) -> int | None:
    """Return the id of the padding token, or None if there is no padding token.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not in the vocabulary.

    >>> check_padding_idx(0, vocab_size=8), check_padding_idx(None, vocab_size=8)
    (0, None)
    """
    if padding_idx is None:
        return None
    return check_integer("padding_idx", padding_idx, 0, vocab_size - 1)
