"""The kinds of array that files may hold, and the one place that makes them from bytes."""

import math

import numpy as np
from numpy.typing import NDArray

from nn_io._errors import FileFormatError

# By kind and width: the same on every platform, unlike longdouble, and free of references,
# unlike objects.
PLAIN = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split())
_MAX_DIMENSIONS = 64


def code_of(dtype: np.dtype[np.generic]) -> str:
    """Kind and width, without byte order: ``f4``."""
    return f"{dtype.kind}{dtype.itemsize}"


def array_from_bytes(
    raw: NDArray[np.uint8],
    code: str,
    shape: tuple[int, ...],
    order: str = "<",
    layout: str = "C",
) -> NDArray[np.generic]:
    """A writable, native, C-contiguous array over ``raw``, or over a copy where needed."""
    if code not in PLAIN:
        raise FileFormatError(f"has dtype {code!r}, which is not a plain number")
    dtype = np.dtype(order + code)
    if len(shape) > _MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise FileFormatError("has a shape that is none")
    # Python integers do not overflow; NumPy refuses sizes beyond its own, even next to a zero.
    if math.prod(size or 1 for size in shape) * dtype.itemsize >= 2**63:
        raise FileFormatError(f"has shape {str(shape)[:100]}, which is too large")
    if math.prod(shape) * dtype.itemsize != raw.size:
        raise FileFormatError(
            f"has shape {shape} of {dtype.itemsize}-byte items, but {raw.size} bytes of data"
        )
    # NumPy takes any other byte as it is, and then True + True may be 200.
    if code == "b1" and raw.size and raw.max() > 1:
        raise FileFormatError("has truth values other than 0 and 1")
    if layout == "F":
        array = raw.view(dtype).reshape(shape[::-1]).T
    else:
        array = raw.view(dtype).reshape(shape)
    return np.asarray(array, dtype=dtype.newbyteorder("="), order="C")
