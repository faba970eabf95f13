"""`Bidirectional`: a layer for each direction, with merged outputs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from nn_layers import Base_Layer
from nn_tensor import Tensor, concatenate
from nn_tensor.extend import check_choice, describe, keyword_only

from nn_recurrent.layers.recurrent import RecurrentLayer

__all__ = ["Bidirectional"]

_MERGES = ("concat", "sum", "mul", "mean")


class Bidirectional(Base_Layer):
    """Two layers over the same sequences, of which the second processes them in reverse.

    (Schuster and Paliwal, "Bidirectional Recurrent Neural Networks", 1997.) For several layers that
    are each bidirectional, use ``LSTM(..., bidirectional=True)``: here the outputs of the two
    stacks are merged only after their last layers.

    Shapes: those of `layer`; with ``merge='concat'`` twice as many output features. The state is
    a pair, that of `layer` and that of `backward`.

    Args:
        layer: the layer for the forward direction, an `LSTM`, `GRU` or `RNN`.
        backward: the layer for the reverse direction, made with ``reverse=True``; by default one
            like `layer`, with other weights.
        merge: how the outputs are merged: ``'concat'``, ``'sum'``, ``'mul'`` or ``'mean'``.
        rng: a NumPy generator, a seed, or None, for the weights of the default of `backward`.
        name: the name shown by ``repr`` and in errors.

    Raises:
        ValueError: if `merge` is unknown, a layer has the wrong direction, or their sizes do not
            fit.
        TypeError: if a layer is not a recurrent layer.

    >>> from nn_recurrent import GRU, Bidirectional
    >>> from nn_tensor import ones
    >>> layer = Bidirectional(GRU(3, 4, rng=0), merge="sum", rng=1)
    >>> output, (forward_state, backward_state) = layer(ones(2, 5, 3))
    >>> output.shape
    (2, 5, 4)
    """

    @keyword_only
    def __init__(
        self,
        layer: RecurrentLayer,
        backward: RecurrentLayer | None = None,
        *,
        merge: Literal["concat", "sum", "mul", "mean"] = "concat",
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.merge = check_choice("merge", merge, _MERGES)
        self.name = name
        for label, given in (("layer", layer), ("backward", backward)):
            if not isinstance(given, RecurrentLayer) and (given is not None or label == "layer"):
                raise TypeError(f"{label}: expected an LSTM, GRU or RNN, got {describe(given)}")
        if layer.bidirectional or layer.reverse:
            raise ValueError("layer: expected one direction, forward (reverse=False)")
        if backward is None:
            backward = layer.like(reverse=True, rng=rng)
        if not backward.reverse:
            raise ValueError("backward: expected one direction, reverse (reverse=True)")
        sizes = [(each.input_size, each.output_size) for each in (layer, backward)]
        if sizes[0][0] != sizes[1][0] or (merge != "concat" and sizes[0] != sizes[1]):
            raise ValueError(
                f"backward: has input and output sizes {sizes[1]}, which do not fit those of "
                f"layer, {sizes[0]}"
            )
        self.forward_layer: RecurrentLayer = layer
        self.backward_layer: RecurrentLayer = backward

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        """Return the merged outputs of all steps, and the states of both layers.

        Args:
            x: ``(batch, time, input_size)``.
            state: a pair of initial states, of `layer` and of `backward`; zeros by default.
            lengths: as for `LSTM`.

        Raises:
            ValueError: if a shape does not fit, or a length is out of range.
            TypeError: if `x` or a state is not floating, or a length not an integer.
        """
        states = (None, None) if state is None else state
        if not isinstance(states, (tuple, list)) or len(states) != 2:
            raise ValueError(f"state: expected a pair, one for each layer, got {describe(state)}")
        y, first = self.forward_layer(x, states[0], lengths)
        z, second = self.backward_layer(x, states[1], lengths)
        if self.merge == "concat":
            merged = concatenate([y, z], axis=-1)
        elif self.merge == "mul":
            merged = y * z
        else:
            merged = y + z if self.merge == "sum" else (y + z) * 0.5
        return merged, (first, second)

    def extra_repr(self) -> str:
        """Return how the outputs are merged."""
        return "" if self.merge == "concat" else f"merge={self.merge!r}"
