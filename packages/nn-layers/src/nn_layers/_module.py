"""`Base_Layer`, and the one walk over a model that all its methods are short uses of."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from nn_tensor import Tensor, no_grad, parse_device
from nn_tensor.extend import Device, xp_for

from nn_layers import _state, _summary
from nn_layers._errors import locate
from nn_layers._inputs import floating_type

__all__ = ["Base_Layer", "Entry", "walk"]

# Skipped at a glance: a model may keep a vocabulary of many thousands of these in a dict.
_PLAIN = frozenset({bool, int, float, str, bytes, type(None), np.ndarray, np.dtype})


class Entry(NamedTuple):
    """A Tensor or module that the walk found."""

    path: str
    value: Tensor | Base_Layer
    owner: Base_Layer  # the module whose attribute it is, directly or in a list, tuple or dict
    saved: bool  # whether it is not under one of the owner's `unsaved` attributes


def walk(root: Base_Layer, deep: bool = True) -> list[Entry]:
    """List the Tensors and modules under `root`, in the order in which they were assigned.

    It goes through modules (only `root` unless `deep`), lists, tuples and dicts. What is
    reachable by several paths is listed once, under the first; cycles end there too. The results
    of recorded operations are passages of a computation, not part of the model: left out.
    """
    found: list[Entry] = []
    seen = {id(root)}
    stack: list[tuple[str, Iterator[Any], Base_Layer, bool, tuple[str, ...]]]
    stack = [("", iter(root._children()), root, True, root.unsaved)]
    while stack:
        prefix, items, owner, saved, unsaved = stack[-1]
        for name, value in items:
            if type(value) in _PLAIN:
                continue
            if isinstance(value, Tensor):
                if id(value) not in seen and value.is_leaf:
                    seen.add(id(value))
                    kept = saved and name not in unsaved
                    found.append(Entry(f"{prefix}{name}", value, owner, kept))
                continue
            if not isinstance(value, (Base_Layer, list, tuple, dict)) or id(value) in seen:
                continue
            seen.add(id(value))
            path = f"{prefix}{name}"
            kept = saved and name not in unsaved
            inside: Iterable[Any]
            if isinstance(value, Base_Layer):
                found.append(Entry(path, value, owner, kept))
                if not deep:
                    continue
                frame = (f"{path}.", iter(value._children()), value, kept, value.unsaved)
            else:
                inside = value.values() if isinstance(value, dict) else value
                if _PLAIN.issuperset(map(type, inside)):
                    continue
                inside = value.items() if isinstance(value, dict) else enumerate(value)
                frame = (f"{path}.", iter(inside), owner, kept, ())
            stack.append(frame)
            break
        else:
            stack.pop()
    return found


class Base_Layer:  # noqa: N801 - the name in the specification
    """What layers and models are made of: attributes that are Tensors, and a `forward`.

    A subclass assigns Tensors, other layers, and lists, tuples or dicts of them to attributes, and
    computes in `forward`; nothing is registered by hand, and a list may grow later. By these rules:

    - A Tensor with ``requires_grad=True`` is a parameter: it is in `parameters`.
    - Every Tensor is state: `state_dict` saves it, `set_device` moves it. So is a parameter
      that was frozen by ``requires_grad = False``, or a running mean that never had a gradient.
    - Tensors under the attributes named in the class variable `unsaved` are moved but not saved:
      tables that can be computed again, what a forward pass leaves for inspection.
    - The result of a recorded operation is never state; nor is a plain array.
    - What is reachable by several paths (tied weights) counts once, under the first.

    >>> from nn_tensor import ones
    >>> class Scale(Base_Layer):
    ...     def __init__(self, size):
    ...         self.factor = ones(size, requires_grad=True)
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> layer = Scale(3)
    >>> layer(ones(2, 3)).shape, len(layer.parameters)
    ((2, 3), 1)
    """

    unsaved: ClassVar[tuple[str, ...]] = ()
    training: bool = True  # read by layers that differ in training, set by `train` and `eval`
    name: str | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; each subclass defines it.

        Raises:
            NotImplementedError: if the subclass does not.
        """
        raise NotImplementedError(f"class {type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return `forward` of the same arguments; an error gets the path of its layer."""
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            locate(error, self)
            raise

    # What it consists of

    def _children(self) -> Iterable[tuple[Any, Any]]:
        return vars(self).items()

    @property
    def _modules(self) -> Mapping[str, Tensor | Base_Layer]:
        """The layers and Tensors among the attributes, by name; those in a list as ``name.0``."""
        return MappingProxyType({entry.path: entry.value for entry in walk(self, deep=False)})

    def named_modules(self) -> list[tuple[str, Base_Layer]]:
        """Return this module, under the path ``""``, and all inside it, each once.

        >>> from nn_layers import Dense, ReLU, Sequential
        >>> [path for path, module in Sequential(Dense(2, 3), ReLU()).named_modules()]
        ['', '0', '1']
        """
        inside = [(e.path, e.value) for e in walk(self) if isinstance(e.value, Base_Layer)]
        return [("", self), *inside]

    @property
    def modules(self) -> list[Base_Layer]:
        """This module and all inside it, each once."""
        return [module for _, module in self.named_modules()]

    def named_tensors(self) -> list[tuple[str, Tensor]]:
        """Return path and Tensor of everything that `set_device` moves, trainable or not.

        >>> from nn_layers import Dense
        >>> layer = Dense(2, 3)
        >>> layer.bias.requires_grad = False
        >>> [path for path, tensor in layer.named_tensors()]
        ['weights', 'bias']
        """
        return [(e.path, e.value) for e in walk(self) if isinstance(e.value, Tensor)]

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """Return path and Tensor of each parameter: of each Tensor that requires a gradient.

        >>> from nn_layers import Dense
        >>> [path for path, tensor in Dense(2, 3).named_parameters()]
        ['weights', 'bias']
        """
        return [(path, tensor) for path, tensor in self.named_tensors() if tensor.requires_grad]

    @property
    def parameters(self) -> list[Tensor]:
        """The Tensors that require a gradient, in order of assignment, each once."""
        return [tensor for _, tensor in self.named_parameters()]

    # Training

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and in all modules inside; return the module itself."""
        self._set_training(mode)
        return self

    def eval(self) -> Self:
        """Set `training` to False here and in all modules inside; return the module itself."""
        self._set_training(False)
        return self

    def _set_training(self, mode: bool) -> None:
        for _, module in self.named_modules():
            module.training = bool(mode)

    def zero_grad(self) -> None:
        """Forget the gradients of all Tensors."""
        for _, tensor in self.named_tensors():
            tensor.zero_grad()

    @staticmethod
    def no_grad() -> no_grad:
        """Return `nn_tensor.no_grad`, which switches recording off in this thread.

        >>> from nn_layers import Dense
        >>> from nn_tensor import ones
        >>> layer = Dense(2, 3)
        >>> with layer.no_grad():
        ...     y = layer(ones(1, 2))
        >>> y.requires_grad
        False
        """
        return no_grad()

    # Where and in which type it lives

    def set_device(self, device: str | Device) -> None:
        """Move all Tensors; they stay the same objects, so optimizers keep pointing at them.

        Modules that hold an attribute ``device`` get the new one.

        Raises:
            ValueError: if `device` is not ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
            RuntimeError: if it cannot be used; the message says what is missing.
        """
        target = parse_device(device)
        xp_for(target)  # a device that does not answer must not leave the model in two halves
        for _, tensor in self.named_tensors():
            tensor.set_device(target)
        for module in self.modules:
            if "device" in vars(module):
                module.device = str(target)  # type: ignore[attr-defined]

    def set_dtype(self, dtype: Any) -> None:
        """Convert all floating Tensors, which stay the same objects; integers stay as they are.

        Modules that hold an attribute ``dtype`` get the new one.

        Raises:
            TypeError: if `dtype` is not a floating type.

        >>> from nn_layers import Dense
        >>> layer = Dense(2, 3)
        >>> layer.set_dtype("float64")
        >>> layer.weights.dtype
        dtype('float64')
        """
        parsed = floating_type(dtype)
        for _, tensor in self.named_tensors():
            if tensor.dtype.kind == "f":
                tensor.set_dtype(parsed)
        for module in self.modules:
            if "dtype" in vars(module):
                module.dtype = parsed  # type: ignore[attr-defined]

    def to(self, device: str | Device | None = None, dtype: Any = None) -> Self:
        """Do `set_device` and `set_dtype` for what is given; return the module itself."""
        if device is not None:
            xp_for(parse_device(device))  # before the dtype is changed
        if dtype is not None:
            self.set_dtype(dtype)
        if device is not None:
            self.set_device(device)
        return self

    # State

    def _state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for path, tensor, _, saved in walk(self):
            if isinstance(tensor, Tensor) and saved:
                if path in state or path == _state.METADATA:
                    raise ValueError(f"{path!r} names two things in the state; rename an attribute")
                state[path] = tensor
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all Tensors as NumPy arrays by path, and the configuration.

        Paths are like ``'encoder.0.weights'``. The configuration is a dict of plain values under
        ``'__metadata__'``: format version, class, description of each layer, and shape, dtype and
        device of each Tensor. Everything pickles without a class of this package.

        Raises:
            ValueError: if two Tensors have the same path (keys ``1`` and ``'1'`` of a dict).

        >>> from nn_layers import Dense, Sequential
        >>> list(Sequential(Dense(2, 3)).state_dict())
        ['0.weights', '0.bias', '__metadata__']
        """
        layers = {path: module._label() for path, module in self.named_modules() if path}
        return _state.save(self._state(), type(self).__name__, layers)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write saved values into the Tensors, which keep their dtype and device.

        Everything is checked first: if anything does not fit, nothing is changed. To load a part
        only, complete it: ``model.load_state_dict({**model.state_dict(), **part})``.

        Args:
            state: what `state_dict` returned, here or elsewhere; ``'__metadata__'`` is optional.

        Raises:
            ValueError: listing every key that is missing, unexpected, of another shape, or whose
                values the Tensor cannot hold (another floating dtype is converted).
            TypeError: if `state` is not a mapping.

        >>> from nn_layers import Dense
        >>> first, second = Dense(2, 3), Dense(2, 3)
        >>> second.load_state_dict(first.state_dict())
        >>> bool((first.weights == second.weights).all().item())
        True
        """
        _state.load(self._state(), state, f"{type(self).__name__}.load_state_dict")

    # How it looks

    def extra_repr(self) -> str:
        """Return what the description shows in its parentheses: sizes and settings."""
        return ""

    def _label(self) -> str:
        parts = [self.extra_repr(), "" if self.name is None else f"name={self.name!r}"]
        inside = ", ".join(filter(None, parts))
        return f"{type(self).__name__}({inside})" if inside else type(self).__name__

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        label = self._label()
        lines = [
            f"  {path}: {value!r}".replace("\n", "\n  ")
            for path, value in self._modules.items()
            if isinstance(value, Base_Layer)
        ]
        if lines:
            return "\n".join([f"{label}(", *lines, ")"])
        return label if label.endswith(")") else f"{label}()"

    def summary(self, *input_shapes: tuple[int, ...], dtype: Any = None) -> str:
        """Return a table of all layers with output shapes and numbers of parameters.

        The model runs once on zeros, without recording and in `eval` mode.

        Args:
            input_shapes: the shape of each input, with its batch axis.
            dtype: of the inputs; by default that of the first floating Tensor in the model.

        Raises:
            TypeError: if a shape is not a tuple or list of lengths.

        >>> from nn_layers import Dense, ReLU, Sequential
        >>> print(Sequential(Dense(784, 10), ReLU()).summary((32, 784)))
        path  layer          output shape  parameters
              Sequential     (32, 10)               0
        0     Dense(784→10)  (32, 10)           7,850
        1     ReLU           (32, 10)               0
        7,850 parameters (30.7 KiB), 7,850 trainable
        """
        with contextlib.ExitStack() as undo:
            undo.enter_context(no_grad())
            for module in self.modules:
                undo.callback(setattr, module, "training", module.training)
            self._set_training(False)
            modules = [(path, module, module._label()) for path, module in self.named_modules()]
            tensors = [(e.owner, e.value) for e in walk(self) if isinstance(e.value, Tensor)]
            return _summary.summarize(self, modules, tensors, input_shapes, dtype)
