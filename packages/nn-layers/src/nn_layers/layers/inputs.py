"""What layers ask of their inputs, and the sizes that have a height and a width."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import check_shape, is_autocast_dtype, is_floating

from nn_layers.ops.windows import Pair

__all__ = ["as_tensor", "check_pair", "floating_input", "image_size", "sequence_length"]


def as_tensor(x: Any) -> Tensor:
    """Return `x` itself, or a Tensor of an array or nested list."""
    return x if isinstance(x, Tensor) else Tensor(x)


def floating_input(x: Any, dtype: np.dtype[Any] | None = None) -> Tensor:
    """Return the floating input of a layer as a Tensor in the `dtype` of its parameters.

    Args:
        x: a Tensor, array or nested list.
        dtype: None for a layer without parameters, which keeps the dtype of its input.

    Raises:
        TypeError: if the input is an integer, which only `Embedding` takes, or complex.

    >>> floating_input([[1.0, 2.0]], np.dtype("float64")).dtype
    dtype('float64')
    """
    x = as_tensor(x)
    if x.dtype == dtype:
        return x
    if not is_floating(x.dtype):
        wanted = "float32" if dtype is None else dtype
        raise TypeError(f"input is {x.dtype}, expected floats; convert it with .astype('{wanted}')")
    # in mixed precision the operation casts the parameters
    return x if dtype is None or is_autocast_dtype(x.dtype) else x.astype(dtype)


def image_size(shape: tuple[int, ...]) -> Pair:
    """Return height and width of a batch of images.

    Raises:
        ValueError: if it does not have four dimensions.
    """
    if len(shape) != 4:
        raise ValueError(
            f"input has {len(shape)} dimensions, expected 4: (batch, channels, height, width) "
            f"(its shape is {shape})"
        )
    return shape[2], shape[3]


def sequence_length(shape: tuple[int, ...]) -> int:
    """Return the number of steps of a batch of sequences.

    Raises:
        ValueError: if it does not have three dimensions.
    """
    if len(shape) != 3:
        raise ValueError(
            f"input has {len(shape)} dimensions, expected 3: (batch, channels, time) "
            f"(its shape is {shape})"
        )
    return shape[2]


def check_pair(name: str, value: Any, minimum: int = 1) -> Pair:
    """Return one size, or a pair of sizes, as height and width.

    Raises:
        TypeError: if it is neither.
        ValueError: if one is less than `minimum`.

    >>> check_pair("stride", 2), check_pair("stride", (1, 2))
    ((2, 2), (1, 2))
    """
    sizes = check_shape(name, value, minimum)
    if not isinstance(value, (tuple, list)):
        sizes *= 2
    if len(sizes) != 2:
        raise TypeError(f"{name}: expected one size, or two for height and width, got {value!r}")
    return sizes[0], sizes[1]
