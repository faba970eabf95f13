"""An operation as functions of NumPy that it calls: for programs that are replayed or exported.

It is run on symbols. Each carries an array that was computed before, so shapes and dtypes are
NumPy's own, and the result is compared with the one that is known before it is believed. What
calls anything else stays as it is.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from nn_tensor._kernel import REFUSE
from nn_tensor._matrix_product import is_large_product, matrix_product
from nn_tensor._modes import modes

__all__ = ["Step", "numpy_steps"]

_HARMLESS = (bool, int, float, type(None), str, np.dtype, type)
_REDUCTIONS: dict[Any, np.ufunc] = {np.sum: np.add, np.max: np.maximum, np.min: np.minimum}
_NAMES = {ufunc: function.__name__ for function, ufunc in _REDUCTIONS.items()}
_VIEWS = (np.reshape, np.swapaxes, np.transpose)
_PLAIN_UFUNCS = (None, np.matmul.signature)


class Step(NamedTuple):
    """One call of a function of NumPy, ``result = function(*operands, **options)``.

    Attributes:
        function: a ufunc or its `reduce`, `numpy.dot`, `numpy.where`, or one that gives a view.
        operands: arrays, and numbers and other values.
        options: by name.
        result: an array: the operands of later steps are the results of earlier ones.
        label: the name of the function.
        is_view: whether it gives its first operand in another shape.
        out: the place among the operands of an array to write the result into, if it takes one.
    """

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    options: dict[str, Any]
    result: Any
    label: str
    is_view: bool = False
    out: int | None = None


class _Opaque(Exception):
    """Anything but a known function was called."""


def _same_bits(a: Any, b: Any) -> bool:
    layouts = [(x.shape, x.dtype, x.strides) for x in (a, b)]
    if layouts[0] != layouts[1]:
        return False
    if a.itemsize > 8:
        return bool(a.tobytes() == b.tobytes())
    integers = f"u{a.itemsize}"  # compared in a fraction of the time, without copies
    return bool((a.view(integers) == b.view(integers)).all())


def _product_of(x: Any, y: Any) -> tuple[Callable[..., Any], Any]:
    """Return the function by which operations multiply matrices of these sizes, and the result."""
    if is_large_product(x, y):
        # the compiled kernel of a product is the product
        return _large_product, _run_with("auto", matrix_product, x, y)
    result = np.matmul(x, y)
    # `dot` is without the overhead of a generalized ufunc, and the same where BLAS takes strides
    are_same = all(a.ndim == 2 and a.itemsize in a.strides for a in (x, y))
    return np.dot if are_same and _same_bits(np.dot(x, y), result) else np.matmul, result


def _large_product(x: Any, y: Any, out: Any = None) -> Any:
    """Return ``matrix_product(x, y, out=out)``; `out` is given by position, as to `dot`."""
    return matrix_product(x, y, None, out)


class _Symbol(NDArrayOperatorsMixin):
    """An array of the program, or the result of a step."""

    def __init__(self, array: Any, steps: list[Step]) -> None:
        self.array, self.steps = array, steps
        self.shape, self.dtype = array.shape, array.dtype
        self.ndim, self.size = array.ndim, array.size

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise _Opaque

    __array__ = __iter__ = __len__ = __bool__ = __float__ = __int__ = __index__ = _refuse
    __getitem__ = __setitem__ = __contains__ = _refuse

    def astype(self, dtype: Any, copy: bool = True) -> _Symbol:
        if copy or self.dtype != dtype:
            raise _Opaque
        return self

    @property
    def T(self) -> _Symbol:
        return self._step(attrgetter("T"), (self,), {}, "transpose", True)

    def _view(self, name: str, *options: Any) -> _Symbol:
        return self._step(methodcaller(name, *options), (self,), {}, name, True)

    reshape = functools.partialmethod(_view, "reshape")
    swapaxes = functools.partialmethod(_view, "swapaxes")
    transpose = functools.partialmethod(_view, "transpose")

    def copy(self) -> _Symbol:
        if not self.array.flags.c_contiguous:
            raise _Opaque
        return self._step(np.positive, (self,), {}, "copy")

    def sum(self, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> _Symbol:
        return self._reduced(np.add, self, axis, dtype, keepdims)

    def _reduced(
        self, ufunc: Any, x: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False
    ) -> _Symbol:
        operands, name = (x, axis, dtype, None, bool(keepdims)), _NAMES.get(ufunc, ufunc.__name__)
        return self._step(ufunc.reduce, operands, {}, name, out=3)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> _Symbol:
        out = options.pop("out", (None,))[0]
        if method == "reduce":
            if options.keys() - {"axis", "dtype", "keepdims"} or out is not None or len(inputs) > 1:
                raise _Opaque
            return self._reduced(ufunc, *inputs, **{"axis": 0, **options})
        if method != "__call__" or ufunc.nout != 1 or ufunc.signature not in _PLAIN_UFUNCS:
            raise _Opaque
        if options.keys() - {"dtype"}:
            raise _Opaque
        result = self._step(ufunc, inputs, options, ufunc.__name__)
        return result if out is None else self._replace(out, result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> _Symbol:
        if function in _VIEWS and isinstance(args[0], _Symbol) and not kwargs:
            return args[0]._view(function.__name__, *args[1:])
        if function in _REDUCTIONS and len(args) == 1:
            return self.__array_ufunc__(
                _REDUCTIONS[function], "reduce", *args, **{"axis": None, **kwargs}
            )
        if function is not np.where or kwargs or len(args) != 3:
            raise _Opaque
        return self._step(function, args, {}, "where")

    def _step(
        self,
        function: Any,
        operands: Any,
        options: Any,
        label: str,
        is_view: bool = False,
        out: int | None = None,
    ) -> _Symbol:
        given = (bool, int, float, np.generic, _Symbol)
        known = given if isinstance(function, np.ufunc) else (*given, type(None), tuple, np.dtype)
        if not all(isinstance(x, known) for x in operands):
            raise _Opaque
        arrays = [x.array if isinstance(x, _Symbol) else x for x in operands]
        with np.errstate(all="ignore"):
            if function is np.matmul and all(type(x) is np.ndarray for x in arrays):
                function, result = _product_of(*arrays)
            else:
                result = np.asarray(function(*arrays, **options))
        if isinstance(function, np.ufunc) or function in (np.dot, _large_product):
            out = len(operands)
        symbol = _Symbol(result, self.steps)
        self.steps.append(Step(function, operands, options, symbol, label, is_view, out))
        return symbol

    def _replace(self, out: _Symbol, result: _Symbol) -> _Symbol:
        """Write a result into a symbol: the steps before have had another one."""
        made = [step for step in self.steps if step.result is out]
        viewed = any(step.is_view and step.operands[0] is out for step in self.steps)
        layouts = [(x.shape, x.dtype) for x in (out, result)]
        if not made or viewed or made[0].is_view or layouts[0] != layouts[1]:
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


def numpy_steps(
    function: Any, arguments: Sequence[Any], options: dict[str, Any], result: Any
) -> list[Step]:
    """Return the steps by which a function has computed `result`, none if they are not known.

    Args:
        function: one that an `Observer` was told of: the forward of an operation, a backward rule.
        arguments: arrays and other values.
        options: by name.
        result: an array. The one of the last step has the same bits.

    >>> import numpy as np
    >>> from nn_tensor.extend import numpy_steps
    >>> x = np.array([1.0, 2.0])
    >>> def forward(xp, x):
    ...     return xp.exp(x) * 2
    >>> [step.label for step in numpy_steps(forward, (np, x), {}, forward(np, x))]
    ['exp', 'multiply']
    """
    steps: list[Step] = []
    given: list[Any] = []
    for x in (*arguments, *options.values()):
        if type(x) is np.ndarray:
            given.append(_Symbol(x, steps))
        elif x is np or isinstance(x, _HARMLESS) or _is_shape(x):
            given.append(x)
        else:
            return []  # a generator, which would be drawn from, or a list, which would be filled
    if not any(isinstance(x, _Symbol) for x in given) or not hasattr(result, "dtype"):
        return []
    count = len(arguments)
    named = dict(zip(options, given[count:], strict=True))
    # compiled kernels may differ from the steps at NaN or -0
    kernels = REFUSE if modes.kernels == "auto" else modes.kernels
    try:
        symbol = _run_with(kernels, function, *given[:count], **named)
    except Exception:  # whatever a function raises that is given something it does not know
        return []
    if not isinstance(symbol, _Symbol) or not steps or symbol is not steps[-1].result:
        return []
    if not _same_bits(symbol.array, np.asarray(result)):
        return []
    return [
        step._replace(operands=tuple(map(_array, step.operands)), result=step.result.array)
        for step in steps
    ]


def _run_with(kernels: str, function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a function with a choice of kernels; a `with` block may stay in force after Ctrl-C."""
    before = modes.kernels
    try:
        modes.kernels = kernels
        return function(*arguments, **options)
    finally:
        modes.kernels = before


def _array(x: Any) -> Any:
    return x.array if isinstance(x, _Symbol) else x


def _is_shape(x: Any) -> bool:
    return type(x) is tuple and all(type(n) is int for n in x)
