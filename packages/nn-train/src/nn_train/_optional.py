"""Optional packages, imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str, purpose: str) -> Any:
    """Import a module that an extra installs.

    Raises:
        ModuleNotFoundError: if it is not there, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ModuleNotFoundError(
            f"{purpose} needs {error.name}: pip install 'nn-train[{extra}]'", name=error.name
        ) from None
