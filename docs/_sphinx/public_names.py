"""The public names of the packages, and which of them have no entry in the reference.

Public is what the `__all__` of a package lists, of its submodules without a leading underscore, and
of the modules of the subpackages in `NAMESPACES`. A name that is exported in several places needs
one entry, under any of its names.
"""

import importlib
import pkgutil
import types
from functools import cache
from pathlib import Path

__all__ = ["PACKAGES", "home_of", "missing_entries", "public_modules", "public_names"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.name.replace("-", "_") for path in (ROOT / "packages").glob("nn-*"))

# Subpackages that export nothing themselves, whose modules are public one by one.
NAMESPACES = ["nn_layers.ops"]


@cache
def public_modules(package):
    """Import and return the modules of a package whose `__all__` is public, itself first."""
    module = importlib.import_module(package)
    names = [f"{package}.{info.name}" for info in pkgutil.iter_modules(module.__path__)]
    for namespace in [name for name in names if name in NAMESPACES]:
        below = importlib.import_module(namespace).__path__
        names += [f"{namespace}.{info.name}" for info in pkgutil.iter_modules(below)]
    public = [name for name in names if not name.rpartition(".")[2].startswith("_")]
    return [module, *map(importlib.import_module, public)]


@cache
def public_names(package):
    """Return pairs of a public object of a package and the list of its full names.

    Modules do not count as objects.
    """
    found = {}
    for module in public_modules(package):
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, types.ModuleType):
                found.setdefault(id(value), (value, []))[1].append(f"{module.__name__}.{name}")
    return list(found.values())


@cache
def homes():
    """Map the identity of each public class and function to its names, in all packages.

    The names in the package that defines it come first; others may export it again.
    """
    found = {}
    for package in PACKAGES:
        for value, names in public_names(package):
            if callable(value):
                own = str(getattr(value, "__module__", "")).partition(".")[0] == package
                known = found.setdefault(id(value), [])
                known[:] = [*names, *known] if own else [*known, *names]
    return found


def home_of(value):
    """Return the first public name of a class or function, or None if it is private."""
    return homes().get(id(value), [None])[0]


def missing_entries(packages, entries):
    """Return the public names that have no entry.

    Args:
        packages: the names of packages, as imported.
        entries: the full names that the reference documents.
    """
    entries = set(entries)
    return [
        names[0]
        for package in packages
        for value, names in public_names(package)
        if not {*names, *homes().get(id(value), ())} & entries
    ]
