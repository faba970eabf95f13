"""The operations of activations that are short formulas; GELU has a file of its own.

They are sums of a part for positive and one for other elements, of which one is 0: NumPy's `where`
takes ten times as long, as it guesses what the next element of the mask is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import clip, exp, minimum, sigmoid
from nn_tensor.extend import is_floating, op

__all__ = ["elu", "leaky_relu", "silu"]


def _split(xp: Any, x: Any) -> tuple[Any, Any]:
    """Return ``max(x, 0)`` and ``min(x, 0)``, floating."""
    if not is_floating(x.dtype):
        x = x.astype(np.float64)
    return xp.clip(x, 0, np.inf), xp.clip(x, -np.inf, 0)


def _where_positive(x: Any, value: Any) -> Any:
    """Return 1 where `x` is positive and the finite `value` elsewhere, in the dtype of `x`."""
    positive = x > 0
    return positive.astype(x.dtype) + (~positive).astype(x.dtype) * value


@op
def leaky_relu(xp: Any, x: Any, /, alpha: float) -> Any:
    """Return `x` where it is positive, ``alpha * x`` elsewhere."""
    result, negative = _split(xp, x)
    result += negative * alpha
    return result


@leaky_relu.gradient("x")
def _(g: Any, x: Any, alpha: float) -> Any:
    return g * _where_positive(x, alpha)


@op
def elu(xp: Any, x: Any, /, alpha: float) -> Any:
    """Return `x` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere."""
    result, negative = _split(xp, x)
    result += alpha * xp.expm1(negative)
    return result


@elu.gradient("x")
def _(g: Any, x: Any, alpha: float) -> Any:
    # out + alpha would save the exponential, but has no correct digit left where x is very negative
    return g * _where_positive(x, alpha * exp(minimum(x, 0)))


# In every floating dtype the gate of SiLU is 0 or 1 long before this limit, which keeps 0 times
# infinity out of the results.
_SATURATION = 800.0


@op(keeps=("gate",))
def silu(xp: Any, x: Any, /) -> Any:
    """Return `x` times its logistic function."""
    gate = sigmoid(x)
    return xp.clip(x, -_SATURATION, np.inf) * gate, gate


@silu.kept
def _(x: Any) -> Any:
    return (sigmoid(x),)


@silu.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    return g * gate * (1 + clip(x, -_SATURATION, _SATURATION) * (1 - gate))
