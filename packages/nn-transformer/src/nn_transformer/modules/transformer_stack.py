"""The base of `Encoder`, `Decoder` and `LanguageModel`: embedding, positions, layers and norms."""

from __future__ import annotations

import math
from typing import Any, Literal, Unpack, get_args

import numpy as np
from nn_layers import BaseModel, Dropout, LayerNorm
from nn_tensor import Tensor, no_grad
from nn_tensor.extend import check_choice, check_integer, describe, device_of, keyword_only

from nn_transformer.modules.attention_masks import padding_mask
from nn_transformer.modules.decoder_layer import DecoderLayer
from nn_transformer.modules.embedding import Embedding
from nn_transformer.modules.encoder_layer import EncoderLayer
from nn_transformer.modules.kv_cache import DecoderCache
from nn_transformer.modules.positional_encoding import LearnedPositions, PositionalEncoding
from nn_transformer.modules.rotary_embedding import RotaryPositions, Rotation
from nn_transformer.modules.token_ids import check_padding_idx
from nn_transformer.modules.token_layers import run_token
from nn_transformer.modules.transformer_layer import LayerConfig, LayerOptions

__all__ = ["StackOptions", "TransformerStack", "make_token_embedding"]

PositionKind = Literal["sinusoidal", "learned", "rotary"]


class StackOptions(LayerOptions, total=False):
    """The options of `Encoder`, `Decoder`, `Transformer` and `LanguageModel`, given by name.

    All `LayerOptions`, and:

    Attributes:
        max_seq_len: the maximum sequence length, 5000 by default.
        padding_idx: the padding token, to which nothing attends; None, the default, for no padding.
        positions: ``'sinusoidal'``, the default: see `PositionalEncoding`, and the embeddings are
            multiplied by the square root of `d_model`; ``'learned'``, see `LearnedPositions`; or
            ``'rotary'``, see `RotaryPositions`.
        final_norm: whether there is a norm after the last layer; by default as `norm_first`.
        embedding_norm: whether there is a norm before the first layer; False by default.
    """

    max_seq_len: int
    padding_idx: int | None
    positions: PositionKind
    final_norm: bool | None
    embedding_norm: bool


def make_token_embedding(vocab_size: int, d_model: int, **options: Any) -> Embedding:
    """Return a new `Embedding` with weights from N(0, 1 / d_model)."""
    embedding = Embedding(vocab_size, d_model, **options)
    with no_grad():
        embedding.weights /= math.sqrt(d_model)
    return embedding


