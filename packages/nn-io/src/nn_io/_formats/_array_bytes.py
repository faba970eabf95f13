"""Arrays from bytes of unknown origin."""

import math

import numpy as np
from numpy.typing import NDArray

from nn_io._errors import FileFormatError
from nn_io._state_dict import PLAIN_DTYPES

__all__ = ["array_from_bytes"]

_MAX_DIMENSIONS = 64


def array_from_bytes(
    raw: NDArray[np.uint8],
    code: str,
    shape: tuple[int, ...],
    byte_order: str = "<",
    layout: str = "C",
) -> NDArray[np.generic]:
    """Return a writable, native, C-contiguous array over `raw`, or over a copy where needed.

    Args:
        raw: the bytes.
        code: kind and width of the dtype, ``f4``.
        shape: as the file has it.
        byte_order: NumPy's character for it.
        layout: ``"C"`` for rows first, ``"F"`` for columns first.

    Raises:
        FileFormatError: if they do not fit together.
    """
    if code not in PLAIN_DTYPES:
        raise FileFormatError(f"has dtype {code!r}, which is not a plain number")
    dtype = np.dtype(byte_order + code)
    if len(shape) > _MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise FileFormatError("has an invalid shape")
    # Python integers do not overflow; NumPy refuses sizes beyond its own, even next to a zero.
    if math.prod(size or 1 for size in shape) * dtype.itemsize >= 2**63:
        raise FileFormatError(f"has shape {str(shape)[:100]}, which is too large")
    if math.prod(shape) * dtype.itemsize != raw.size:
        raise FileFormatError(
            f"has shape {shape} of {dtype.itemsize}-byte items, but {raw.size} bytes of data"
        )
    # NumPy takes any other byte as it is, and then True + True may be 200.
    if code == "b1" and raw.size and raw.max() > 1:
        raise FileFormatError("has boolean values other than 0 and 1")
    array = raw.view(dtype)
    array = array.reshape(shape[::-1]).T if layout == "F" else array.reshape(shape)
    return np.asarray(array, dtype=dtype.type, order="C")
