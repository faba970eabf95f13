"""Steps after a batch was read: transforms, then conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from nn_data._callables import takes_rng
from nn_data._structure import like, map_structure, named_leaves

__all__ = ["Step", "check_batch_size", "conversion", "transform_steps", "uses_rng"]

Step: TypeAlias = Callable[[Any, "np.random.Generator | None"], Any]
"""What maps a batch, and a generator, to a batch."""


def transform_steps(transform: Any, name: str = "transform") -> list[tuple[str, Step]]:
    """Return what to do with a batch, each with the name that errors call it.

    Args:
        transform: a callable for the whole batch; a tuple or a dict with one for each part; or a
            list of these, applied in turn. None leaves as it is.
        name: the name of the argument.

    Raises:
        TypeError: if it is neither.
    """
    if transform is None:
        return []
    if isinstance(transform, list):
        chain = enumerate(transform)
        return [step for i, one in chain for step in transform_steps(one, f"{name}[{i}]")]
    return [(name, _step(transform, name))]


def _step(transform: Any, name: str) -> Step:
    if isinstance(transform, (tuple, Mapping)):
        return _on_parts(transform, name)
    if not callable(transform):
        raise TypeError(
            f"{name}: expected a callable, None, a list of these, or a tuple or dict with one for "
            f"each part of the batch; got {transform!r}"
        )
    if uses_rng(transform):
        return lambda batch, rng: transform(batch, rng=rng)
    return lambda batch, rng: transform(batch)


def uses_rng(transform: Any) -> bool:
    """Return whether any of the functions of a transform takes a generator."""
    if isinstance(transform, Mapping):
        return any(map(uses_rng, transform.values()))
    if isinstance(transform, (tuple, list)):
        return any(map(uses_rng, transform))
    return takes_rng(transform)


def _on_parts(transform: Any, name: str) -> Step:
    keyed = isinstance(transform, Mapping)
    items = transform.items() if keyed else enumerate(transform)
    chains = {key: transform_steps(part, f"{name}[{key!r}]") for key, part in items}

    def apply(batch: Any, rng: np.random.Generator | None) -> Any:
        if keyed:
            missing = [key for key in chains if not isinstance(batch, Mapping) or key not in batch]
            if missing:
                raise ValueError(f"{name} has {missing[0]!r}, the batch is {_described(batch)}")
            return {k: _chained(chains.get(k, []), part, rng) for k, part in batch.items()}
        if not isinstance(batch, tuple) or len(batch) != len(chains):
            raise ValueError(f"{name} is a tuple of {len(chains)}, the batch {_described(batch)}")
        return like(batch, [_chained(chains[i], part, rng) for i, part in enumerate(batch)])

    return apply


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a dict of {', '.join(map(repr, batch))}"
    return f"a tuple of {len(batch)}" if isinstance(batch, tuple) else f"a {type(batch).__name__}"


def _chained(steps: list[tuple[str, Step]], part: Any, rng: np.random.Generator | None) -> Any:
    for _, step in steps:
        part = step(part, rng)
    return part


def check_batch_size(name: str, batch: Any, size: int) -> None:
    """Raise ValueError if an array or list of a batch has not one entry for each sample."""
    for where, leaf in named_leaves(batch):
        if leaf is None:
            raise ValueError(f"{name} returned None ({where})")
        shape = getattr(leaf, "shape", None)
        if shape is None:
            length = len(leaf) if isinstance(leaf, list) else size
        else:
            length = shape[0] if len(shape) else size
        if length != size:
            raise ValueError(f"{name} changed the batch size from {size} to {length} ({where})")


def conversion(convert: Any) -> Callable[[Any], Any]:
    """Return the function that converts a batch.

    Args:
        convert: a callable for every array; or a tuple or dict with one for each part.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(convert, (tuple, Mapping)):
        step = _on_parts(_converters(convert), "convert")
        return lambda batch: step(batch, None)
    if not callable(convert):
        raise TypeError(
            "convert: expected a callable, or a tuple or dict with one for each part of the batch; "
            f"got {convert!r}"
        )

    def leaf(part: Any) -> Any:
        return convert(part) if hasattr(part, "dtype") else part

    def apply(batch: Any) -> Any:
        # The common case, spelled out: it is much of what a small batch costs.
        if type(batch) is tuple:
            return tuple(
                [convert(p) if type(p) is np.ndarray else map_structure(leaf, p) for p in batch]
            )
        return map_structure(leaf, batch)

    return apply


def _converters(convert: Any) -> Any:
    """Make each callable in the structure one that maps over the arrays of its part."""
    if convert is None:
        return None
    if isinstance(convert, Mapping):
        return {key: _converters(part) for key, part in convert.items()}
    if isinstance(convert, tuple):
        return tuple(_converters(part) for part in convert)
    return conversion(convert)
