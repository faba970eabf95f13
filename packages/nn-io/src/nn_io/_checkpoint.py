"""Checkpoints: everything that a run needs to resume, in one file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from nn_tensor.extend import check_bool, check_integer, keyword_only

from nn_io._errors import FileFormatError, prefixed, shorten
from nn_io._rng_state import rng_arrays, rng_state
from nn_io._save_load import load_state_dict_from_file, save_model_parameters
from nn_io._state_dict import (
    METADATA_KEY,
    HasStateDict,
    State,
    metadata_of_version,
    plain_metadata,
    plain_state,
)

__all__ = ["Checkpoint", "HasGenerators", "LoadsStateDict", "load_checkpoint", "save_checkpoint"]

_VERSION_KEY = "nn_io.checkpoint"
_VERSION = 2  # 1 had no generators of the model, no loader and no further parts
_PART = "part."  # in front of the names of further parts
_INSIDE = "generators"  # of the model
_ONLY = "generator"  # the name of a generator that was given by itself


@runtime_checkable
class LoadsStateDict(HasStateDict, Protocol):
    """Anything that returns its state as a flat mapping, and loads it."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Load a state dict."""
        ...


@runtime_checkable
class HasGenerators(Protocol):
    """A model that lists its random generators, each once."""

    def named_generators(self) -> Iterable[tuple[str, Any]]:
        """Return path and generator of each."""
        ...


Generators = np.random.Generator | Mapping[str, np.random.Generator]


class Checkpoint(NamedTuple):
    """The result of `load_checkpoint`: the step and the extra values.

    Attributes:
        step: the number of training steps done, or None.
        extra: the extra values.

    >>> Checkpoint(step=100, extra={"loss": 0.5}).step
    100
    """

    step: int | None
    extra: dict[str, Any]


