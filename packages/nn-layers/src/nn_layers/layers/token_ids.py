"""Token ids: integers from 0 to the vocabulary size less 1."""

from __future__ import annotations

from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import check_integer, check_range, describe

__all__ = ["as_token_ids", "check_ids", "check_padding_idx", "check_token_ids"]


def as_token_ids(tokens: Any, device: str) -> Tensor:
    """Return token ids as a Tensor.

    Lists are placed on `device`; what has a dtype stays on its own device.
    """
    if isinstance(tokens, Tensor):
        return tokens
    return Tensor(tokens, None if hasattr(tokens, "dtype") else device)


def check_token_ids(name: str, tokens: Any, vocab_size: int, device: str) -> Tensor:
    """Return token ids as a Tensor of integers below `vocab_size`; `device` as in `as_token_ids`.

    Raises:
        TypeError: if they are not integers.
        IndexError: if one is negative or not less than `vocab_size`; of tokens on a CUDA device,
            when the next value is read.
    """
    message = f"is out of range for vocab_size={vocab_size}, expected 0 to {vocab_size - 1}"
    return check_ids(name, tokens, vocab_size, device, IndexError, message)


def check_ids(
    name: str, given: Any, count: int, device: str, error: type[Exception], message: str
) -> Tensor:
    """Return integers from 0 to `count` - 1 as a Tensor, placed as by `as_token_ids`.

    Raises:
        TypeError: if they are not integers.
        error: of an integer out of range; its text is the name, the integer and `message`.
    """
    ids = as_token_ids(given, "cpu")  # lists are checked on the host
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {describe(ids)}")
    checked = check_range(ids.data, 0, count - 1, error, f"{name}: {{}} {message}")
    if not hasattr(given, "dtype"):
        return Tensor(checked, device)
    return ids if checked is ids.data else Tensor(checked)


def check_padding_idx(padding_idx: Any, vocab_size: int) -> int | None:
    """Return the id of the padding token, or None if there is no padding token.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not in the vocabulary.
    """
    if padding_idx is None:
        return None
    return check_integer("padding_idx", padding_idx, 0, vocab_size - 1)
