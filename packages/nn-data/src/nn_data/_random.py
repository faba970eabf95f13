"""Random generators by address: what they give depends on the address alone.

No generator lives longer than what it is for, so no worker, rank or interruption can change what
another one draws.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from nn_data._checks import check_integer

__all__ = ["MAX_SEED", "ORDER", "SPLIT", "TRANSFORM", "check_seed", "generator"]

MAX_SEED: Final = 2**64 - 1

ORDER: Final = 1
TRANSFORM: Final = 2
SPLIT: Final = 3


def check_seed(value: Any) -> int:
    """Return `value` as a seed: an integer from 0 to 2⁶⁴ - 1."""
    return check_integer("seed", value, 0, MAX_SEED)


def generator(seed: int, purpose: int, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator at an address.

    The generator is Philox4x64-10, a counter-based generator (Salmon et al., "Parallel random
    numbers: as easy as 1, 2, 3", 2011), with `seed` and `purpose` as its key; `epoch` and `index`
    are the upper half of its counter, so that each address has 2¹³⁰ random words of its own.

    Args:
        seed: the seed.
        purpose: the purpose of the numbers; `ORDER`, `TRANSFORM` or `SPLIT`.
        epoch: the number of the epoch.
        index: the number of the batch.

    >>> [int(generator(0, ORDER, epoch=epoch).integers(100)) for epoch in (3, 4, 3)]
    [80, 54, 80]
    """
    key = np.array((seed, purpose), dtype=np.uint64)
    counter = np.array((0, 0, index, epoch), dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
