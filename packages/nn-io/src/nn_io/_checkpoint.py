"""A whole training run in one file: model, optimizer, schedule, generators, and where it stood."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from nn_io._errors import FileFormatError, short
from nn_io._manage import load_state_dict_from_file, save_model_parameters
from nn_io._random import rng_arrays, rng_state
from nn_io._state import METADATA_KEY, HasStateDict, State, plain_metadata, state_of

# An optimizer's state comes after the schedule's: a rate that was set by hand is in it.
_PARTS = ("model", "schedule", "optimizer")
_VERSION_KEY = "nn_io.checkpoint"
_VERSION = 1
_ALONE = "generator"  # the name of a generator that was given by itself


@runtime_checkable
class LoadsStateDict(HasStateDict, Protocol):
    """Anything that gives its state as a flat mapping, and takes it back."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take over a state."""
        ...


Generators = np.random.Generator | Mapping[str, np.random.Generator]


class Checkpoint(NamedTuple):
    """What a checkpoint holds beside the states: where training stood, and notes.

    >>> Checkpoint(step=100, extra={"loss": 0.5}).step
    100
    """

    step: int | None
    extra: dict[str, Any]


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
    """Write all that a run needs to go on to one file, replaced as a whole or not at all.

    ``model``, ``optimizer`` and ``schedule`` are anything with ``state_dict()``. ``rng`` is a
    generator of NumPy, or a mapping from names to several; the exact state is kept, with the name
    of the bit generator, but not the seed sequence that ``spawn`` counts on. ``step`` is a count,
    ``extra`` a mapping of what JSON can say; tuples in it become lists. The ending of ``path``
    chooses the format, ``.safetensors``, ``.npz`` or ``.pkl``, and the file bears a checksum, as
    with ``save_model_parameters``.

    Raises TypeError or ValueError, naming the argument or the key, for what cannot be saved, and
    OSError, naming the file, where writing fails; the file that was there before is then intact.

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
    parts = {"model": model, "schedule": schedule, "optimizer": optimizer}
    state: State = {}
    notes: dict[str, Any] = {}
    for name, part in parts.items():
        if part is None:
            continue
        if not isinstance(part, HasStateDict):
            raise TypeError(f"{name} must have state_dict(), got {type(part).__name__}")
        own = state_of(part, name)
        notes[name] = own.pop(METADATA_KEY, None)
        state |= {f"{name}.{key}": array for key, array in own.items()}
    kinds: dict[str, str] = {}
    for name, generator in _generators(rng).items():
        kinds[name], arrays = rng_arrays(generator)
        state |= {f"rng.{name}.{key}": array for key, array in arrays.items()}
    if step is not None:
        step = _checked_step(step)
    if not notes and not kinds and step is None and extra is None:
        raise ValueError("save_checkpoint needs something to save, got nothing")
    state[METADATA_KEY] = {
        _VERSION_KEY: _VERSION,
        "parts": notes,
        "rng": kinds,
        "step": step,
        "extra": plain_metadata({} if extra is None else extra, "extra"),
    }
    save_model_parameters(state, path)


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: LoadsStateDict | None = None,
    optimizer: LoadsStateDict | None = None,
    schedule: LoadsStateDict | None = None,
    rng: Generators | None = None,
) -> Checkpoint:
    """Bring all that is given back to where it was saved, or change nothing.

    What is given takes the state that the file holds for it: model, schedule, optimizer, then the
    generators. What the file holds beyond that is not used, so that a model can be loaded alone.
    The file, its parts and the generators' states are checked before anything is changed. Should a
    part then refuse its state, all parts get back the state that they had.

    Returns the ``step`` and ``extra`` that were saved.

    Raises FileFormatError, naming the file, where it is damaged or no checkpoint, ValueError where
    it holds nothing for an argument or a generator is of another kind, what a part's
    ``load_state_dict`` raises, with the file's name as a note, TypeError for a wrong argument, and
    OSError where the file cannot be read.

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
    parts: dict[str, LoadsStateDict] = {}
    for name, part in (("model", model), ("schedule", schedule), ("optimizer", optimizer)):
        if part is None:
            continue
        if not isinstance(part, LoadsStateDict):
            raise TypeError(
                f"{name} must have state_dict() and load_state_dict(), got {type(part).__name__}"
            )
        parts[name] = part
    generators = _generators(rng)
    content = load_state_dict_from_file(path)
    try:
        saved = _Content(content)
    except FileFormatError as error:
        raise FileFormatError(f"{os.fsdecode(path)}: {error}") from None
    missing = [name for name in parts if name not in saved.states]
    missing += [_argument(name) for name in generators if name not in saved.kinds]
    if missing:
        held = [*saved.states, *(_argument(name) for name in saved.kinds)]
        raise ValueError(
            f"{os.fsdecode(path)} holds nothing for {', '.join(missing)}; "
            f"it holds {', '.join(held) or 'no state'}"
        )
    rng_states = {}
    for name, generator in generators.items():
        try:
            rng_states[name] = rng_state(generator, saved.kinds[name], saved.arrays[name])
        except ValueError as error:
            raise ValueError(f"{os.fsdecode(path)}: {_argument(name)} {error}") from None
    with _all_or_nothing(parts, generators):
        for name, part in parts.items():
            try:
                part.load_state_dict(saved.states[name])
            except Exception as error:
                error.add_note(f"while loading {name} from {os.fsdecode(path)}")
                raise
        for name, generator in generators.items():
            generator.bit_generator.state = rng_states[name]
    return Checkpoint(saved.step, saved.extra)