@keyword_only
def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: HasStateDict | None = None,
    optimizer: HasStateDict | None = None,
    schedule: HasStateDict | None = None,
    loader: HasStateDict | None = None,
    parts: Mapping[str, HasStateDict] | None = None,
    rng: Generators | None = None,
    step: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint to one file, which is replaced as a whole or not at all.

    The file has a checksum, as with `save_model_parameters`.

    Args:
        path: the file; its suffix selects the format: ``.safetensors``, ``.npz`` or ``.pkl``.
        model: anything with ``state_dict()``. If it has ``named_generators()``, as the models of
            nn-layers, the states of its random generators, such as those of Dropout layers, are
            saved with it, by path, shared ones once.
        optimizer: anything with ``state_dict()``.
        schedule: anything with ``state_dict()``.
        loader: anything whose ``state_dict()`` consists of JSON values, such as `nn_data.Loader`.
        parts: anything else with ``state_dict()``, by name: history, callbacks, a loss scaler.
        rng: a NumPy generator, or a mapping from names to several. The exact state is saved, with
            the name of the bit generator, but not the seed sequence that ``spawn`` uses.
        step: the number of training steps done.
        extra: a mapping of further JSON values, such as the loss; tuples become lists.

    Raises:
        TypeError: for a value of a type that cannot be saved; it names the argument or the key.
        ValueError: for a value that cannot be saved, naming the argument or the key, or if there is
            nothing to save.
        OSError: naming the file, where writing fails; the file that was there before is intact.

    >>> import numpy as np, pathlib, tempfile
    >>> class Model:
    ...     def __init__(self):
    ...         self.w = np.zeros(2)
    ...     def state_dict(self):
    ...         return {"w": self.w.copy()}
    ...     def load_state_dict(self, state):
    ...         self.w[...] = state["w"]
    >>> model, rng = Model(), np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.safetensors")
    ...     save_checkpoint(path, model=model, rng=rng, step=100, extra={"loss": 0.5})
    ...     expected, model.w[0] = rng.random(), 9.0
    ...     print(load_checkpoint(path, model=model, rng=rng))
    Checkpoint(step=100, extra={'loss': 0.5})
    >>> rng.random() == expected, model.w
    (True, array([0., 0.]))
    """
    state: State = {}
    metadata: dict[str, Any] = {}
    for name, part in _given(HasStateDict, model, schedule, optimizer, parts).items():
        own = plain_state(part, name)
        metadata[name] = own.pop(METADATA_KEY, None)
        state |= {f"{name}.{key}": array for key, array in own.items()}
    kinds: dict[str, str] = {}
    for name, generator in _generators(rng).items():
        kinds[name], arrays = rng_arrays(generator)
        state |= {f"rng.{name}.{key}": array for key, array in arrays.items()}
    inside: dict[str, str] = {}
    for number, (path_in_model, generator) in enumerate(_generators_of(model).items()):
        inside[path_in_model], arrays = rng_arrays(generator)
        state |= {f"{_INSIDE}.{number}.{key}": array for key, array in arrays.items()}
    position = None
    if loader is not None:
        _check_has("loader", loader, HasStateDict)
        position = plain_metadata(loader.state_dict(), "loader.state_dict()")
    if step is not None:
        step = check_integer("step", step, 0, 2**63 - 1)
    if not metadata and not kinds and step is None and extra is None and loader is None:
        raise ValueError("save_checkpoint: expected something to save, got nothing")
    state[METADATA_KEY] = {
        _VERSION_KEY: _VERSION,
        "parts": metadata,
        "rng": kinds,
        "generators": inside,
        "loader": position,
        "step": step,
        "extra": plain_metadata({} if extra is None else extra, "extra"),
    }
    save_model_parameters(state, path)


@keyword_only
def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: LoadsStateDict | None = None,
    optimizer: LoadsStateDict | None = None,
    schedule: LoadsStateDict | None = None,
    loader: LoadsStateDict | None = None,
    parts: Mapping[str, LoadsStateDict] | None = None,
    rng: Generators | None = None,
    generators: bool = True,
) -> Checkpoint:
    """Restore model, optimizer, schedule and generators from a checkpoint, or change nothing.

    Entries of the file for which no argument is given are ignored, so that a model can be loaded
    alone. The file, its entries and the generators' states are checked before anything is changed.
    If a part then refuses its state, all parts get back the state that they had.

    Args:
        path: the file.
        model: anything with ``state_dict()`` and ``load_state_dict()``. The states of its random
            generators are loaded as well.
        optimizer: anything with ``state_dict()`` and ``load_state_dict()``.
        schedule: anything with ``state_dict()`` and ``load_state_dict()``.
        loader: anything with ``state_dict()`` and ``load_state_dict()``, loaded last.
        parts: anything with ``state_dict()`` and ``load_state_dict()``, by the names that were
            saved.
        rng: a NumPy generator, or a mapping from names to several, as was saved.
        generators: whether to load the states of the generators in the model; False when only the
            weights are wanted.

    Returns:
        The `step` and `extra` that were saved.

    Raises:
        FileFormatError: naming the file, where it is damaged or not a checkpoint.
        ValueError: where the file has nothing for an argument, a generator has another bit
            generator, or the model does not have the generators of the file. What the
            ``load_state_dict`` of a part raises has the file's name as a note.
        TypeError: for an argument of the wrong type.
        OSError: where the file cannot be read.

    >>> import numpy as np, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "run.npz")
    ...     save_checkpoint(path, rng=np.random.default_rng(0))
    ...     other = np.random.Generator(np.random.MT19937(0))
    ...     load_checkpoint(path, rng=other)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: ...run.npz: rng is a MT19937, the file holds a 'PCG64'
    """
    named = _given(LoadsStateDict, model, schedule, optimizer, parts)
    if loader is not None:
        _check_has("loader", loader, LoadsStateDict)
    inside = _generators_of(model) if check_bool("generators", generators) else {}
    outside = _generators(rng)
    state = load_state_dict_from_file(path)
    file = os.fsdecode(path)
    with prefixed(lambda: f"{file}:"):
        saved = _Content(state)
    missing = [_part_argument(name) for name in named if name not in saved.states]
    missing += ["loader"] if loader is not None and saved.loader is None else []
    missing += [_argument(name) for name in outside if name not in saved.kinds]
    if missing:
        names = [*map(_part_argument, saved.states), *map(_argument, saved.kinds)]
        held = ", ".join(names + ["loader"] * (saved.loader is not None)) or "no state"
        raise ValueError(f"{file} holds nothing for {', '.join(missing)}; it holds {held}")
    rng_states = {}
    for name, generator in outside.items():
        with _prefixed_value(f"{file}: {_argument(name)}"):
            rng_states[name] = rng_state(generator, saved.kinds[name], saved.arrays[name])
    with _all_or_nothing(named, loader, [*outside.values(), *inside.values()]):
        for name, part in named.items():
            try:
                part.load_state_dict(saved.states[name])
            except Exception as error:
                error.add_note(f"while loading {_part_argument(name)} from {file}")
                raise
        if model is not None and generators:
            _load_inside(file, inside, saved)
        for name, generator in outside.items():
            generator.bit_generator.state = rng_states[name]
        if loader is not None:
            try:
                loader.load_state_dict(saved.loader or {})
            except Exception as error:
                error.add_note(f"while loading loader from {file}")
                raise
    return Checkpoint(saved.step, saved.extra)


class _Content:
    """The entries of a checkpoint's state dict, sorted by what they belong to."""

    def __init__(self, state: State) -> None:
        reader = "load_state_dict_from_file reads files of parameters, load_model models"
        metadata, version = metadata_of_version(
            state, _VERSION_KEY, _VERSION, "a checkpoint", reader
        )
        part_metadata = _dict_entry(metadata, "parts")
        self.kinds = _dict_entry(metadata, "rng")
        self.extra = _dict_entry(metadata, "extra")
        self.version = version
        self.inside = _dict_entry(metadata, "generators") if version >= 2 else {}
        self.loader: dict[str, Any] | None = metadata.get("loader")
        if self.loader is not None and not isinstance(self.loader, dict):
            raise FileFormatError("has an invalid state of a loader")
        self.step: int | None = metadata.get("step")
        if self.step is not None and (type(self.step) is not int or self.step < 0):
            raise FileFormatError(f"has an invalid step: {shorten(str(self.step))}")
        for name, kind in [*self.kinds.items(), *self.inside.items()]:
            if not isinstance(kind, str):
                raise FileFormatError(f"has an invalid bit generator for rng {shorten(name)}")
        self.states: dict[str, State] = {name: {} for name in part_metadata}
        self.arrays: dict[str, State] = {name: {} for name in self.kinds}
        self.inside_arrays: dict[str, State] = {path: {} for path in self.inside}
        paths = {str(number): path for number, path in enumerate(self.inside)}
        for key, array in state.items():
            owner, _, rest = key.partition(".")
            if owner == _PART.rstrip("."):
                name, _, rest = rest.partition(".")
                owner = _PART + name
            found = self.states.get(owner)
            if found is None and owner == _INSIDE:
                owner, _, rest = rest.partition(".")
                found = self.inside_arrays.get(paths.get(owner, ""))
            if found is None and owner == "rng":
                owner, _, rest = rest.partition(".")
                found = self.arrays.get(owner)
            if found is None:
                raise FileFormatError(f"has an unknown entry: {shorten(key)}")
            found[rest] = array
        for name, own in part_metadata.items():
            known = name in ("model", "schedule", "optimizer") or name.startswith(_PART)
            if not known or not isinstance(own, dict | None):
                raise FileFormatError(f"has an unknown entry in its metadata: {shorten(name)}")
            if own is not None:
                self.states[name][METADATA_KEY] = own