class TransformerStack(BaseModel):
    """Embedding, positions and norms around a stack of layers; arguments as for `Encoder`."""

    _layer: type[EncoderLayer] | type[DecoderLayer]

    @keyword_only
    def __init__(
        self,
        vocab_size: int,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int | None = None,
        *,
        max_seq_len: int = 5000,
        padding_idx: int | None = None,
        positions: PositionKind = "sinusoidal",
        final_norm: bool | None = None,
        embedding_norm: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__()
        num_layers = check_integer("num_layers", num_layers, 1)
        config = LayerConfig(d_model=d_model, num_heads=num_heads, d_ff=d_ff, **options)
        options["rng"] = config.rng  # shared by all parts
        placement: dict[str, Any] = {"device": config.device, "dtype": config.dtype}
        kind = check_choice("positions", positions, get_args(PositionKind))
        self.padding_idx: int | None = check_padding_idx(
            padding_idx, check_integer("vocab_size", vocab_size, 1)
        )
        # The paper multiplies the weights by sqrt(d_model), section 3.4: so they are drawn smaller,
        # to be about as large as the sinusoidal encoding after that.
        self.embedding: Embedding = make_token_embedding(
            vocab_size, d_model, rng=config.rng, **placement
        )
        self._embedding_scale = math.sqrt(d_model) if kind == "sinusoidal" else 1.0
        self.positions: PositionalEncoding | LearnedPositions | RotaryPositions
        if kind == "sinusoidal":
            self.positions = PositionalEncoding(d_model, max_seq_len, rng=config.rng, **placement)
        elif kind == "learned":
            self.positions = LearnedPositions(d_model, max_seq_len, rng=config.rng, **placement)
        else:
            self.positions = RotaryPositions(d_model // num_heads, max_seq_len, **placement)
        self.embedding_norm: LayerNorm | None = config.make_norm() if embedding_norm else None
        self.dropout: Dropout = config.make_dropout()
        self.layers: list[Any] = [
            self._layer(d_model, num_heads, d_ff, **options) for _ in range(num_layers)
        ]
        if final_norm is None:
            final_norm = config.norm_first
        self.final_norm: LayerNorm | None = config.make_norm() if final_norm else None

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        return self.embedding.vocab_size

    @property
    def d_model(self) -> int:
        """The model dimension."""
        return self.embedding.d_model

    @property
    def max_seq_len(self) -> int:
        """The maximum sequence length."""
        return self.positions.max_seq_len

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return self.embedding.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.embedding.dtype

    def _embed(
        self,
        tokens: Tensor,
        cache: DecoderCache | None = None,
        segment_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, Rotation | None]:
        """Return the input of the first layer, and the rotary embedding if there is one."""
        if tokens.ndim != 2:
            raise ValueError(f"tokens: expected shape (batch, length), got {tokens.shape}")
        batch, length = tokens.shape
        x: Tensor = self.embedding(tokens)
        positions = None
        if cache is not None:
            if not isinstance(cache, DecoderCache):
                raise TypeError(f"cache: expected a DecoderCache, got {describe(cache)}")
            cache.begin(batch, length, len(self.layers))
            positions = cache.positions(length, device_of(x))
        if self._embedding_scale != 1.0:
            x = x * self._embedding_scale
        rotation = None
        if isinstance(self.positions, RotaryPositions):
            rotation = self.positions.rotation(length, positions)
        else:
            x = self.positions(x, positions)
        if segment_embeddings is not None:
            x = x + segment_embeddings
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        return self.dropout(x), rotation

    def _padding_mask(self, tokens: Tensor, cache: DecoderCache | None = None) -> Tensor | None:
        """Return the mask of the padding, or None if there is none."""
        if cache is not None:
            return cache.padding_mask(tokens.shape[1], device_of(self.embedding.weights))
        return None if self.padding_idx is None else padding_mask(tokens, self.padding_idx)

    def run(
        self, x: Tensor, *args: Any, cache: DecoderCache | None = None, **options: Any
    ) -> Tensor:
        """Return the output of the layers and the final norm for vectors, without the embedding.

        Args:
            x: ``(batch, length, d_model)``.
            *args: the further arguments of each layer, see `EncoderLayer.forward` and
                `DecoderLayer.forward`: a mask, or the encoder's output and two masks.
            cache: the KV cache of the positions before.
            **options: ``causal`` and ``rotation``, or any of `args` by name.
        """
        out = None if cache is None else self._run_token(x, args, cache, options)
        if out is None:
            out, caches = x, [None] * len(self.layers) if cache is None else cache.layers
            for layer, kv_cache in zip(self.layers, caches, strict=True):
                out = layer(out, *args, cache=kv_cache, **options)
        if cache is not None:
            cache.commit(*x.shape[:2])
        return out if self.final_norm is None else self.final_norm(out)

    def _run_token(
        self, x: Tensor, args: tuple[Any, ...], cache: DecoderCache, options: dict[str, Any]
    ) -> Tensor | None:
        """Return the output of the layers for one new token, or None where `run_token` does."""
        if x.ndim != 3 or x.shape[1] != 1 or options.keys() - {"causal", "rotation"}:
            return None
        masks = args[1:] if self._layer is DecoderLayer else args
        mask, memory_mask, *_ = *masks, None, None
        return run_token(self.layers, x, mask, memory_mask, options.get("rotation"), cache)
