"""Random masks that are the same on every device."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from nn_tensor._kernel import kernel

__all__ = ["apply_dropout", "dropout_mask"]

_ELEMENTS = 16  # of which four words of 64 bits decide


@kernel
def dropout_mask(
    xp: Any, shape: tuple[int, ...], dtype: Any, p: float, key: tuple[int, int]
) -> Any:
    """Return an array with 0 in a fraction `p` of its elements and ``1 / (1 - p)`` in the others.

    The bits follow from the key by Philox4x64-10 (Salmon, Moraes, Dror and Shaw, "Parallel random
    numbers: as easy as 1, 2, 3", 2011), 16 for each element, so that they are the same on every
    device. The probability is rounded to a multiple of 1/65,536.

    Args:
        xp: the array module.
        shape: the shape of the result.
        dtype: the floating dtype of the result.
        p: the probability of 0, from 0 to 1.
        key: two integers of 64 bits.

    >>> import numpy as np
    >>> from nn_tensor.extend import dropout_mask
    >>> dropout_mask(np, (8,), "float32", 0.5, (0, 0))
    array([2., 0., 2., 0., 2., 2., 0., 0.], dtype=float32)
    """
    count, (threshold, factor) = math.prod(shape), _threshold_and_factor(p)
    generator = np.random.Philox(key=np.array(key, np.uint64))
    words = generator.random_raw(-(-count // 4)).astype("<u8", copy=False)
    kept = words.view("<u2")[:count] >= threshold
    return xp.asarray(np.multiply(kept, factor, dtype=np.dtype(dtype)).reshape(shape))


def _threshold_and_factor(p: float) -> tuple[int, float]:
    return round(p * 65536), 1 / (1 - p) if p < 1 else 0.0


@dropout_mask.cuda
def _(cp: Any, shape: tuple[int, ...], dtype: Any, p: float, key: tuple[int, int]) -> Any:
    mask = cp.empty(shape, dtype)
    options = *map(np.uint64, key), *_threshold_and_factor(p), mask.size
    _mask_on_cuda(cp)(*options, mask, size=-(-mask.size // _ELEMENTS))
    return mask


@kernel
def apply_dropout(xp: Any, x: Any, p: float, key: tuple[int, int]) -> tuple[Any, Any]:
    """Return `x` times its `dropout_mask`, and the mask.

    >>> import numpy as np
    >>> from nn_tensor.extend import apply_dropout
    >>> apply_dropout(np, np.ones(4), 0.5, (0, 0))[0]
    array([2., 0., 2., 0.])
    """
    mask = dropout_mask(xp, x.shape, x.dtype, p, key)
    return x * mask, mask


apply_dropout.cpu("apply_dropout")


@apply_dropout.cuda
def _(cp: Any, x: Any, p: float, key: tuple[int, int]) -> tuple[Any, Any]:
    out, mask = cp.empty(x.shape, x.dtype), cp.empty(x.shape, x.dtype)
    options = *map(np.uint64, key), *_threshold_and_factor(p), x.size
    _apply_on_cuda(cp)(*options, cp.ascontiguousarray(x), out, mask, size=-(-x.size // _ELEMENTS))
    return out, mask


@functools.cache
def _mask_on_cuda(cp: Any) -> Any:
    return _on_cuda(cp, "", "raw T mask", "")


@functools.cache
def _apply_on_cuda(cp: Any) -> Any:
    write = "out[element] = x[element] * mask[element];"
    return _on_cuda(cp, ", raw T x", "raw T out, raw T mask", write)


def _on_cuda(cp: Any, inputs: str, outputs: str, write: str) -> Any:
    return cp.ElementwiseKernel(
        f"uint64 key0, uint64 key1, int32 threshold, float64 factor, int64 count{inputs}",
        outputs,
        f"""
        unsigned long long a = (unsigned long long)i + 1, b = 0, c = 0, d = 0;
        unsigned long long first = key0, second = key1;
        for (int round = 0; round < 10; ++round) {{
            const unsigned long long high = __umul64hi(0xD2E7470EE14C6C93ull, a);
            const unsigned long long low = 0xD2E7470EE14C6C93ull * a;
            a = __umul64hi(0xCA5A826395121157ull, c) ^ b ^ first;
            b = 0xCA5A826395121157ull * c;
            c = high ^ d ^ second;
            d = low;
            first += 0x9E3779B97F4A7C15ull;
            second += 0xBB67AE8584CAA73Bull;
        }}
        const unsigned long long words[4] = {{a, b, c, d}};
        for (int n = 0; n < {_ELEMENTS}; ++n) {{
            const long long element = (long long)i * {_ELEMENTS} + n;
            const int bits = (int)(words[n / 4] >> n % 4 * 16 & 0xffff);
            if (element < count) {{
                mask[element] = (T)(bits >= threshold ? factor : 0.0);
                {write}
            }}
        }}
        """,
        "nn_tensor_dropout_mask",
    )
