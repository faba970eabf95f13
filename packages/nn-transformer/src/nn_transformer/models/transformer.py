"""`Transformer`: the encoder-decoder model."""

from __future__ import annotations

from typing import Any, Literal, Unpack

import numpy as np
from nn_layers import BaseModel, Dense
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import keyword_only

from nn_transformer.modules.attention_masks import padding_mask
from nn_transformer.modules.decoder import Decoder
from nn_transformer.modules.encoder import Encoder
from nn_transformer.modules.kv_cache import DecoderCache
from nn_transformer.modules.token_ids import as_token_ids
from nn_transformer.modules.transformer_stack import StackOptions

__all__ = ["Transformer"]


class Transformer(BaseModel):
    """Encoder, decoder and output projection: a sequence-to-sequence model.

    Shapes: source tokens ``(batch, sources)`` and target tokens ``(batch, targets)``, of any
    integer dtype, to logits ``(batch, targets, tgt_vocab_size)``: at each position those of the
    next token.

    Vaswani et al., "Attention Is All You Need", 2017; the defaults are those of its base model.

    Args:
        src_vocab_size: the vocabulary size of the source.
        tgt_vocab_size: the vocabulary size of the target.
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        num_layers: the number of layers of the encoder, and of the decoder.
        d_ff: the hidden dimension of the feed-forward networks, by default four times `d_model`.
        tie_weights: True to share the weights of the target embedding with the output projection;
            ``'all'`` to share them with the source embedding too, for one vocabulary (section 3.4
            of the paper; Press and Wolf, "Using the Output Embedding to Improve Language Models",
            2017).
        **options: `StackOptions`, by name. `padding_idx` holds for both vocabularies.

    Raises:
        ValueError: for sizes that do not fit, or an option out of range; when called, for a
            sequence longer than `max_seq_len`.
        IndexError: when called, for a token that is not in its vocabulary.

    >>> from nn_transformer import Transformer
    >>> model = Transformer(100, 120, d_model=16, num_heads=4, num_layers=2, dropout=0.0)
    >>> model([[5, 7, 9]], [[1, 2]]).shape
    (1, 2, 120)
    """

    @keyword_only
    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int | None = None,
        *,
        tie_weights: bool | Literal["all"] = False,
        **options: Unpack[StackOptions],
    ) -> None:
        super().__init__()
        if tie_weights not in (False, True, "all"):
            raise ValueError(f"tie_weights: expected True, False or 'all', got {tie_weights!r}")
        if tie_weights == "all" and src_vocab_size != tgt_vocab_size:
            raise ValueError(
                "tie_weights: 'all' needs one vocabulary, got src_vocab_size="
                f"{src_vocab_size} and tgt_vocab_size={tgt_vocab_size}"
            )
        options["rng"] = rng = random_generator(options.get("rng"))
        sizes = {"d_model": d_model, "num_heads": num_heads, "num_layers": num_layers}
        self.encoder: Encoder = Encoder(src_vocab_size, d_ff=d_ff, **sizes, **options)
        self.decoder: Decoder = Decoder(tgt_vocab_size, d_ff=d_ff, **sizes, **options)
        self.padding_idx: int | None = self.decoder.padding_idx
        if tie_weights == "all":
            self.decoder.embedding = self.encoder.embedding
        self.output: Dense | None = None
        if not tie_weights:
            self.output = Dense(
                d_model, tgt_vocab_size, device=self.device, dtype=self.dtype, rng=rng
            )

    @property
    def src_vocab_size(self) -> int:
        """The vocabulary size of the source."""
        return self.encoder.vocab_size

    @property
    def tgt_vocab_size(self) -> int:
        """The vocabulary size of the target."""
        return self.decoder.vocab_size

    @property
    def max_seq_len(self) -> int:
        """The maximum sequence length."""
        return self.decoder.max_seq_len

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return self.encoder.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.encoder.dtype

    def forward(
        self, src_tokens: Any, tgt_tokens: Any, src_mask: Any = None, tgt_mask: Any = None
    ) -> Tensor:
        """Return the logits of the next token at each target position.

        Args:
            src_tokens: integers ``(batch, sources)``.
            tgt_tokens: integers ``(batch, targets)``.
            src_mask: the mask of the source, in the encoder and for the cross-attention, see
                `MultiHeadAttention`; by default padding tokens are masked.
            tgt_mask: the mask that replaces the decoder's causal mask and padding mask.
        """
        if src_mask is None:
            src_mask = self.source_mask(src_tokens)
        memory = self.encode(src_tokens, src_mask)
        return self.decode(tgt_tokens, memory, tgt_mask, src_mask)

    def source_mask(self, src_tokens: Any) -> Tensor | None:
        """Return the padding mask of the source, or None if there is no `padding_idx`."""
        if self.padding_idx is None:
            return None
        return padding_mask(as_token_ids(src_tokens, self.device), self.padding_idx)

    def encode(self, src_tokens: Any, src_mask: Any = None) -> Tensor:
        """Return the encoder's output, ``(batch, sources, d_model)``."""
        memory: Tensor = self.encoder(src_tokens, src_mask)
        return memory

    def decode(
        self,
        tgt_tokens: Any,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        cache: DecoderCache | None = None,
    ) -> Tensor:
        """Return the logits of the next token at each target position, from an encoded source.

        Args:
            tgt_tokens: integers ``(batch, targets)``.
            memory: the result of `encode`.
            tgt_mask: the mask that replaces the decoder's causal mask and padding mask.
            memory_mask: the mask of the cross-attention, such as the result of `source_mask`.
            cache: the KV cache of the tokens before, see `new_cache`.
        """
        hidden: Tensor = self.decoder(tgt_tokens, memory, tgt_mask, memory_mask, cache)
        if self.output is None:
            return hidden @ self.decoder.embedding.weights.T
        logits: Tensor = self.output(hidden)
        return logits

    def new_cache(self, padding: Any = None) -> DecoderCache:
        """Return an empty cache of the decoder, see `Decoder.new_cache`."""
        return self.decoder.new_cache(padding)
