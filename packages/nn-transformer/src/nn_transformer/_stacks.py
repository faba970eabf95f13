"""Encoder and decoder: tokens in, vectors out."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from nn_layers import BaseModel, Dropout, LayerNorm
from nn_tensor import Tensor, no_grad, random_generator
from nn_tensor.extend import Device, describe, device_of

from nn_transformer._cache import Cache
from nn_transformer._embedding import Embedding, rows_of
from nn_transformer._inputs import (
    as_tokens,
    choice,
    positive,
    probability,
    read_padding_idx,
    read_tokens,
)
from nn_transformer._layers import DecoderLayer, EncoderLayer
from nn_transformer._masks import padding_mask
from nn_transformer._multi_head import Rotation
from nn_transformer._positions import LearnedPositions, PositionalEncoding, RotaryPositions

__all__ = ["Decoder", "Encoder", "Stack"]

_POSITIONS = ("sinusoidal", "learned", "rotary")
Layer = TypeVar("Layer", EncoderLayer, DecoderLayer)


class Stack(BaseModel):
    """Embedding, positions and norms around a stack of layers; arguments as in `Encoder`."""

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
        positions: str = "sinusoidal",
        num_kv_heads: int | None = None,
        bias: bool = True,
        norm_epsilon: float = 1e-5,
        final_norm: bool | None = None,
        embedding_norm: bool = False,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        rng = random_generator(rng)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        count = positive("num_layers", num_layers)
        width, heads = positive("d_model", d_model), positive("num_heads", num_heads)
        if width % heads:
            raise ValueError(f"num_heads: {heads} does not divide d_model={width}")
        probability("dropout", dropout)
        kind = choice("positions", positions, _POSITIONS)
        self.padding_idx = read_padding_idx(padding_idx, positive("vocab_size", vocab_size))
        self.embedding = Embedding(vocab_size, d_model, rng=rng, **place)
        # The paper's weights are smaller than Embedding's N(0, 1) by the factor sqrt(d_model) with
        # which its section 3.4 multiplies them: with the waves they are then about 1 in size.
        self._factor = math.sqrt(d_model) if kind == "sinusoidal" else 1.0
        with no_grad():
            self.embedding.weights /= math.sqrt(d_model)
        self.positions: PositionalEncoding | LearnedPositions | RotaryPositions
        if kind == "sinusoidal":
            self.positions = PositionalEncoding(d_model, max_seq_len, **place)
        elif kind == "learned":
            self.positions = LearnedPositions(d_model, max_seq_len, rng=rng, **place)
        else:
            self.positions = RotaryPositions(width // heads, max_seq_len, **place)
        self.embedding_norm = (
            LayerNorm(d_model, epsilon=norm_epsilon, bias=bias, **place) if embedding_norm else None
        )
        self.dropout = Dropout(dropout, rng=rng)
        settings: dict[str, Any] = {
            "d_model": d_model,
            "num_heads": num_heads,
            "d_ff": d_ff,
            "dropout": dropout,
            "activation": activation,
            "norm_first": norm_first,
            "num_kv_heads": num_kv_heads,
            "bias": bias,
            "norm_epsilon": norm_epsilon,
            "rng": rng,
        }
        self.layers: list[Any] = [self._layer(**settings, **place) for _ in range(count)]
        self.norm = None
        if norm_first if final_norm is None else final_norm:
            self.norm = LayerNorm(d_model, epsilon=norm_epsilon, bias=bias, **place)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self.embedding.vocab_size

    @property
    def d_model(self) -> int:
        """The length of the vectors."""
        return self.embedding.d_model

    @property
    def max_seq_len(self) -> int:
        """The longest sequence."""
        return self.positions.max_seq_len

    @property
    def device(self) -> str:
        """Where the parameters live."""
        return self.embedding.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.embedding.dtype

    def _embed(
        self, tokens: Tensor, cache: Cache | None = None, further: Tensor | None = None
    ) -> tuple[Tensor, Rotation | None]:
        """Return the vectors that the first layer gets, and what turns its queries and keys.

        `further` vectors are added to those of the tokens.
        """
        if tokens.ndim != 2:
            raise ValueError(f"tokens: expected shape (batch, length), got {tokens.shape}")
        batch, length = tokens.shape
        x: Tensor = self.embedding(tokens)
        positions = None
        if cache is not None:
            if not isinstance(cache, Cache):
                raise TypeError(f"cache: expected a Cache, got {describe(cache)}")
            cache.begin(batch, length, len(self.layers))
            positions = cache.positions(length, device_of(x.data))
        if self._factor != 1.0:
            x = x * self._factor
        rotation = None
        if isinstance(self.positions, RotaryPositions):
            rotation = self.positions.rotation(length, positions)
        else:
            x = self.positions(x, positions)
        if further is not None:
            x = x + further
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        return self.dropout(x), rotation

    def _padding(self, tokens: Tensor, cache: Cache | None = None) -> Any:
        """Return the mask of the padding, or None if there is none."""
        if cache is not None:
            return cache.mask(tokens.shape[1], device_of(self.embedding.weights.data))
        return None if self.padding_idx is None else padding_mask(tokens, self.padding_idx)

    def _finish(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class Encoder(Stack):
    """The encoder of a transformer: a vector for each source token, aware of all the others.

    Tokens ``(batch, length)`` of any integer type become ``(batch, length, d_model)``. Vaswani et
    al., "Attention Is All You Need", 2017, sections 3.1 to 3.5; the defaults are those of its base
    model. With learned positions, segments and a norm of the embeddings it is the encoder of Devlin
    et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019.

    Args:
        vocab_size: how many tokens there are.
        d_model: the length of the vectors.
        num_heads: how many heads; it divides `d_model`.
        num_layers: how many layers.
        d_ff: the width of the feed-forward networks; by default four times `d_model`.
        dropout: the share that is dropped in training.
        max_seq_len: the longest sequence.
        padding_idx: the token that fills up: nothing attends to it.
        activation: ``'relu'``, ``'gelu'`` or ``'gelu_tanh'``, see `nn_layers.GELU`.
        norm_first: whether norms come before the sublayers.
        positions: ``'sinusoidal'``: the paper's waves, and embeddings times the root of `d_model`,
            see `PositionalEncoding`; ``'learned'``, see `LearnedPositions`; or ``'rotary'``, see
            `RotaryPositions`.
        num_kv_heads: how many heads keys and values have, see `MultiHeadAttention`.
        bias: whether projections and norms have a bias.
        norm_epsilon: see `nn_layers.LayerNorm`.
        final_norm: whether there is a norm after the last layer; by default as `norm_first`.
        embedding_norm: whether there is a norm before the first layer.
        num_segments: how many kinds of tokens there are (the two sentences of BERT), each with a
            vector that is added; 0 for none.
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
        positions: str = "sinusoidal",
        num_kv_heads: int | None = None,
        bias: bool = True,
        norm_epsilon: float = 1e-5,
        final_norm: bool | None = None,
        embedding_norm: bool = False,
        num_segments: int = 0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        rng = random_generator(rng)
        super().__init__(
            vocab_size,
            d_model,
            num_heads,
            num_layers,
            d_ff,
            dropout,
            max_seq_len,
            padding_idx,
            activation,
            norm_first,
            positions,
            num_kv_heads,
            bias,
            norm_epsilon,
            final_norm,
            embedding_norm,
            device,
            dtype,
            rng,
        )
        self.segments = None
        if num_segments:
            count = positive("num_segments", num_segments)
            self.segments = Embedding(count, d_model, device=device, dtype=dtype, rng=rng)
            with no_grad():
                self.segments.weights /= math.sqrt(d_model)

    def forward(self, tokens: Any, mask: Any = None, segments: Any = None) -> Tensor:
        """Return the vectors of `tokens`.

        Args:
            tokens: integers ``(batch, length)``.
            mask: see `MultiHeadAttention`; by default what `padding_idx` says.
            segments: the segment of each token, integers ``(batch, length)``; all 0 by default.
        """
        tokens = as_tokens(tokens, self.device)
        x, rotation = self._embed(tokens, further=self._segments(tokens, segments))
        return self.run(x, self._padding(tokens) if mask is None else mask, rotation)

    def _segments(self, tokens: Tensor, segments: Any) -> Tensor | None:
        """Return the vectors of the segments, or None if this encoder has none."""
        if self.segments is None:
            if segments is not None:
                raise ValueError("segments: this encoder has none; see num_segments")
            return None
        if segments is None:
            return self.segments([[0]])
        ids = read_tokens("segments", segments, self.segments.vocab_size, self.device)
        if ids.shape != tokens.shape:
            raise ValueError(f"segments: have shape {ids.shape}, tokens {tokens.shape}")
        return rows_of(self.segments.weights, ids)

    def run(self, x: Tensor, mask: Any = None, rotation: Rotation | None = None) -> Tensor:
        """Return what the layers and the last norm make of vectors ``(batch, length, d_model)``."""
        for layer in self.layers:
            x = layer(x, mask, rotation=rotation)
        return self._finish(x)


