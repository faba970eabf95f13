"""Random masks that are the same on every device."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from nn_tensor._kernel import kernel

__all__ = ["dropout_mask"]

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
        shape: of the result.
        dtype: of the result, floating.
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
    out = cp.empty(shape, dtype)
    blocks = -(-out.size // _ELEMENTS)
    _on_cuda(cp)(*map(np.uint64, key), *_threshold_and_factor(p), out.size, out, size=blocks)
    return out


@functools.cache
def _on_cuda(cp: Any) -> Any:
    return cp.ElementwiseKernel(
        "uint64 key0, uint64 key1, int32 threshold, float64 factor, int64 count",
        "raw T out",
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
            if (element < count) out[element] = (T)(bits >= threshold ? factor : 0.0);
        }}
        """,
        "nn_tensor_dropout_mask",
    )
