"""Splitting data into training, validation and test sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_data._checks import check_number, distinct, keyword_only
from nn_data._random import SPLIT, check_seed, generator
from nn_data._sources import Subset, as_source

__all__ = ["split"]


@keyword_only
def split(
    data: Any, fractions: Sequence[float], *, stratify: Any = None, seed: int = 0
) -> tuple[Subset, ...]:
    """Split data at random into parts that do not overlap; nothing is copied.

    The sizes are the fractions of the number of samples, rounded so that together they are exactly
    the data (largest remainders first). With `stratify`, each class is divided in the same way, as
    evenly as whole samples allow.

    Args:
        data: the data, as for `Loader`.
        fractions: the fraction of each part; they add up to 1.
        stratify: the class of each sample.
        seed: the seed; the same seed gives the same split.

    Returns:
        a `Subset` for each fraction, with indices in increasing order; ``part[:]`` is one batch.

    Raises:
        ValueError: for fractions that do not add up to 1, a part without a sample, or labels of
            another length.

    >>> train, test = split(np.arange(10), (0.8, 0.2), seed=0)
    >>> len(train), len(test), sorted([*train[:], *test[:]]) == list(range(10))
    (8, 2, True)
    """
    source = as_source(data)
    if not isinstance(fractions, Iterable):
        raise TypeError(f"fractions: expected one for each part, got {fractions!r}")
    shares = [check_number("fractions", fraction, 0, 1) for fraction in fractions]
    if not shares or not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"fractions: expected fractions that add up to 1, got {fractions!r}")
    rng = generator(check_seed(seed), SPLIT)
    n = len(source)
    classes = np.zeros(n, np.intp) if stratify is None else _labels(stratify, n)
    parts = _stratified(rng.permutation(n), classes, shares)
    if not all(map(len, parts)):
        sizes = list(map(len, parts))
        raise ValueError(f"fractions: {n} samples give parts of {sizes}, one is empty")
    return tuple(Subset(source, np.sort(part)) for part in parts)


def _labels(stratify: Any, n: int) -> NDArray[np.intp]:
    labels = np.asarray(stratify)
    if labels.shape != (n,):
        raise ValueError(f"stratify: expected a label for each of {n} samples, got {labels.shape}")
    return distinct("stratify", labels)[1]


def _stratified(
    order: NDArray[np.intp], classes: NDArray[np.intp], shares: Sequence[float]
) -> list[NDArray[np.intp]]:
    counts = np.bincount(classes)
    table = _apportion(counts, shares)
    grouped = np.split(order[np.argsort(classes[order], kind="stable")], np.cumsum(counts)[:-1])
    pieces = [
        np.split(members, np.cumsum(row)[:-1]) for members, row in zip(grouped, table, strict=True)
    ]
    return [np.concatenate(column) for column in zip(*pieces, strict=True)]


def _apportion(counts: NDArray[np.intp], shares: Sequence[float]) -> NDArray[np.intp]:
    """Divide each count by the shares, so that rows add up to the counts, columns nearly to theirs.

    Each entry is its exact share rounded down or up. Which are rounded up follows from what the
    rows before have left owing to each column.
    """
    exact = counts[:, None] * np.asarray(shares) / math.fsum(shares)
    table = np.floor(exact + 1e-9).astype(np.intp)
    owed = np.zeros(len(shares))
    for row, wanted, count in zip(table, exact, counts, strict=True):
        owed += wanted - row
        rounded_up = np.argsort(-owed, kind="stable")
        # A share that is an integer already is not rounded up.
        rounded_up = rounded_up[(wanted > row + 1e-9)[rounded_up]]
        chosen = rounded_up[: count - row.sum()]
        row[chosen] += 1
        owed[chosen] -= 1
    return table
