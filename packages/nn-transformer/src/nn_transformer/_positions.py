"""Where in a sequence a token stands: as waves, as learnt vectors, or as rotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nn_layers import Base_Layer, Dropout
from nn_tensor import Tensor, parse_dtype, random_generator
from nn_tensor.extend import Device, describe, op

from nn_transformer._embedding import rows_of
from nn_transformer._inputs import as_tokens, positive

__all__ = ["LearnedPositions", "PositionalEncoding", "RotaryPositions"]


class _Table(Base_Layer):
    """A table with a row for each position, and how its rows are added to vectors."""

    table: Tensor

    @property
    def max_seq_len(self) -> int:
        """The longest sequence."""
        return self.table.shape[0]

    def rows(self, length: int, positions: Any = None) -> Tensor:
        """Return the rows of the first `length` positions, or of `positions` (integers)."""
        if positions is None:
            if length > self.max_seq_len:
                raise ValueError(f"input has {length} positions, max_seq_len is {self.max_seq_len}")
            return self.table[:length]
        ids = as_tokens(positions, self.table.device)
        if ids.dtype.kind not in "iu":
            raise TypeError(f"positions: expected integers, got {describe(ids)}")
        first, last = (int(ids.min().item()), int(ids.max().item())) if ids.size else (0, 0)
        if first < 0 or last >= self.max_seq_len:
            wrong = first if first < 0 else last
            raise ValueError(f"positions: {wrong} is not below max_seq_len={self.max_seq_len}")
        return rows_of(self.table, ids)


class _Added(_Table):
    """A table whose rows are added to the vectors of the tokens."""

    dropout: Dropout

    @property
    def d_model(self) -> int:
        """The length of the vectors."""
        return self.table.shape[1]

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        """Return `x` with the vector of its position added to each.

        Args:
            x: ``(..., length, d_model)``.
            positions: integers ``(length,)`` or ``(batch, length)``; 0, 1, 2, ... by default.
        """
        if x.dtype.kind != "f":
            raise TypeError(f"input is {x.dtype}, expected floats")
        if x.ndim < 2 or x.shape[-1] != self.d_model:
            raise ValueError(
                f"input has shape {x.shape}, expected (..., length, d_model={self.d_model})"
            )
        return self.dropout(x + self.rows(x.shape[-2], positions).astype(x.dtype))

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_model={self.d_model}, max_seq_len={self.max_seq_len}"


class PositionalEncoding(_Added):
    r"""Adds to each vector a fixed pattern of waves that tells its position.

    .. math::
        P_{t, 2i} = \sin(t / 10000^{2i/d}), \qquad P_{t, 2i+1} = \cos(t / 10000^{2i/d})

    (Vaswani et al., "Attention Is All You Need", 2017, section 3.5.) The table is not trained and
    not saved.

    Shapes: ``(..., length, d_model)`` to the same, in the dtype of the input.

    Args:
        d_model: the length of the vectors.
        max_seq_len: the longest sequence.
        dropout: the share of the sum that is dropped in training.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the table.
        rng: for the dropout: a NumPy generator, a seed, or None.

    Raises:
        ValueError: if a size is less than 1; when called, if the sequence is longer than
            `max_seq_len` or its vectors have another length.
        TypeError: if a size is not an integer; when called, if the input is not floating.

    >>> from nn_tensor import zeros
    >>> from nn_transformer import PositionalEncoding
    >>> encoded = PositionalEncoding(d_model=4, max_seq_len=10)(zeros(1, 3, 4))
    >>> encoded[0, 0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    unsaved = ("table",)

    def __init__(
        self,
        d_model: int,
        max_seq_len: int = 5000,
        dropout: float = 0.0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        length, width = positive("max_seq_len", max_seq_len), positive("d_model", d_model)
        angles = _angles(length, width)
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)
        self.table = Tensor(waves[:, :width].astype(parse_dtype(dtype)), device=device)
        self.dropout = Dropout(dropout, rng=rng)


def _angles(length: int, width: int, base: float = 10000.0) -> Any:
    """Return position times frequency, for each position and each pair of `width` numbers."""
    rates = base ** (-np.arange(0, width, 2) / width)
    return np.arange(length)[:, None] * rates


class LearnedPositions(_Added):
    r"""Adds to each vector a trainable vector of its position, :math:`y_t = x_t + P_t`.

    (Gehring et al., "Convolutional Sequence to Sequence Learning", 2017, section 3.1; used by
    BERT and GPT-2.)

    Shapes: ``(..., length, d_model)`` to the same, in the dtype of the input.

    Args:
        d_model: the length of the vectors.
        max_seq_len: the longest sequence.
        dropout: the share of the sum that is dropped in training.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the weights.
        rng: a NumPy generator, a seed, or None, for the weights, from N(0, 0.02²), and the dropout.

    Attributes:
        weights: :math:`P`, ``(max_seq_len, d_model)``.

    Raises:
        ValueError: if a size is less than 1; when called, if the sequence is longer than
            `max_seq_len` or its vectors have another length.
        TypeError: if a size is not an integer; when called, if the input is not floating.

    >>> from nn_tensor import zeros
    >>> from nn_transformer import LearnedPositions
    >>> LearnedPositions(d_model=4, max_seq_len=10)(zeros(1, 3, 4)).shape
    (1, 3, 4)
    """

    weights: Tensor

    def __init__(
        self,
        d_model: int,
        max_seq_len: int = 1024,
        dropout: float = 0.0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        shape = positive("max_seq_len", max_seq_len), positive("d_model", d_model)
        rng = random_generator(rng)
        drawn = rng.normal(0, 0.02, shape).astype(parse_dtype(dtype))
        self.weights = Tensor(drawn, device=device, requires_grad=True)
        self.dropout = Dropout(dropout, rng=rng)

    @property
    def table(self) -> Tensor:  # type: ignore[override]
        """The weights."""
        return self.weights


@op
def rotate(xp: Any, x: Any, cosines: Any, sines: Any, /) -> Any:
    """Turn each pair of neighbours in the last axis of `x` by an angle."""
    even, odd = x[..., 0::2], x[..., 1::2]
    out = xp.empty_like(x)
    out[..., 0::2] = even * cosines - odd * sines
    out[..., 1::2] = even * sines + odd * cosines
    return out


@rotate.gradient("x")
def _(g: Any, cosines: Any, sines: Any) -> Any:
    return rotate(g, cosines, -sines)


class RotaryPositions(_Table):
    r"""Turns queries and keys by an angle that grows with their position.

    .. math::
        \begin{pmatrix} y_{2i} \\ y_{2i+1} \end{pmatrix} =
        \begin{pmatrix} \cos t\theta_i & -\sin t\theta_i \\ \sin t\theta_i & \cos t\theta_i
        \end{pmatrix} \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}, \qquad
        \theta_i = b^{-2i/d}

    The score of a query and a key depends on how far apart they stand, and not on where (Su et al.,
    "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, equations 13 to 15, base
    :math:`b` = 10000). Neighbours make a pair, as in the paper; weights of models that pair the
    halves of the vector need the rows of their projections in another order.

    Args:
        d_head: the length of a head's vectors, even.
        max_seq_len: the longest sequence.
        base: the base of the frequencies.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating type of the table.

    Raises:
        ValueError: if a size is less than 1 or `d_head` odd; when called, if the sequence is
            longer than `max_seq_len`.

    >>> from nn_tensor import ones
    >>> from nn_transformer import RotaryPositions
    >>> rotary = RotaryPositions(d_head=2, max_seq_len=10)
    >>> rotary.rotation(3)(ones(1, 3, 1, 2)).numpy().round(2)[0, :, 0]
    array([[ 1.  ,  1.  ],
           [-0.3 ,  1.38],
           [-1.33,  0.49]], dtype=float32)
    """

    unsaved = ("table",)

    def __init__(
        self,
        d_head: int,
        max_seq_len: int = 1024,
        base: float = 10000.0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        length, width = positive("max_seq_len", max_seq_len), positive("d_head", d_head)
        if width % 2:
            raise ValueError(f"d_head: expected an even length for rotary positions, got {width}")
        angles = _angles(length, width, base)
        waves = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        self.table = Tensor(waves.astype(parse_dtype(dtype)), device=device)

    def rotation(self, length: int, positions: Any = None) -> Callable[[Tensor], Tensor]:
        """Return the function that turns vectors ``(batch, length, heads, d_head)``.

        Args:
            length: how many positions there are.
            positions: integers ``(length,)`` or ``(batch, length)``; 0, 1, 2, ... by default.
        """
        rows = self.rows(length, positions).expand_dims(-2)
        half = rows.shape[-1] // 2
        cosines, sines = rows[..., :half], rows[..., half:]
        return lambda x: rotate(x, cosines.astype(x.dtype), sines.astype(x.dtype))

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        """Return the vectors ``(batch, length, heads, d_head)``, turned."""
        if x.dtype.kind != "f":
            raise TypeError(f"input is {x.dtype}, expected floats")
        width = self.table.shape[1]
        if x.ndim != 4 or x.shape[-1] != width:
            raise ValueError(
                f"input has shape {x.shape}, expected (batch, length, heads, d_head={width})"
            )
        return self.rotation(x.shape[1], positions)(x)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_head={self.table.shape[1]}, max_seq_len={self.max_seq_len}"
