"""`Group`: parameters that share their options, and how groups are checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nn_tensor import Tensor
from nn_tensor.extend import describe

from nn_optim._options import Setting

__all__ = ["Group", "parse_group", "parse_groups", "refuse_shared"]


class Group:
    """Parameters of an optimizer that share their options, which are read and set by name.

    ``group["lr"]`` is the learning rate of the next step, decayed; to set it starts the decay
    anew. ``dict(group)`` holds all options.

    Raises:
        KeyError: for an option that the optimizer does not have.
        ValueError: for a value out of its range.
        TypeError: for a value of another type.

    >>> from nn_optim import SGD
    >>> from nn_tensor import zeros
    >>> weights, bias = zeros(2, 2, requires_grad=True), zeros(2, requires_grad=True)
    >>> optimizer = SGD([{"parameters": [weights]}, {"parameters": [bias], "lr": 0.5}], lr=0.1)
    >>> optimizer.groups[1]["lr"]
    0.5
    >>> optimizer.groups[1]["lr"] = 0.25
    >>> [group["lr"] for group in optimizer.groups]
    [0.1, 0.25]
    """

    def __init__(
        self,
        parameters: tuple[Tensor, ...],
        options: Mapping[str, Any],
        settings: Mapping[str, Setting[Any]],
    ) -> None:
        self._parameters = parameters
        self._options = dict(options)
        self._settings = settings
        self._decays = 0
        self._scheduled: tuple[float, float] | None = None

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters, in order and without duplicates."""
        return self._parameters

    def __getitem__(self, name: str) -> Any:
        value = self._options[self._known(name)]
        return value / (1.0 + self._options["decay"] * self._decays) if name == "lr" else value

    def __setitem__(self, name: str, value: Any) -> None:
        self._options[name] = self._settings[self._known(name)].check(value)
        if name == "lr":
            self._decays = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def keys(self) -> Iterable[str]:
        """Return the names of the options."""
        return self._options.keys()

    def _known(self, name: str) -> str:
        if name not in self._options:
            raise KeyError(f"{name!r}: expected one of {', '.join(self._options)}")
        return name

    def base_rate(self) -> float:
        """Return the learning rate that a new schedule starts from.

        That is the rate as it is, unless another schedule set it: then it is that one's base.
        """
        rate: float = self._options["lr"]
        if self._scheduled is not None and self._scheduled[1] == rate:
            return self._scheduled[0]
        return rate

    def follow_schedule(self, base: float, rate: float) -> None:
        """Set the rate that a schedule computed from `base`."""
        if self._options["lr"] != rate:
            self["lr"] = rate
        self._scheduled = (base, rate)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={self[name]}" for name in self)
        return f"Group({len(self._parameters)} parameters, {options})"


def parse_groups(
    parameters: Iterable[Any], settings: Mapping[str, Setting[Any]]
) -> list[tuple[tuple[Tensor, ...], dict[str, Any]]]:
    """Return parameters and own options of each group: Tensors make one, dicts several."""
    if isinstance(parameters, (Tensor, Mapping)) or not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters: expected several Tensors, got {type(parameters).__name__}; "
            "put a single one into a list"
        )
    given = list(parameters)
    if not given or not isinstance(given[0], Mapping):
        return [(_checked("parameters", given), {})]
    found = [parse_group(f"parameters[{i}]", group, settings) for i, group in enumerate(given)]
    for position, (tensors, _) in enumerate(found):
        refuse_shared(f"parameters[{position}]", tensors, (t for t, _ in found[:position]))
    return found


def parse_group(
    name: str, group: Any, settings: Mapping[str, Setting[Any]]
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """Return the parameters and the options that a dict holds."""
    if not isinstance(group, Mapping):
        raise TypeError(f"{name}: expected a dict with 'parameters', got {type(group).__name__}")
    if "parameters" not in group:
        raise ValueError(f"{name}: has no 'parameters', only {sorted(map(str, group))}")
    options = {}
    for option, value in group.items():
        if option == "parameters":
            continue
        if option not in settings:
            raise ValueError(
                f"{name}: unknown option {option!r}, expected one of {', '.join(settings)}"
            )
        try:
            options[option] = settings[option].check(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
    parameters = group["parameters"]
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return _checked(f"{name}['parameters']", parameters), options


def refuse_shared(
    name: str, tensors: tuple[Tensor, ...], others: Iterable[tuple[Tensor, ...]]
) -> None:
    """Raise if one of the Tensors belongs to another group already."""
    owners = {id(t): group for group, members in enumerate(others) for t in members}
    for position, tensor in enumerate(tensors):
        if id(tensor) in owners:
            raise ValueError(
                f"{name}['parameters'][{position}]: {describe(tensor)} is in "
                f"groups[{owners[id(tensor)]}] too, expected each parameter in one group"
            )


def _checked(name: str, parameters: Any) -> tuple[Tensor, ...]:
    """Return the parameters, each once, or raise."""
    if isinstance(parameters, (str, Mapping)) or not isinstance(parameters, Iterable):
        raise TypeError(f"{name}: expected several Tensors, got {type(parameters).__name__}")
    found: dict[int, Tensor] = {}
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(
                f"{name}[{position}]: expected a Tensor, got {type(parameter).__name__}"
            )
        if not parameter.is_leaf:
            raise ValueError(f"{name}[{position}]: is the result of an operation, expected a leaf")
        if not parameter.requires_grad:
            raise ValueError(f"{name}[{position}]: does not require a gradient")
        found.setdefault(id(parameter), parameter)
    if not found:
        raise ValueError(f"{name}: expected at least one Tensor, got none")
    return tuple(found.values())
