"""Where NumPy's arrays begin in memory, and what NumPy copies while it computes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["empty_aligned", "small_buffers"]

_LINE = 64  # bytes of a line of the cache


def empty_aligned(shape: Any, dtype: Any, offset: int = 0, unit: int = _LINE) -> Any:
    """Return a new array of NumPy that begins `offset` bytes after a multiple of `unit`.

    NumPy's own arrays begin at a multiple of 16. Where one begins with a line of the cache no
    vector crosses two lines, and NumPy writes it up to twice as fast. It is a view, so the backward
    pass copies it where it keeps a gradient: it is for memory that is used on the way.

    >>> import numpy as np
    >>> from nn_tensor.extend import empty_aligned
    >>> x = empty_aligned((2, 3), np.float32)
    >>> x.shape, x.ctypes.data % 64
    ((2, 3), 0)
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + unit, np.uint8)
    start = (offset - memory.__array_interface__["data"][0]) % unit
    return memory[start : start + size].view(dtype).reshape(shape)


@contextlib.contextmanager
def small_buffers() -> Iterator[None]:
    """Let NumPy compute with repeated rows and columns where they are.

    From NumPy 2.3 on functions of arrays copy a row or a column again and again into a buffer, to
    compute with several rows at once. With rows of 2048 bytes and more that takes longer than it
    saves, and here no buffer has room for two of them. Arrays of several dtypes are converted in
    the same buffers, and would take many times as long.

    >>> import numpy as np
    >>> from nn_tensor.extend import small_buffers
    >>> x = np.ones((2, 512), np.float32)
    >>> with small_buffers():
    ...     x *= x[:, :1]
    """
    with np.errstate():  # at its end the size is the one before
        np.setbufsize(16)
        yield
