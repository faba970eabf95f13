"""Gradients of an operation by those of its reference, written in recorded operations.

The backward pass of a whole sequence is written by hand for arrays. Where a gradient is itself to
be differentiated, the reference takes its place: a loop of operations with the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nn_tensor import Tensor, grad

__all__ = ["gradients_of"]


def gradients_of(
    reference: Callable[..., Tensor], g: Tensor, inputs: Sequence[Any], wanted: Sequence[bool]
) -> tuple[Any, ...]:
    """Return the recorded gradients of ``reference(*inputs)`` for the inputs that are `wanted`.

    Args:
        reference: a function of Tensors, in operations.
        g: the gradient of its result.
        inputs: its inputs, of which those wanted require a gradient.
        wanted: for each input, whether its gradient is needed.
    """
    # nodes of their own: the inner backward pass ends at them, the outer one continues from them
    own = [x + 0 if w else x for x, w in zip(inputs, wanted, strict=True)]
    chosen = [x for x, w in zip(own, wanted, strict=True) if w]
    found = iter(grad(reference(*own), chosen, g, create_graph=True))
    return tuple(next(found) if w else None for w in wanted)
