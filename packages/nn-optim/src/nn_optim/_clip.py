"""Gradient clipping, by value and by norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from nn_tensor import Tensor, isfinite
from nn_tensor.extend import check_bool, check_number, device_scope, external, kernel, keyword_only

from nn_optim._group import check_tensors
from nn_optim._multi_tensor import MultiTensorKernel

__all__ = [
    "Found",
    "by_device",
    "clip_gradients_by_norm",
    "clip_gradients_by_value",
    "find_gradients",
    "scale_arrays",
    "sum_of_squares",
]


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
    external(_clip_by_value, check_tensors("parameters", parameters), bound)


def _clip_by_value(parameters: list[Tensor], bound: float) -> None:
    for _, parameter, gradient in find_gradients(parameters):
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
        max_norm: the largest norm, in the unit of the gradients, >= 0; infinity to check and
            return the norm alone.
        error_if_nonfinite: raise if the norm is infinite or NaN. Otherwise the factor is applied
            all the same, as PyTorch does by default: with an infinite norm finite gradients become
            0 and infinite ones NaN, and with NaN all become NaN.

    Returns:
        The total norm before clipping, 0 if there are no gradients.

    Raises:
        ValueError: if `max_norm` is out of range.
        FloatingPointError: if the norm is not finite; then no gradient was changed.
        TypeError: if one of the parameters is not a Tensor, or an argument has the wrong type.

    >>> from nn_optim import clip_gradients_by_norm
    >>> from nn_tensor import Tensor
    >>> x = Tensor([3.0, -4.0], requires_grad=True)
    >>> (x ** 2).sum().backward()
    >>> clip_gradients_by_norm([x], 5.0)
    10.0
    >>> x.grad.numpy().round(3)
    array([ 3., -4.], dtype=float32)
    """
    bound = check_number("max_norm", max_norm, minimum=0, allow_infinite=True)
    strict = check_bool("error_if_nonfinite", error_if_nonfinite)
    tensors = check_tensors("parameters", parameters)
    return external(_clip_by_norm, tensors, bound, strict)


def _clip_by_norm(parameters: list[Tensor], bound: float, strict: bool) -> float:
    found = find_gradients(parameters)
    norm = _norm(found)
    if strict and not math.isfinite(norm):
        wrong = [f"parameters[{n}]" for n, _, g in found if not isfinite(g).all().item()]
        where = f"; it is in {', '.join(wrong[:10])}" if wrong else ""
        expected = f"the norm of their gradients is {norm}, expected a finite one"
        cure = "; compute it inside nn_tensor.detect_anomaly() to find the operation"
        raise FloatingPointError(f"parameters: {expected}{where}{cure}")
    factor = bound / (norm + 1e-6)
    if factor < 1.0 or math.isnan(factor):
        for xp, group in by_device(found):
            arrays = [gradient.data for _, _, gradient in group]
            with device_scope(arrays[0]), np.errstate(invalid="ignore"):
                scaled = scale_arrays(xp, factor, *arrays)
            for (_, parameter, _), array in zip(group, scaled, strict=True):
                parameter.grad = Tensor(array)
    return norm


Found = list[tuple[int, Tensor, Tensor]]


def by_device(found: Found) -> list[tuple[Any, Found]]:
    """Return the gradients on each device, with the module that computes there."""
    groups: dict[Any, Found] = {}
    for position, parameter, gradient in found:
        key = gradient.device, gradient.dtype
        groups.setdefault(key, []).append((position, parameter, gradient))
    return [(group[0][2].xp, group) for group in groups.values()]


def _norm(found: Found) -> float:
    """Return the root of the sum of all squares; one transfer for each device and dtype."""
    total = 0.0
    for xp, group in by_device(found):
        arrays = [gradient.data for _, _, gradient in group]
        with device_scope(arrays[0]):
            total += float(total_of_squares(xp, *arrays))
    return math.sqrt(total)


@kernel
def total_of_squares(xp: Any, *arrays: Any) -> Any:
    """Return the sum of the squares of all elements of arrays of one dtype, in float64."""
    return sum(sum_of_squares(xp, xp.ascontiguousarray(x).reshape(-1)) for x in arrays)


_squares_on_cuda = MultiTensorKernel(
    "nn_optim_total_of_squares",
    ["x"],
    ["double *partial"],
    """
    __shared__ double parts[8];
    double sum = 0;
    for (long long i = start + threadIdx.x; i < stop; i += blockDim.x) {
        const double value = load(x, i);
        sum += value * value;
    }
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < blockDim.x / 32; ++warp) sum += parts[warp];
    partial[blockIdx.x] = sum;
    """,
)


@total_of_squares.cuda
def _(cp: Any, *arrays: Any) -> Any:
    partial = cp.zeros(_squares_on_cuda.blocks([x.size for x in arrays]), np.float64)
    _squares_on_cuda(cp, [[cp.ascontiguousarray(x)] for x in arrays], partial)
    return partial.sum()


@kernel
def scale_arrays(xp: Any, factor: float, *arrays: Any) -> list[Any]:
    """Return arrays of one dtype times a number."""
    return [x * factor for x in arrays]


_scale_on_cuda = MultiTensorKernel(
    "nn_optim_scale_arrays",
    ["x", "out"],
    ["factor"],
    """
    for (long long i = start + threadIdx.x; i < stop; i += blockDim.x)
        store(out, i, load(x, i) * factor);
    """,
)


@scale_arrays.cuda
def _(cp: Any, factor: float, *arrays: Any) -> list[Any]:
    pairs = [(cp.ascontiguousarray(x), cp.empty(x.shape, x.dtype)) for x in arrays]
    _scale_on_cuda(cp, pairs, float(arrays[0].dtype.type(factor)))
    return [out for _, out in pairs]


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


def find_gradients(parameters: Tensor | Iterable[Tensor]) -> list[tuple[int, Tensor, Tensor]]:
    """Return position, parameter and gradient of each parameter that has one, once."""
    found: dict[int, tuple[int, Tensor, Tensor]] = {}
    for position, parameter in enumerate(check_tensors("parameters", parameters)):
        if parameter.has_grad and parameter.grad is not None:
            found.setdefault(id(parameter), (position, parameter, parameter.grad))
    return list(found.values())
