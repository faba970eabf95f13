"""Gradient clipping, by value and by norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from nn_tensor import Tensor, isfinite
from nn_tensor.extend import check_bool, check_number, device_scope, kernel, keyword_only

from nn_optim._group import check_tensors

__all__ = ["clip_gradients_by_norm", "clip_gradients_by_value"]


def clip_gradients_by_value(parameters: Tensor | Iterable[Tensor], limit: float) -> None:
    r"""Clip every element of every gradient to the range from ``-limit`` to `limit`.

    .. math:: g \leftarrow \min(\max(g, -\text{limit}), \text{limit})

    As PyTorch's ``clip_grad_value_``; NaN stays NaN. Parameters without a gradient are
    ignored. A gradient is replaced, not written into.

    Args:
        parameters: Tensors, ``model.parameters`` for example.
        limit: the largest absolute value, in the unit of the gradients, finite and >= 0.

    Raises:
        ValueError: if `limit` is out of range.
        TypeError: if one of the parameters is not a Tensor, or `limit` is not a number.

    >>> from nn_optim import clip_gradients_by_value
    >>> from nn_tensor import Tensor
    >>> x = Tensor([1.0, -2.0], requires_grad=True)
    >>> (x ** 2).sum().backward()
    >>> clip_gradients_by_value([x], 3.0)
    >>> x.grad
    Tensor([ 2., -3.])
    """
    bound = check_number("limit", limit, minimum=0)
    for _, parameter, gradient in _gradients(parameters):
        with device_scope(gradient.data):
            parameter.grad = Tensor(gradient.xp.clip(gradient.data, -bound, bound))


@keyword_only
def clip_gradients_by_norm(
    parameters: Tensor | Iterable[Tensor], max_norm: float, *, error_if_nonfinite: bool = True
) -> float:
    r"""Scale all gradients by one factor, so that their total norm is at most `max_norm`.

    .. math::
        n = \sqrt{\sum_k \lVert g_k \rVert^2}, \qquad
        g_k \leftarrow g_k \min\left(1, \frac{\text{max\_norm}}{n + 10^{-6}}\right)

    (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013,
    algorithm 1, over all parameters together; the :math:`10^{-6}` as in PyTorch's
    ``clip_grad_norm_``.) The norm is summed in float64. Parameters without a gradient are
    ignored. Gradients are replaced, not written into, and not touched where the factor is 1.

    Args:
        parameters: Tensors, ``model.parameters`` for example.
        max_norm: the largest norm, in the unit of the gradients, finite and >= 0.
        error_if_nonfinite: raise if the norm is infinite or NaN. Otherwise the factor is applied
            all the same, as PyTorch does by default: with an infinite norm finite gradients become
            0 and infinite ones NaN, and with NaN all become NaN.

    Returns:
        The norm before, 0 if there are no gradients.

    Raises:
        ValueError: if `max_norm` is out of range.
        FloatingPointError: if the norm is not finite; then no gradient was changed.
        TypeError: if one of the parameters is not a Tensor, or an argument has another type.

    >>> from nn_optim import clip_gradients_by_norm
    >>> from nn_tensor import Tensor
    >>> x = Tensor([3.0, -4.0], requires_grad=True)
    >>> (x ** 2).sum().backward()
    >>> clip_gradients_by_norm([x], 5.0)
    10.0
    >>> x.grad.numpy().round(3)
    array([ 3., -4.], dtype=float32)
    """
    bound = check_number("max_norm", max_norm, minimum=0)
    strict = check_bool("error_if_nonfinite", error_if_nonfinite)
    found = _gradients(parameters)
    norm = _norm(gradient for _, _, gradient in found)
    if strict and not math.isfinite(norm):
        wrong = [f"parameters[{n}]" for n, _, g in found if not isfinite(g).all().item()]
        where = f"; it is in {', '.join(wrong[:10])}" if wrong else ""
        expected = f"the norm of their gradients is {norm}, expected a finite one"
        raise FloatingPointError(f"parameters: {expected}{where}")
    factor = bound / (norm + 1e-6)
    if factor < 1.0 or math.isnan(factor):
        for _, parameter, gradient in found:
            with device_scope(gradient.data), np.errstate(invalid="ignore"):
                parameter.grad = Tensor(gradient.data * factor)
    return norm


def _norm(gradients: Iterable[Tensor]) -> float:
    """Return the root of the sum of all squares; one transfer for each device."""
    squares: dict[Any, list[Any]] = {}
    for gradient in gradients:
        xp, array = gradient.xp, gradient.data
        with device_scope(array):
            square = sum_of_squares(xp, xp.ascontiguousarray(array).reshape(-1))
            squares.setdefault((xp, gradient.device), []).append(xp.asarray(square))
    total = 0.0
    for (xp, _), parts in squares.items():
        with device_scope(parts[0]):
            total += float(xp.stack(parts).sum())
    return math.sqrt(total)


@kernel
def sum_of_squares(xp: Any, row: Any) -> Any:
    """Return the sum of the squares of a row, in float64."""
    wide = row.astype(np.float64)
    return wide.dot(wide)


@sum_of_squares.cpu(reassociate=True)
def _(row):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(row.size):
        total += np.float64(row[i]) * np.float64(row[i])
    return total


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[tuple[int, Tensor, Tensor]]:
    """Return position, parameter and gradient of each parameter that has one, once."""
    found: dict[int, tuple[int, Tensor, Tensor]] = {}
    for position, parameter in enumerate(check_tensors("parameters", parameters)):
        if parameter.has_grad and parameter.grad is not None:
            found.setdefault(id(parameter), (position, parameter, parameter.grad))
    return list(found.values())
