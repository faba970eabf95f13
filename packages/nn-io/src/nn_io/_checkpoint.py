"""Checkpoints: model, optimizer, schedule, generators, step and notes in one file."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from nn_tensor.extend import check_integer, keyword_only

from nn_io._errors import FileFormatError, prefixed, shorten
from nn_io._rng_state import rng_arrays, rng_state
from nn_io._save_load import load_state_dict_from_file, save_model_parameters
from nn_io._state_dict import METADATA_KEY, HasStateDict, State, plain_metadata, plain_state

__all__ = ["Checkpoint", "LoadsStateDict", "load_checkpoint", "save_checkpoint"]

_VERSION_KEY = "nn_io.checkpoint"
_VERSION = 1
_ONLY = "generator"  # the name of a generator that was given by itself


@runtime_checkable
class LoadsStateDict(HasStateDict, Protocol):
    """Anything that returns its state as a flat mapping, and takes it back."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take over a state."""
        ...


Generators = np.random.Generator | Mapping[str, np.random.Generator]


class Checkpoint(NamedTuple):
    """The step and the notes of a checkpoint, beside the states.

    Attributes:
        step: how many steps were done, or None.
        extra: notes.

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
    rng: Generators | None = None,
    step: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint to one file, which is replaced as a whole or not at all.

    The file has a checksum, as with `save_model_parameters`.

    Args:
        path: the file; its suffix selects the format: ``.safetensors``, ``.npz`` or ``.pkl``.
        model: anything with ``state_dict()``.
        optimizer: anything with ``state_dict()``.
        schedule: anything with ``state_dict()``.
        rng: a NumPy generator, or a mapping from names to several. The exact state is kept, with
            the name of the bit generator, but not the seed sequence that ``spawn`` counts on.
        step: how many steps were done.
        extra: a mapping of what JSON can represent; tuples in it become lists.

    Raises:
        TypeError: naming the argument or the key, for what cannot be saved.
        ValueError: naming the argument or the key, for what cannot be saved, or if there is
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
    for name, part in _given(HasStateDict, model, schedule, optimizer).items():
        own = plain_state(part, name)
        metadata[name] = own.pop(METADATA_KEY, None)
        state |= {f"{name}.{key}": array for key, array in own.items()}
    kinds: dict[str, str] = {}
    for name, generator in _generators(rng).items():
        kinds[name], arrays = rng_arrays(generator)
        state |= {f"rng.{name}.{key}": array for key, array in arrays.items()}
    if step is not None:
        step = check_integer("step", step, 0, 2**63 - 1)
    if not metadata and not kinds and step is None and extra is None:
        raise ValueError("save_checkpoint: expected something to save, got nothing")
    state[METADATA_KEY] = {
        _VERSION_KEY: _VERSION,
        "parts": metadata,
        "rng": kinds,
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
    rng: Generators | None = None,
) -> Checkpoint:
    """Restore model, optimizer, schedule and generators from a checkpoint, or change nothing.

    What the file holds beyond that is not used, so that a model can be loaded alone. The file, its
    entries and the generators' states are checked before anything is changed. Should a part then
    refuse its state, all parts get back the state that they had.

    Args:
        path: the file.
        model: anything with ``state_dict()`` and ``load_state_dict()``.
        optimizer: anything with ``state_dict()`` and ``load_state_dict()``.
        schedule: anything with ``state_dict()`` and ``load_state_dict()``.
        rng: a NumPy generator, or a mapping from names to several, as was saved.

    Returns:
        The `step` and `extra` that were saved.

    Raises:
        FileFormatError: naming the file, where it is damaged or not a checkpoint.
        ValueError: where the file holds nothing for an argument, or a generator is of another
            kind. What the ``load_state_dict`` of a part raises has the file's name as a note.
        TypeError: for a wrong argument.
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
    parts = _given(LoadsStateDict, model, schedule, optimizer)
    generators = _generators(rng)
    state = load_state_dict_from_file(path)
    file = os.fsdecode(path)
    with prefixed(lambda: f"{file}:"):
        saved = _Content(state)
    missing = [name for name in parts if name not in saved.states]
    missing += [_argument(name) for name in generators if name not in saved.kinds]
    if missing:
        held = ", ".join([*saved.states, *map(_argument, saved.kinds)]) or "no state"
        raise ValueError(f"{file} holds nothing for {', '.join(missing)}; it holds {held}")
    rng_states = {}
    for name, generator in generators.items():
        try:
            rng_states[name] = rng_state(generator, saved.kinds[name], saved.arrays[name])
        except ValueError as error:
            raise ValueError(f"{file}: {_argument(name)} {error}") from None
    with _all_or_nothing(parts, generators):
        for name, part in parts.items():
            try:
                part.load_state_dict(saved.states[name])
            except Exception as error:
                error.add_note(f"while loading {name} from {file}")
                raise
        for name, generator in generators.items():
            generator.bit_generator.state = rng_states[name]
    return Checkpoint(saved.step, saved.extra)


