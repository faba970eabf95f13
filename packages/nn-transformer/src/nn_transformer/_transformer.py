"""`Transformer`: from source tokens to scores for target tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_layers import BaseModel, Dense
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device

from nn_transformer._attention import padding_mask
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
        activation: ``'relu'`` or ``'gelu'``.
        norm_first: whether norms come before the sublayers.
        tie_weights: whether the scores are products with the target embedding's own vectors
            (section 3.4 of the paper; Press and Wolf, "Using the Output Embedding to Improve
            Language Models", 2017).
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
        tie_weights: bool = False,
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
            "device": device,
            "dtype": dtype,
            "rng": rng,
        }
        self.padding_idx = padding_idx
        self.encoder = Encoder(src_vocab_size, **settings)
        self.decoder = Decoder(tgt_vocab_size, **settings)
        self.output = (
            None
            if tie_weights
            else Dense(d_model, tgt_vocab_size, device=device, dtype=dtype, rng=rng)
        )

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
        if src_mask is None and self.padding_idx is not None:
            src_mask = padding_mask(src_tokens, self.padding_idx)
        memory = self.encoder(src_tokens, src_mask)
        hidden: Tensor = self.decoder(tgt_tokens, memory, tgt_mask, src_mask)
        if self.output is None:
            return hidden @ self.decoder.embedding.weights.T
        scores: Tensor = self.output(hidden)
        return scores
