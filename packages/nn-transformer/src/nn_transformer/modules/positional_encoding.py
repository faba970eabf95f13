"""Positional encodings that are added to the embeddings: sinusoidal and learned."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from nn_layers import Base_Layer, Dropout
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import (
    Device,
    check_floating_dtype,
    check_integer,
    check_probability,
    is_floating,
    keyword_only,
)

from nn_transformer.modules.embedding import embedding_lookup
from nn_transformer.modules.token_ids import check_ids

__all__ = ["LearnedPositions", "PositionTable", "PositionalEncoding", "position_angles"]


class PositionTable(Base_Layer):
    """A table with one row per position.

    Attributes:
        table: ``(max_seq_len, size)``.
    """

    table: Tensor

    @property
    def max_seq_len(self) -> int:
        """The maximum sequence length."""
        return self.table.shape[0]

    def rows(self, length: int, positions: Any = None) -> Tensor:
        """Return the rows of the first `length` positions, or of `positions` (integers)."""
        if positions is None:
            if length > self.max_seq_len:
                raise ValueError(f"input has {length} positions, max_seq_len is {self.max_seq_len}")
            return self.table[:length]
        message = f"is out of range for max_seq_len={self.max_seq_len}"
        of_table = self.max_seq_len, self.table.device
        ids = check_ids("positions", positions, *of_table, ValueError, message)
        return embedding_lookup(self.table, ids)


def position_angles(length: int, size: int, base: float = 10000.0) -> Any:
    """Return position times frequency for each position and each pair of `size` features.

    The frequencies are :math:`b^{-2i/d}`; the result has the shape ``(length, ceil(size / 2))``.
    """
    frequencies = base ** (-np.arange(0, size, 2) / size)
    return np.arange(length)[:, None] * frequencies


class _AddedPositions(PositionTable):
    """A table whose rows are added to the embeddings."""

    dropout: Dropout

    @property
    def d_model(self) -> int:
        """The model dimension."""
        return self.table.shape[1]

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        """Return `x` plus the encoding of each position.

        Args:
            x: ``(..., length, d_model)``.
            positions: integers ``(length,)`` or ``(batch, length)``; 0, 1, 2, ... by default.
        """
        if not is_floating(x.dtype):
            raise TypeError(f"input is {x.dtype}, expected floats")
        if x.ndim < 2 or x.shape[-1] != self.d_model:
            raise ValueError(
                f"input has shape {x.shape}, expected (..., length, d_model={self.d_model})"
            )
        return self.dropout(x + self.rows(x.shape[-2], positions).astype(x.dtype))

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_model={self.d_model}, max_seq_len={self.max_seq_len}"


class PositionalEncoding(_AddedPositions):
    r"""Adds the sinusoidal positional encoding.

    .. math::
        P_{t, 2i} = \sin(t / 10000^{2i/d}), \qquad P_{t, 2i+1} = \cos(t / 10000^{2i/d})

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.5.) The table is neither trained
    nor saved.

    Shapes: ``(..., length, d_model)`` to the same, in the dtype of the input.

    Args:
        d_model: the model dimension.
        max_seq_len: the maximum sequence length.
        dropout: the dropout probability of the sum.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the table.
        rng: a NumPy generator, a seed, or None, for the dropout.

    Raises:
        ValueError: if a size is less than 1; when called, if the sequence is longer than
            `max_seq_len` or its last dimension is not `d_model`.
        TypeError: if a size is not an integer; when called, if the input is not floating.

    >>> from nn_tensor import zeros
    >>> from nn_transformer import PositionalEncoding
    >>> encoded = PositionalEncoding(d_model=4, max_seq_len=10)(zeros(1, 3, 4))
    >>> encoded[0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    unsaved: ClassVar[tuple[str, ...]] = ("table",)

    @keyword_only
    def __init__(
        self,
        d_model: int,
        max_seq_len: int = 5000,
        *,
        dropout: float = 0.0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        length = check_integer("max_seq_len", max_seq_len, 1)
        size = check_integer("d_model", d_model, 1)
        dtype = check_floating_dtype("dtype", dtype)
        angles = position_angles(length, size)
        sinusoids = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)
        self.table: Tensor = Tensor(sinusoids[:, :size].astype(dtype), device=device)
        self.dropout: Dropout = Dropout(check_probability("dropout", dropout), rng=rng)


class LearnedPositions(_AddedPositions):
    r"""Adds a trainable position embedding, :math:`y_t = x_t + P_t`.

    (Gehring et al., "Convolutional Sequence to Sequence Learning", 2017, section 3.1; used by
    BERT and GPT-2.)

    Shapes: ``(..., length, d_model)`` to the same, in the dtype of the input.

    Args:
        d_model: the model dimension.
        max_seq_len: the maximum sequence length.
        dropout: the dropout probability of the sum.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the weights.
        rng: a NumPy generator, a seed, or None, for the weights, from N(0, 0.02²), and the dropout.

    Attributes:
        weights: :math:`P`, ``(max_seq_len, d_model)``.

    Raises:
        ValueError: if a size is less than 1; when called, if the sequence is longer than
            `max_seq_len` or its last dimension is not `d_model`.
        TypeError: if a size is not an integer; when called, if the input is not floating.

    >>> from nn_tensor import zeros
    >>> from nn_transformer import LearnedPositions
    >>> LearnedPositions(d_model=4, max_seq_len=10)(zeros(1, 3, 4)).shape
    (1, 3, 4)
    """

    weights: Tensor

    @keyword_only
    def __init__(
        self,
        d_model: int,
        max_seq_len: int = 1024,
        *,
        dropout: float = 0.0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        shape = check_integer("max_seq_len", max_seq_len, 1), check_integer("d_model", d_model, 1)
        dtype = check_floating_dtype("dtype", dtype)
        rng = random_generator(rng)
        drawn = rng.normal(0, 0.02, shape).astype(dtype)
        self.weights = Tensor(drawn, device=device, requires_grad=True)
        self.dropout: Dropout = Dropout(check_probability("dropout", dropout), rng=rng)

    @property
    def table(self) -> Tensor:  # type: ignore[override]
        """The weights."""
        return self.weights
