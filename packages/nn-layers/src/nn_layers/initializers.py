"""`initialize`: the initial values of weights.

All are drawn on the host in float64 and then rounded: the same seed gives the same weights on
every device, and in every dtype up to its precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_choice, check_floating_dtype, keyword_only

__all__ = ["Initialization", "initialize"]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[np.random.Generator, Shape, int, int], Array]

Initialization: TypeAlias = Literal[
    "xavier",
    "xavier_normal",
    "he",
    "he_normal",
    "lecun",
    "lecun_normal",
    "normal",
    "orthogonal",
    "zeros",
]


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
        bound = math.sqrt(3 * variance(fan_in, fan_out))
        return rng.uniform(-bound, bound, shape)

    return draw


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
        return rng.normal(0, math.sqrt(variance(fan_in, fan_out)), shape)

    return draw


def _orthogonal(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Draw orthonormal rows or columns, whichever are fewer; all axes but the first count as one.

    The Q of a normal matrix is uniform among them once the diagonal of R is positive (Mezzadri,
    2007).
    """
    rows, columns = shape[0], math.prod(shape[1:])
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1, 1)
    matrix = q if rows >= columns else q.T
    return np.ascontiguousarray(matrix).reshape(shape)


def _zeros(rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> Array:
    return np.zeros(shape)


def _glorot(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)  # Glorot and Bengio, 2010, equations 12 and 16


def _he(fan_in: int, fan_out: int) -> float:
    return 2 / fan_in  # He, Zhang, Ren and Sun, 2015, equation 10


def _lecun(fan_in: int, fan_out: int) -> float:
    return 1 / fan_in  # LeCun, Bottou, Orr and Müller, 1998, equation 16


_INITIALIZERS: dict[Initialization, Initializer] = {
    "xavier": _uniform(_glorot),
    "xavier_normal": _normal(_glorot),
    "he": _uniform(_he),
    "he_normal": _normal(_he),
    "lecun": _uniform(_lecun),
    "lecun_normal": _normal(_lecun),
    "normal": _normal(lambda fan_in, fan_out: 1e-4),
    "orthogonal": _orthogonal,
    "zeros": _zeros,
}


@keyword_only
def initialize(
    initialization: Initialization,
    shape: Shape,
    fan_in: int,
    fan_out: int,
    *,
    rng: np.random.Generator | int | None = None,
    device: str | Device = "cpu",
    dtype: Any = np.float32,
) -> Tensor:
    """Return new weights: a Tensor of `shape` that requires a gradient.

    Args:
        initialization: the distribution that they are drawn from.

            - ``'xavier'``: uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010);
              ``'xavier_normal'``: normal.
            - ``'he'``: uniform with variance 2 / fan_in (He et al., 2015), for ReLU;
              ``'he_normal'``: normal.
            - ``'lecun'``: uniform with variance 1 / fan_in (LeCun et al., 1998);
              ``'lecun_normal'``: normal.
            - ``'normal'``: normal with standard deviation 0.01 (Krizhevsky, Sutskever and Hinton,
              2012, section 5).
            - ``'orthogonal'``: orthonormal rows or columns (Saxe, McClelland and Ganguli, 2014).
            - ``'zeros'``: all 0, as for the last layer of a residual branch.
        shape: the sizes of the dimensions.
        fan_in: the number of inputs that an output sums over.
        fan_out: the number of outputs that an input goes into.
        rng: a NumPy generator, a seed, or None for unpredictable weights.
        device: the device of the weights, which are drawn on the host.
        dtype: a floating dtype.

    Raises:
        ValueError: if `initialization` is not one of these.
        TypeError: if `dtype` is not floating, or `rng` not a generator or seed.

    >>> weights = initialize("he_normal", (784, 256), fan_in=784, fan_out=256, rng=0)
    >>> round(weights.std().item() ** 2 * 784, 1)
    2.0
    """
    draw = _INITIALIZERS[check_choice("initialization", initialization, _INITIALIZERS)]
    parsed = check_floating_dtype("dtype", dtype)
    array = draw(random_generator(rng), shape, fan_in, fan_out)
    return Tensor(array.astype(parsed, copy=False), device=device, requires_grad=True)