class Decoder(Stack):
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
        self,
        tokens: Any,
        memory: Tensor,
        mask: Any = None,
        memory_mask: Any = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the vectors of `tokens`.

        Args:
            tokens: integers ``(batch, targets)``.
            memory: the encoder's output, ``(batch, sources, d_model)``.
            mask: for the self-attention, in place of the causal mask and that of `padding_idx`.
            memory_mask: for the attention to `memory`, such as the source's `padding_mask`.
            cache: what was seen before `tokens`, see `new_cache`; padding is then what it says.
        """
        tokens = as_tokens(tokens, self.device)
        x, rotation = self._embed(tokens, cache)
        if memory.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"memory: has {memory.shape[0]} rows, tokens {x.shape[0]}")
        causal = mask is None
        mask = self._padding(tokens, cache) if causal else mask
        return self.run(x, memory, mask, memory_mask, causal, rotation, cache)

    def run(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Any = None,
        memory_mask: Any = None,
        causal: bool = False,
        rotation: Rotation | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return what layers and last norm make of vectors ``(batch, targets, d_model)``."""
        length = x.shape[1]
        for i, layer in enumerate(self.layers):
            known = own = None
            if cache is not None:
                own, known = cache.layers[i], cache.memory[i]
                if known is None:
                    known = cache.memory[i] = layer.cross_attention.keys_and_values(memory, memory)
            x = layer(
                x,
                memory,
                mask,
                memory_mask,
                causal=causal,
                rotation=rotation,
                cache=own,
                memory_keys=known,
            )
        if cache is not None:
            cache.end(x.shape[0], length)
        return self._finish(x)

    def new_cache(self, padding: Any = None) -> Cache:
        """Return an empty cache, with which a sequence can be decoded in parts.

        Args:
            padding: for each row of the batch, how many of the first tokens are padding: nothing
                attends to them, and positions are counted from there.
        """
        return Cache(len(self.layers), self.max_seq_len, padding)
