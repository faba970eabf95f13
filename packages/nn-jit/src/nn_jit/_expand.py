"""Runs an operation on symbols, to see which of NumPy's elementwise functions it calls.

Each symbol carries the array that was recorded, so shapes and dtypes are NumPy's own, and the
result is compared with the recorded one before it is believed. What calls anything else stays as
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from nn_tensor.extend import refuse_compiled_kernels
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Step", "Symbol", "expand"]

Step = tuple[Callable[..., Any], tuple[Any, ...], Any]  # a function, operands, and the result

_HARMLESS = (bool, int, float, type(None), str, np.dtype, type)


class _Opaque(Exception):
    """Anything but an elementwise function was called."""


class Symbol(NDArrayOperatorsMixin):
    """An array of the program, or the result of a step."""

    def __init__(self, array: Any, steps: list[Step]) -> None:
        self.array, self.steps = array, steps
        self.shape, self.dtype = array.shape, array.dtype
        self.ndim, self.size = array.ndim, array.size

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise _Opaque

    __array__ = __iter__ = __len__ = __bool__ = __float__ = __int__ = __index__ = _refuse
    __getitem__ = __setitem__ = __contains__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = _refuse

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        if copy or self.dtype != dtype:
            raise _Opaque
        return self

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Symbol:
        if method != "__call__" or options or ufunc.nout != 1 or ufunc.signature is not None:
            raise _Opaque
        return self._step(ufunc, inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Symbol:
        if function is not np.where or kwargs or len(args) != 3:
            raise _Opaque
        return self._step(function, args)

    def _step(self, function: Any, operands: tuple[Any, ...]) -> Symbol:
        if any(not isinstance(x, (Symbol, bool, int, float, np.generic)) for x in operands):
            raise _Opaque
        with np.errstate(all="ignore"):
            result = function(*(x.array if isinstance(x, Symbol) else x for x in operands))
        symbol = Symbol(np.asarray(result), self.steps)
        self.steps.append((function, operands, symbol))
        return symbol


def expand(
    function: Any, arguments: Sequence[Any], options: dict[str, Any], result: Any
) -> list[Step]:
    """Return the steps by which a function computes `result`, none if it is not elementwise.

    The operands are Symbols and numbers; those of arguments have `Symbol.array` among `arguments`.
    """
    if type(result) is not np.ndarray:
        return []
    steps: list[Step] = []
    given: list[Any] = []
    for x in (*arguments, *options.values()):
        if type(x) is np.ndarray:
            given.append(Symbol(x, steps))
        elif x is np or isinstance(x, _HARMLESS):
            given.append(x)
        else:
            return []  # a generator, which would be drawn from, or a list, which would be filled
    if not any(isinstance(x, Symbol) for x in given):
        return []
    count = len(arguments)
    named = dict(zip(options, given[count:], strict=True))
    try:
        with refuse_compiled_kernels():  # which may differ from the steps at NaN or -0
            symbol = function(*given[:count], **named)
    except Exception:  # whatever a function raises that is given something it does not know
        return []
    if not isinstance(symbol, Symbol) or not steps or symbol is not steps[-1][2]:
        return []
    found = symbol.array
    if found.shape != result.shape or found.dtype != result.dtype:
        return []
    if found.strides != result.strides or found.tobytes() != result.tobytes():
        return []
    return steps
