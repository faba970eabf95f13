"""Checks for code that computes with Tensors: gradients against differences, values against values.

Both raise an `AssertionError` that says what was expected and what came, so they serve in tests::

    from nn_tensor.testing import assert_close, gradcheck

    gradcheck(my_operation, [np.random.default_rng(0).normal(size=(3, 4))], order=2)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nn_tensor import Tensor, enable_grad, grad, no_grad
from nn_tensor._errors import describe

__all__ = ["GradientError", "assert_close", "gradcheck"]

Function = Callable[..., Any]

# Relative and absolute tolerance for values that were computed in each type: some ten units in
# the last place, which is what a short chain of well-conditioned operations may lose.
_TOLERANCES = {
    np.dtype(np.float16): (5e-3, 5e-4),
    np.dtype(np.float32): (2e-6, 1e-6),
    np.dtype(np.float64): (1e-12, 1e-13),
}


class GradientError(AssertionError):
    """A gradient differs from the finite difference of the function."""


def gradcheck(
    function: Function,
    inputs: Sequence[Any],
    order: int = 1,
    *,
    wrt: Sequence[int] | None = None,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    step: float = 1e-3,
    seed: int = 0,
) -> None:
    r"""Compare the gradients of `function` with finite differences, in float64.

    For each input a random direction :math:`v` and for the result a random weight :math:`w` is
    drawn. Then :math:`\frac{d}{dt} \langle w, f(x + t v) \rangle` at 0 is taken once as a central
    difference of fourth order, from four calls of `function`, and once as
    :math:`\langle J^T w, v \rangle` from a backward walk. For ``order=2`` the same is done with
    the gradient in place of the function, once more with respect to all inputs and to :math:`w`.

    Args:
        function: takes as many Tensors as there are inputs, returns a Tensor or a sequence of
            them, and computes the same each time.
        inputs: arrays or Tensors. Floating ones are converted to float64 and checked; others are
            passed as they are. Within ``2 * step`` of them the function must be smooth.
        order: 1 for the gradient, 2 for the gradient of the gradient too, and so on.
        wrt: the positions of the inputs to check; by default every floating one.
        rtol: the allowed error relative to :math:`\sum_i |(J^T w)_i v_i|`, for the first order;
            ten times more for each further order.
        atol: the allowed absolute error, which grows likewise.
        step: the distance between the points of the difference.
        seed: of directions and weights.

    Raises:
        GradientError: if the two differ, with the position of the input and both numbers.
        TypeError: if an input to check, or a result, is not floating.
        ValueError: if `order` is not at least 1, or no input is floating.

    >>> import numpy as np
    >>> from nn_tensor import tanh
    >>> gradcheck(lambda x, y: tanh(x @ y), [np.ones((2, 3)), np.ones((3, 1))], order=2)
    """
    if order < 1:
        raise ValueError(f"order: expected at least 1, got {order}")
    values = [_as_double(x) for x in inputs]
    if wrt is None:
        wrt = [i for i, x in enumerate(values) if x.dtype.kind == "f"]
        if not wrt:
            raise ValueError(f"inputs: none is floating, got {[describe(x) for x in values]}")
    for position in wrt:
        if values[position].dtype.kind != "f":
            raise TypeError(f"inputs[{position}]: not floating, got {describe(inputs[position])}")
    names = [f"input {i}" for i in range(len(values))]
    rng = np.random.default_rng(seed)
    for level in range(1, order + 1):
        _check(function, values, list(wrt), names, level, (rtol, atol), step, rng)
        if level < order:
            weights = _weights(_outputs(function, values), rng)
            function = _gradient_of(function, len(values), list(wrt))
            wrt = [*wrt, *range(len(values), len(values) + len(weights))]
            names += [f"the gradient of output {i}" for i in range(len(weights))]
            values += weights
            rtol, atol = rtol * 10, atol * 10


def _as_double(x: Any) -> Tensor:
    tensor = Tensor(x)
    return tensor.astype("float64").detach() if tensor.dtype.kind == "f" else tensor


def _outputs(function: Function, values: Sequence[Any]) -> list[Tensor]:
    """Return what the function computes, as a list of Tensors."""
    result = function(*values)
    outputs = list(result) if isinstance(result, (list, tuple)) else [result]
    for position, output in enumerate(outputs):
        if not isinstance(output, Tensor) or output.dtype.kind != "f":
            raise TypeError(
                f"function: output {position}: expected a floating Tensor, got {describe(output)}"
            )
    return outputs


def _weights(outputs: Sequence[Tensor], rng: np.random.Generator) -> list[Tensor]:
    return [Tensor(rng.uniform(-1, 1, y.shape), device=y.device) for y in outputs]


def _check(
    function: Function,
    values: list[Tensor],
    wrt: list[int],
    names: list[str],
    order: int,
    tolerances: tuple[float, float],
    step: float,
    rng: np.random.Generator,
) -> None:
    leaves = [Tensor(x, requires_grad=i in wrt) for i, x in enumerate(values)]
    outputs = _outputs(function, leaves)
    weights = _weights(outputs, rng)
    gradients = _gradients(outputs, [leaves[i] for i in wrt], weights, create_graph=False)
    for position, gradient in zip(wrt, gradients, strict=True):
        x = values[position]
        if gradient.shape != x.shape or gradient.dtype != x.dtype:
            raise GradientError(
                f"gradcheck: order {order}, {names[position]}: the gradient is "
                f"{describe(gradient)}, expected {describe(x)}"
            )
        # no element near 0, so that each has its say
        direction = rng.uniform(0.5, 1, x.shape) * rng.choice([-1.0, 1.0], x.shape)
        v = Tensor(direction, device=x.device)

        def along(t: float, position: int = position, x: Tensor = x, v: Tensor = v) -> float:
            moved = [*values[:position], x + v * t, *values[position + 1 :]]
            with no_grad():
                results = _outputs(function, moved)
            return sum(float((w * y).sum()) for w, y in zip(weights, results, strict=True))

        near, far = along(step) - along(-step), along(2 * step) - along(-2 * step)
        expected = (8 * near - far) / (12 * step)
        products = gradient * v
        actual = float(products.sum())
        allowed = tolerances[1] + tolerances[0] * float(products.abs().sum())
        if not abs(actual - expected) <= allowed:
            raise GradientError(
                f"gradcheck: order {order}, {names[position]} ({describe(x)}): the slope along a "
                f"random direction is {expected:.12g} by finite differences, but {actual:.12g} by "
                f"the gradient; they differ by {abs(actual - expected):.2g}, allowed {allowed:.2g}"
            )


def _gradients(
    outputs: list[Tensor], leaves: list[Tensor], weights: Sequence[Tensor], create_graph: bool
) -> list[Tensor]:
    """Return the gradient of the weighted outputs for each leaf; zeros where nothing depends."""
    recorded = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    if not recorded:
        return [x * 0 for x in leaves] if create_graph else [(x * 0).detach() for x in leaves]
    ys, ws = zip(*recorded, strict=True)
    return list(grad(ys, leaves, ws, create_graph=create_graph))


def _gradient_of(function: Function, count: int, wrt: list[int]) -> Function:
    """Return the function of inputs and weights that computes the gradients for `wrt`."""

    def gradient(*arguments: Tensor) -> list[Tensor]:
        record = any(x.requires_grad for x in arguments)
        inputs = [
            # a view of its own: the walk has to end here, and go on from here when differentiated
            (x + 0 if record and x.requires_grad else Tensor(x, requires_grad=True))
            if i in wrt
            else x
            for i, x in enumerate(arguments[:count])
        ]
        with enable_grad():
            outputs = _outputs(function, inputs)
        chosen = [inputs[i] for i in wrt]
        return _gradients(outputs, chosen, arguments[count:], create_graph=record)

    return gradient


def assert_close(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    *,
    name: str = "values",
    check_dtype: bool = True,
) -> None:
    """Raise unless two Tensors or arrays have the same shape, dtype and (nearly) the same values.

    NaN equals NaN, and an infinity itself. Integers and booleans must be equal.

    Args:
        actual: a Tensor, an array, or anything that NumPy makes an array of.
        expected: likewise.
        rtol: the allowed error relative to `expected`; by default, as `atol`, that of the less
            precise of both types: 5e-3 for float16, 2e-6 for float32 and 1e-12 for float64.
        atol: the allowed absolute error; by default 5e-4, 1e-6 and 1e-13.
        name: what the message calls the values.
        check_dtype: whether the types must be equal; those of Python numbers never are compared.

    Raises:
        AssertionError: if they differ; the message says where, and by how much.

    >>> from nn_tensor import Tensor
    >>> assert_close(Tensor([1.0, 2.0]) / 3, [1 / 3, 2 / 3])
    """
    typed = check_dtype and hasattr(actual, "dtype") and hasattr(expected, "dtype")
    a, b = _on_host(actual), _on_host(expected)
    if a.shape != b.shape:
        raise AssertionError(f"{name}: shape {a.shape}, expected {b.shape}")
    if typed and a.dtype != b.dtype:
        raise AssertionError(f"{name}: dtype {a.dtype}, expected {b.dtype}")
    defaults = [_TOLERANCES.get(x.dtype, (0.0, 0.0)) for x in (a, b)]
    if not hasattr(expected, "dtype"):
        defaults = defaults[:1]
    rtol = max(pair[0] for pair in defaults) if rtol is None else rtol
    atol = max(pair[1] for pair in defaults) if atol is None else atol
    wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    exact = a.dtype.kind in "biu" and b.dtype.kind in "biu" and not (rtol or atol)
    if not exact:
        a, b = a.astype(wide), b.astype(wide)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(a == b, 0, np.abs(a - b) if not exact else 1)
        allowed = atol + rtol * np.abs(b) if not exact else np.zeros(b.shape)
        wrong = ~((error <= allowed) & (np.isfinite(b) | (a == b)))
        wrong &= ~(np.isnan(a) & np.isnan(b))
        worst = np.where(wrong, np.nan_to_num(error - allowed, nan=np.inf), -np.inf)
    if wrong.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(worst)), a.shape))
        raise AssertionError(
            f"{name}: {int(wrong.sum())} of {wrong.size} elements differ; at {place} {a[place]!s}, "
            f"expected {b[place]!s} with an error of at most {float(allowed[place]):.2g}"
        )


def _on_host(value: Any) -> np.ndarray[Any, Any]:
    if not hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.asarray(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    return value.numpy() if isinstance(value, Tensor) else np.asarray(_host_array(value))


def _host_array(value: Any) -> Any:
    return value.get() if hasattr(value, "get") else value
