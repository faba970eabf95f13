"""`BaseModel`: the base class of models."""

from __future__ import annotations

from nn_layers.module.base_layer import Base_Layer

__all__ = ["BaseModel"]


class BaseModel(Base_Layer):
    """The base class of models: assign layers to attributes, compute in `forward`.

    Layers, Tensors and other models are found among the attributes, and in lists, tuples and dicts
    there, by the rules of `Base_Layer`. A layer that is used twice shares its parameters.

    >>> from nn_layers import Dense, ReLU
    >>> from nn_tensor import ones
    >>> class Residual(BaseModel):
    ...     def __init__(self, size, depth):
    ...         super().__init__()
    ...         self.blocks = [Dense(size, size) for _ in range(depth)]
    ...         self.relu = ReLU()
    ...     def forward(self, x):
    ...         for block in self.blocks:
    ...             x = x + self.relu(block(x))
    ...         return x
    >>> model = Residual(4, depth=2)
    >>> model(ones(3, 4)).shape
    (3, 4)
    >>> [path for path, tensor in model.named_parameters()]
    ['blocks.0.weights', 'blocks.0.bias', 'blocks.1.weights', 'blocks.1.bias']
    """