class _Content:
    """A checkpoint's state dict, taken apart."""

    def __init__(self, content: State) -> None:
        metadata = content.pop(METADATA_KEY, None)
        version = metadata.get(_VERSION_KEY) if isinstance(metadata, dict) else None
        if type(version) is not int or not isinstance(metadata, dict):
            raise FileFormatError(
                "is no checkpoint; load_state_dict_from_file reads files of parameters"
            )
        if version > _VERSION:
            raise FileFormatError(f"is a checkpoint of version {version}, newer than {_VERSION}")
        notes = _entry(metadata, "parts")
        self.kinds: dict[str, str] = _entry(metadata, "rng")
        self.extra = _entry(metadata, "extra")
        step = metadata.get("step")
        if step is not None and (type(step) is not int or step < 0):
            raise FileFormatError(f"has a step that is no count: {short(str(step))}")
        self.step: int | None = step
        for name, kind in self.kinds.items():
            if not isinstance(kind, str):
                raise FileFormatError(f"has no name for the generator {short(name)}")
        self.states: dict[str, State] = {name: {} for name in notes}
        self.arrays: dict[str, State] = {name: {} for name in self.kinds}
        for key, array in content.items():
            part, _, rest = key.partition(".")
            if part in notes:
                self.states[part][rest] = array
                continue
            owner, _, path = rest.partition(".")
            if part != "rng" or owner not in self.kinds:
                raise FileFormatError(f"has an entry of no part: {short(key)}")
            self.arrays[owner][path] = array
        for name, note in notes.items():
            if name not in _PARTS or not isinstance(note, dict | None):
                raise FileFormatError(f"has a part that is none: {short(name)}")
            if note is not None:
                self.states[name][METADATA_KEY] = note


def _entry(metadata: dict[str, Any], name: str) -> dict[str, Any]:
    value = metadata.get(name)
    if not isinstance(value, dict):
        raise FileFormatError(f"has no {name} in its metadata")
    return value


def _generators(rng: Generators | None) -> Mapping[str, np.random.Generator]:
    if rng is None:
        return {}
    named = rng if isinstance(rng, Mapping) else {_ALONE: rng}
    for name, generator in named.items():
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"rng: a generator's name must be text without dots, got {name!r}")
        if not isinstance(generator, np.random.Generator):
            raise TypeError(
                f"{_argument(name)} must be a numpy.random.Generator, "
                f"got {type(generator).__name__}"
            )
    return named


def _argument(name: str) -> str:
    return "rng" if name == _ALONE else f"rng[{name!r}]"


def _checked_step(step: Any) -> int:
    if isinstance(step, bool | np.bool_) or not isinstance(step, int | np.integer):
        raise TypeError(f"step must be a whole number, got {step!r}")
    if not 0 <= step < 2**63:
        raise ValueError(f"step must be a count below 2**63, got {step}")
    return int(step)


@contextmanager
def _all_or_nothing(
    parts: Mapping[str, LoadsStateDict], generators: Mapping[str, np.random.Generator]
) -> Iterator[None]:
    """Give every part its former state back if the block fails."""
    # Copies: a state dict may show the very memory that is about to be written.
    former = {
        name: {
            key: value if key == METADATA_KEY else np.array(value)
            for key, value in state_of(part, name).items()
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
