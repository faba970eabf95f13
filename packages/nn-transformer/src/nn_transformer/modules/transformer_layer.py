"""The base of encoder and decoder layers: their options, their parts, the residual connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from nn_layers import Base_Layer, Dropout, LayerNorm
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_number, check_probability, keyword_only

from nn_transformer.modules.multi_head_attention import MultiHeadAttention, head_dimension

__all__ = ["ActivationName", "LayerConfig", "LayerOptions", "TransformerLayer"]

ActivationName = Literal["relu", "gelu", "gelu_tanh"]


class LayerOptions(TypedDict, total=False):
    """The options of `EncoderLayer` and `DecoderLayer`, given by name.

    Stacks and models take them too, and pass them on to their layers.

    Attributes:
        dropout: the dropout probability, 0.1 by default.
        activation: ``'relu'``, the default, ``'gelu'`` or ``'gelu_tanh'``, see `nn_layers.GELU`.
        norm_first: whether the norms come before the sublayers (pre-norm); False by default.
        num_kv_heads: the number of heads of keys and values, see `MultiHeadAttention`.
        bias: whether projections and norms have a bias; True by default.
        norm_epsilon: see `nn_layers.LayerNorm`; 1e-5 by default.
        device: ``'cpu'``, the default, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the parameters, float32 by default.
        rng: a NumPy generator, a seed, or None, the default, for unpredictable weights and dropout.
    """

    dropout: float
    activation: ActivationName
    norm_first: bool
    num_kv_heads: int | None
    bias: bool
    norm_epsilon: float
    device: str | Device
    dtype: Any
    rng: np.random.Generator | int | None


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """The sizes of a layer and its `LayerOptions`, with their defaults; it makes the parts."""

    d_model: int
    num_heads: int
    d_ff: int | None
    dropout: float = 0.1
    activation: ActivationName = "relu"
    norm_first: bool = False
    num_kv_heads: int | None = None
    bias: bool = True
    norm_epsilon: float = 1e-5
    device: str | Device = "cpu"
    dtype: Any = np.float32
    rng: np.random.Generator | int | None = None

    def __post_init__(self) -> None:
        head_dimension(self.d_model, self.num_heads)
        check_probability("dropout", self.dropout)
        check_number("norm_epsilon", self.norm_epsilon, 0)
        # One generator for all parts: from a seed each would draw the same numbers.
        object.__setattr__(self, "rng", random_generator(self.rng))

    @property
    def parameter_options(self) -> dict[str, Any]:
        """What all parts with parameters take."""
        return {"bias": self.bias, "device": self.device, "dtype": self.dtype}

    def make_attention(self) -> MultiHeadAttention:
        """Return a new attention module."""
        return MultiHeadAttention(
            self.d_model,
            self.num_heads,
            dropout=self.dropout,
            num_kv_heads=self.num_kv_heads,
            rng=self.rng,
            **self.parameter_options,
        )

    def make_norm(self) -> LayerNorm:
        """Return a new layer normalization."""
        return LayerNorm(self.d_model, epsilon=self.norm_epsilon, **self.parameter_options)

    def make_dropout(self) -> Dropout:
        """Return a new dropout."""
        return Dropout(self.dropout, rng=self.rng)


class TransformerLayer(Base_Layer, ABC):
    """The base of `EncoderLayer` and `DecoderLayer`: sublayers with residual connections."""

    dropout: Dropout

    @keyword_only
    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__()
        config = LayerConfig(d_model=d_model, num_heads=num_heads, d_ff=d_ff, **options)
        self.norm_first: bool = config.norm_first
        self._build(config)

    @abstractmethod
    def _build(self, config: LayerConfig) -> None:
        """Make the parts. Their order is that of the optimizer's states in files: keep it."""

    def _residual(self, x: Tensor, norm: LayerNorm, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `x` plus the output of `sublayer`, with the norm before it or after the sum."""
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        return norm(x + self.dropout(sublayer(x)))