class _Content:
    """The entries of a checkpoint's state dict, sorted by what they belong to."""

    def __init__(self, state: State) -> None:
        metadata = state.pop(METADATA_KEY, None)
        version = metadata.get(_VERSION_KEY) if isinstance(metadata, dict) else None
        if type(version) is not int or not isinstance(metadata, dict):
            raise FileFormatError(
                "is not a checkpoint; load_state_dict_from_file reads files of parameters"
            )
        if version > _VERSION:
            raise FileFormatError(f"is a checkpoint of version {version}, newer than {_VERSION}")
        part_metadata = _dict_entry(metadata, "parts")
        self.kinds = _dict_entry(metadata, "rng")
        self.extra = _dict_entry(metadata, "extra")
        self.step: int | None = metadata.get("step")
        if self.step is not None and (type(self.step) is not int or self.step < 0):
            raise FileFormatError(f"has an invalid step: {shorten(str(self.step))}")
        for name, kind in self.kinds.items():
            if not isinstance(kind, str):
                raise FileFormatError(f"has an invalid bit generator for rng {shorten(name)}")
        self.states: dict[str, State] = {name: {} for name in part_metadata}
        self.arrays: dict[str, State] = {name: {} for name in self.kinds}
        for key, array in state.items():
            owner, _, rest = key.partition(".")
            found = self.states.get(owner)
            if found is None and owner == "rng":
                owner, _, rest = rest.partition(".")
                found = self.arrays.get(owner)
            if found is None:
                raise FileFormatError(f"has an unknown entry: {shorten(key)}")
            found[rest] = array
        for name, own in part_metadata.items():
            if name not in ("model", "schedule", "optimizer") or not isinstance(own, dict | None):
                raise FileFormatError(f"has an unknown entry in its metadata: {shorten(name)}")
            if own is not None:
                self.states[name][METADATA_KEY] = own


def _dict_entry(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    value = metadata.get(name)
    if not isinstance(value, dict):
        raise FileFormatError(f"has no {name} in its metadata")
    return value


def _given(protocol: Any, model: Any, schedule: Any, optimizer: Any) -> dict[str, Any]:
    """Return the arguments that are not None, in the order in which they are loaded."""
    # An optimizer's state comes after the schedule's: a learning rate set by the user is in it.
    parts = {"model": model, "schedule": schedule, "optimizer": optimizer}
    for name, part in parts.items():
        if part is not None and not isinstance(part, protocol):
            methods = "state_dict()"
            if protocol is LoadsStateDict:
                methods += " and load_state_dict()"
            raise TypeError(f"{name}: expected an object with {methods}, got {type(part).__name__}")
    return {name: part for name, part in parts.items() if part is not None}


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
    parts: Mapping[str, LoadsStateDict], generators: Mapping[str, np.random.Generator]
) -> Iterator[None]:
    """Restore the former state of every part if the block fails."""
    # Copies: a state dict may share the very memory that is about to be written.
    former = {
        name: {
            key: value if key == METADATA_KEY else np.array(value)
            for key, value in plain_state(part, name).items()
        }
        for name, part in parts.items()
    }
    states = {name: generator.bit_generator.state for name, generator in generators.items()}
    try:
        yield
    except BaseException as error:
        for name, part in parts.items():
            try:
                part.load_state_dict(former[name])
            except Exception as second:
                error.add_note(f"{name} could not be given its former state back: {second}")
        for name, generator in generators.items():
            generator.bit_generator.state = states[name]
        raise
