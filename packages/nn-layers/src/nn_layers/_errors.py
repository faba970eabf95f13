"""Where in a model an error happened.

The innermost layer puts its description in front of the reason, and each module around it
prepends its part of the path: ``Sequential[2] Dense(64→10): input has 128 features, ...``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nn_layers._module import Base_Layer

__all__ = ["locate"]

_KEY = "_nn_layers_place"
_SHOWS_ITS_ARGUMENT = (BaseException.__str__, KeyError.__str__)


class _Place:
    """Where an error happened, as far as it has come up through the model."""

    __slots__ = ("label", "module", "path", "reason", "text")

    def __init__(self, module: Base_Layer, label: str, reason: str | None) -> None:
        self.module = module
        self.path = ""
        self.label = self.text = label
        self.reason = reason

    def __reduce__(self) -> Any:
        return type(None), ()  # an error that is sent to another process leaves the model behind


def locate(error: Exception, module: Base_Layer) -> None:
    """Say in the message of `error` that it came out of `module`.

    The error stays the same object. One whose message is not simply its argument gets a note.
    """
    place: _Place | None = vars(error).get(_KEY)
    if place is None:
        shows = type(error).__str__ in _SHOWS_ITS_ARGUMENT and len(error.args) == 1
        reason = error.args[0] if shows and isinstance(error.args[0], str) else None
        place = vars(error)[_KEY] = _Place(module, _label(module), reason)
    elif place.module is module:
        return
    else:
        if place.reason is None:
            error.__notes__.remove(f"in {place.text}")
        part = _path(module, place.module)
        if part is None:  # a layer that the module only borrows has no path in it
            place.label, place.path = place.text, ""
        else:
            place.path = part + place.path
        place.module = module
        if place.path:
            place.text = f"{type(module).__name__}{place.path} {place.label}"
    if place.reason is None:
        error.add_note(f"in {place.text}")
    else:
        error.args = (f"{place.text}: {place.reason}",)


def _label(module: Base_Layer) -> str:
    try:
        return module._label()
    except Exception:  # a description that fails must not hide the error that it describes
        return type(module).__name__


def _path(module: Base_Layer, inner: Base_Layer) -> str | None:
    for path, found in module.named_modules():
        if found is inner and path:
            return "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in path.split("."))
    return None
