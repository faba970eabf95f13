"""The operations of activations that are short formulas; GELU has a file of its own."""

from __future__ import annotations

from typing import Any

from nn_tensor import clip, exp, minimum, sigmoid, where
from nn_tensor.extend import op

__all__ = ["elu", "leaky_relu", "silu"]


@op
def leaky_relu(xp: Any, x: Any, /, alpha: float) -> Any:
    """Return `x` where it is positive, ``alpha * x`` elsewhere."""
    return xp.where(x > 0, x, x * alpha)


@leaky_relu.gradient("x")
def _(g: Any, x: Any, alpha: float) -> Any:
    return where(x > 0, g, g * alpha)


@op
def elu(xp: Any, x: Any, /, alpha: float) -> Any:
    """Return `x` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@elu.gradient("x")
def _(g: Any, x: Any, alpha: float) -> Any:
    # out + alpha would save the exponential, but has no correct digit left where x is very negative
    return where(x > 0, g, g * (alpha * exp(minimum(x, 0))))


# In every floating dtype the gate of SiLU is 0 or 1 long before this limit, which keeps 0 times
# infinity out of the results.
_SATURATION = 800.0


@op(keeps=("gate",))
def silu(xp: Any, x: Any, /) -> Any:
    """Return `x` times its logistic function."""
    gate = sigmoid(x)
    return xp.maximum(x, -_SATURATION) * gate, gate


@silu.kept
def _(x: Any) -> Any:
    return (sigmoid(x),)


@silu.gradient("x")
def _(g: Any, x: Any, gate: Any) -> Any:
    return g * gate * (1 + clip(x, -_SATURATION, _SATURATION) * (1 - gate))
