"""`FeedForward`: the position-wise feed-forward network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from nn_layers import GELU, Base_Layer, Dense, Dropout, ReLU
from nn_tensor import Tensor
from nn_tensor.extend import check_choice, check_integer

from nn_transformer.modules.transformer_layer import LayerConfig

__all__ = ["FeedForward"]

_ACTIVATIONS: dict[str, Callable[[], Base_Layer]] = {
    "relu": ReLU,
    "gelu": GELU,
    "gelu_tanh": functools.partial(GELU, approximate="tanh"),
}


class FeedForward(Base_Layer):
    r"""Two fully connected layers with an activation between them, applied to each position.

    .. math:: \text{FFN}(x) = f(x W_1 + b_1) W_2 + b_2

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.3.)

    Shapes: ``(..., d_model)`` to the same.

    Attributes:
        hidden, output: the layers, `nn_layers.Dense`.
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        size = 4 * config.d_model if config.d_ff is None else check_integer("d_ff", config.d_ff, 1)
        options: dict[str, Any] = {"rng": config.rng, **config.parameter_options}
        self.hidden: Dense = Dense(config.d_model, size, **options)
        self.activation: Base_Layer = _ACTIVATIONS[
            check_choice("activation", config.activation, _ACTIVATIONS)
        ]()
        self.dropout: Dropout = config.make_dropout()
        self.output: Dense = Dense(size, config.d_model, **options)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for each position."""
        return self.output(self.dropout(self.activation(self.hidden(x))))
