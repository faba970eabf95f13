"""The table that `summary` returns."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nn_tensor import Tensor, zeros

from nn_layers.module.tree import ModuleNode, walk

__all__ = ["Summary", "summarize"]


def summarize(
    model: ModuleNode, call: Callable[..., Any], input_shapes: Sequence[tuple[int, ...]], dtype: Any
) -> Summary:
    """Call the model on zeros and tabulate its modules: path, description, output, parameters."""
    for position, shape in enumerate(input_shapes):
        if not isinstance(shape, (tuple, list)):
            raise TypeError(
                f"input_shapes[{position}]: expected a tuple such as (1, 784), got {shape!r}"
            )
    entries = walk(model)
    modules = [
        ("", model),
        *((e.path, e.value) for e in entries if isinstance(e.value, ModuleNode)),
    ]
    tensors = [e.value for e in entries if isinstance(e.value, Tensor)]
    device = tensors[0].device if tensors else "cpu"
    if dtype is None:
        floating = [tensor.dtype for tensor in tensors if tensor.dtype.kind == "f"]
        dtype = floating[0] if floating else "float32"
    labels = [module._label() for _, module in modules]
    outputs: dict[int, list[str]] = {id(module): [] for _, module in modules}
    with contextlib.ExitStack() as undo:
        for _, module in modules:
            _record_outputs(module, outputs[id(module)], undo)
        call(*(zeros(shape, dtype=dtype, device=device) for shape in input_shapes))

    counts: Counter[int] = Counter()
    buffers: Counter[int] = Counter()
    for path, value, owner, saved in entries:
        if isinstance(value, Tensor):
            is_buffer = not saved or path.rpartition(".")[2] in owner.buffers
            (buffers if is_buffer else counts)[id(owner)] += value.size
    rows: list[tuple[str, ...]] = [("path", "layer", "output shape", "parameters", "buffers")]
    for (path, module), label in zip(modules, labels, strict=True):
        sizes = f"{counts[id(module)]:,}", f"{buffers[id(module)]:,}"
        rows.append((path, label, _describe(outputs[id(module)]), *sizes))
    if not buffers:
        rows = [row[:4] for row in rows]
    trainable = sum(tensor.size for tensor in tensors if tensor.requires_grad)
    size = _bytes(sum(tensor.data.nbytes for tensor in tensors))
    total = f"{counts.total():,} parameters ({size}), {trainable:,} trainable"
    return Summary.of(rows, total + (f", {buffers.total():,} in buffers" if buffers else ""))


class Summary(str):
    """A table as text, which a notebook shows as a table."""

    rows: Sequence[tuple[str, ...]]
    total: str

    @classmethod
    def of(cls, rows: Sequence[tuple[str, ...]], total: str) -> Summary:
        """Return the table of rows, the first of which is its head, with a line below."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [*map(str.ljust, row[:3], widths), *map(str.rjust, row[3:], widths[3:])]
            lines.append("  ".join(cells))
        summary = cls("\n".join([*lines, total]))
        summary.rows, summary.total = rows, total
        return summary

    def _repr_html_(self) -> str:
        import html

        lines = []
        for number, row in enumerate(self.rows):
            tag, sides = "td" if number else "th", ["left"] * 3 + ["right"] * 2
            cells = (
                f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>'
                for side, cell in zip(sides, row, strict=False)
            )
            lines.append(f"<tr>{''.join(cells)}</tr>")
        return f"<table><caption>{html.escape(self.total)}</caption>{''.join(lines)}</table>"


def _record_outputs(module: ModuleNode, outputs: list[str], undo: contextlib.ExitStack) -> None:
    """Note the shapes of what `module` returns, by a `forward` that `undo` takes away again."""
    attributes = vars(module)
    if "forward" in attributes:
        undo.callback(attributes.__setitem__, "forward", attributes["forward"])
    else:
        undo.callback(attributes.__delitem__, "forward")
    forward = module.forward

    def recorded(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        outputs.append(_shape(result))
        return result

    attributes["forward"] = recorded


def _shape(output: Any) -> str:
    if hasattr(output, "shape"):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return ", ".join(f"{key}: {_shape(value)}" for key, value in output.items())
    if isinstance(output, (tuple, list)):
        return ", ".join(map(_shape, output))
    return type(output).__name__


def _describe(outputs: Sequence[str]) -> str:
    if not outputs:
        return "not called"
    return outputs[0] if len(outputs) == 1 else f"{outputs[0]}, {len(outputs)} calls"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
