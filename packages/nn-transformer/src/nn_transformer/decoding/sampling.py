"""Sampling a token from logits: functions of NumPy arrays ``(rows, vocab_size)``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["check_largest", "next_token_probabilities", "sample", "top_k_mask", "top_p_mask"]

Array = Any


def next_token_probabilities(
    logits: Array, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Return the probabilities of the next token, in float64.

    They are the softmax of the logits divided by the temperature, restricted to the `top_k` largest
    logits and then to the nucleus `top_p`.
    """
    probabilities = _softmax(logits, temperature)
    if top_k is not None and top_k < probabilities.shape[-1]:
        # By the logits: probabilities that underflow to 0 are all equal.
        probabilities = _restrict(probabilities, top_k_mask(logits, top_k))
    if top_p is not None and top_p < 1:
        probabilities = _restrict(probabilities, top_p_mask(probabilities, top_p))
    return probabilities


def _restrict(probabilities: Array, mask: Array) -> Array:
    kept = np.where(mask, probabilities, 0)
    return kept / kept.sum(axis=-1, keepdims=True)


def _softmax(logits: Array, temperature: float) -> Array:
    logits = logits.astype(np.float64)
    largest = logits.max(axis=-1, keepdims=True)
    check_largest(largest.ravel().tolist())
    with np.errstate(over="ignore"):  # far below the largest, at a very low temperature
        exponentials = np.exp((logits - largest) / temperature)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def check_largest(largest: Sequence[float]) -> None:
    """Raise unless the largest logit of each row is finite; NaN counts as the largest."""
    if not all(map(math.isfinite, largest)):
        wrong = next(x for x in largest if not math.isfinite(x))
        raise ValueError(f"logits: the model's largest is {wrong}, expected finite numbers")


def top_k_mask(values: Array, k: Array) -> Array:
    """Return where the `k` largest values of each row are; of equal ones the first.

    Args:
        values: ``(rows, n)``.
        k: the number of values, from 1 to n: one number, or one for each row, ``(rows,)``.
    """
    rows, n = values.shape
    k = np.broadcast_to(k, rows)
    kth_largest = np.sort(values, axis=-1)[np.arange(rows), n - k, None]
    above, equal = values > kth_largest, values == kth_largest
    remaining = k - above.sum(axis=-1)
    return above | (equal & (equal.cumsum(axis=-1) <= remaining[:, None]))


def top_p_mask(probabilities: Array, top_p: float) -> Array:
    """Return where the most probable tokens are that together reach `top_p`; at least one.

    (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020, section 3.1.)
    """
    ordered = np.sort(probabilities, axis=-1)[:, ::-1]
    before = np.cumsum(ordered, axis=-1) - ordered
    return top_k_mask(probabilities, np.maximum(1, (before < top_p).sum(axis=-1)))


def sample(probabilities: Array, uniform: Array) -> Array:
    """Return for each row the token at which the cumulative probability exceeds a number.

    Args:
        probabilities: ``(rows, vocab_size)``.
        uniform: numbers from [0, 1), ``(rows,)``.
    """
    cumulative = np.cumsum(probabilities, axis=-1)
    # Below the last sum, which may not be exactly 1: never a token of probability 0.
    last = cumulative[:, -1]
    thresholds = np.minimum(uniform * last, np.nextafter(last, 0))
    return (cumulative <= thresholds[:, None]).sum(axis=-1)
