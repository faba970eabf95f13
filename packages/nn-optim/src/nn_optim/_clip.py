"""Gradients kept within limits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from nn_tensor import Tensor, isfinite
from nn_tensor.extend import array_module, device_of, device_scope, kernel

from nn_optim._options import Flag, Option

__all__ = ["clip_gradients_by_norm", "clip_gradients_by_value"]

Array = Any

_LIMIT, _MAX_NORM, _ERROR = Option(), Option(), Flag()
_LIMIT.name, _MAX_NORM.name, _ERROR.name = "limit", "max_norm", "error_if_nonfinite"


def clip_gradients_by_value(parameters: Tensor | Iterable[Tensor], limit: float) -> None:
    r"""Cut every element of every gradient to the range from ``-limit`` to `limit`.

    .. math:: g \leftarrow \min(\max(g, -\text{limit}), \text{limit})

    As PyTorch's ``clip_grad_value_``; NaN stays NaN. Parameters without a gradient are passed
    over. A gradient is replaced, not written into.

    Args:
        parameters: Tensors, ``model.parameters`` for example.
        limit: the largest absolute value, in the unit of the gradients, finite and >= 0.

    Raises:
        ValueError: if `limit` is out of range.
        TypeError: if one of the parameters is no Tensor, or `limit` no number.

    >>> from nn_optim import clip_gradients_by_value
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> (x ** 2).sum().backward()
    >>> clip_gradients_by_value([x], 3.0)
    >>> x.grad
    Tensor([ 2., -3.])
    """
    bound = _LIMIT.check(limit)
    for _, parameter, gradient in _gradients(parameters):
        with device_scope(gradient):
            parameter.grad = Tensor(array_module(gradient).clip(gradient, -bound, bound))


def clip_gradients_by_norm(
    parameters: Tensor | Iterable[Tensor], max_norm: float, error_if_nonfinite: bool = True
) -> float:
    r"""Shrink all gradients by one factor, so that their common norm is at most `max_norm`.

    .. math::
        n = \sqrt{\sum_k \lVert g_k \rVert^2}, \qquad
        g_k \leftarrow g_k \min\left(1, \frac{\text{max\_norm}}{n + 10^{-6}}\right)

    (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1, over all parameters together; the :math:`10^{-6}` as in PyTorch's
    ``clip_grad_norm_``.) The norm is summed in float64. Parameters without a gradient are passed
    over. Gradients are replaced, not written into, and not touched where the factor is 1.

    Args:
        parameters: Tensors, ``model.parameters`` for example.
        max_norm: the largest norm, in the unit of the gradients, finite and >= 0.
        error_if_nonfinite: raise if the norm is infinite or NaN. Otherwise the factor spreads it,
            as PyTorch does by default: with an infinite norm finite gradients become 0 and
            infinite ones NaN, and with NaN all become NaN.

    Returns:
        The norm before, 0 if there are no gradients.

    Raises:
        ValueError: if `max_norm` is out of range.
        FloatingPointError: if the norm is not finite; then no gradient was changed.
        TypeError: if one of the parameters is no Tensor, or an argument of another type.

    >>> from nn_optim import clip_gradients_by_norm
    >>> from nn_tensor import Tensor
    >>> x = Tensor([3.0, -4.0], requires_grad=True)
    >>> (x ** 2).sum().backward()
    >>> clip_gradients_by_norm([x], 5.0)
    10.0
    >>> x.grad.numpy().round(3)
    array([ 3., -4.], dtype=float32)
    """
    bound, strict = _MAX_NORM.check(max_norm), _ERROR.check(error_if_nonfinite)
    found = _gradients(parameters)
    norm = _norm([gradient for _, _, gradient in found])
    if strict and not math.isfinite(norm):
        wrong = [
            f"parameters[{position}]"
            for position, _, gradient in found
            if not bool(isfinite(Tensor(gradient)).all())
        ]
        raise FloatingPointError(
            f"parameters: the norm of their gradients is {norm}, expected a finite one"
            + (f"; it is in {', '.join(wrong[:10])}" if wrong else "")
        )
    factor = bound / (norm + 1e-6)
    if factor < 1.0 or math.isnan(factor):
        for _, parameter, gradient in found:
            with device_scope(gradient), np.errstate(invalid="ignore"):
                parameter.grad = Tensor(gradient * factor)
    return norm


def _norm(gradients: list[Array]) -> float:
    """Return the root of the sum of all squares; one question to each device, not each array."""
    squares: dict[Any, list[Array]] = {}
    for gradient in gradients:
        with device_scope(gradient):
            squares.setdefault(device_of(gradient), []).append(_sum_of_squares(gradient))
    total = 0.0
    for parts in squares.values():
        with device_scope(parts[0]):
            total += float(array_module(parts[0]).stack(parts).sum())
    return math.sqrt(total)


@kernel
def _square_rows(xp: Any, row: Array) -> Array:
    """Return the sum of the squares of a row in float64."""
    wide = row.astype(np.float64)
    return wide.dot(wide)


@_square_rows.cpu(reassociate=True)
def _(row):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(row.size):
        total += np.float64(row[i]) * np.float64(row[i])
    return total


def _sum_of_squares(gradient: Array) -> Array:
    xp = array_module(gradient)
    return xp.asarray(_square_rows(xp, xp.ascontiguousarray(gradient).reshape(-1)))


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[tuple[int, Tensor, Array]]:
    """Return position, parameter and gradient of each parameter that has one, once."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    if not isinstance(parameters, Iterable):
        raise TypeError(f"parameters: expected Tensors, got {type(parameters).__name__}")
    found: dict[int, tuple[int, Tensor, Array]] = {}
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"parameters[{position}]: expected a Tensor, got {type(parameter).__name__}"
            )
        if parameter.has_grad and parameter.grad is not None:
            found.setdefault(id(parameter), (position, parameter, parameter.grad.data))
    return list(found.values())
