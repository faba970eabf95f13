"""`Dropout`: training with a random part of the values left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import device_of, op, put

from nn_layers._inputs import as_tensor, finite
from nn_layers._module import Base_Layer

__all__ = ["Dropout"]


@op(keeps=("mask",))
def dropout(xp: Any, x: Any, /, p: float, rng: np.random.Generator) -> Any:
    """Return `x` with each element 0 with probability `p`, and ``1 / (1 - p)`` times itself else.

    The random numbers are drawn on the host, so that all devices leave out the same.
    """
    kept = rng.random(x.shape, np.float32) >= p
    mask = put(np.multiply(kept, 1 / (1 - p) if p < 1 else 0, dtype=x.dtype), device_of(x))
    return x * mask, mask


@dropout.gradient("x")
def _(g: Any, mask: Any) -> Any:
    return g * mask


class Dropout(Base_Layer):
    r"""Sets a random part of the values to 0 in training, so that none is relied on.

    .. math:: y_i = \frac{b_i}{1 - p} x_i, \quad b_i \sim \mathrm{Bernoulli}(1 - p)

    (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting", 2014, sections 4 and 10.) The division, "inverted dropout",
    keeps the expectation, so that in `eval` mode the input is returned as it is. Each call draws
    anew, on the host: the same seed leaves out the same on every device and in every dtype.

    Shapes: any, to the same. The dtype stays.

    Args:
        p: the probability of each value to be left out.
        rng: a NumPy generator, a seed, or None for unpredictable numbers.
        name: shown in the description and in errors.

    Attributes:
        p: as given.
        rng: the generator.

    Raises:
        ValueError: if `p` is outside [0, 1].
        TypeError: if `p` is not a number, or `rng` no generator or seed; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(ones(8))
    Tensor([2., 2., 2., 0., 0., 0., 0., 0.])
    >>> layer.eval()(ones(4))
    Tensor([1., 1., 1., 1.])
    """

    def __init__(
        self,
        p: float = 0.5,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.p = finite("p", p)
        if not 0 <= self.p <= 1:
            raise ValueError(f"p: expected a probability between 0 and 1, got {p!r}")
        self.rng = random_generator(rng)
        self.name = name

    def forward(self, x: Any) -> Tensor:
        """Return `x` with a random part set to 0 in training, `x` itself otherwise."""
        x = as_tensor(x)
        if x.dtype.kind != "f":
            raise TypeError(f"input is {x.dtype}, expected floats")
        return dropout(x, self.p, self.rng) if self.training and self.p else x

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"{self.p:g}"
