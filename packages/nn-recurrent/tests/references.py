"""The formulas in NumPy, one step and one sequence at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def lstm_step(
    x: Array, h: Array, c: Array, w: Array, r: Array, b: Any = 0.0, p: Any = None, m: Any = 1.0
) -> tuple[Array, Array]:
    i, f, g, o = np.split(x @ w + (h * m) @ r + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h if p is None else h @ p), c


def gru_step(
    x: Array, h: Array, w: Array, r: Array, b: Any = 0.0, bn: Any = 0.0, m: Any = 1.0
) -> Array:
    """Reset after the product: the equations of ``torch.nn.GRU``."""
    size = h.shape[-1]
    given = x @ w + b
    product = (h * m) @ r
    reset, update = np.split(sigmoid(given[..., : 2 * size] + product[..., : 2 * size]), 2, axis=-1)
    new = np.tanh(given[..., 2 * size :] + reset * (product[..., 2 * size :] + bn))
    return (1 - update) * new + update * h


def gru_step_reset_before(
    x: Array, h: Array, w: Array, r: Array, b: Any = 0.0, m: Any = 1.0
) -> Array:
    """Reset before the product: the equations of Cho et al., and of Keras's `reset_after=False`."""
    size = h.shape[-1]
    given = x @ w + b
    masked = h * m
    reset, update = np.split(
        sigmoid(given[..., : 2 * size] + masked @ r[:, : 2 * size]), 2, axis=-1
    )
    new = np.tanh(given[..., 2 * size :] + (reset * masked) @ r[:, 2 * size :])
    return (1 - update) * new + update * h


def rnn_step(
    x: Array, h: Array, w: Array, r: Array, b: Any = 0.0, m: Any = 1.0, relu: bool = False
) -> Array:
    z = x @ w + (h * m) @ r + b
    return np.maximum(z, 0) if relu else np.tanh(z)


def sequences(step: Any, x: Array, states: list[Array], steps: Any) -> Array:
    """Return what the operations do: packed hidden states, then each final state, as one vector.

    `step` takes an input and the states of the sequences that have it, with their positions.
    """
    states = [s.copy() for s in states]
    outputs = []
    for _, start, n in steps.spans.tolist():
        row = start - steps.batch
        new = step(x[row : row + n], *(s[:n] for s in states), n)
        for state, value in zip(states, new, strict=True):
            state[:n] = value
        outputs.append(states[0][:n].reshape(-1).copy())
    return np.concatenate([np.zeros(0, x.dtype), *outputs, *(s.reshape(-1) for s in states)])


def run(
    step: Any, x: Array, states: list[Array], lengths: Any = None, reverse: bool = False
) -> tuple[Array, list[Array]]:
    """Return outputs (batch, time, features) and final states, each sequence for itself."""
    batch, time = x.shape[:2]
    lengths = [time] * batch if lengths is None else lengths
    outputs = np.zeros((batch, time, states[0].shape[1]), x.dtype)
    finals = [s.copy() for s in states]
    for n, length in enumerate(lengths):
        state = [s[n : n + 1] for s in states]
        for t in range(length)[:: -1 if reverse else 1]:
            state = list(step(x[n : n + 1, t], *state))
            outputs[n, t] = state[0][0]
        for final, value in zip(finals, state, strict=True):
            final[n] = value[0]
    return outputs, finals
