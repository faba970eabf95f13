"""`Embedding`: a trainable vector for each token."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_floating_dtype, check_integer, keyword_only

from nn_layers.layers.token_ids import check_padding_idx, check_token_ids
from nn_layers.module.base_layer import Base_Layer
from nn_layers.ops.embedding import embedding_lookup

__all__ = ["Embedding"]


class Embedding(Base_Layer):
    r"""A lookup table of trainable embeddings, one for each token of the vocabulary.

    .. math:: y_{\ldots j} = W_{x_{\ldots} j}

    (Bengio et al., "A Neural Probabilistic Language Model", 2003, section 2: the matrix C.) The
    gradient of a row is the sum of the output gradients of all occurrences of its token.

    Shapes: token ids of any integer dtype and any shape ``(...)``, from 0 to `vocab_size` - 1, as a
    Tensor, array or list, to ``(..., d_model)`` in the dtype of the weights.

    Args:
        vocab_size: the vocabulary size.
        d_model: the embedding dimension.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: a floating dtype.
        rng: a NumPy generator, a seed, or None for unpredictable weights. They are drawn from
            N(0, 1), as in PyTorch's ``Embedding``, on the host and in float64: the same seed gives
            the same weights on every device, and in every dtype up to its precision.
        name: the name shown by ``repr`` and in errors.
        padding_idx: the padding token: its vector starts as zeros and gets no gradient.

    Attributes:
        weights: :math:`W`, ``(vocab_size, d_model)``.

    Raises:
        ValueError: if a size is less than 1, or `padding_idx` is not a token; when called, if the
            tokens are on another device.
        TypeError: if a size is not an integer or `dtype` not floating; when called, if the tokens
            are not integers.
        IndexError: when called, if a token is negative or not less than `vocab_size`.

    >>> from nn_layers import Embedding
    >>> embedding = Embedding(vocab_size=1000, d_model=64, rng=0)
    >>> embedding
    Embedding(1000→64)
    >>> embedding([[5, 7, 7], [0, 999, 5]]).shape
    (2, 3, 64)
    """

    weights: Tensor

    @keyword_only
    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        shape = check_integer("vocab_size", vocab_size, 1), check_integer("d_model", d_model, 1)
        dtype = check_floating_dtype("dtype", dtype)
        self.name = name
        self.padding_idx: int | None = check_padding_idx(padding_idx, shape[0])
        drawn = random_generator(rng).standard_normal(shape).astype(dtype, copy=False)
        if self.padding_idx is not None:
            drawn[self.padding_idx] = 0
        self.weights = Tensor(drawn, device=device, requires_grad=True)

    @property
    def vocab_size(self) -> int:
        """The vocabulary size."""
        return self.weights.shape[0]

    @property
    def d_model(self) -> int:
        """The embedding dimension."""
        return self.weights.shape[1]

    @property
    def device(self) -> str:
        """The device of the weights."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return self.weights.dtype

    def forward(self, tokens: Any) -> Tensor:
        """Return the embeddings of `tokens`."""
        ids = check_token_ids("tokens", tokens, self.vocab_size, self.device)
        return embedding_lookup(self.weights, ids, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.vocab_size}→{self.d_model}{padding}"
