"""An operation of this library."""

from typing import Any

from nn_tensor import sigmoid
from nn_tensor.extend import op

__all__ = ["swish"]


@op
def swish(xp: Any, x: Any, /, beta: float = 1.0) -> Any:
    """Return ``x * sigmoid(beta * x)``."""
    return x / (1 + xp.exp(-beta * x))


@swish.gradient("x")
def _(g: Any, x: Any, beta: float) -> Any:
    s = sigmoid(beta * x)
    return g * (s + beta * x * s * (1 - s))
