"""Where in a model an error happened.

The innermost layer puts its description in front of the reason, and each module around it
prepends its part of the path: ``Sequential[2] Dense(64→10): input has 128 features, ...``.
"""

from __future__ import annotations

from typing import Any

from nn_layers.module.tree import ModuleNode, walk

__all__ = ["add_location"]

_KEY = "_nn_layers_location"
_SHOWS_ITS_ARGUMENT = (BaseException.__str__, KeyError.__str__)


class _Location:
    """Where an error happened, as far as it has propagated up through the model."""

    __slots__ = ("label", "module", "path", "reason", "text")

    def __init__(self, module: ModuleNode, reason: str | None) -> None:
        self.module = module
        self.path = ""
        self.label = self.text = _safe_label(module)
        self.reason = reason

    def __reduce__(self) -> Any:
        return type(None), ()  # an error that is sent to another process leaves the model behind

    def extend_to(self, module: ModuleNode) -> None:
        """Let the text start at `module`, which has called the present one."""
        part = _path(module, self.module)
        if part is None:  # the layer is not among its attributes, and has no path in it
            self.label, self.path = self.text, ""
        else:
            self.path = part + self.path
            self.text = f"{type(module).__name__}{self.path} {self.label}"
        self.module = module


def add_location(error: Exception, module: ModuleNode) -> None:
    """Say in the message of `error` that it came out of `module`.

    The error stays the same object. One whose message is not simply its argument gets a note.
    """
    location: _Location | None = vars(error).get(_KEY)
    if location is None:
        shows = type(error).__str__ in _SHOWS_ITS_ARGUMENT and len(error.args) == 1
        reason = error.args[0] if shows and isinstance(error.args[0], str) else None
        location = vars(error)[_KEY] = _Location(module, reason)
    elif location.module is module:
        return
    else:
        if location.reason is None:
            error.__notes__.remove(f"in {location.text}")
        location.extend_to(module)
    if location.reason is None:
        error.add_note(f"in {location.text}")
    else:
        error.args = (f"{location.text}: {location.reason}",)


def _safe_label(module: ModuleNode) -> str:
    try:
        return module._label()
    except Exception:  # a description that fails must not hide the error that it describes
        return type(module).__name__


def _path(module: ModuleNode, inner: ModuleNode) -> str | None:
    for entry in walk(module):
        if entry.value is inner:
            return "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in entry.path.split("."))
    return None
