"""Mixed precision: casts of inputs to half precision, or to float32, as each operation asks for."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args

import numpy as np

from nn_tensor._device import is_array
from nn_tensor._dtype import DEFAULT_FLOAT, accumulation_dtype, is_floating, parse_dtype
from nn_tensor._errors import describe
from nn_tensor._graph import Variable
from nn_tensor._modes import AUTOCAST, Switch, modes
from nn_tensor._versions import versions

__all__ = [
    "Precision",
    "autocast",
    "cast_inputs",
    "is_autocast_dtype",
    "parse_precision",
    "use_cast",
]

T = TypeVar("T")
Precision = Literal["low", "full", "same"]


class autocast(Switch):  # noqa: N801 - a context manager, as no_grad
    """Compute in mixed precision in this thread, as a context manager or a decorator.

    Operations on Tensors cast their float32 and half-precision inputs: matrix products,
    convolutions and recurrent layers to `dtype`; exponentials, logarithms, powers, sums, softmax,
    normalization and losses to float32. All other operations leave their inputs as they are, and
    promote them by NumPy's rules. Parameters stay float32, and so do their gradients. The cast of a
    parameter is cached until the parameter changes or the outermost block ends. Float64 Tensors and
    plain arrays are not cast.

    The backward pass computes in the dtypes of the forward pass, inside the block or outside. Small
    gradients underflow in float16: see `nn_optim.LossScaler`. On the CPU half precision saves no
    time; there it is for tests.

    Args:
        dtype: a half-precision dtype, ``'float16'``, or on CUDA ``'bfloat16'``, which has the
            range of float32 and needs no `LossScaler`; ml_dtypes has to be installed for it.
        enabled: False to switch mixed precision off inside a block.

    Raises:
        TypeError: if `dtype` is not a dtype, or `enabled` not a boolean.
        ValueError: if `dtype` is not a half-precision dtype.

    >>> from nn_tensor import Tensor, autocast
    >>> x = Tensor([[1.0, 2.0]], requires_grad=True)
    >>> with autocast("float16"):
    ...     y = x @ x.T
    ...     z = y.sum()
    >>> y.dtype, z.dtype
    (dtype('float16'), dtype('float32'))
    >>> z.backward()
    >>> x.grad
    Tensor([[2., 4.]])
    """

    def __init__(self, dtype: Any = "float16", *, enabled: bool = True) -> None:
        self.dtype = parse_dtype(dtype)
        if accumulation_dtype(self.dtype) is None:
            raise ValueError(
                f"dtype: expected a half-precision dtype, 'float16' or 'bfloat16', got {dtype!r}"
            )
        if not isinstance(enabled, bool):
            raise TypeError(f"enabled: expected True or False, got {describe(enabled)}")
        self.enabled = enabled

    def __enter__(self) -> None:
        modes.saved.append(("autocast", modes.autocast))
        modes.saved.append(("call", modes.call))
        if not self.enabled:
            modes.call &= ~AUTOCAST
            return
        if modes.autocast is None or modes.autocast.dtype != self.dtype:
            modes.autocast = _Casts(self.dtype)
        modes.call |= AUTOCAST

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        super().__exit__(*exception)


_operation: Any = None  # that casts and records: declared in a module that needs this one


def use_cast(operation: T) -> T:
    """Make the decorated operation the one that casts."""
    global _operation
    _operation = operation
    return operation


class _Casts:
    """The dtype of a block, and the parameters that have been cast in it."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        # by identity: the parameter, its array, the version counter, and the array in the dtype
        self.kept: dict[int, tuple[Variable, Any, int, Any]] = {}

    def cast(self, x: Any, dtype: np.dtype[Any]) -> Any:
        """Return a floating Tensor or array in `dtype`."""
        if x.dtype == dtype:
            return x
        if not isinstance(x, Variable):
            return x.astype(dtype)
        if x._node is not None or not x._requires_grad or dtype != self.dtype:
            return _operation(x, dtype)
        # Each use is recorded by itself, so that every loss can be differentiated on its own.
        kept = None
        if id(x) in self.kept:
            parameter, array, version, kept = self.kept[id(x)]
            if parameter is not x or array is not x._data or versions.changed_since(version, array):
                kept = None
        version = versions.current
        result = _operation(x, dtype, kept)
        if kept is None:
            self.kept[id(x)] = x, x._data, version, result._data
        return result


def parse_precision(name: str, precision: Precision) -> Precision:
    """Return the `precision` of the operation `name`, or raise."""
    if precision not in get_args(Precision):
        expected = f"expected one of {get_args(Precision)}, got {precision!r}"
        raise ValueError(f"op {name}: precision: {expected}")
    return precision


def cast_inputs(precision: Precision, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the inputs of an operation in the dtype that its precision asks for."""
    if precision == "same" or not any(isinstance(x, Variable) for x in inputs):
        return inputs
    floats = [
        x for x in inputs if (isinstance(x, Variable) or is_array(x)) and is_floating(x.dtype)
    ]
    if any(x.dtype.itemsize > 4 for x in floats):
        return inputs
    casts = modes.autocast
    dtype = casts.dtype if precision == "low" else DEFAULT_FLOAT
    chosen = {id(x) for x in floats}
    return tuple(casts.cast(x, dtype) if id(x) in chosen else x for x in inputs)


def is_autocast_dtype(dtype: Any) -> bool:
    """Return whether `dtype` is the half-precision dtype of `nn_tensor.autocast` in this thread.

    A layer leaves such input as it is: its operations cast the parameters.

    >>> import numpy as np
    >>> from nn_tensor import autocast
    >>> from nn_tensor.extend import is_autocast_dtype
    >>> with autocast("float16"):
    ...     is_autocast_dtype(np.dtype("float16"))
    True
    """
    return modes.call & AUTOCAST != 0 and dtype == modes.autocast.dtype
