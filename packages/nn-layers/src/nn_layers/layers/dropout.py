"""`Dropout`: random elements set to 0 in training."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import check_probability, keyword_only

from nn_layers.layers.inputs import floating_input
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.dropout import dropout

__all__ = ["Dropout"]


class Dropout(Base_Layer):
    r"""Sets random elements to 0 in training, which prevents co-adaptation of features.

    .. math:: y_i = \frac{b_i}{1 - p} x_i, \quad b_i \sim \mathrm{Bernoulli}(1 - p)

    (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A Simple Way to Prevent
    Neural Networks from Overfitting", 2014, sections 4 and 10.) The division, "inverted dropout",
    keeps the expectation, so that in `eval` mode the input is returned as it is. Each call draws a
    key of 64 bits, from which the mask is computed by Philox4x64-10, with `p` rounded to a multiple
    of 1/65,536: the same seed gives the same masks on every device and in every dtype.

    Shapes: any, to the same. The dtype is kept.

    Args:
        p: the probability of an element to be set to 0.
        rng: a NumPy generator, a seed, or None for unpredictable masks.
        name: the name shown by ``repr`` and in errors.

    Attributes:
        p: the dropout probability.
        rng: the generator.

    Raises:
        ValueError: if `p` is outside [0, 1].
        TypeError: if `p` is not a number, or `rng` not a generator or seed; when called, if the
            input is not floating.

    >>> from nn_tensor import ones
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(ones(8))
    Tensor([2., 2., 0., 0., 2., 2., 2., 2.])
    >>> layer.eval()(ones(4))
    Tensor([1., 1., 1., 1.])
    """

    @keyword_only
    def __init__(
        self,
        p: float = 0.5,
        *,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.p: float = check_probability("p", p)
        self.rng: np.random.Generator = random_generator(rng)
        self.name = name

    def forward(self, x: Any) -> Tensor:
        """Return `x` with random elements set to 0 in training, `x` itself otherwise."""
        x = floating_input(x)
        return dropout(x, self.p, self.rng) if self.training and self.p else x

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"{self.p:g}"
