"""The values that weights start from, one function for each `initialization`.

All are drawn on the host in float64 and then rounded: the same seed gives the same weights on
every device, and in every dtype up to its precision. `fan_in` is the number of inputs that an
output sums over, `fan_out` the number of outputs that an input goes into.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device

from nn_layers._inputs import floating_type

__all__ = ["initialize"]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[np.random.Generator, Shape, int, int], Array]


def xavier(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a), a = sqrt(6 / (fan_in + fan_out)): Glorot and Bengio, 2010, eq. 16."""
    return _uniform(rng, shape, 2 / (fan_in + fan_out))


def xavier_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 2 / (fan_in + fan_out)): Glorot and Bengio, 2010, eq. 12."""
    return _normal(rng, shape, 2 / (fan_in + fan_out))


def he(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a), a = sqrt(6 / fan_in): the variance of `he_normal`."""
    return _uniform(rng, shape, 2 / fan_in)


def he_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 2 / fan_in), made for ReLU: He, Zhang, Ren and Sun, 2015, eq. 10."""
    return _normal(rng, shape, 2 / fan_in)


def lecun(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a), a = sqrt(3 / fan_in): the variance of `lecun_normal`."""
    return _uniform(rng, shape, 1 / fan_in)


def lecun_normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 1 / fan_in): LeCun, Bottou, Orr and Müller, 1998, eq. 16."""
    return _normal(rng, shape, 1 / fan_in)


def normal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 0.01²): Krizhevsky, Sutskever and Hinton, 2012, section 5."""
    return _normal(rng, shape, 1e-4)


def orthogonal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw orthonormal rows or columns, whichever are fewer: Saxe, McClelland and Ganguli, 2014.

    The Q of a normal matrix is uniform among them once the diagonal of R is positive (Mezzadri,
    2007). All axes but the first count as one.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1, 1)
    matrix = q if rows >= columns else q.T
    return np.ascontiguousarray(matrix).reshape(shape)


def zeros(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw nothing: all weights are 0, as for the last layer of a residual branch."""
    return np.zeros(shape)


def _uniform(rng: np.random.Generator, shape: Shape, variance: float) -> Array:
    bound = math.sqrt(3 * variance)
    return rng.uniform(-bound, bound, shape)


def _normal(rng: np.random.Generator, shape: Shape, variance: float) -> Array:
    return rng.normal(0, math.sqrt(variance), shape)


_INITIALIZERS: dict[str, Initializer] = {
    function.__name__: function
    for function in (
        xavier,
        xavier_normal,
        he,
        he_normal,
        lecun,
        lecun_normal,
        normal,
        orthogonal,
        zeros,
    )
}


def initialize(
    initialization: str,
    shape: Shape,
    fan_in: int,
    fan_out: int,
    rng: np.random.Generator | int | None = None,
    device: str | Device = "cpu",
    dtype: Any = np.float32,
) -> Tensor:
    """Return new weights: a Tensor of `shape` that requires a gradient.

    Args:
        initialization: how to draw them.

            - ``'xavier'``: uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010);
              ``'xavier_normal'``: normal.
            - ``'he'``: uniform with variance 2 / fan_in (He et al., 2015), for ReLU;
              ``'he_normal'``: normal.
            - ``'lecun'``: uniform with variance 1 / fan_in (LeCun et al., 1998);
              ``'lecun_normal'``: normal.
            - ``'normal'``: normal with standard deviation 0.01 (Krizhevsky et al., 2012).
            - ``'orthogonal'``: orthonormal rows or columns (Saxe et al., 2014).
            - ``'zeros'``: all 0.
        shape: the lengths of the axes.
        fan_in: how many inputs an output sums over.
        fan_out: how many outputs an input goes into.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        device: where the weights go; they are drawn on the host.
        dtype: a floating type.

    Raises:
        ValueError: if `initialization` is none of these.
        TypeError: if `dtype` is not floating, or `rng` no generator or seed.

    >>> weights = initialize("he_normal", (784, 256), fan_in=784, fan_out=256, rng=0)
    >>> round(weights.std().item() ** 2 * 784, 1)
    2.0
    """
    if not isinstance(initialization, str) or initialization not in _INITIALIZERS:
        known = ", ".join(map(repr, _INITIALIZERS))
        raise ValueError(f"initialization: expected one of {known}, got {initialization!r}")
    parsed = floating_type(dtype)
    array = _INITIALIZERS[initialization](random_generator(rng), shape, fan_in, fan_out)
    return Tensor(array.astype(parsed, copy=False), device=device, requires_grad=True)
