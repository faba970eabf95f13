"""State dicts of modules: a flat mapping from dotted path to host array, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from nn_tensor import Tensor
from nn_tensor.extend import (
    FORMAT_VERSION,
    METADATA_KEY,
    StateDictReader,
    device_of,
    put,
    write_array,
)

from nn_layers.module.tree import ModuleNode, walk

__all__ = ["read_state_dict", "state_dict"]


def _state_tensors(module: ModuleNode) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path, value, _, saved in walk(module):
        if isinstance(value, Tensor) and saved:
            if path in tensors or path == METADATA_KEY:
                raise ValueError(f"{path!r} names two things in the state; rename an attribute")
            tensors[path] = value
    return tensors


def state_dict(module: ModuleNode) -> dict[str, Any]:
    """Return copies of the Tensors on the host by path, and what they are as metadata."""
    tensors = _state_tensors(module)
    modules = [(e.path, e.value) for e in walk(module) if isinstance(e.value, ModuleNode)]
    metadata = {
        "format_version": FORMAT_VERSION,
        "class": type(module).__name__,
        "layers": {path: inner._label() for path, inner in modules},
        "tensors": {
            path: {"shape": list(t.shape), "dtype": str(t.dtype), "device": t.device}
            for path, t in tensors.items()
        },
    }
    arrays = {path: np.array(t.numpy(), order="C") for path, t in tensors.items()}
    return {**arrays, METADATA_KEY: metadata}


def read_state_dict(module: ModuleNode, state: Mapping[str, Any]) -> None:
    """Check all of `state` against the Tensors of `module`, then write all of it."""
    tensors = _state_tensors(module)
    reader = StateDictReader(state, f"{type(module).__name__}.load_state_dict")
    arrays = {path: reader.array(path, t.shape, t.dtype) for path, t in tensors.items()}
    reader.finish()
    # all are on their devices before the first is written: one that has no room changes nothing
    moved = {path: put(arrays[path], device_of(t.data)) for path, t in tensors.items()}
    for path, tensor in tensors.items():
        write_array(tensor, moved[path])
