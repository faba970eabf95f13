"""The table that `summary` returns."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nn_tensor import Tensor, zeros

if TYPE_CHECKING:
    from nn_layers._module import Base_Layer

__all__ = ["summarize"]


def summarize(
    model: Base_Layer,
    modules: Sequence[tuple[str, Base_Layer, str]],
    tensors: Sequence[tuple[Base_Layer, Tensor]],
    input_shapes: Sequence[tuple[int, ...]],
    dtype: Any,
) -> str:
    """Run `model` on zeros and tabulate its modules: path, description, output, parameters."""
    for position, shape in enumerate(input_shapes):
        if not isinstance(shape, (tuple, list)):
            raise TypeError(
                f"input_shapes[{position}]: expected a tuple such as (1, 784), got {shape!r}"
            )
    device = tensors[0][1].device if tensors else "cpu"
    floating = [tensor.dtype for _, tensor in tensors if tensor.dtype.kind == "f"]
    if dtype is None:
        dtype = floating[0] if floating else "float32"
    outputs: dict[int, list[str]] = {}
    with contextlib.ExitStack() as undo:
        for _, module, _ in modules:
            _watch(module, outputs.setdefault(id(module), []), undo)
        model(*(zeros(shape, dtype=dtype, device=device) for shape in input_shapes))

    counts: Counter[int] = Counter()
    for owner, tensor in tensors:
        counts[id(owner)] += tensor.size
    rows = [("path", "layer", "output shape", "parameters")]
    for path, module, label in modules:
        rows.append((path, label, _several(outputs[id(module)]), f"{counts[id(module)]:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths[:3], strict=False))])
        + f"  {row[3]:>{widths[3]}}"
        for row in rows
    ]
    total = counts.total()
    trainable = sum(tensor.size for _, tensor in tensors if tensor.requires_grad)
    size = sum(tensor.data.nbytes for _, tensor in tensors)
    lines.append(f"{total:,} parameters ({_bytes(size)}), {trainable:,} trainable")
    return "\n".join(lines)


def _watch(module: Base_Layer, outputs: list[str], undo: contextlib.ExitStack) -> None:
    """Note the shapes of what `module` returns, by a `forward` of its own that is taken back."""
    attributes = vars(module)
    if "forward" in attributes:
        undo.callback(attributes.__setitem__, "forward", attributes["forward"])
    else:
        undo.callback(attributes.__delitem__, "forward")
    forward = module.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        result = forward(*args, **kwargs)
        outputs.append(_shape(result))
        return result

    attributes["forward"] = watched


def _shape(output: Any) -> str:
    if hasattr(output, "shape"):
        return str(tuple(output.shape))
    if isinstance(output, Mapping):
        return ", ".join(f"{key}: {_shape(value)}" for key, value in output.items())
    if isinstance(output, (tuple, list)):
        return ", ".join(map(_shape, output))
    return type(output).__name__


def _several(outputs: Sequence[str]) -> str:
    if not outputs:
        return "not called"
    return outputs[0] if len(outputs) == 1 else f"{outputs[0]}, {len(outputs)} calls"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
