"""`Embedding`: a trainable vector for each token."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_layers import Base_Layer
from nn_tensor import Tensor, random_generator, where
from nn_tensor.extend import (
    Device,
    add_at,
    check_floating_dtype,
    check_integer,
    kernel,
    keyword_only,
    op,
)

from nn_transformer.modules.token_ids import check_padding_idx, check_token_ids

__all__ = ["Embedding", "embedding_lookup"]


# The lookup of rows and the scatter-add into rows of zeros are each other's gradient.


@op
def embedding_lookup(xp: Any, weights: Any, tokens: Any, /, padding_idx: int | None = None) -> Any:
    """Return the row of `weights` for each token; the row `padding_idx` gets no gradient."""
    return xp.take(weights, tokens, axis=0)


@embedding_lookup.gradient("weights")
def _(g: Any, tokens: Any, weights_shape: tuple[int, ...], padding_idx: int | None) -> Any:
    if padding_idx is not None:
        g = where((tokens != padding_idx)[..., None], g, 0)
    return embedding_scatter(g, tokens, weights_shape[0])


@op
def embedding_scatter(xp: Any, g: Any, tokens: Any, /, vocab_size: int) -> Any:
    """Return `vocab_size` rows: for each token the sum of the rows of `g` at its places."""
    result = xp.zeros((vocab_size, g.shape[-1]), dtype=g.dtype)
    rows = xp.broadcast_to(g, (*tokens.shape, g.shape[-1])).reshape(tokens.size, g.shape[-1])
    scatter_add_rows(xp, result, tokens.reshape(-1), xp.ascontiguousarray(rows))
    return result


@kernel
def scatter_add_rows(xp: Any, target: Any, tokens: Any, rows: Any) -> None:
    """Add each row to the row of `target` that its token indexes."""
    add_at(xp, target, tokens, rows)


@scatter_add_rows.cpu
def _(target, tokens, rows):  # type: ignore[no-untyped-def]
    for i in range(tokens.size):
        for j in range(rows.shape[1]):
            target[tokens[i], j] += rows[i, j]


@embedding_scatter.gradient("g")
def _(g: Any, tokens: Any) -> Any:
    return embedding_lookup(g, tokens)


class Embedding(Base_Layer):
    r"""A lookup table of trainable embeddings, one for each token of the vocabulary.

    .. math:: y_{\ldots j} = W_{x_{\ldots} j}

    (Bengio et al., "A Neural Probabilistic Language Model", 2003, section 2: the matrix C.) The
    gradient of a row is the sum over all places where its token occurs.

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
        name: shown in descriptions.
        padding_idx: the padding token: its vector starts as zeros and gets no gradient.

    Attributes:
        weights: :math:`W`, ``(vocab_size, d_model)``.

    Raises:
        ValueError: if a size is less than 1, or `padding_idx` is not a token; when called, if the
            tokens are on another device.
        TypeError: if a size is not an integer or `dtype` not floating; when called, if the tokens
            are not integers.
        IndexError: when called, if a token is negative or not less than `vocab_size`.

    >>> from nn_transformer import Embedding
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
