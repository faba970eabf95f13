"""Maps of names, shapes and layouts, from the state dict of another library to that of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nn_tensor.extend import METADATA_KEY, describe

__all__ = ["Match", "Weight", "WeightMap", "embedding", "linear", "norm", "prefixed"]


@dataclass(frozen=True)
class Weight:
    """One array of the source, and what it becomes.

    Attributes:
        source: its name in the source; ``{n}`` stands for the index of a layer.
        target: its name in the model; ``*`` stands for query, key and value, which the source has
            concatenated along the dimension of the outputs.
        shape: the shape of each target, by the names of the constructors' arguments.
        transposed: whether the source has the two dimensions exchanged.
        requires: the parts that a model must have to have this array.
    """

    source: str
    target: str
    shape: tuple[str, ...]
    transposed: bool = False
    requires: frozenset[str] = frozenset()

    @property
    def layer_prefix(self) -> str:
        """The prefix of the index of the layer, or nothing."""
        prefix, index, _ = self.source.partition("{n}")
        return prefix if index else ""

    def targets(self, index: int) -> list[str]:
        """Return the names in the model, one or three, in one layer."""
        parts = ("query", "key", "value") if "*" in self.target else ("",)
        return [self.target.replace("*", part).replace("{n}", str(index)) for part in parts]

    def _dimensions(self) -> list[tuple[str, int]]:
        """Return name and factor of each dimension of the source's array."""
        factors = [1] * (len(self.shape) - 1) + [len(self.targets(0))]
        return list(zip(self.shape, factors, strict=True))[:: -1 if self.transposed else 1]

    def read_sizes(self, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
        """Check the shape of the source's array against `sizes`, and add new sizes.

        Raises:
            ValueError: if it does not fit.
        """
        found = dict(sizes)
        fits = len(shape) == len(self.shape)
        for (name, factor), size in zip(self._dimensions(), shape, strict=False):
            fits = fits and found.setdefault(name, size // factor) * factor == size
        if not fits:
            raise ValueError(f"expected shape {self.describe_shape(sizes)}, got {shape}")
        sizes.update(found)

    def describe_shape(self, sizes: Mapping[str, int]) -> str:
        """Return the shape that the source should have, in numbers where they are known."""
        texts = [
            str(sizes[name] * factor) if name in sizes else f"{factor}*{name}".removeprefix("1*")
            for name, factor in self._dimensions()
        ]
        return f"({', '.join(texts)}{',' * (len(texts) == 1)})"


@dataclass(frozen=True)
class WeightMap:
    """The names of one kind of model.

    Attributes:
        weights: its arrays.
        prefix: an optional prefix of each name.
        aliases: endings of names in older files, and what they are now.
        buffers: a pattern for the names of arrays that are not weights.
        unsupported: endings of names of arrays that have no counterpart in the model, and why.
    """

    weights: tuple[Weight, ...]
    prefix: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    buffers: str = "(?!)"  # matches nothing
    unsupported: Mapping[str, str] = field(default_factory=dict)


class Match:
    """What a `WeightMap` finds in a state dict.

    Args:
        caller: the public function, for the message.
        weight_map: the names.
        state: arrays by name.
        ignore: first parts of names to leave out; None if the caller has no such argument.

    Attributes:
        arrays: the arrays, each with its weight and the index of its layer.
        sizes: the sizes that the shapes determine, by the constructor's arguments.
        num_layers: the number of layers, by the prefix of their index.
        present: the `Weight.requires` that the model has.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if an argument has another type.
    """

    def __init__(
        self, caller: str, weight_map: WeightMap, state: Any, ignore: Iterable[str] | None = None
    ) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(f"{caller}: state: expected a dict of arrays, got {describe(state)}")
        if isinstance(ignore, str):
            raise TypeError(f"{caller}: ignore: expected a list of names, got {ignore!r}")
        ignore = None if ignore is None else tuple(ignore)
        self._map, self._problems = weight_map, list[str]()
        names = self._find_names(state, ignore or ())
        layers = self._find_layers(names)
        weights = {
            weight.source.replace("{n}", str(index)): (weight, index)
            for weight in weight_map.weights
            for index in layers[weight.layer_prefix] or [0]
        }
        unknown = {name: state[name] for short, name in names.items() if short not in weights}
        self._refuse(unknown, {source.partition(".")[0] for source in weights}, ignore)
        self.num_layers: dict[str, int] = {
            prefix: len(indices) for prefix, indices in layers.items() if prefix
        }
        found = [weight for source, (weight, _) in weights.items() if source in names]
        self.present: frozenset[str] = frozenset().union(*(weight.requires for weight in found))
        self.sizes: dict[str, int] = {}
        self.arrays: list[tuple[Weight, int, Any]] = []
        for source, (weight, index) in weights.items():
            if source in names:
                try:
                    array = _as_array(state[names[source]])
                    weight.read_sizes(array.shape, self.sizes)
                    self.arrays.append((weight, index, array))
                except (TypeError, ValueError) as error:
                    self._problems.append(f"{names[source]}: {error}")
            elif weight.requires <= self.present:
                shape = weight.describe_shape(self.sizes)
                self._problems.append(f"missing: {source}, shape {shape}")
        if self._problems:
            lines = "".join(f"\n  {problem}" for problem in self._problems)
            raise ValueError(f"{caller}: the state does not fit{lines}")

    def _find_names(self, state: Mapping[Any, Any], ignore: tuple[str, ...]) -> dict[str, Any]:
        """Return the names in `state`, by what the map calls them."""
        names: dict[str, Any] = {}
        for name in state:
            short = str(name).removeprefix(self._map.prefix)
            ignored = any(f"{short}.".startswith(f"{part}.") for part in ignore)
            if name == METADATA_KEY or ignored or re.fullmatch(self._map.buffers, short):
                continue
            for old, new in self._map.aliases.items():
                if short.endswith(old):
                    short = short.removesuffix(old) + new
            if short in names:
                self._problems.append(f"{names[short]} and {name} are the same")
            names[short] = name
        return names

    def _find_layers(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Return the indices of the layers by their prefixes."""
        found: dict[str, set[int]] = {"": {0}}  # for weights outside of layers
        for name in names:
            if index := re.match(r"(.*?\.)(0|[1-9]\d*)\.", name):
                found.setdefault(index[1], set()).add(int(index[2]))
        prefixes = dict.fromkeys(weight.layer_prefix for weight in self._map.weights)
        layers = {prefix: sorted(found.get(prefix, ())) for prefix in prefixes}
        for prefix, indices in layers.items():
            if indices != list(range(len(indices))):
                numbers = ", ".join(map(str, indices))
                problem = f"{prefix}*: layers are numbered {numbers}, expected 0, 1, 2, ..."
                self._problems.append(problem)
        return layers

    def _refuse(
        self, unknown: Mapping[Any, Any], known_parts: set[str], ignore: tuple[str, ...] | None
    ) -> None:
        """Note the names that the map does not have, and how to leave them out."""
        parts: list[str] = []
        for name, value in unknown.items():
            short = str(name).removeprefix(self._map.prefix)
            reasons = [why for end, why in self._map.unsupported.items() if short.endswith(end)]
            self._problems.append(
                f"{name}: {reasons[0]}" if reasons else f"unknown: {name}, {describe(value)}"
            )
            if not reasons:
                parts.append(short.partition(".")[0])
        further = [part for part in dict.fromkeys(parts) if part not in known_parts]
        if further and ignore is not None:
            advice = f"to leave out what has no counterpart: ignore={[*ignore, *further]}"
            self._problems.append(advice)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the arrays, with the names and in the layout of the model."""
        result: dict[str, Any] = {}
        for weight, index, array in self.arrays:
            outputs_last = array.T if weight.transposed else array
            targets = weight.targets(index)
            parts = np.split(outputs_last, len(targets), axis=-1)
            for target, part in zip(targets, parts, strict=True):
                result[target] = np.array(part, order="C")
        return result

    def options(self, num_heads: int) -> dict[str, Any]:
        """Return the arguments of the model's constructor that the state dict determines."""
        options = {**self.sizes, "num_heads": num_heads, "bias": "bias" in self.present}
        if self.num_layers:
            options["num_layers"] = next(iter(self.num_layers.values()))
        return options


def _as_array(value: Any) -> Any:
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever another library's conversion raises
        raise TypeError(f"NumPy cannot read {describe(value)}: {error}") from None
    if array.dtype.kind not in "fiu":
        raise TypeError(f"expected real numbers, got {describe(value)}")
    return array


# The functions below make the entries of a map. Names end in what precedes "weight" or "bias".


def linear(source: str, target: str, *shape: str, transposed: bool = True) -> tuple[Weight, ...]:
    """Return weight and bias of a `Dense`, whose weights are ``(inputs, outputs)``.

    PyTorch's ``Linear`` is transposed, Hugging Face's ``Conv1D`` is not.
    """
    return (
        Weight(f"{source}weight", f"{target}weights", shape, transposed),
        Weight(f"{source}bias", f"{target}bias", shape[-1:], requires=frozenset({"bias"})),
    )


def norm(source: str, target: str) -> tuple[Weight, ...]:
    """Return weight and bias of a layer normalization."""
    return linear(source, target, "d_model", transposed=False)


def embedding(source: str, target: str, size: str) -> Weight:
    """Return the weight of an embedding."""
    return Weight(f"{source}weight", f"{target}weights", (size, "d_model"))


def prefixed(
    source: str, target: str, weights: Iterable[Weight], *requires: str
) -> tuple[Weight, ...]:
    """Return the weights of a part that the source calls `source` and the model `target`."""
    return tuple(
        Weight(
            source + w.source, target + w.target, w.shape, w.transposed, w.requires | {*requires}
        )
        for w in weights
    )
