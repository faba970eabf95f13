"""What the C library does with memory that is given back."""

import sys

__all__ = ["reuse_memory"]

# From glibc's malloc.h; the largest threshold for mappings that it accepts is 32 MiB.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _MAPPED = 1 << 30, 1 << 25


def reuse_memory() -> bool:
    """Let the process keep up to 1 GiB of freed memory for its next arrays.

    By default glibc returns large blocks to the system when they are freed. A training step
    allocates and frees the same arrays as the one before it, and the system hands out each page of
    new memory filled with zeros, which can take a good part of the step. This asks glibc
    (``mallopt``) to keep blocks below 32 MiB. It holds for the whole process, whatever allocates,
    and until its end: a program decides it, a library should not.

    Returns:
        Whether it had an effect: False where the C library is not glibc.

    >>> import nn_tensor
    >>> nn_tensor.reuse_memory() in (True, False)
    True
    """
    if sys.platform != "linux":
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    accepted = [mallopt(_MMAP_THRESHOLD, _MAPPED), mallopt(_TRIM_THRESHOLD, _KEPT)]
    return accepted == [1, 1]
