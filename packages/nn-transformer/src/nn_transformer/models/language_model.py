"""`LanguageModel`: a decoder-only transformer."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np
from nn_layers import Dense
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import device_scope, keyword_only

from nn_transformer.modules.encoder_layer import EncoderLayer
from nn_transformer.modules.kv_cache import DecoderCache
from nn_transformer.modules.token_ids import as_token_ids
from nn_transformer.modules.transformer_stack import StackOptions, TransformerStack

__all__ = ["LanguageModel"]

# GPT-2's, where they differ from those of the original transformer.
_DEFAULTS: StackOptions = {
    "max_seq_len": 1024,
    "activation": "gelu",
    "norm_first": True,
    "positions": "learned",
}


class LanguageModel(TransformerStack):
    r"""A decoder-only transformer: at each position the logits of the next token.

    Shapes: tokens ``(batch, length)`` of any integer dtype to logits ``(batch, length,
    vocab_size)``. A position attends to itself and to earlier ones.

    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2), section
    2.3: pre-norm with a final norm, learned positions, GELU, output weights tied to the embedding.
    Embeddings and projections from :math:`d` features are drawn from :math:`N(0, 1 / d)` (LeCun et
    al., 1998; GPT-2's 0.02 is close to that for its dimensions, and learns slowly for smaller
    ones), projections into the residual stream, with :math:`N` layers, from :math:`N(0, 1 / 2Nd)`.

    Args:
        vocab_size: the vocabulary size.
        d_model: the model dimension.
        num_heads: the number of attention heads; it divides `d_model`.
        num_layers: the number of layers.
        d_ff: the hidden dimension of the feed-forward networks, by default four times `d_model`.
        tie_weights: whether the output projection shares the weights of the embedding, or has
            separate weights (and no bias).
        **options: `StackOptions`, by name. Other defaults are ``max_seq_len=1024``,
            ``activation='gelu'``, ``norm_first=True`` and ``positions='learned'``.

    Raises:
        ValueError: for sizes that do not fit, or an option out of range; when called, for a
            sequence longer than `max_seq_len`.
        IndexError: when called, for a token that is not in the vocabulary.

    >>> from nn_transformer import LanguageModel
    >>> model = LanguageModel(65, d_model=16, num_heads=4, num_layers=2, max_seq_len=64)
    >>> model([[5, 7, 9]]).shape
    (1, 3, 65)
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
        tie_weights: bool = True,
        **options: Unpack[StackOptions],
    ) -> None:
        rng = random_generator(options.get("rng"))
        with_defaults: StackOptions = {**_DEFAULTS, **options, "rng": rng}
        super().__init__(
            vocab_size,
            d_model=d_model,
            num_heads=num_heads,
            num_layers=num_layers,
            d_ff=d_ff,
            **with_defaults,
        )
        self.output: Dense | None = None
        if not tie_weights:
            self.output = Dense(
                d_model, vocab_size, bias=False, device=self.device, dtype=self.dtype, rng=rng
            )
        self._initialize(rng)

    def _initialize(self, rng: np.random.Generator) -> None:
        """Draw the projections as GPT-2 does, in proportion to their input dimension."""
        for path, parameter in self.named_parameters():
            if parameter.ndim < 2 or path in ("embedding.weights", "positions.weights"):
                continue
            deviation = 1 / math.sqrt(parameter.shape[0])
            if path.endswith(("attention.output.weights", "feed_forward.output.weights")):
                deviation /= math.sqrt(2 * len(self.layers))
            drawn = rng.normal(0, deviation, parameter.shape).astype(parameter.dtype)
            with device_scope(parameter.data):
                parameter.data[...] = Tensor(drawn, parameter.device).data

    def forward(self, tokens: Any, mask: Any = None, cache: DecoderCache | None = None) -> Tensor:
        """Return the logits of the next token at each position.

        Args:
            tokens: integers ``(batch, length)``.
            mask: the mask that replaces the causal mask and the padding mask, see
                `MultiHeadAttention`.
            cache: the KV cache of the tokens before, see `new_cache`; it also determines what is
                padding.
        """
        tokens = as_token_ids(tokens, self.device)
        x, rotation = self._embed(tokens, cache)
        options: dict[str, Any] = {"causal": mask is None, "rotation": rotation, "cache": cache}
        mask = self._padding_mask(tokens, cache) if mask is None else mask
        x = self.run(x, mask, **options)
        return x @ self.embedding.weights.T if self.output is None else self.output(x)

    def new_cache(self, padding: Any = None) -> DecoderCache:
        """Return an empty cache, with which a sequence is processed in parts.

        Args:
            padding: the number of padding tokens at the beginning of each row of the batch:
                nothing attends to them, and positions are counted from there.
        """
        return DecoderCache(len(self.layers), self.max_seq_len, padding)
