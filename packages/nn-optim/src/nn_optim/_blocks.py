"""Arrays in blocks, which NumPy passes over several times while they are in the cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_tensor.extend import empty_aligned

from nn_optim._aligned import LINE, address

__all__ = ["Blocks", "NumpyRule"]

Array = Any

# Elements. NumPy passes over its arrays once for each operation: block by block, all passes but
# the first find their data in the cache; in smaller blocks the calls take time.
_SIZE = 65536


def _step(size: int) -> int:
    """Return the size of blocks of about equal sizes, which begin with a line of the cache."""
    return _lines(-(-size // max(1, -(-size // _SIZE))))


def _lines(size: int) -> int:
    return max(1, -(-size // LINE)) * LINE


class NumpyRule:
    """An update rule for NumPy's arrays of one dtype.

    Args:
        function: the rule; it takes the arrays of the rule, rows of scratch memory, and numbers.
        rows: the number of the rows that it takes.
        numbers: a function from the options to the numbers, or None for a rule of the options.
        size: that of the largest arrays.
        dtype: that of the arrays.
    """

    def __init__(
        self,
        function: Callable[..., None],
        rows: int,
        numbers: Callable[..., tuple[float, ...]] | None,
        size: int,
        dtype: Any,
    ) -> None:
        self.function = function
        room = _lines(min(size, _SIZE))  # a smaller array may have larger blocks
        self.rows: Array = empty_aligned((rows, room), dtype)
        self._numbers, self._dtype = numbers, dtype
        self._values: Array = None

    def set(self, *options: Any) -> None:
        """Set the options of the following updates."""
        if self._numbers is None:
            self.further: tuple[Any, ...] = options
            return
        values = self._numbers(*options)
        if self._values is None:  # NumPy takes arrays without axes faster than numbers
            self._values = np.empty(len(values), self._dtype)
            self.further = tuple(self._values[i, ...] for i in range(len(values)))
        self._values[:] = values


class Blocks:
    """Views of the arrays of an update, and of scratch memory, for each block.

    All but the few elements before the first line of the cache are in blocks that begin with one:
    writing a vector that crosses two lines takes twice the time, and more if another processor has
    read them, as in a product with the parameter.

    Args:
        rule: the rule of the update.
        parameter: the parameter, of one dimension.
        state: its state arrays, or None for each that is not kept; in the cache they should begin
            as far into a line as the parameter.
    """

    def __init__(self, rule: NumpyRule, parameter: Array, *state: Array) -> None:
        self.parameter, self._rule, self._parts = parameter, rule, []
        size, before = parameter.size, -address(parameter) % LINE // parameter.itemsize
        edges = [*([0] if before else []), *range(before, size, _step(size)), size]
        for start, stop in itertools.pairwise(edges):
            part = slice(start, stop)
            views = [a if a is None else a[part] for a in state]
            rows = rule.rows[:, : stop - start]
            self._parts.append((part, parameter[part], [*views, *rows]))

    def update(self, gradient: Array) -> None:
        """Update the parameter, with the options that the rule has."""
        function, further = self._rule.function, self._rule.further
        for part, parameter, others in self._parts:
            function(parameter, gradient[part], *others, *further)
