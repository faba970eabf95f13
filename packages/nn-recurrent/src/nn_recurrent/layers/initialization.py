"""The initial values of recurrent weights, gate by gate."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import numpy as np
from nn_layers import initialize
from nn_layers.initializers import Initialization
from nn_tensor import Tensor, random_generator
from nn_tensor.extend import Device, check_floating_dtype

__all__ = ["RecurrentInitialization", "draw_weights"]

RecurrentInitialization: TypeAlias = Initialization | Literal["torch"]
"""How the weights are drawn: a name of `nn_layers.initialize`, or as in PyTorch."""


def draw_weights(
    initialization: RecurrentInitialization,
    gates: int,
    sizes: tuple[int, int, int],
    rng: np.random.Generator | int | None,
    device: str | Device,
    dtype: Any,
) -> tuple[Tensor, Tensor]:
    """Return weights (input_size, gates * size) and recurrent weights (state_size, gates * size).

    Each gate has matrices of its own, whose numbers of inputs and outputs count. The recurrent
    ones are orthogonal (Saxe, McClelland and Ganguli, 2014).

    Args:
        initialization: a name of `nn_layers.initialize`, for the input weights; or ``'torch'``:
            both uniform in ± ``1 / sqrt(size)``, as in PyTorch.
        gates: the number of gates.
        sizes: input_size, state_size and size.
        rng: a NumPy generator, a seed, or None.
        device: the device of the weights.
        dtype: a floating dtype.
    """
    input_size, state_size, size = sizes
    rng, dtype = random_generator(rng), check_floating_dtype("dtype", dtype)
    drawn = []
    recurrent_kind: Initialization = "orthogonal"
    for rows, kind in ((input_size, initialization), (state_size, recurrent_kind)):
        if initialization == "torch" or kind == "torch":
            bound = 1 / math.sqrt(size)
            drawn.append(rng.uniform(-bound, bound, (rows, gates * size)))
        else:
            parts = (
                initialize(kind, (rows, size), rows, size, rng=rng, dtype=np.float64).numpy()
                for _ in range(gates)
            )
            drawn.append(np.concatenate(list(parts), axis=1))
    weights, recurrent = (
        Tensor(x.astype(dtype, copy=False), device=device, requires_grad=True) for x in drawn
    )
    return weights, recurrent
