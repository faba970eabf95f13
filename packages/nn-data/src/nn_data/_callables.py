"""What a function asks for."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["takes_rng"]


def takes_rng(function: Any) -> bool:
    """Return whether a function has a parameter called ``rng``.

    >>> import numpy as np
    >>> takes_rng(lambda batch, rng: batch), takes_rng(np.sqrt)
    (True, False)
    """
    try:
        return "rng" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # built-in functions, of which some have no signature
        return False
