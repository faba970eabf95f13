"""What a `Trainer` asks of models, losses, optimizers and the rest: no class, only methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["HasState", "Metric", "Model", "Optimizer", "Schedule"]


@runtime_checkable
class HasState(Protocol):
    """Anything that returns its state as a flat mapping, and loads it."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Load a state dict."""
        ...


@runtime_checkable
class Model(HasState, Protocol):
    """A function of the inputs with parameters, such as every layer and model of nn-layers.

    With `named_modules()` the training mode is kept for each part, and messages name layers.
    """

    training: bool

    def __call__(self, *inputs: Any) -> Any:
        """Return the prediction."""
        ...

    def train(self) -> Any:
        """Switch to train mode."""
        ...

    def eval(self) -> Any:
        """Switch to eval mode."""
        ...

    def zero_grad(self) -> Any:
        """Clear all gradients."""
        ...


@runtime_checkable
class Optimizer(HasState, Protocol):
    """An optimizer: it updates parameters by their gradients."""

    @property
    def parameters(self) -> Any:
        """The Tensors that it updates."""
        ...

    def step(self) -> Any:
        """Update the parameters; return False if the step was skipped."""
        ...


@runtime_checkable
class Schedule(HasState, Protocol):
    """A learning rate schedule."""

    def step(self, *value: Any) -> Any:
        """Set the learning rate for the next step, given the monitored value if there is one."""
        ...


@runtime_checkable
class Metric(Protocol):
    """A metric that is accumulated over batches.

    With `state_dict` and `load_state_dict` it can be saved within an epoch.
    """

    def update(self, prediction: Any, target: Any) -> Any:
        """Add a batch."""
        ...

    def result(self) -> Any:
        """Return the value for all batches since `reset`."""
        ...

    def reset(self) -> Any:
        """Clear the accumulated batches."""
        ...
