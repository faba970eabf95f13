"""`RecurrentCell`: what the cells have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from nn_layers import Base_Layer
from nn_tensor import Tensor, random_generator, zeros
from nn_tensor.extend import Device, check_integer, describe, is_autocast_dtype, is_floating

from nn_recurrent.layers.initialization import RecurrentInitialization, draw_weights
from nn_recurrent.ops.steps import Steps

__all__ = ["RecurrentCell", "as_floating", "check_state"]


def as_floating(x: Any, dtype: np.dtype[Any]) -> Tensor:
    """Return an input as a Tensor in the `dtype` of the weights.

    Raises:
        TypeError: if it is not floating.
    """
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.dtype == dtype:
        return x
    if not is_floating(x.dtype):
        raise TypeError(f"input is {x.dtype}, expected floats; convert it with .astype('{dtype}')")
    # in mixed precision the operation casts the weights
    return x if is_autocast_dtype(x.dtype) else x.astype(dtype)


def check_state(name: str, state: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """Return an initial state as a Tensor in `dtype`.

    Raises:
        ValueError: if it has another shape.
        TypeError: if it is not floating.
    """
    tensor = state if isinstance(state, Tensor) else Tensor(state)
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tensor.shape}")
    if not is_floating(tensor.dtype):
        raise TypeError(f"{name}: expected floats, got {describe(state)}")
    return (
        tensor if tensor.dtype == dtype or is_autocast_dtype(tensor.dtype) else tensor.astype(dtype)
    )


class RecurrentCell(Base_Layer, ABC):
    """The weights of one layer in one direction, and one step of it.

    A subclass sets `gates`, the number of blocks of columns of its weights, and `states`, the names
    of its states, and computes in `run`.
    """

    gates: ClassVar[int]
    states: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int | None = None,
        bias: bool = True,
        initialization: RecurrentInitialization = "xavier",
        device: str | Device = "cpu",
        dtype: Any = np.float32,
        rng: np.random.Generator | int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        size = check_integer("hidden_size", hidden_size, 1)
        sizes = check_integer("input_size", input_size, 1), state_size or size, size
        generator = random_generator(rng)
        self.weights: Tensor
        self.recurrent_weights: Tensor
        self.weights, self.recurrent_weights = draw_weights(
            initialization, self.gates, sizes, generator, device, dtype
        )
        self.bias: Tensor | None = None
        if bias:
            values = np.zeros(self.gates * size)
            if initialization == "torch":  # the sum of its two biases
                bound = 1 / np.sqrt(size)
                values = generator.uniform(-bound, bound, (2, values.size)).sum(0)
            self.bias = Tensor(
                values.astype(self.dtype, copy=False), device=device, requires_grad=True
            )

    @property
    def input_size(self) -> int:
        """The number of features of the input."""
        return self.weights.shape[0]

    @property
    def hidden_size(self) -> int:
        """The number of units."""
        return self.weights.shape[1] // self.gates

    @property
    def output_size(self) -> int:
        """The number of features of the output."""
        return self.recurrent_weights.shape[0]

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The number of features of each state."""
        return (self.output_size,)

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return self.weights.device

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters."""
        return self.weights.dtype

    @abstractmethod
    def run(self, x: Tensor, states: Sequence[Tensor], steps: Steps, mask: Any) -> list[Tensor]:
        """Return the hidden states of all steps, packed, and each state after the last steps.

        Args:
            x: packed inputs.
            states: the initial states, each ``(batch, features)``.
            steps: how the sequences are packed.
            mask: the mask of the recurrent dropout, ``(batch, output_size)``, or 1.0.
        """

    def initial_states(self, batch: int) -> list[Tensor]:
        """Return zeros for each state."""
        return [zeros(batch, n, dtype=self.dtype, device=self.device) for n in self.state_sizes]

    def forward(self, x: Any, state: Any = None) -> Any:
        """Return the state after one step.

        Args:
            x: the input of the step, ``(batch, input_size)``.
            state: the previous state, of the form of the returned one; zeros by default.

        Raises:
            ValueError: if a shape does not fit.
            TypeError: if an argument is not floating.
        """
        x = as_floating(x, self.dtype)
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise ValueError(
                f"input has shape {x.shape}, expected (batch, {self.input_size}): one step"
            )
        batch = x.shape[0]
        states = self.initial_states(batch)
        if state is not None:
            given = [state] if len(self.states) == 1 else state
            if len(self.states) > 1 and (
                not isinstance(state, (tuple, list)) or len(state) != len(self.states)
            ):
                raise ValueError(
                    f"state: expected a tuple ({', '.join(self.states)}), got {describe(state)}"
                )
            states = [
                check_state(name, one, zero.shape, self.dtype)
                for name, one, zero in zip(self.states, given, states, strict=True)
            ]
        _, *final = self.run(x, states, Steps([batch], batch), 1.0)
        return final[0] if len(final) == 1 else tuple(final)

    def extra_repr(self) -> str:
        """Return the sizes and options."""
        return f"{self.input_size}→{self.hidden_size}" + (
            "" if self.bias is not None else ", bias=False"
        )
