"""What a state dict holds, and how one is checked before it is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import describe, device_of, device_scope, mark_dirty, put

__all__ = ["FORMAT_VERSION", "METADATA", "load", "save"]

METADATA = "__metadata__"
FORMAT_VERSION = 1
_MOST_COMPARED = 64  # names of one shape: every pair of them is compared


def save(tensors: Mapping[str, Tensor], name: str, layers: Mapping[str, str]) -> dict[str, Any]:
    """Return copies of `tensors` on the host, and what they are under `METADATA`."""
    state: dict[str, Any] = {
        path: np.array(tensor.numpy(), order="C") for path, tensor in tensors.items()
    }
    state[METADATA] = {
        "format_version": FORMAT_VERSION,
        "class": name,
        "layers": dict(layers),
        "tensors": {
            path: {"shape": list(t.shape), "dtype": str(t.dtype), "device": t.device}
            for path, t in tensors.items()
        },
    }
    return state


def load(tensors: Mapping[str, Tensor], state: Mapping[str, Any], caller: str) -> None:
    """Check all of `state` against `tensors`, then write all of it."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected a dict from path to array, got {describe(state)}")
    given = {path: value for path, value in state.items() if path != METADATA}
    problems = _metadata_problems(state.get(METADATA))
    missing = [path for path in tensors if path not in given]
    unexpected = [path for path in given if path not in tensors]
    problems += [f"missing: {path}, shape {tensors[path].shape}" for path in missing]
    problems += [f"unexpected: {path}, {describe(given[path])}" for path in unexpected]
    wanted = {path: tensors[path].shape for path in missing}
    named = [path for path in unexpected if isinstance(path, str)]
    surplus = {path: given[path].shape for path in named if hasattr(given[path], "shape")}
    problems += [f"perhaps renamed: {old} -> {new}" for old, new in _renames(wanted, surplus)]
    arrays: dict[str, Any] = {}
    for path, tensor in tensors.items():
        if path in given:
            try:
                arrays[path] = _fitting(given[path], tensor)
            except (TypeError, ValueError) as error:
                problems.append(f"{path}: {error}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ValueError(f"{caller}: the state does not fit, nothing was changed{lines}")
    moved = {path: put(array, device_of(tensors[path].data)) for path, array in arrays.items()}
    for path, array in moved.items():
        _write(tensors[path], array)


def _metadata_problems(metadata: Any) -> list[str]:
    version = metadata.get("format_version") if isinstance(metadata, Mapping) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        return [f"{METADATA}: format version {version} is newer than {FORMAT_VERSION}, update"]
    return []


def _fitting(value: Any, tensor: Tensor) -> Any:
    """Return a host array of the Tensor's dtype with the values, or say why there is none.

    It is always a copy: `state` may hold the memory of the very Tensors that will be written.
    """
    try:
        # A Tensor of Python floats would round them to float32, an array of them does not.
        array = Tensor(value if hasattr(value, "dtype") else np.asarray(value)).numpy()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"expected numbers, got {describe(value)}") from None
    if array.shape != tensor.shape:
        raise ValueError(f"expected shape {tensor.shape}, got {array.shape}")
    if not np.can_cast(array.dtype, tensor.dtype, "same_kind"):
        raise TypeError(f"expected {tensor.dtype}, got {array.dtype}, which does not convert")
    with np.errstate(all="ignore"):
        converted = array.astype(tensor.dtype)
    if not np.can_cast(array.dtype, tensor.dtype, "safe"):
        if tensor.dtype.kind == "f":
            lost = np.isfinite(array) & ~np.isfinite(converted)
        else:
            lost = converted != array
        if lost.any():
            raise ValueError(f"{array[lost].flat[0]} does not fit into {tensor.dtype}")
    return converted


def _write(tensor: Tensor, array: Any) -> None:
    if getattr(tensor.data.flags, "writeable", True):
        with device_scope(tensor.data):
            tensor.data[...] = array
        mark_dirty(tensor.data)
    else:  # it was made of somebody's read-only array
        tensor.data = array


def _renames(
    missing: Mapping[str, tuple[int, ...]], unexpected: Mapping[str, tuple[int, ...]]
) -> list[tuple[str, str]]:
    """Pair each missing path with the unexpected one of its shape that has the closest name."""
    pairs: list[tuple[str, str]] = []
    for shape in dict.fromkeys(missing.values()):
        new = [path for path in missing if missing[path] == shape][:_MOST_COMPARED]
        old = [path for path in unexpected if unexpected[path] == shape][:_MOST_COMPARED]
        alone = len(new) == len(old) == 1
        ranked = sorted(
            (
                (-difflib.SequenceMatcher(None, o, n, False).ratio(), i, j, o, n)
                for i, n in enumerate(new)
                for j, o in enumerate(old)
            ),
        )
        taken: set[tuple[str, str]] = set()
        for closeness, _, _, o, n in ranked:
            if (closeness <= -0.5 or alone) and not taken & {("old", o), ("new", n)}:
                taken |= {("old", o), ("new", n)}
                pairs.append((o, n))
    return pairs
