"""What a package has that needs a row: its ops and kernels, wherever in it they are."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from nn_tensor.extend import Kernel

__all__ = ["kernels_of", "ops_of"]


def _values_of(package: str) -> Iterator[Any]:
    """Yield the values of the variables of all modules of a package that can be imported here."""
    for entry in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        try:
            yield from vars(importlib.import_module(entry.name)).values()
        except ModuleNotFoundError as error:
            if (error.name or package).split(".")[0] == package:
                raise


def _by_name(package: str, kind: str, values: Iterator[Any]) -> dict[str, Any]:
    """Return those of `values` that the package itself defines, by name."""
    found: dict[str, Any] = {}
    for value in values:
        if value.__module__.split(".")[0] == package:
            name: str = vars(value).get("__name__", value.__name__)
            if found.setdefault(name, value) is not value:
                raise ValueError(f"{package}: two {kind} are named {name!r}")
    return found


def kernels_of(package: str) -> dict[str, Kernel]:
    """Find the kernels in the modules of a package, by name.

    Modules that import what is not installed are left out.

    Raises:
        ValueError: if two kernels have the same name.

    >>> "erf" in kernels_of("nn_tensor")
    True
    """
    values = _values_of(package)
    return _by_name(package, "kernels", (x for x in values if isinstance(x, Kernel)))


def ops_of(package: str) -> dict[str, Any]:
    """Find the functions that `nn_tensor.extend.op` declares in the modules of a package, by name.

    Modules that import what is not installed are left out.

    Raises:
        ValueError: if two ops have the same name.

    >>> "exp" in ops_of("nn_tensor")
    True
    """
    values = _values_of(package)
    ops = (x for x in values if isinstance(x, FunctionType) and hasattr(x, "joint_gradient"))
    return _by_name(package, "ops", ops)
