"""`gradcheck`: gradients of every order against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nn_tensor._grad import grad
from nn_tensor._modes import enable_grad, no_grad
from nn_tensor._tensor import Tensor
from nn_tensor.extend import describe
from nn_tensor.testing.assertions import flatten

__all__ = ["GradientError", "gradcheck"]

Function = Callable[..., Any]


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
    :math:`\langle J^T w, v \rangle` from a backward pass. For ``order=2`` the same is done with
    the gradient in place of the function, once more with respect to all inputs and to :math:`w`.

    Args:
        function: a function of as many Tensors as there are inputs, which returns a Tensor or a
            sequence of them, the same each time.
        inputs: arrays or Tensors. Floating ones are converted to float64 and checked; others are
            passed as they are. Within ``2 * step`` of them the function must be smooth.
        order: 1 for the gradient, 2 for the gradient of the gradient too, and so on.
        wrt: the positions of the inputs to check; by default every floating one.
        rtol: the allowed error relative to :math:`\sum_i |(J^T w)_i v_i|`, for the first order;
            ten times more for each further order.
        atol: the allowed absolute error, which grows likewise.
        step: the distance between the points of the difference.
        seed: the seed of directions and weights.

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
    positions = list(wrt)

    def checked(*arguments: Tensor) -> Any:
        given = dict(zip(positions, arguments, strict=True))
        return function(*(given.get(i, x) for i, x in enumerate(values)))

    points = [values[i] for i in positions]
    names = [f"input {i}" for i in positions]
    rng = np.random.default_rng(seed)
    for level in range(1, order + 1):
        scale = 10 ** (level - 1)
        weights = _check(checked, points, names, level, rtol * scale, atol * scale, step, rng)
        checked = _gradient_of(checked, len(points))
        points += weights
        names += [f"the gradient of output {i}" for i in range(len(weights))]


def _as_double(x: Any) -> Tensor:
    tensor = Tensor(x)
    return tensor.astype("float64").detach() if tensor.dtype.kind == "f" else tensor


def _outputs(function: Function, values: Sequence[Any]) -> list[Tensor]:
    """Return what the function computes, as a list of Tensors."""
    outputs = flatten(function(*values))
    for position, output in enumerate(outputs):
        if not isinstance(output, Tensor) or output.dtype.kind != "f":
            raise TypeError(
                f"function: output {position}: expected a floating Tensor, got {describe(output)}"
            )
    return outputs


def _weighted_sum(function: Function, values: Sequence[Any], weights: Sequence[Any]) -> Any:
    pairs = zip(_outputs(function, values), weights, strict=True)
    return sum((y * w).sum() for y, w in pairs)


def _gradients(
    function: Function, leaves: list[Any], weights: Sequence[Any], create_graph: bool
) -> list[Tensor]:
    """Return the gradient of the weighted outputs for each leaf; zeros where nothing depends."""
    total = _weighted_sum(function, leaves, weights)
    if total.requires_grad:
        return list(grad(total, leaves, create_graph=create_graph))
    return [(x * 0).detach() for x in leaves]


def _gradient_of(function: Function, count: int) -> Function:
    """Return the function of inputs and weights that computes the gradients for the inputs."""

    def gradient(*arguments: Tensor) -> list[Tensor]:
        record = any(x.requires_grad for x in arguments)
        inputs = [
            # a node of its own: the inner gradient ends here, the outer one continues from here
            x + 0 if record and x.requires_grad else Tensor(x, requires_grad=True)
            for x in arguments[:count]
        ]
        with enable_grad():
            return _gradients(function, inputs, arguments[count:], create_graph=record)

    return gradient


def _check(
    function: Function,
    points: list[Tensor],
    names: list[str],
    order: int,
    rtol: float,
    atol: float,
    step: float,
    rng: np.random.Generator,
) -> list[Tensor]:
    """Compare the gradient with respect to each point; return the weights of the outputs."""
    leaves = [Tensor(x, requires_grad=True) for x in points]
    outputs = _outputs(function, leaves)
    weights = [Tensor(rng.uniform(-1, 1, y.shape), device=y.device) for y in outputs]
    gradients = _gradients(function, leaves, weights, create_graph=False)
    for i, (name, x, gradient) in enumerate(zip(names, points, gradients, strict=True)):
        where = f"gradcheck: order {order}, {name} ({describe(x)})"
        if gradient.shape != x.shape or gradient.dtype != x.dtype:
            raise GradientError(f"{where}: the gradient is {describe(gradient)}")
        # no element near 0: the error of each has to show in the sum
        direction = rng.uniform(0.5, 1, x.shape) * rng.choice([-1.0, 1.0], x.shape)
        v = Tensor(direction, device=x.device)
        sums = []
        with no_grad():
            for t in (step, -step, 2 * step, -2 * step):
                moved = [*points[:i], x + v * t, *points[i + 1 :]]
                sums.append(float(_weighted_sum(function, moved, weights)))
        expected = (8 * (sums[0] - sums[1]) - (sums[2] - sums[3])) / (12 * step)
        products = gradient * v
        actual = float(products.sum())
        allowed = atol + rtol * float(products.abs().sum())
        if not abs(actual - expected) <= allowed:
            raise GradientError(
                f"{where}: the directional derivative is {expected:.12g} by finite differences "
                f"along a random direction, but {actual:.12g} by the gradient; they differ by "
                f"{abs(actual - expected):.2g}, allowed {allowed:.2g}"
            )
    return weights
