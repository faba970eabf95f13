"""`Encoder`: a vector for each source token, computed from all of them."""

from __future__ import annotations

from typing import Any, Unpack

from nn_tensor import Tensor, random_generator
from nn_tensor.extend import check_integer, keyword_only

from nn_transformer.modules.embedding import Embedding, embedding_lookup
from nn_transformer.modules.encoder_layer import EncoderLayer
from nn_transformer.modules.token_ids import as_token_ids, check_token_ids
from nn_transformer.modules.transformer_stack import (
    StackOptions,
    TransformerStack,
    make_token_embedding,
)

__all__ = ["Encoder"]


class Encoder(TransformerStack):
    """The encoder of a transformer: a stack of self-attention layers.

    Shapes: tokens ``(batch, length)`` of any integer dtype to ``(batch, length, d_model)``.

    Vaswani et al., "Attention Is All You Need", 2017, sections 3.1 to 3.5; the defaults are those
    of its base model. With learned positions, segments and an embedding norm it is the encoder of
    Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019.

    Args:
        vocab_size: the vocabulary size.
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        num_layers: the number of layers.
        d_ff: the hidden dimension of the feed-forward networks, by default four times `d_model`.
        num_segments: the number of segments (token types; two in BERT), each with an embedding that
            is added; 0 for none.
        **options: `StackOptions`, by name.

    Raises:
        ValueError: for sizes that do not fit, or an option out of range; when called, for a
            sequence longer than `max_seq_len`.
        IndexError: when called, for a token that is not in the vocabulary.

    >>> from nn_transformer import Encoder
    >>> encoder = Encoder(vocab_size=100, d_model=16, num_heads=4, num_layers=2, dropout=0.0)
    >>> encoder([[5, 7, 9]]).shape
    (1, 3, 16)
    """

    _layer = EncoderLayer

    @keyword_only
    def __init__(
        self,
        vocab_size: int,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 6,
        d_ff: int | None = None,
        *,
        num_segments: int = 0,
        **options: Unpack[StackOptions],
    ) -> None:
        check_integer("num_segments", num_segments, 0)
        options["rng"] = rng = random_generator(options.get("rng"))
        super().__init__(
            vocab_size,
            d_model=d_model,
            num_heads=num_heads,
            num_layers=num_layers,
            d_ff=d_ff,
            **options,
        )
        self.segment_embedding: Embedding | None = None
        if num_segments:
            self.segment_embedding = make_token_embedding(
                num_segments, d_model, device=self.device, dtype=self.dtype, rng=rng
            )

    def forward(self, tokens: Any, mask: Any = None, segment_ids: Any = None) -> Tensor:
        """Return the output for `tokens`, ``(batch, length, d_model)``.

        Args:
            tokens: integers ``(batch, length)``.
            mask: see `MultiHeadAttention`; by default padding tokens are masked.
            segment_ids: the segment of each token, integers ``(batch, length)``; 0 by default.
        """
        tokens = as_token_ids(tokens, self.device)
        x, rotation = self._embed(
            tokens, segment_embeddings=self._embed_segments(tokens, segment_ids)
        )
        mask = self._padding_mask(tokens) if mask is None else mask
        return self.run(x, mask, rotation=rotation)

    def _embed_segments(self, tokens: Tensor, segment_ids: Any) -> Tensor | None:
        """Return the embedding of each token's segment, or None if this encoder has no segments."""
        if self.segment_embedding is None:
            if segment_ids is not None:
                raise ValueError("segment_ids: this encoder has no segments, see num_segments")
            return None
        if segment_ids is None:
            return self.segment_embedding([[0]])
        embedding = self.segment_embedding
        ids = check_token_ids("segment_ids", segment_ids, embedding.vocab_size, self.device)
        if ids.shape != tokens.shape:
            raise ValueError(f"segment_ids: have shape {ids.shape}, tokens {tokens.shape}")
        return embedding_lookup(embedding.weights, ids)
