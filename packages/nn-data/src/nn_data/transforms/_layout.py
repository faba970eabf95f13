"""Where the channels, the height and the width of a batch of images are."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, cast, get_args

from nn_data._checks import check_choice

__all__ = ["LAYOUTS", "Axes", "Layout", "axes_of", "check_layout"]

Layout = Literal["nchw", "nhwc", "nhw"]
LAYOUTS: Final = get_args(Layout)


class Axes(NamedTuple):
    """The axes of a layout."""

    channel: int | None
    height: int
    width: int


def check_layout(layout: Any) -> Layout:
    """Return `layout` if it is one: ``'nchw'``, ``'nhwc'``, or ``'nhw'`` without channels."""
    return cast(Layout, check_choice("layout", layout, LAYOUTS))


def axes_of(layout: str, shape: tuple[int, ...], owner: str) -> Axes:
    """Return the axes of a batch, or say that its shape does not fit the layout."""
    if len(shape) != len(layout):
        raise ValueError(
            f"{owner}: the batch has shape {shape}, expected {len(layout)} dimensions "
            f"({', '.join(layout)}) for layout={layout!r}"
        )
    channel = layout.find("c")
    return Axes(None if channel < 0 else channel, layout.index("h"), layout.index("w"))
