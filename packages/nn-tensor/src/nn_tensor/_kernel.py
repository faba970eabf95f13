"""Kernels: one computation with up to three implementations, chosen in one place.

The *reference* is a function of an array module and arrays that runs everywhere and says what the
others must compute. A *cpu* implementation is a plain function in numba's subset of Python,
compiled when it is first needed and only where the ``fast`` extra is installed. A *cuda*
implementation is a function of CuPy and arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from nn_tensor._device import device_scope, is_array
from nn_tensor._modes import Switch, modes

__all__ = [
    "REFUSE",
    "Kernel",
    "compile_parts",
    "compiled_kernels_run",
    "kernel",
    "refuse_compiled_kernels",
    "refuses_compiled_kernels",
    "use_kernels",
]

_CHOICES = ("auto", "reference")
REFUSE = "refuse"


@functools.cache
def _has_kernels() -> bool:
    try:
        import nn_kernels  # noqa: F401
    except ImportError:  # missing, or numba is, or it is too old for this NumPy
        return False
    return True


def _prepare(implementation: Callable[..., Any] | str, reassociate: bool) -> Callable[..., Any]:
    """Return a compiled function: one that is named has been written for nn-kernels."""
    import nn_kernels

    if isinstance(implementation, str):
        return nn_kernels.find(implementation)
    compiled: Callable[..., Any] = nn_kernels.compile_function(implementation, reassociate)
    return compiled


def _compilable(arguments: tuple[Any, ...]) -> bool:
    """Return whether numba knows the types: it has neither long doubles nor half precision."""
    for x in arguments:  # a generator takes twice the time
        if isinstance(x, np.ndarray) and x.dtype.itemsize not in (1, 4, 8):
            return False
    return True


def compile_parts(source: str) -> Callable[[Sequence[Any]], Callable[[int, int], None]] | None:
    """Return a function that binds a compiled job to its arguments, or None without numba.

    The text is a module's, in numba's subset of Python, with ``run(arguments, part, thread)``: a
    pointer to 64-bit integers, the number of the part, and that of a thread. The function is given
    integers and contiguous arrays; the job finds the integers, and the addresses of the arrays,
    from ``arguments[2]`` on. What it returns runs the job, by several threads if it is long: it is
    called with the number of parts, and with the nanoseconds that one thread needs for all of them,
    roughly. The elements at an address are ``integers(address)[n]``, or those of ``floats`` and
    ``doubles``. The text makes no arrays.

    >>> import numpy as np
    >>> from nn_tensor.extend import compile_parts
    >>> bind = compile_parts("def run(a, part, thread):\\n    floats(a[2])[part] *= 2\\n")
    >>> x = np.ones(2, np.float32)
    >>> if bind is not None:
    ...     bind((x,))(2, 100)
    """
    if modes.kernels != "auto" or not _has_kernels():
        return None
    import nn_kernels

    return nn_kernels.compile_parts(source)


class Kernel:
    """A function of arrays with a reference and faster implementations (numba, CUDA)."""

    def __init__(self, reference: Callable[..., Any]) -> None:
        functools.update_wrapper(self, reference)
        self.reference = reference
        self.cpu_implementation: Callable[..., Any] | str | None = None
        self.cuda_implementation: Callable[..., Any] | None = None
        self._compiled: Callable[..., Any] | None = None
        self._reassociate = False
        self._steps: Callable[..., Any] | None = None

    def cpu(self, function: Any = None, *, reassociate: bool = False) -> Any:
        """Declare the decorated function, called without `xp`, as the numba implementation.

        Args:
            function: a function in numba's subset of Python; or the name of an implementation in
                nn-kernels, as ``conv2d_forward.cpu("conv2d")``, which may return NotImplemented for
                arguments that it leaves to the reference.
            reassociate: whether sums may be added up in another order, several at a time, as
                ``@kernel.cpu(reassociate=True)``: a sum over a row is then many times as fast. NaN
                and infinity stay what they are.
        """
        if function is None:
            return functools.partial(self.cpu, reassociate=reassociate)
        self.cpu_implementation = function
        self._reassociate = reassociate
        return function

    def cuda(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the decorated function, called with CuPy as `xp`, as the CUDA implementation."""
        self.cuda_implementation = function
        return function

    def steps(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare the decorated function as elementwise steps that give the bits of the others.

        It is what runs inside `refuse_compiled_kernels`, where the steps are looked at.
        """
        self._steps = function
        return function

    def __call__(self, xp: Any, *arguments: Any) -> Any:
        """Run the best implementation for `xp`, or the reference where `use_kernels` says so."""
        if modes.kernels == "auto":
            if xp is not np:
                if self.cuda_implementation is not None:
                    with device_scope(next(filter(is_array, arguments), None)):
                        return self.cuda_implementation(xp, *arguments)
            elif self.cpu_implementation is not None and _has_kernels() and _compilable(arguments):
                if self._compiled is None:
                    self._compiled = _prepare(self.cpu_implementation, self._reassociate)
                result = self._compiled(*arguments)
                if result is not NotImplemented:
                    return result
        elif modes.kernels == REFUSE and _has_kernels():
            if self._steps is not None:
                return self._steps(xp, *arguments)
            if self.cpu_implementation is not None:
                raise TypeError("a compiled kernel has no elementwise steps")
        return self.reference(xp, *arguments)


def kernel(reference: Callable[..., Any]) -> Kernel:
    """Declare the decorated function, ``f(xp, *arguments)``, as the reference of a `Kernel`.

    >>> from nn_tensor.extend import kernel
    >>> import numpy as np
    >>> @kernel
    ... def axpy(xp, a, x, y):
    ...     return a * x + y
    >>> @axpy.cuda
    ... def _(cp, a, x, y):
    ...     return cp.ElementwiseKernel("T a, T x, T y", "T z", "z = a * x + y", "axpy")(a, x, y)
    >>> axpy(np, 2.0, np.ones(2), np.ones(2))
    array([3., 3.])
    """
    return Kernel(reference)


class refuse_compiled_kernels(Switch):  # noqa: N801
    """Raise TypeError where a compiled implementation would run in this thread.

    For functions that are run on symbols in place of arrays, to see what they call.

    >>> from nn_tensor import use_kernels
    >>> from nn_tensor.extend import refuse_compiled_kernels
    >>> with refuse_compiled_kernels():
    ...     pass
    """

    _mode = "kernels"
    _value = REFUSE

    def __enter__(self) -> None:
        modes.saved.append(("kernels", modes.kernels))
        if modes.kernels == "auto":
            modes.kernels = REFUSE


def refuses_compiled_kernels() -> bool:
    """Return whether this thread is inside `refuse_compiled_kernels`, and looks at symbols."""
    return bool(modes.kernels == REFUSE)


def compiled_kernels_run() -> bool:
    """Return whether compiled kernels are there, and `use_kernels` lets them run in this thread.

    >>> from nn_tensor import use_kernels
    >>> from nn_tensor.extend import compiled_kernels_run
    >>> with use_kernels("reference"):
    ...     compiled_kernels_run()
    False
    """
    return modes.kernels != "reference" and _has_kernels()


class use_kernels(Switch):  # noqa: N801 - a context manager, as no_grad
    """Choose the implementation that kernels run in this thread: ``"auto"`` or ``"reference"``.

    Raises:
        ValueError: if it is neither.

    >>> from nn_tensor import Tensor, erf, use_kernels
    >>> with use_kernels("reference"):
    ...     y = erf(Tensor([0.0]))
    """

    _mode = "kernels"

    def __init__(self, choice: Literal["auto", "reference"]) -> None:
        if choice not in _CHOICES:
            raise ValueError(f"choice: expected one of {_CHOICES}, got {choice!r}")
        self._value = choice
