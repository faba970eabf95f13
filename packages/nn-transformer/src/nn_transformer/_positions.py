"""Where in a sequence a token stands."""

from __future__ import annotations

from typing import Any

import numpy as np
from nn_layers import Base_Layer, Dropout
from nn_tensor import Tensor, parse_dtype
from nn_tensor.extend import Device

from nn_transformer._inputs import positive

__all__ = ["PositionalEncoding"]


class PositionalEncoding(Base_Layer):
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
        rates = 10000.0 ** (-np.arange(0, width, 2) / width)
        angles = np.arange(length)[:, None] * rates
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)
        self.table = Tensor(waves[:, :width].astype(parse_dtype(dtype)), device=device)
        self.dropout = Dropout(dropout, rng=rng)

    @property
    def max_seq_len(self) -> int:
        """The longest sequence."""
        return self.table.shape[0]

    @property
    def d_model(self) -> int:
        """The length of the vectors."""
        return self.table.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with the waves added."""
        if x.dtype.kind != "f":
            raise TypeError(f"input is {x.dtype}, expected floats")
        if x.ndim < 2 or x.shape[-1] != self.d_model:
            raise ValueError(
                f"input has shape {x.shape}, expected (..., length, d_model={self.d_model})"
            )
        if x.shape[-2] > self.max_seq_len:
            raise ValueError(
                f"input has {x.shape[-2]} positions, max_seq_len is {self.max_seq_len}"
            )
        return self.dropout(x + self.table[: x.shape[-2]].astype(x.dtype))

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_model={self.d_model}, max_seq_len={self.max_seq_len}"
