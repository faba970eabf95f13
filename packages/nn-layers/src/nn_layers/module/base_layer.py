"""`Base_Layer`: parameters, training, devices, state and description of layers and models."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, ParamSpec, Protocol, Self, TypeVar

from nn_tensor import Tensor, no_grad, parse_device
from nn_tensor.extend import Device, check_floating_dtype, is_floating, names_elsewhere, xp_for

from nn_layers.module.errors import add_location
from nn_layers.module.state_dict import read_state_dict, state_dict
from nn_layers.module.summary import Summary, summarize
from nn_layers.module.tree import ModuleNode, generators, walk

__all__ = ["Base_Layer"]


P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")


class _HasForward(Protocol[P, R]):
    """Any module to a type checker, which so takes the signature of a call from `forward`."""

    @property
    def forward(self) -> Callable[P, R]: ...


class _CallableList(list[T]):
    """A list that says, if it is called as the method of PyTorch, that it is a property."""

    def __call__(self) -> NoReturn:
        raise TypeError("write parameters and modules without (): they are properties here, lists")


@names_elsewhere(
    "cuda=set_device('cuda') or set_gpu; cpu=set_device('cpu'); float=set_dtype('float32'); "
    "double=set_dtype('float64'); half=set_dtype('float16'); children=named_modules; "
    "named_buffers=named_tensors; named_children=named_modules; weight=weights; "
    "trainable_weights=parameters; get_weights=state_dict; set_weights=load_state_dict; "
    "register_buffer=a Tensor in an attribute; register_module=a layer in an attribute; "
    "register_parameter=a Tensor with requires_grad=True in an attribute; "
    "add_module=a layer in an attribute; save=nn_io.save_model_parameters; "
    "compile=nn_train.Trainer(model, loss, optimizer); fit=nn_train.Trainer(...).fit; "
    "evaluate=nn_train.Trainer(...).evaluate; predict=nn_train.Trainer(...).predict"
)
class Base_Layer(ModuleNode):  # noqa: N801 - the name in the specification
    """The base class of layers and models: attributes that are Tensors, and a `forward`.

    A subclass assigns Tensors, other layers, and lists, tuples or dicts of them to attributes, and
    computes in `forward`; nothing is registered by hand, and a list may grow later. By these rules:

    - A Tensor with ``requires_grad=True`` is a parameter: it is in `parameters`.
    - Every Tensor is state: `state_dict` saves it, `set_device` moves it. So is a parameter
      that was frozen by ``requires_grad = False``, or a running mean that never had a gradient.
    - Tensors under the attributes named in the class variable `unsaved` are moved but not saved:
      tables that can be recomputed, what a forward pass stores for inspection.
    - Tensors under the attributes named in `buffers` or `unsaved` are not parameters even where
      they are frozen: `summary` counts them apart, running means for example.
    - The result of a recorded operation is never state; nor is a plain array.
    - A Tensor that is reachable by several paths (tied weights) counts once, under the first.

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

    training: bool = True  # read by layers that differ in training, set by `train` and `eval`
    frozen: bool = False  # set by `freeze`
    _frozen_names: tuple[str, ...] = ()  # the attributes whose Tensors `freeze` found trainable

    def __call__(self: _HasForward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return `forward` of the same arguments; an error gets the path of its layer."""
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            add_location(error, self)  # type: ignore[arg-type]
            raise

    # Its parts

    @property
    def _modules(self) -> Mapping[str, Tensor | ModuleNode]:
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
        return _CallableList(module for _, module in self.named_modules())

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
        return _CallableList(tensor for _, tensor in self.named_parameters())

    def named_generators(self) -> list[tuple[str, Any]]:
        """Return path and generator of all random numbers that are drawn inside, each once.

        They are not in `state_dict`; a checkpoint of nn-io saves them beside it.

        >>> from nn_layers import Dense, Dropout, Sequential
        >>> [path for path, rng in Sequential(Dense(2, 3), Dropout(0.5)).named_generators()]
        ['1.rng']
        """
        return generators(self)

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
            module.training = bool(mode) and not module.frozen

    def freeze(self) -> Self:
        """Exclude the module and all inside it from training, until `unfreeze`; return it.

        No Tensor requires a gradient any longer, so none is in `parameters`; and `train` leaves
        the frozen modules in `eval` mode: a frozen BatchNorm normalizes by its running statistics
        and does not change them, a frozen Dropout is switched off. Optimizers are made from the
        `parameters` that are left.

        >>> from nn_layers import BatchNorm1D, Dense, Sequential
        >>> model = Sequential(Dense(4, 3), BatchNorm1D(3), Dense(3, 2))
        >>> for layer in model[:2]:
        ...     layer = layer.freeze()
        >>> [path for path, _ in model.named_parameters()]
        ['2.weights', '2.bias']
        >>> model.train()[1].training
        False
        """
        modules = [module for module in self.modules if not module.frozen]
        found = [
            {
                entry.path: entry.value
                for entry in walk(module, deep=False)
                if isinstance(entry.value, Tensor) and entry.value.requires_grad
            }
            for module in modules
        ]
        for module, tensors in zip(modules, found, strict=True):
            module.frozen, module.training = True, False
            module._frozen_names = tuple(tensors)
            for tensor in tensors.values():
                tensor.requires_grad = False
        return self

    def unfreeze(self) -> Self:
        """Undo `freeze` in the module and all inside it, and set `train` mode there; return it.

        Tensors that did not require a gradient before `freeze` do not require one afterwards.

        >>> from nn_layers import Dense
        >>> layer = Dense(4, 3)
        >>> layer.bias.requires_grad = False
        >>> [path for path, _ in layer.freeze().unfreeze().named_parameters()]
        ['weights']
        """
        for module in self.modules:
            if not module.frozen:
                continue
            for entry in walk(module, deep=False):
                if isinstance(entry.value, Tensor) and entry.path in module._frozen_names:
                    entry.value.requires_grad = True
            module.frozen, module.training, module._frozen_names = False, True, ()
        return self

    def zero_grad(self) -> None:
        """Clear the gradients of all Tensors."""
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

    # Device and dtype

    def set_device(self, device: str | Device) -> None:
        """Move all Tensors; they stay the same objects, so optimizers keep pointing at them.

        Modules that have an attribute ``device`` get the new one.

        Raises:
            ValueError: if `device` is not ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
            RuntimeError: if it cannot be used; the message says what is missing.
        """
        target = parse_device(device)
        xp_for(target)  # a device that cannot be used must not leave the model half moved
        for _, tensor in self.named_tensors():
            tensor.set_device(target)
        for module in self.modules:
            if "device" in vars(module):
                module.device = str(target)  # type: ignore[attr-defined]

    def set_dtype(self, dtype: Any) -> None:
        """Convert all floating Tensors, which stay the same objects; integers stay as they are.

        Modules that have an attribute ``dtype`` get the new one.

        Raises:
            TypeError: if `dtype` is not a floating type.

        >>> from nn_layers import Dense
        >>> layer = Dense(2, 3)
        >>> layer.set_dtype("float64")
        >>> layer.weights.dtype
        dtype('float64')
        """
        parsed = check_floating_dtype("dtype", dtype)
        if parsed.name == "bfloat16":
            raise TypeError(
                "dtype: bfloat16 is not for parameters; keep them in float32 and compute inside "
                "nn_tensor.autocast('bfloat16')"
            )
        for _, tensor in self.named_tensors():
            if is_floating(tensor.dtype):
                tensor.set_dtype(parsed)
        for module in self.modules:
            if "dtype" in vars(module):
                module.dtype = parsed  # type: ignore[attr-defined]

    def to(self, device: str | Device | None = None, dtype: Any = None) -> Self:
        """Move to a device, convert to a dtype, or both; return the module itself."""
        if device is not None:
            xp_for(parse_device(device))  # before the dtype is changed
        if dtype is not None:
            self.set_dtype(dtype)
        if device is not None:
            self.set_device(device)
        return self

    # State

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
        return state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load values into the Tensors, which keep their dtype and device.

        Everything is checked first: if anything does not fit, nothing is changed. To load only some
        entries, take the others from the model: ``model.load_state_dict({**model.state_dict(),
        **part})``.

        Args:
            state: a mapping from paths to arrays, as `state_dict` returns it; ``'__metadata__'`` is
                optional.

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
        read_state_dict(self, state)

    # Description

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

    def summary(self, *input_shapes: tuple[int, ...], dtype: Any = None) -> Summary:
        """Return a table of all layers: output shapes, numbers of parameters and of buffers.

        The model runs once on zeros, without recording and in `eval` mode.

        Args:
            input_shapes: the shape of each input, with its batch dimension.
            dtype: the dtype of the inputs; by default that of the first floating Tensor in the
                model.

        Raises:
            TypeError: if a shape is not a tuple or list of sizes.

        >>> from nn_layers import Dense, ReLU, Sequential
        >>> print(Sequential(Dense(784, 10), ReLU()).summary((32, 784)))
        path  layer          output shape  parameters
              Sequential     (32, 10)               0
        0     Dense(784→10)  (32, 10)           7,850
        1     ReLU           (32, 10)               0
        7,850 parameters (30.7 KiB), 7,850 trainable
        """
        modes = [(module, module.training) for module in self.modules]
        self._set_training(False)
        try:
            with no_grad():
                return summarize(self, self.__call__, input_shapes, dtype)
        finally:
            for module, mode in modes:
                module.training = mode
