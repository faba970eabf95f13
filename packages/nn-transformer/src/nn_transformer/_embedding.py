"""`Embedding`: vectors for tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_layers import Base_Layer
from nn_tensor import Tensor, parse_dtype, random_generator, where
from nn_tensor.extend import Device, add_at, kernel, op

from nn_transformer._inputs import positive, read_padding_idx, read_tokens

__all__ = ["Embedding"]


# Reading rows and adding into rows of zeros are each other's gradient.


@op
def rows_of(xp: Any, weights: Any, tokens: Any, /, fixed: int | None = None) -> Any:
    """Return the rows of `weights` that `tokens` name; no gradient reaches the row `fixed`."""
    return xp.take(weights, tokens, axis=0)


@rows_of.gradient("weights")
def _(g: Any, tokens: Any, weights_shape: tuple[int, ...], fixed: int | None) -> Any:
    if fixed is not None:
        g = where((tokens != fixed)[..., None], g, 0)
    return into_rows(g, tokens, weights_shape[0])


@op
def into_rows(xp: Any, g: Any, tokens: Any, /, vocab_size: int) -> Any:
    """Return `vocab_size` rows: the sum of those of `g` whose token they are, or zeros."""
    result = xp.zeros((vocab_size, g.shape[-1]), dtype=g.dtype)
    rows = xp.broadcast_to(g, (*tokens.shape, g.shape[-1])).reshape(tokens.size, g.shape[-1])
    add_rows(xp, result, tokens.reshape(-1), xp.ascontiguousarray(rows))
    return result


@kernel
def add_rows(xp: Any, target: Any, tokens: Any, rows: Any) -> None:
    """Add each of the rows to that of `target` which its token names."""
    add_at(xp, target, tokens, rows)


@add_rows.cpu
def _(target, tokens, rows):  # type: ignore[no-untyped-def]
    for i in range(tokens.size):
        for j in range(rows.shape[1]):
            target[tokens[i], j] += rows[i, j]


@into_rows.gradient("g")
def _(g: Any, tokens: Any) -> Any:
    return rows_of(g, tokens)


class Embedding(Base_Layer):
    r"""A trainable vector for each token of a vocabulary.

    .. math:: y_{\ldots j} = W_{x_{\ldots} j}

    (Bengio et al., "A Neural Probabilistic Language Model", 2003, section 2: the matrix C.) The
    gradient of a row is the sum over all places where its token stands.

    Tokens: integers of any integer dtype and any shape ``(...)``, from 0 to `vocab_size` - 1, as a
    Tensor, array or list. The result has shape ``(..., d_model)`` and the dtype of the weights.

    Args:
        vocab_size: how many tokens there are.
        d_model: the length of their vectors.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: a floating type.
        rng: a NumPy generator, a seed, or None for unpredictable weights. They are drawn from
            N(0, 1), as in PyTorch's ``Embedding``, on the host and in float64: the same seed gives
            the same weights on every device, and in every dtype up to its precision.
        name: shown in descriptions.
        padding_idx: the token that fills up: its vector starts as zeros and gets no gradient.

    Attributes:
        weights: :math:`W`, ``(vocab_size, d_model)``.

    Raises:
        ValueError: if a size is less than 1, or `padding_idx` no token; when called, if the tokens
            are on another device.
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

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        shape = positive("vocab_size", vocab_size), positive("d_model", d_model)
        parsed = parse_dtype(dtype)
        if parsed.kind != "f":
            raise TypeError(f"dtype: expected a floating type for the parameters, got {parsed}")
        self.name = name
        self.padding_idx = read_padding_idx(padding_idx, shape[0])
        drawn = random_generator(rng).standard_normal(shape).astype(parsed, copy=False)
        if self.padding_idx is not None:
            drawn[self.padding_idx] = 0
        self.weights = Tensor(drawn, device=device, requires_grad=True)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return self.weights.shape[0]

    @property
    def d_model(self) -> int:
        """The length of a token's vector."""
        return self.weights.shape[1]

    @property
    def device(self) -> str:
        """Where the weights live."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the weights."""
        return self.weights.dtype

    def forward(self, tokens: Any) -> Tensor:
        """Return the vectors of `tokens`."""
        ids = read_tokens("tokens", tokens, self.vocab_size, self.device)
        return rows_of(self.weights, ids, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the sizes."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.vocab_size}→{self.d_model}{padding}"
