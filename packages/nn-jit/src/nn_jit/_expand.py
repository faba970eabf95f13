"""Runs an operation on symbols, to see which of NumPy's functions it calls.

Each symbol carries the array that was recorded, so shapes and dtypes are NumPy's own, and the
result is compared with the recorded one before it is believed. What calls anything else stays as
it is.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple, NoReturn

import numpy as np
from nn_tensor import use_kernels
from nn_tensor.extend import is_large_product, matrix_product, refuse_compiled_kernels
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Step", "Symbol", "expand", "is_view", "large_product"]

_HARMLESS = (bool, int, float, type(None), str, np.dtype, type)
_REDUCTIONS: dict[Any, np.ufunc] = {np.sum: np.add, np.max: np.maximum, np.min: np.minimum}
_NAMES = {ufunc: function.__name__ for function, ufunc in _REDUCTIONS.items()}
_VIEWS = (np.reshape, np.swapaxes, np.transpose)
_PLAIN_UFUNCS = (None, np.matmul.signature)


class Step(NamedTuple):
    """One call of a function of NumPy."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]  # Symbols and numbers
    options: dict[str, Any]
    result: Any  # a Symbol
    label: str


class _Opaque(Exception):
    """Anything but a known function was called."""


def is_view(function: Any) -> bool:
    """Return whether a function of a step gives its operand in another shape."""
    return isinstance(function, (attrgetter, methodcaller))


def _same_bits(a: Any, b: Any) -> bool:
    layouts = [(x.shape, x.dtype, x.strides) for x in (a, b)]
    return layouts[0] == layouts[1] and a.tobytes() == b.tobytes()


def _product_of(x: Any, y: Any) -> tuple[Callable[..., Any], Any]:
    """Return the function by which operations multiply matrices of these sizes, and the result."""
    if is_large_product(x, y):
        with use_kernels("auto"):  # the compiled kernel of a product is the product
            return large_product, matrix_product(x, y)
    result = np.matmul(x, y)
    # `dot` is without the overhead of a generalized ufunc
    is_same = x.ndim == y.ndim == 2 and _same_bits(np.dot(x, y), result)
    return np.dot if is_same else np.matmul, result


def large_product(x: Any, y: Any, out: Any = None) -> Any:
    """Return ``matrix_product(x, y, out=out)``; `out` is given by position, as to `dot`."""
    return matrix_product(x, y, None, out)


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

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        if copy or self.dtype != dtype:
            raise _Opaque
        return self

    @property
    def T(self) -> Symbol:
        return self._step(attrgetter("T"), (self,), {}, "transpose")

    def _view(self, name: str, *options: Any) -> Symbol:
        return self._step(methodcaller(name, *options), (self,), {}, name)

    reshape = functools.partialmethod(_view, "reshape")
    swapaxes = functools.partialmethod(_view, "swapaxes")
    transpose = functools.partialmethod(_view, "transpose")

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Symbol:
        return self._step(np.add.reduce, (self, axis, dtype, None, keepdims), {}, "sum")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Symbol:
        out = options.pop("out", (None,))[0]
        if method == "reduce":
            axis, dtype = options.pop("axis", 0), options.pop("dtype", None)
            operands = (*inputs, axis, dtype, None, bool(options.pop("keepdims", False)))
            if options or out is not None or len(operands) != 5:
                raise _Opaque
            return self._step(ufunc.reduce, operands, {}, _NAMES.get(ufunc, ufunc.__name__))
        if method != "__call__" or ufunc.nout != 1 or ufunc.signature not in _PLAIN_UFUNCS:
            raise _Opaque
        if options.keys() - {"dtype"}:
            raise _Opaque
        result = self._step(ufunc, inputs, options, ufunc.__name__)
        return result if out is None else self._replace(out, result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Symbol:
        if function in _VIEWS and isinstance(args[0], Symbol) and not kwargs:
            return args[0]._view(function.__name__, *args[1:])
        if function in _REDUCTIONS and len(args) == 1:
            return self.__array_ufunc__(
                _REDUCTIONS[function], "reduce", *args, **{"axis": None, **kwargs}
            )
        if function is not np.where or kwargs or len(args) != 3:
            raise _Opaque
        return self._step(function, args, {}, "where")

    def _step(self, function: Any, operands: Any, options: dict[str, Any], label: str) -> Symbol:
        given = (bool, int, float, np.generic, Symbol)
        known = given if isinstance(function, np.ufunc) else (*given, type(None), tuple, np.dtype)
        if not all(isinstance(x, known) for x in operands):
            raise _Opaque
        arrays = [x.array if isinstance(x, Symbol) else x for x in operands]
        with np.errstate(all="ignore"):
            if function is np.matmul and all(type(x) is np.ndarray for x in arrays):
                function, result = _product_of(*arrays)
            else:
                result = np.asarray(function(*arrays, **options))
        symbol = Symbol(result, self.steps)
        self.steps.append(Step(function, operands, options, symbol, label))
        return symbol

    def _replace(self, out: Symbol, result: Symbol) -> Symbol:
        """Write a result into a symbol: the steps before have had another one."""
        made = [step for step in self.steps if step.result is out]
        viewed = any(is_view(f) and any(x is out for x in given) for f, given, *_ in self.steps)
        layouts = [(x.shape, x.dtype) for x in (out, result)]
        if not made or viewed or is_view(made[0].function) or layouts[0] != layouts[1]:
            raise _Opaque
        old = copy.copy(out)
        for n, step in enumerate(self.steps):
            operands = tuple(old if x is out else x for x in step.operands)
            results = {id(out): old, id(result): out}
            self.steps[n] = step._replace(
                operands=operands, result=results.get(id(step.result), step.result)
            )
        out.array = result.array
        return out


def expand(
    function: Any, arguments: Sequence[Any], options: dict[str, Any], result: Any
) -> list[Step]:
    """Return the steps by which a function computes `result`, none if they are not known.

    The operands are Symbols and numbers; those of arguments have `Symbol.array` among `arguments`.
    """
    steps: list[Step] = []
    given: list[Any] = []
    for x in (*arguments, *options.values()):
        if type(x) is np.ndarray:
            given.append(Symbol(x, steps))
        elif x is np or isinstance(x, _HARMLESS) or _is_shape(x):
            given.append(x)
        else:
            return []  # a generator, which would be drawn from, or a list, which would be filled
    if not any(isinstance(x, Symbol) for x in given) or not hasattr(result, "dtype"):
        return []
    count = len(arguments)
    named = dict(zip(options, given[count:], strict=True))
    try:
        with refuse_compiled_kernels():  # which may differ from the steps at NaN or -0
            symbol = function(*given[:count], **named)
    except Exception:  # whatever a function raises that is given something it does not know
        return []
    if not isinstance(symbol, Symbol) or not steps or symbol is not steps[-1].result:
        return []
    return steps if _same_bits(symbol.array, np.asarray(result)) else []


def _is_shape(x: Any) -> bool:
    return type(x) is tuple and all(type(n) is int for n in x)
