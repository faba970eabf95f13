"""`LanguageModel`: from tokens to scores of the next one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nn_layers import Dense
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, device_scope

from nn_transformer._cache import Cache
from nn_transformer._inputs import as_tokens
from nn_transformer._layers import EncoderLayer
from nn_transformer._stacks import Stack

__all__ = ["LanguageModel"]


class LanguageModel(Stack):
    r"""A decoder alone, which scores at each position the token that comes next.

    Tokens ``(batch, length)`` of any integer type become scores ``(batch, length, vocab_size)``. A
    position sees itself and those before it. Radford et al., "Language Models are Unsupervised
    Multitask Learners", 2019 (GPT-2), section 2.3: norms before the sublayers and one at the end,
    learnt positions, GELU, scores by the embedding's own vectors. Vectors of tokens and
    projections of :math:`d` numbers start from :math:`N(0, 1 / d)` (LeCun et al., 1998; GPT-2's
    0.02 is about that for its widths, and for smaller ones learns slowly), those that are added to
    the residual stream, with :math:`N` layers, from :math:`N(0, 1 / 2Nd)`.

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
        positions: ``'learned'``, ``'rotary'`` or ``'sinusoidal'``, see `Encoder`.
        num_kv_heads: how many heads keys and values have, see `MultiHeadAttention`.
        bias: whether projections and norms have a bias.
        norm_epsilon: see `nn_layers.LayerNorm`.
        tie_weights: whether the scores are products with the embedding's own vectors, or with
            weights of a layer of their own (which has no bias).
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the parameters.
        rng: a NumPy generator, a seed, or None for unpredictable weights and dropout.

    Raises:
        ValueError: for sizes that do not fit; when called, for a sequence beyond `max_seq_len`.
        IndexError: when called, for a token that is not in the vocabulary.

    >>> from nn_transformer import LanguageModel
    >>> model = LanguageModel(65, d_model=16, num_heads=4, num_layers=2, max_seq_len=64)
    >>> model([[5, 7, 9]]).shape
    (1, 3, 65)
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
        max_seq_len: int = 1024,
        padding_idx: int | None = None,
        activation: str = "gelu",
        norm_first: bool = True,
        positions: str = "learned",
        num_kv_heads: int | None = None,
        bias: bool = True,
        norm_epsilon: float = 1e-5,
        tie_weights: bool = True,
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
            device=device,
            dtype=dtype,
            rng=rng,
        )
        self.output = None
        if not tie_weights:
            self.output = Dense(
                d_model, vocab_size, bias=False, device=device, dtype=dtype, rng=rng
            )
        self._draw(rng)

    def _draw(self, rng: np.random.Generator) -> None:
        """Draw the projections as GPT-2 does, in proportion to their width."""
        for path, parameter in self.named_parameters():
            if parameter.ndim < 2 or path in ("embedding.weights", "positions.weights"):
                continue
            deviation = 1 / math.sqrt(parameter.shape[0])
            if path.endswith(("attention.output.weights", "feed_forward.3.weights")):
                deviation /= math.sqrt(2 * len(self.layers))
            drawn = rng.normal(0, deviation, parameter.shape).astype(parameter.dtype)
            with device_scope(parameter.data):
                parameter.data[...] = Tensor(drawn, parameter.device).data

    def forward(self, tokens: Any, mask: Any = None, cache: Cache | None = None) -> Tensor:
        """Return the scores of the next token at each position.

        Args:
            tokens: integers ``(batch, length)``.
            mask: in place of the causal mask and that of `padding_idx`, see `MultiHeadAttention`.
            cache: what was seen before `tokens`, see `new_cache`; padding is then what it says.
        """
        tokens = as_tokens(tokens, self.device)
        x, rotation = self._embed(tokens, cache)
        causal = mask is None
        mask = self._padding(tokens, cache) if causal else mask
        for i, layer in enumerate(self.layers):
            own = None if cache is None else cache.layers[i]
            x = layer(x, mask, causal=causal, rotation=rotation, cache=own)
        if cache is not None:
            cache.end(*x.shape[:2])
        x = self._finish(x)
        return x @ self.embedding.weights.T if self.output is None else self.output(x)

    def new_cache(self, padding: Any = None) -> Cache:
        """Return an empty cache, with which a sequence can be read and written in parts.

        Args:
            padding: for each row of the batch, how many of the first tokens are padding: nothing
                attends to them, and positions are counted from there.
        """
        return Cache(len(self.layers), self.max_seq_len, padding)
