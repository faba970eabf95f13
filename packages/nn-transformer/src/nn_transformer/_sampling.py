"""How a token is drawn from scores: functions of NumPy arrays ``(rows, vocab_size)``."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["draw", "largest", "nucleus", "probabilities", "read_temperature", "read_top_p"]

Array = Any


def read_temperature(temperature: Any) -> float:
    """Return the temperature as a float, or raise."""
    number = float(temperature)
    if not 0 <= number < np.inf:
        raise ValueError(f"temperature: expected 0 or a positive number, got {temperature!r}")
    return number


def read_top_p(top_p: Any) -> float | None:
    """Return the share that the nucleus has, or raise."""
    if top_p is None:
        return None
    number = float(top_p)
    if not 0 < number <= 1:
        raise ValueError(f"top_p: expected more than 0 and at most 1, got {top_p!r}")
    return number


def probabilities(
    scores: Array, temperature: float, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Return the probabilities of the next token, in float64.

    The scores are divided by the temperature; of the `top_k` largest the nucleus `top_p` is kept.
    """
    shares = _softmax(scores, temperature)
    if top_k is not None and top_k < shares.shape[-1]:
        # By the scores: probabilities that are too small for a float are all the same.
        shares = np.where(largest(scores, top_k), shares, 0)
        shares /= shares.sum(axis=-1, keepdims=True)
    if top_p is not None and top_p < 1:
        shares = np.where(nucleus(shares, top_p), shares, 0)
        shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def _softmax(scores: Array, temperature: float) -> Array:
    wide = scores.astype(np.float64)
    best = wide.max(axis=-1, keepdims=True)
    if not np.isfinite(best).all():
        raise ValueError(f"scores: the model's largest is {best[~np.isfinite(best)][0]}")
    with np.errstate(over="ignore"):  # far below the best, at a very low temperature
        shares = np.exp((wide - best) / temperature)
    return shares / shares.sum(axis=-1, keepdims=True)


def largest(values: Array, counts: Array) -> Array:
    """Return where the largest of each row are; of equal ones the first.

    Args:
        values: ``(rows, n)``.
        counts: how many, from 1 to n: one number, or for each row its own, ``(rows,)``.
    """
    rows, n = values.shape
    counts = np.broadcast_to(counts, rows)
    edge = np.sort(values, axis=-1)[np.arange(rows), n - counts, None]
    above, equal = values > edge, values == edge
    room = counts - above.sum(axis=-1)
    return above | (equal & (equal.cumsum(axis=-1) <= room[:, None]))


def nucleus(shares: Array, top_p: float) -> Array:
    """Return where the most probable tokens are that together reach `top_p`; one at least.

    (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020, section 3.1.)
    """
    ordered = np.sort(shares, axis=-1)[:, ::-1]
    before = np.cumsum(ordered, axis=-1) - ordered
    return largest(shares, np.maximum(1, (before < top_p).sum(axis=-1)))


def draw(shares: Array, uniform: Array) -> Array:
    """Return for each row the token at which the sum of probabilities passes a number.

    Args:
        shares: probabilities ``(rows, vocab_size)``.
        uniform: numbers from [0, 1), ``(rows,)``.
    """
    sums = np.cumsum(shares, axis=-1)
    # Below the last sum, which need not be exactly 1: so it is never a token of probability 0.
    marks = np.minimum(uniform * sums[:, -1], np.nextafter(sums[:, -1], 0))
    return (sums <= marks[:, None]).sum(axis=-1)
