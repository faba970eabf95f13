"""Layers and models of this library."""

from nn_layers import Base_Layer, BaseModel, Dense
from nn_layers.initializers import Initialization
from nn_tensor import Tensor, concatenate, ones, tanh, zeros

from downstream.ops import swish

__all__ = ["Recurrent", "Residual", "Scale"]


class Scale(Base_Layer):
    """Multiplies each feature by a parameter."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.factor = ones(size, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled features."""
        return swish(x * self.factor)


class Recurrent(Base_Layer):
    """Returns an output and its state, not one Tensor."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.cell = Dense(2 * size, size)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the next state, twice."""
        before = zeros(*x.shape) if state is None else state
        after = tanh(self.cell(concatenate([x, before], axis=-1)))
        return after, after


class Residual(BaseModel):
    """Layers whose outputs are added to their inputs."""

    def __init__(self, size: int, depth: int, initialization: Initialization = "he") -> None:
        super().__init__()
        self.blocks = [Dense(size, size, initialization=initialization) for _ in range(depth)]
        self.scale = Scale(size)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        for block in self.blocks:
            x = x + block(x).relu()
        return self.scale(x)
