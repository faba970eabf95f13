"""The module ``cupy.cuda.thrust`` over NumPy: it sorts the memory of the device in place."""

import ctypes
import math
import types

import numpy as np

__all__ = ["make_module"]

_DTYPES = "?bBhHiIlLqQefdFD"


def make_module(driver):
    """Return the module; each call counts as a launch of `driver`."""

    def view(name, dtype, pointer, shape):
        if np.dtype(dtype).char not in _DTYPES:
            raise NotImplementedError(
                f"the CUDA stand-in has no Thrust ({name} of {np.dtype(dtype)})"
            )
        driver.standin_record(0, f"thrust_{name}".encode(), 0)
        return memory(dtype, pointer, shape)

    def memory(dtype, pointer, shape):
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = (ctypes.c_char * size).from_address(pointer)
        return np.frombuffer(buffer, dtype=dtype).reshape(shape)

    def sort(dtype, data, keys, shape):
        if math.prod(shape):
            view("sort", dtype, data, shape).sort(axis=-1, kind="stable")

    def argsort(dtype, index, data, keys, shape):
        if math.prod(shape):
            values = view("argsort", dtype, data, shape)
            order = values.argsort(axis=-1, kind="stable")
            memory(np.intp, index, shape)[...] = order
            values[...] = np.take_along_axis(values, order, -1)  # Thrust sorts the keys as well

    def lexsort(dtype, index, keys, count, length):
        if count * length:
            values = view("lexsort", dtype, keys, (count, length))
            memory(np.intp, index, (length,))[...] = np.lexsort(values)

    module = types.ModuleType("cupy.cuda.thrust")
    module.available, module.get_build_version = True, lambda: 300000
    module.sort, module.argsort, module.lexsort = sort, argsort, lexsort
    return module
