"""The layers that encoder and decoder are stacked from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_layers import GELU, Base_Layer, Dense, Dropout, LayerNorm, ReLU, Sequential
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device

from nn_transformer._cache import KeysAndValues
from nn_transformer._inputs import choice, positive
from nn_transformer._multi_head import MultiHeadAttention, Rotation

__all__ = ["DecoderLayer", "EncoderLayer"]

_ACTIVATIONS: dict[str, Callable[[], Base_Layer]] = {
    "relu": ReLU,
    "gelu": GELU,
    "gelu_tanh": functools.partial(GELU, "tanh"),
}


class _Layer(Base_Layer):
    """What both kinds have: a feed-forward network, and sublayers with a way around them."""

    _sublayers: int

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
        num_kv_heads: int | None = None,
        bias: bool = True,
        norm_epsilon: float = 1e-5,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        activate = _ACTIVATIONS[choice("activation", activation, _ACTIVATIONS)]
        rng = random_generator(rng)
        place: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        inner = 4 * positive("d_model", d_model) if d_ff is None else positive("d_ff", d_ff)
        self.norm_first = norm_first
        self.attention = MultiHeadAttention(
            d_model, num_heads, dropout, num_kv_heads=num_kv_heads, rng=rng, **place
        )
        self.norms = [
            LayerNorm(d_model, epsilon=norm_epsilon, **place) for _ in range(self._sublayers)
        ]
        self.feed_forward = Sequential(
            Dense(d_model, inner, rng=rng, **place),
            activate(),
            Dropout(dropout, rng=rng),
            Dense(inner, d_model, rng=rng, **place),
        )
        self.dropout = Dropout(dropout, rng=rng)

    def _around(self, x: Tensor, position: int, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Add to `x` what a sublayer makes of it; the norm comes before it, or after the sum."""
        norm = self.norms[position]
        if self.norm_first:
            return x + self.dropout(sublayer(norm(x)))
        result: Tensor = norm(x + self.dropout(sublayer(x)))
        return result


class EncoderLayer(_Layer):
    r"""Self-attention and a feed-forward network, each with a residual connection and a norm.

    .. math:: x \leftarrow \text{norm}(x + \text{sublayer}(x)) \quad\text{or, with norm_first,}\quad
        x \leftarrow x + \text{sublayer}(\text{norm}(x))

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.1; norm first: Xiong et al., "On
    Layer Normalization in the Transformer Architecture", 2020.)

    Args:
        d_model: the length of the vectors.
        num_heads: how many heads; it divides `d_model`.
        d_ff: the width of the feed-forward network; by default four times `d_model`.
        dropout: the share that is dropped in training.
        activation: ``'relu'``, ``'gelu'`` or ``'gelu_tanh'``, see `nn_layers.GELU`.
        norm_first: whether norms come before the sublayers.
        num_kv_heads: see `MultiHeadAttention`.
        bias: whether projections and norms have a bias.
        norm_epsilon: see `nn_layers.LayerNorm`.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the parameters.
        rng: a NumPy generator, a seed, or None.

    Raises:
        ValueError: for sizes that do not fit, or an unknown activation.

    >>> from nn_tensor import ones
    >>> from nn_transformer import EncoderLayer
    >>> EncoderLayer(d_model=8, num_heads=2)(ones(1, 3, 8)).shape
    (1, 3, 8)
    """

    _sublayers = 2

    def forward(
        self,
        x: Tensor,
        mask: Any = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: KeysAndValues | None = None,
    ) -> Tensor:
        """Return the new vectors ``(batch, length, d_model)``; see `MultiHeadAttention`."""
        options: dict[str, Any] = {"causal": causal, "rotation": rotation, "cache": cache}
        x = self._around(x, 0, lambda y: self.attention(y, y, y, mask, **options))
        return self._around(x, 1, self.feed_forward)


class DecoderLayer(_Layer):
    """Self-attention, attention to the encoder's output, and a feed-forward network.

    Arguments, errors and sources as `EncoderLayer`.

    >>> from nn_tensor import ones
    >>> from nn_transformer import DecoderLayer, causal_mask
    >>> layer = DecoderLayer(d_model=8, num_heads=2)
    >>> layer(ones(1, 3, 8), ones(1, 5, 8), mask=causal_mask(3)).shape
    (1, 3, 8)
    """

    _sublayers = 3

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int | None = None,
        dropout: float = 0.1,
        activation: str = "relu",
        norm_first: bool = False,
        num_kv_heads: int | None = None,
        bias: bool = True,
        norm_epsilon: float = 1e-5,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        rng = random_generator(rng)
        super().__init__(
            d_model,
            num_heads,
            d_ff,
            dropout,
            activation,
            norm_first,
            num_kv_heads,
            bias,
            norm_epsilon,
            device,
            dtype,
            rng,
        )
        self.cross_attention = MultiHeadAttention(
            d_model, num_heads, dropout, bias, num_kv_heads, device, dtype, rng
        )

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Any = None,
        memory_mask: Any = None,
        *,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: KeysAndValues | None = None,
        memory_keys: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the new vectors ``(batch, targets, d_model)``.

        Args:
            x: ``(batch, targets, d_model)``.
            memory: the encoder's output, ``(batch, sources, d_model)``.
            mask: for the self-attention, see `MultiHeadAttention`.
            memory_mask: for the attention to `memory`.
            causal: for the self-attention.
            rotation: for the self-attention.
            cache: for the self-attention.
            memory_keys: what ``cross_attention.keys_and_values`` made of `memory`, if it is known.
        """
        options: dict[str, Any] = {"causal": causal, "rotation": rotation, "cache": cache}
        x = self._around(x, 0, lambda y: self.attention(y, y, y, mask, **options))

        def look_back(y: Tensor) -> Tensor:
            if memory_keys is None:
                return self.cross_attention(y, memory, memory, memory_mask)
            return self.cross_attention.attend(y, *memory_keys, memory_mask)

        x = self._around(x, 1, look_back)
        return self._around(x, 2, self.feed_forward)
