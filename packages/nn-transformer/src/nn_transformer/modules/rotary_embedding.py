"""Rotary position embeddings (RoPE)."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    Device,
    check_floating_dtype,
    check_integer,
    is_floating,
    keyword_only,
    op,
)

from nn_transformer.modules.positional_encoding import PositionTable, position_angles

__all__ = ["RotaryPositions", "Rotation", "rotate_pairs"]


@op
def rotate_pairs(xp: Any, x: Any, cosines: Any, sines: Any, /) -> Any:
    """Rotate each pair of neighbors in the last axis of `x` by an angle."""
    even, odd = x[..., 0::2], x[..., 1::2]
    out = xp.empty_like(x)
    out[..., 0::2] = even * cosines - odd * sines
    out[..., 1::2] = even * sines + odd * cosines
    return out


@rotate_pairs.gradient("x")
def _(g: Any, cosines: Any, sines: Any) -> Any:
    return rotate_pairs(g, cosines, -sines)


class Rotation(NamedTuple):
    """The function that rotates vectors ``(batch, length, heads, d_head)``.

    Attributes:
        cosines: ``(length, 1, d_head / 2)``, or with a batch dimension in front.
        sines: as `cosines`.
    """

    cosines: Tensor
    sines: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return the vectors, rotated."""
        return rotate_pairs(x, self.cosines.astype(x.dtype), self.sines.astype(x.dtype))


class RotaryPositions(PositionTable):
    r"""Rotates queries and keys by an angle proportional to their position (rotary embedding).

    .. math::
        \begin{pmatrix} y_{2i} \\ y_{2i+1} \end{pmatrix} =
        \begin{pmatrix} \cos t\theta_i & -\sin t\theta_i \\ \sin t\theta_i & \cos t\theta_i
        \end{pmatrix} \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}, \qquad
        \theta_i = b^{-2i/d}

    The score of a query and a key depends on the distance between their positions only (Su et al.,
    "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, equations 13 to 15, base
    :math:`b` = 10000). Neighbors form a pair, as in the paper; weights of models that pair the two
    halves of the vector need the rows of their projections permuted.

    Shapes: ``(batch, length, heads, d_head)`` to the same.

    Args:
        d_head: the head dimension, even.
        max_seq_len: the maximum sequence length.
        base: the base of the frequencies.
        device: ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        dtype: the floating dtype of the table.

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

    unsaved: ClassVar[tuple[str, ...]] = ("table",)

    @keyword_only
    def __init__(
        self,
        d_head: int,
        max_seq_len: int = 1024,
        *,
        base: float = 10000.0,
        device: str | Device = "cpu",
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        length = check_integer("max_seq_len", max_seq_len, 1)
        size = check_integer("d_head", d_head, 1)
        dtype = check_floating_dtype("dtype", dtype)
        if size % 2:
            raise ValueError(f"d_head: expected an even size for rotary positions, got {size}")
        angles = position_angles(length, size, base)
        table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        self.table: Tensor = Tensor(table.astype(dtype), device=device)

    @property
    def d_head(self) -> int:
        """The head dimension."""
        return self.table.shape[1]

    def rotation(self, length: int, positions: Any = None) -> Rotation:
        """Return the function that rotates vectors ``(batch, length, heads, d_head)``.

        Args:
            length: the number of positions.
            positions: integers ``(length,)`` or ``(batch, length)``; 0, 1, 2, ... by default.
        """
        rows = self.rows(length, positions).expand_dims(-2)
        half = rows.shape[-1] // 2
        return Rotation(rows[..., :half], rows[..., half:])

    def forward(self, x: Tensor, positions: Any = None) -> Tensor:
        """Return the vectors ``(batch, length, heads, d_head)``, rotated."""
        if not is_floating(x.dtype):
            raise TypeError(f"input is {x.dtype}, expected floats")
        if x.ndim != 4 or x.shape[-1] != self.d_head:
            raise ValueError(
                f"input has shape {x.shape}, expected (batch, length, heads, d_head={self.d_head})"
            )
        return self.rotation(x.shape[1], positions)(x)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"d_head={self.d_head}, max_seq_len={self.max_seq_len}"
