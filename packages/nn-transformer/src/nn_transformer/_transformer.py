"""`Transformer`: from source tokens to scores for target tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_layers import BaseModel, Dense
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device

from nn_transformer._cache import Cache
from nn_transformer._inputs import as_tokens
from nn_transformer._masks import padding_mask
from nn_transformer._stacks import Decoder, Encoder

__all__ = ["Transformer"]


class Transformer(BaseModel):
    """Encoder, decoder and a projection to scores: a model that maps sequences to sequences.

    Source tokens ``(batch, sources)`` and target tokens ``(batch, targets)``, of any integer type,
    become scores ``(batch, targets, tgt_vocab_size)``: at each position those of the next token.
    Vaswani et al., "Attention Is All You Need", 2017; the defaults are those of its base model.

    Args:
        src_vocab_size: how many source tokens there are.
        tgt_vocab_size: how many target tokens there are.
        d_model: the length of the vectors.
        num_heads: how many heads; it divides `d_model`.
        num_layers: how many layers the encoder has, and the decoder.
        d_ff: the width of the feed-forward networks; by default four times `d_model`.
        dropout: the share that is dropped in training.
        max_seq_len: the longest sequence.
        padding_idx: the token that fills up, in both vocabularies: nothing attends to it.
        activation: ``'relu'``, ``'gelu'`` or ``'gelu_tanh'``, see `nn_layers.GELU`.
        norm_first: whether norms come before the sublayers.
        positions: ``'sinusoidal'``, ``'learned'`` or ``'rotary'``, see `Encoder`.
        num_kv_heads: how many heads keys and values have, see `MultiHeadAttention`.
        bias: whether projections and norms have a bias.
        norm_epsilon: see `nn_layers.LayerNorm`.
        final_norm: whether there is a norm after the last layers; by default as `norm_first`.
        tie_weights: True if the scores are products with the target embedding's own vectors;
            ``'all'`` if the source's are the same vectors too, of one vocabulary (section 3.4 of
            the paper; Press and Wolf, "Using the Output Embedding to Improve Language Models",
            2017).
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the parameters.
        rng: a NumPy generator, a seed, or None for unpredictable weights and dropout.

    Raises:
        ValueError: for sizes that do not fit; when called, for a sequence beyond `max_seq_len`.
        IndexError: when called, for a token that is not in its vocabulary.

    >>> from nn_transformer import Transformer
    >>> model = Transformer(100, 120, d_model=16, num_heads=4, num_layers=2)
    >>> model([[5, 7, 9]], [[1, 2]]).shape
    (1, 2, 120)
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int | None = None,
        dropout: float = 0.1,
        max_seq_len: int = 5000,
        padding_idx: int | None = None,
        activation: str = "relu",
        norm_first: bool = False,
        tie_weights: bool | str = False,
        positions: str = "sinusoidal",
        num_kv_heads: int | None = None,
        bias: bool = True,
        norm_epsilon: float = 1e-5,
        final_norm: bool | None = None,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        rng = random_generator(rng)
        settings: dict[str, Any] = {
            "d_model": d_model,
            "num_heads": num_heads,
            "num_layers": num_layers,
            "d_ff": d_ff,
            "dropout": dropout,
            "max_seq_len": max_seq_len,
            "padding_idx": padding_idx,
            "activation": activation,
            "norm_first": norm_first,
            "positions": positions,
            "num_kv_heads": num_kv_heads,
            "bias": bias,
            "norm_epsilon": norm_epsilon,
            "final_norm": final_norm,
            "device": device,
            "dtype": dtype,
            "rng": rng,
        }
        if tie_weights not in (False, True, "all"):
            raise ValueError(f"tie_weights: expected True, False or 'all', got {tie_weights!r}")
        if tie_weights == "all" and src_vocab_size != tgt_vocab_size:
            raise ValueError(
                "tie_weights: 'all' needs one vocabulary, got src_vocab_size="
                f"{src_vocab_size} and tgt_vocab_size={tgt_vocab_size}"
            )
        self.padding_idx = padding_idx
        self.encoder = Encoder(src_vocab_size, **settings)
        self.decoder = Decoder(tgt_vocab_size, **settings)
        if tie_weights == "all":
            self.decoder.embedding = self.encoder.embedding
        self.output = None
        if not tie_weights:
            self.output = Dense(d_model, tgt_vocab_size, device=device, dtype=dtype, rng=rng)

    @property
    def src_vocab_size(self) -> int:
        """How many source tokens there are."""
        return self.encoder.vocab_size

    @property
    def tgt_vocab_size(self) -> int:
        """How many target tokens there are."""
        return self.decoder.vocab_size

    @property
    def max_seq_len(self) -> int:
        """The longest sequence."""
        return self.decoder.max_seq_len

    @property
    def device(self) -> str:
        """Where the parameters live."""
        return self.encoder.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.encoder.dtype

    def forward(
        self, src_tokens: Any, tgt_tokens: Any, src_mask: Any = None, tgt_mask: Any = None
    ) -> Tensor:
        """Return the scores of the next token at each target position.

        Args:
            src_tokens: integers ``(batch, sources)``.
            tgt_tokens: integers ``(batch, targets)``.
            src_mask: where the source may be attended to, in the encoder and from the decoder, see
                `MultiHeadAttention`; by default what `padding_idx` says.
            tgt_mask: in place of the decoder's own mask.
        """
        if src_mask is None:
            src_mask = self.source_mask(src_tokens)
        memory = self.encode(src_tokens, src_mask)
        return self.decode(tgt_tokens, memory, tgt_mask, src_mask)

    def source_mask(self, src_tokens: Any) -> Tensor | None:
        """Return the mask of the source's padding, or None if there is no `padding_idx`."""
        if self.padding_idx is None:
            return None
        return padding_mask(as_tokens(src_tokens, self.device), self.padding_idx)

    def encode(self, src_tokens: Any, src_mask: Any = None) -> Tensor:
        """Return the vectors of the source, ``(batch, sources, d_model)``."""
        memory: Tensor = self.encoder(src_tokens, src_mask)
        return memory

    def decode(
        self,
        tgt_tokens: Any,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the scores of the next token at each target position, from an encoded source.

        Args:
            tgt_tokens: integers ``(batch, targets)``.
            memory: what `encode` returned.
            tgt_mask: in place of the decoder's own mask.
            memory_mask: what `source_mask` returned, for example.
            cache: what was seen before `tgt_tokens`, see `new_cache`.
        """
        hidden: Tensor = self.decoder(tgt_tokens, memory, tgt_mask, memory_mask, cache)
        if self.output is None:
            return hidden @ self.decoder.embedding.weights.T
        scores: Tensor = self.output(hidden)
        return scores

    def new_cache(self, padding: Any = None) -> Cache:
        """Return an empty cache of the decoder, see `Decoder.new_cache`."""
        return self.decoder.new_cache(padding)
