"""Options of optimizers and schedules: declared once, given by name, checked whenever set."""

from __future__ import annotations

import functools
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any, ClassVar, dataclass_transform

from nn_tensor.extend import FORMAT_VERSION, METADATA_KEY, StateDictReader, keyword_only

__all__ = ["Configured", "Option", "argument", "option"]


Check = Callable[..., Any]
Options = dict[str, Any]

_EMPTY = Parameter.empty


class Option:
    """The descriptor that `option` makes: a value that is checked whenever it is set.

    Attributes:
        check: returns its argument as a plain Python value, or raises.
        parameter: the option as a parameter of the constructor.
        old_name: the name in state dicts of earlier versions.
        is_new: whether state dicts of earlier versions lack it; there it has its default.
    """

    def __init__(self, check: Check, parameter: Parameter, old_name: str, is_new: bool) -> None:
        self.check, self.parameter = check, parameter
        self.old_name, self.is_new = old_name, is_new

    def __set_name__(self, owner: type, name: str) -> None:
        self.check = functools.partial(self.check, name)
        self.parameter = self.parameter.replace(name=name)

    def __get__(self, owner: Any, kind: type) -> Any:
        return self if owner is None else owner._option(self.parameter.name)

    def __set__(self, owner: Any, value: Any) -> None:
        owner._set_option(self.parameter.name, self.check(value))


def option(
    check: Check,
    *,
    default: Any = _EMPTY,
    kw_only: bool = True,
    old_name: str = "",
    is_new: bool = False,
    **limits: Any,
) -> Any:
    """Declare an option of an optimizer or a schedule: a keyword argument and an attribute.

    Args:
        check: returns ``check(name, value, **limits)`` or raises; `check_number`, for example.
        default: the value where none is given. Without a default the option is required.
        kw_only: whether the option is given by name alone.
        old_name: its name in state dicts of earlier versions.
        is_new: whether state dicts of earlier versions may lack it; there it has its default.
        limits: the further arguments of `check`.

    >>> from nn_optim import SGD
    >>> from nn_tensor import zeros
    >>> SGD([zeros(2, requires_grad=True)], momentum=1.5)
    Traceback (most recent call last):
        ...
    ValueError: momentum: expected a finite number >= 0 and < 1, got 1.5
    """
    kind = Parameter.KEYWORD_ONLY if kw_only else Parameter.POSITIONAL_OR_KEYWORD
    parameter = Parameter("option", kind, default=default)
    return Option(functools.partial(check, **limits), parameter, old_name, is_new)


def argument(*, alias: str, kw_only: bool) -> Any:
    """Declare the argument of a constructor that its options follow, by its name `alias`."""
    return alias


@dataclass_transform(kw_only_default=True, field_specifiers=(option, argument))
class Configured(ABC):
    """A class whose constructor takes what its body declares, as that of a dataclass does."""

    _first: Any
    _declared: ClassVar[dict[str, Option]]
    _signature: ClassVar[Signature]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        bodies = [vars(base) for base in reversed(cls.__mro__)]
        cls._declared = {n: o for body in bodies for n, o in body.items() if isinstance(o, Option)}
        first = [Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in ("self", cls._first)]
        options = sorted((o.parameter for o in cls._declared.values()), key=lambda p: p.kind)
        cls._signature = Signature([*first, *options])

        def __init__(self: Any, *arguments: Any, **options: Any) -> None:
            try:
                bound = self._signature.bind(self, *arguments, **options)
            except TypeError as error:
                raise TypeError(f"{type(self).__name__}: {error}") from None
            bound.apply_defaults()
            given = bound.arguments
            checked = {name: option.check(given[name]) for name, option in self._declared.items()}
            self._configure(given[self._first], checked)

        vars(__init__)["__signature__"] = cls._signature
        if not inspect.isfunction(cls.__init__) or "__signature__" in vars(cls.__init__):
            type.__setattr__(cls, "__init__", keyword_only(__init__))

    @abstractmethod
    def _configure(self, first: Any, options: Options) -> None:
        """Construct the object from its first argument and the checked options."""

    def check_options(self, options: Options) -> None:  # noqa: B027
        """Raise if options contradict each other; override to validate them."""

    def _metadata(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, "class": type(self).__name__}

    def _old_keys(self, prefix: str) -> dict[str, str]:
        """Return the keys of options in earlier versions, and those of today."""
        return {prefix + o.old_name: prefix + n for n, o in self._declared.items() if o.old_name}

    def _new_options(self, prefix: str) -> Options:
        """Return the options that earlier versions did not have, with their defaults."""
        return {prefix + n: o.parameter.default for n, o in self._declared.items() if o.is_new}

    def _reader(
        self, state: Any, renamed: Mapping[str, str], added: Mapping[str, Any] = {}
    ) -> StateDictReader:
        """Return the reader of a state dict with `renamed` keys, and those `added` if missing."""
        if isinstance(state, Mapping):
            state = {**added, **{renamed.get(key, key): value for key, value in state.items()}}
        reader = StateDictReader(state, f"{type(self).__name__}.load_state_dict")
        saved, own = map(_classes, (reader.metadata, self._metadata()))
        if saved not in ("", own):
            reader.problems.append(f"{METADATA_KEY}: it belongs to {saved}, not to {own}")
        return reader

    def _read_options(self, reader: StateDictReader, prefix: str, options: Options) -> Options:
        """Return the options at `prefix`, those given where one is missing or wrong."""
        declared = self._declared
        return {n: reader.value(prefix + n, declared[n].check, v) for n, v in options.items()}


def _classes(metadata: Any) -> str:
    """Return all names of classes in the metadata of a state dict."""
    return ", ".join(re.findall(r"'class': '(\w+)'", str(metadata)))