def _dict_entry(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    value = metadata.get(name)
    if not isinstance(value, dict):
        raise FileFormatError(f"has no {name} in its metadata")
    return value


def _given(
    protocol: Any, model: Any, schedule: Any, optimizer: Any, further: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what is given by the name in the file, in the order in which it is loaded."""
    # An optimizer's state comes after the schedule's: a learning rate set by the user is in it.
    parts = {"model": model, "schedule": schedule, "optimizer": optimizer}
    parts = {name: part for name, part in parts.items() if part is not None}
    if further is not None and not isinstance(further, Mapping):
        raise TypeError(f"parts: expected a mapping by name, got {type(further).__name__}")
    for name, part in (further or {}).items():
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"parts: expected names without dots, got {name!r}")
        parts[_PART + name] = part
    for name, part in parts.items():
        _check_has(_part_argument(name), part, protocol)
    return parts


def _check_has(name: str, part: Any, protocol: Any) -> None:
    if not isinstance(part, protocol):
        methods = "state_dict()"
        if protocol is LoadsStateDict:
            methods += " and load_state_dict()"
        raise TypeError(f"{name}: expected an object with {methods}, got {type(part).__name__}")


def _part_argument(name: str) -> str:
    return f"parts[{name.removeprefix(_PART)!r}]" if name.startswith(_PART) else name


def _generators_of(model: Any) -> dict[str, np.random.Generator]:
    """Return the random generators of a model by path.

    Raises:
        TypeError: naming one of another kind, whose state no file could keep.
    """
    if not isinstance(model, HasGenerators):
        return {}
    found = dict(model.named_generators())
    for path, generator in found.items():
        if not isinstance(generator, np.random.Generator):
            kind = f"{type(generator).__module__}.{type(generator).__name__}"
            raise TypeError(
                f"model: {path} is a {kind}, whose state cannot be saved; use a "
                "numpy.random.Generator"
            )
    return found


def _load_inside(file: str, inside: dict[str, np.random.Generator], saved: _Content) -> None:
    """Restore the generators of the model.

    Raises:
        ValueError: if the model has others than the file.
    """
    if saved.version < 2:
        if inside:
            warnings.warn(
                f"{file} was written without the generators of the model ({', '.join(inside)}): "
                "they continue from where they are, so that the run is another one",
                stacklevel=3,
            )
        return
    missing = [path for path in inside if path not in saved.inside]
    unexpected = [shorten(path) for path in saved.inside if path not in inside]
    if missing or unexpected:
        parts = [f"only the model has {', '.join(missing)}" if missing else ""]
        parts += [f"only the file has {', '.join(unexpected)}" if unexpected else ""]
        raise ValueError(
            f"{file}: the generators of the model are not those that were saved: "
            f"{'; '.join(filter(None, parts))}; generators=False leaves them alone"
        )
    for name, generator in inside.items():
        with _prefixed_value(f"{file}: the model's generator {name}"):
            arrays = saved.inside_arrays[name]
            generator.bit_generator.state = rng_state(generator, saved.inside[name], arrays)


@contextmanager
def _prefixed_value(prefix: str) -> Iterator[None]:
    """Prepend a prefix to the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{prefix} {error}") from None


def _generators(rng: Generators | None) -> Mapping[str, np.random.Generator]:
    if rng is None:
        return {}
    named = rng if isinstance(rng, Mapping) else {_ONLY: rng}
    for name, generator in named.items():
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"rng: expected names without dots, got {name!r}")
        if not isinstance(generator, np.random.Generator):
            raise TypeError(
                f"{_argument(name)}: expected a numpy.random.Generator, "
                f"got {type(generator).__name__}"
            )
    return named


def _argument(name: str) -> str:
    return "rng" if name == _ONLY else f"rng[{name!r}]"


@contextmanager
def _all_or_nothing(
    parts: Mapping[str, LoadsStateDict],
    loader: LoadsStateDict | None,
    generators: list[np.random.Generator],
) -> Iterator[None]:
    """Restore the former state of every part if the block fails."""
    # Copies: a state dict may share the very memory that is about to be written.
    former: dict[str, Any] = {
        name: {
            key: value if key == METADATA_KEY else np.array(value)
            for key, value in plain_state(part, _part_argument(name)).items()
        }
        for name, part in parts.items()
    }
    if loader is not None:
        parts = {**parts, "loader": loader}
        former["loader"] = dict(loader.state_dict())
    states = [generator.bit_generator.state for generator in generators]
    try:
        yield
    except BaseException as error:
        for name, part in parts.items():
            try:
                part.load_state_dict(former[name])
            except Exception as second:
                error.add_note(f"{name} could not be given its former state back: {second}")
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state
        raise
