"""Encoder and decoder: tokens in, vectors out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_layers import BaseModel, LayerNorm
from nn_tensor import Tensor, no_grad, random_generator
from nn_tensor.extend import Device

from nn_transformer._attention import causal_mask, padding_mask
from nn_transformer._embedding import Embedding
from nn_transformer._inputs import positive
from nn_transformer._layers import DecoderLayer, EncoderLayer
from nn_transformer._positions import PositionalEncoding

__all__ = ["Decoder", "Encoder"]


class _Stack(BaseModel):
    """Embedding, positions and a stack of layers; arguments as `Encoder` documents them."""

    _layer: type[EncoderLayer] | type[DecoderLayer]

    def __init__(
        self,
        vocab_size: int,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int | None = None,
        dropout: float = 0.1,
        max_seq_len: int = 5000,
        padding_idx: int | None = None,
        activation: str = "relu",
        norm_first: bool = False,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        rng = random_generator(rng)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        count = positive("num_layers", num_layers)
        if padding_idx is not None and not 0 <= padding_idx < vocab_size:
            raise ValueError(
                f"padding_idx: {padding_idx} is no token of a vocabulary of {vocab_size}"
            )
        self.padding_idx = padding_idx
        # The sum of Embedding's N(0, 1) with the waves, each of size about 1: the paper's weights
        # are smaller by the factor sqrt(d_model) that its section 3.4 multiplies them with.
        self.embedding = Embedding(vocab_size, d_model, rng=rng, **place)
        with no_grad():
            self.embedding.weights /= math.sqrt(d_model)
        self.positions = PositionalEncoding(d_model, max_seq_len, dropout, rng=rng, **place)
        self.layers = [
            self._layer(d_model, num_heads, d_ff, dropout, activation, norm_first, rng=rng, **place)
            for _ in range(count)
        ]
        self.norm = LayerNorm(d_model, **place) if norm_first else None

    def _embed(self, tokens: Any) -> Tensor:
        embedded: Tensor = self.embedding(tokens)
        if embedded.ndim != 3:
            raise ValueError(f"tokens: expected shape (batch, length), got {embedded.shape[:-1]}")
        encoded: Tensor = self.positions(embedded * math.sqrt(embedded.shape[-1]))
        return encoded

    def _padding(self, tokens: Any, mask: Any) -> Any:
        if mask is None and self.padding_idx is not None:
            return padding_mask(tokens, self.padding_idx)
        return mask


class Encoder(_Stack):
    """The encoder of a transformer: a vector for each source token, aware of all the others.

    Tokens ``(batch, length)`` of any integer type become ``(batch, length, d_model)``. Vaswani et
    al., "Attention Is All You Need", 2017, sections 3.1 to 3.5; the defaults are those of its base
    model.

    Args:
        vocab_size: how many tokens there are.
        d_model: the length of the vectors.
        num_heads: how many heads; it divides `d_model`.
        num_layers: how many layers.
        d_ff: the width of the feed-forward networks; by default four times `d_model`.
        dropout: the share that is dropped in training.
        max_seq_len: the longest sequence.
        padding_idx: the token that fills up: nothing attends to it.
        activation: ``'relu'`` or ``'gelu'``.
        norm_first: whether norms come before the sublayers, and one more at the end.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the parameters.
        rng: a NumPy generator, a seed, or None for unpredictable weights and dropout.

    Raises:
        ValueError: for sizes that do not fit; when called, for a sequence beyond `max_seq_len`.
        IndexError: when called, for a token that is not in the vocabulary.

    >>> from nn_transformer import Encoder
    >>> encoder = Encoder(vocab_size=100, d_model=16, num_heads=4, num_layers=2)
    >>> encoder([[5, 7, 9]]).shape
    (1, 3, 16)
    """

    _layer = EncoderLayer

    def forward(self, tokens: Any, mask: Any = None) -> Tensor:
        """Return the vectors of `tokens`.

        Args:
            tokens: integers ``(batch, length)``.
            mask: see `MultiHeadAttention`; by default what `padding_idx` says.
        """
        x = self._embed(tokens)
        mask = self._padding(tokens, mask)
        for layer in self.layers:
            x = layer(x, mask)
        return x if self.norm is None else self.norm(x)


class Decoder(_Stack):
    """The decoder of a transformer: a vector for each target token, aware of those before it.

    Arguments, errors and source as `Encoder`. It is causal: a position attends to itself and to
    those before it, and to all of the encoder's output.

    >>> from nn_tensor import ones
    >>> from nn_transformer import Decoder
    >>> decoder = Decoder(vocab_size=100, d_model=16, num_heads=4, num_layers=2)
    >>> decoder([[5, 7, 9]], ones(1, 4, 16)).shape
    (1, 3, 16)
    """

    _layer = DecoderLayer

    def forward(
        self, tokens: Any, memory: Tensor, mask: Any = None, memory_mask: Any = None
    ) -> Tensor:
        """Return the vectors of `tokens`.

        Args:
            tokens: integers ``(batch, targets)``.
            memory: the encoder's output, ``(batch, sources, d_model)``.
            mask: for the self-attention, in place of the causal mask and that of `padding_idx`.
            memory_mask: for the attention to `memory`, such as the source's `padding_mask`.
        """
        x = self._embed(tokens)
        if mask is None:
            mask = causal_mask(x.shape[1], x.device)
            if self.padding_idx is not None:
                mask = mask & padding_mask(tokens, self.padding_idx)
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask)
        return x if self.norm is None else self.norm(x)
