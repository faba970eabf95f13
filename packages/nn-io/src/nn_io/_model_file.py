"""One file that predicts: what builds a model, its weights, its preprocessing and its labels."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from nn_tensor.extend import check_bool, describe, keyword_only

from nn_io._checkpoint import LoadsStateDict
from nn_io._errors import FileFormatError, prefixed, shorten
from nn_io._save_load import load_state_dict_from_file, save_model_parameters
from nn_io._state_dict import (
    MAX_DEPTH,
    MAX_VALUES,
    METADATA_KEY,
    State,
    metadata_of_version,
    plain_metadata,
    plain_state,
)

__all__ = ["HasSettings", "SavedModel", "load_model", "save_model"]

Builder: TypeAlias = Callable[..., Any]

_VERSION_KEY = "nn_io.model"
_VERSION = 1
_MODEL, _PREPROCESSING = "model", "preprocessing"  # parts, and what the keys of arrays begin with
_CLASS = "__class__"  # in settings: of an object that is built as well
_PLAIN = str | bool | int | float


@runtime_checkable
class HasSettings(Protocol):
    """An object that tells which arguments build another one like it."""

    def settings(self) -> Mapping[str, Any]:
        """Return keyword arguments: what JSON can represent, and objects with `settings`."""
        ...


class SavedModel(NamedTuple):
    """What `load_model` returns.

    Attributes:
        model: the model, in evaluation mode if it has one.
        preprocessing: as it was saved: an object, a dict of several, or None.
        labels: the meaning of each output of the model, or None.
        extra: notes.
    """

    model: Any
    preprocessing: Any
    labels: list[Any] | None
    extra: dict[str, Any]


@keyword_only
def save_model(
    path: str | os.PathLike[str],
    model: LoadsStateDict,
    *,
    settings: Mapping[str, Any] | None = None,
    factory: Builder | None = None,
    preprocessing: LoadsStateDict | Mapping[str, LoadsStateDict] | None = None,
    labels: Iterable[Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    check: bool = True,
) -> None:
    """Write all that predictions need to one file, which is replaced as a whole or not at all.

    The file holds no code: of each class it has the name, and the arguments that build the object
    again. The state of random generators is not in it: to continue training, see
    `save_checkpoint`.

    Args:
        path: the file; its suffix selects the format: ``.safetensors``, ``.npz`` or ``.pkl``.
        model: anything with ``state_dict()`` and ``load_state_dict()``.
        settings: the keyword arguments that build the model: what JSON can represent (tuples
            become lists), and objects with ``settings()``. By default those that
            ``model.settings()`` returns, or none.
        factory: the function that builds the model from them, where it is not the model's class.
        preprocessing: the transform of the inputs, or several by name, with ``state_dict()``
            and ``load_state_dict()``, such as the transforms of ``nn_data.tabular``. Its settings
            are those that ``settings()`` returns, or none.
        labels: the meaning of each output of the model: strings or numbers, such as the names of
            the classes.
        extra: a mapping of what JSON can represent; tuples in it become lists.
        check: whether model and preprocessing are built again from what is written, as `load_model`
            does it, before a file is written.

    Raises:
        TypeError: naming the argument or the key, for what cannot be saved.
        ValueError: naming the argument or the key, for what cannot be saved. What a class raises
            when it is built again has a note.
        OSError: naming the file, where writing fails; the file that was there before is intact.

    >>> import numpy as np, pathlib, tempfile
    >>> class Line:
    ...     def __init__(self, size):
    ...         self.w = np.zeros(size)
    ...     def __call__(self, x):
    ...         return x @ self.w
    ...     def state_dict(self):
    ...         return {"w": self.w.copy()}
    ...     def load_state_dict(self, state):
    ...         self.w[...] = state["w"]
    >>> line = Line(2)
    >>> line.w[...] = 3.0, 4.0
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "line.safetensors")
    ...     save_model(path, line, settings={"size": 2})
    ...     loaded = load_model(path, classes=[Line])
    >>> loaded.model(np.ones(2))
    np.float64(7.0)
    """
    known: dict[str, Builder] = {}
    parts: dict[str, Any] = {}
    state: State = {}
    if factory is not None and not callable(factory):
        raise TypeError(f"factory: expected a function, got {describe(factory)}")
    for name, part in _given_parts(model, preprocessing).items():
        own = plain_state(part, name)
        of_model = name == _MODEL
        given = settings if of_model and settings is not None else _settings_of(part)
        if not isinstance(given, Mapping):
            raise TypeError(f"{name}: settings: expected a mapping, got {describe(given)}")
        builder = factory if of_model and factory is not None else type(part)
        parts[name] = {
            "class": _remember(builder, known, f"{name}: the class"),
            "settings": _described(given, f"{name}: settings", known),
            "metadata": own.pop(METADATA_KEY, None),
        }
        state |= {f"{name}.{key}": array for key, array in own.items()}
    state[METADATA_KEY] = {
        _VERSION_KEY: _VERSION,
        "parts": plain_metadata(parts, "settings"),
        "labels": None if labels is None else _plain_labels(labels),
        "extra": plain_metadata({} if extra is None else extra, "extra"),
    }
    if check_bool("check", check):
        try:
            _Content({**state}).build(known, {})
        except Exception as error:
            error.add_note(
                "while building again what would have been saved; give the arguments that build "
                "the model as settings=, and the function as factory=, or check=False"
            )
            raise
    save_model_parameters(state, path)


@keyword_only
def load_model(
    path: str | os.PathLike[str],
    *,
    classes: Builder | Iterable[Builder] | Mapping[str, Builder],
    settings: Mapping[str, Any] | None = None,
) -> SavedModel:
    """Build the model of a file of `save_model`, with its weights, preprocessing and labels.

    Classes and functions are those that the caller gives: the file only names them, and one that
    is not given is refused. They are called with the settings in the file, so give only ones that
    may be called with any.

    Args:
        path: the file.
        classes: those that the file needs: one, several, or a mapping from the names in the file.
        settings: arguments of the model that take the place of those in the file, such as
            ``{"device": "cuda"}``.

    Raises:
        FileFormatError: naming the file, where it is damaged or not one of `save_model`.
        ValueError: if the file needs a class that is not given. What a class or its
            ``load_state_dict`` raises has the file's name as a note.
        TypeError: for a wrong argument.
        OSError: where the file cannot be read.

    >>> import pathlib, tempfile
    >>> from collections import UserDict
    >>> class Scale(UserDict):
    ...     state_dict = UserDict.copy
    ...     load_state_dict = UserDict.update
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "scale.npz")
    ...     save_model(path, Scale(), labels=["no", "yes"])
    ...     load_model(path, classes=[Scale]).labels
    ...     load_model(path, classes=[dict])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: ...scale.npz: model is a 'Scale', which is not among the classes given: dict
    """
    known = _by_name(classes)
    if settings is not None and not isinstance(settings, Mapping):
        raise TypeError(f"settings: expected a mapping, got {describe(settings)}")
    state = load_state_dict_from_file(path)
    file = os.fsdecode(path)
    with prefixed(lambda: f"{file}:"):
        content = _Content(state)
    unknown = [
        f"{where} is a {shorten(name)}" for where, name in content.classes() if name not in known
    ]
    if unknown:
        raise ValueError(
            f"{file}: {'; '.join(unknown[:5])}, which is not among the classes given: "
            f"{', '.join(known) or 'none'}"
        )
    try:
        return content.build(known, settings or {})
    except Exception as error:
        error.add_note(f"while building what is in {file}")
        raise


def _given_parts(model: Any, preprocessing: Any) -> dict[str, Any]:
    """Return model and preprocessing by their names in the file."""
    parts = {_MODEL: model}
    if isinstance(preprocessing, Mapping) and not isinstance(preprocessing, LoadsStateDict):
        for name, part in preprocessing.items():
            if not isinstance(name, str) or not name or "." in name:
                raise ValueError(f"preprocessing: expected names without dots, got {name!r}")
            parts[f"{_PREPROCESSING}.{name}"] = part
    elif preprocessing is not None:
        parts[_PREPROCESSING] = preprocessing
    for name, part in parts.items():
        if not isinstance(part, LoadsStateDict):
            raise TypeError(
                f"{name}: expected an object with state_dict() and load_state_dict(), got "
                f"{describe(part)}"
            )
    return parts


def _has_settings(value: Any) -> bool:
    own = getattr(value, "settings", None)  # models may have an attribute of that name
    return callable(own) and not isinstance(value, type)


def _settings_of(part: Any) -> Any:
    return part.settings() if _has_settings(part) else {}


def _remember(builder: Builder, known: dict[str, Builder], where: str) -> str:
    """Return the name of a class or function; no two of them may have one name."""
    name = getattr(builder, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise TypeError(f"{where}: expected a class or a function with a name, got {builder!r}")
    if known.setdefault(name, builder) is not builder:
        raise ValueError(f"{where}: there are two of the name {name!r}")
    return name


def _described(
    value: Any, path: str, known: dict[str, Builder], values: Iterator[int] | None = None
) -> Any:
    """Return settings with the objects in them replaced by their class and settings."""
    values = itertools.count() if values is None else values
    if next(values) > MAX_VALUES:  # in containers that share others, or contain themselves
        raise ValueError(f"{path[:80]}: expected at most {MAX_VALUES} values in all")
    if path.count("[") > MAX_DEPTH:
        raise ValueError(f"{path[:80]}: is nested more than {MAX_DEPTH} deep, or contains itself")
    if _has_settings(value):
        name = _remember(type(value), known, path)
        return {_CLASS: name, "settings": _described(value.settings(), path, known, values)}
    if isinstance(value, Mapping):
        if _CLASS in value:
            raise ValueError(f"{path}: the key {_CLASS!r} is reserved")
        return {k: _described(item, f"{path}[{k!r}]", known, values) for k, item in value.items()}
    if isinstance(value, list | tuple):
        return [_described(item, f"{path}[{i}]", known, values) for i, item in enumerate(value)]
    if value is not None and not isinstance(value, _PLAIN | np.generic):
        raise TypeError(
            f"{path}: expected what JSON can represent, or an object with settings(), got "
            f"{describe(value)}"
        )
    return value


def _plain_labels(labels: Any) -> list[Any]:
    if isinstance(labels, str | bytes | Mapping) or not isinstance(labels, Iterable):
        raise TypeError(f"labels: expected a list of strings or numbers, got {describe(labels)}")
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    for number, label in enumerate(plain):
        if not isinstance(label, _PLAIN):
            raise TypeError(
                f"labels[{number}]: expected a string or a number, got {describe(label)}"
            )
    result: list[Any] = plain_metadata({"labels": plain}, "labels")["labels"]
    return result


def _by_name(classes: Any) -> dict[str, Builder]:
    """Return the classes that the caller gives, by name."""
    known: dict[str, Builder] = {}
    if isinstance(classes, Mapping):
        known = dict(classes)
    elif callable(classes):
        _remember(classes, known, "classes")
    elif isinstance(classes, Iterable) and not isinstance(classes, str):
        for builder in classes:
            _remember(builder, known, "classes")
    else:
        raise TypeError(f"classes: expected classes or functions, got {describe(classes)}")
    for name, builder in known.items():
        if not isinstance(name, str) or not callable(builder):
            raise TypeError(f"classes[{name!r}]: expected a class, got {describe(builder)}")
    return known


class _Content:
    """What a file of `save_model` holds, checked, with the arrays sorted by part."""

    def __init__(self, state: State) -> None:
        reader = "load_state_dict_from_file reads files of parameters, load_checkpoint checkpoints"
        kind = "a file of save_model"
        metadata, _ = metadata_of_version(state, _VERSION_KEY, _VERSION, kind, reader)
        self.parts: dict[str, Any] = metadata.get("parts") or {}
        self.labels: list[Any] | None = metadata.get("labels")
        self.extra: dict[str, Any] = metadata.get("extra") or {}
        self._check_metadata()
        self.states: dict[str, State] = {name: {} for name in self.parts}
        for name, part in self.parts.items():
            if part["metadata"] is not None:
                self.states[name][METADATA_KEY] = part["metadata"]
        for key, array in state.items():
            owner, _, rest = key.partition(".")
            if owner == _PREPROCESSING and owner not in self.parts:
                name, _, rest = rest.partition(".")
                owner = f"{owner}.{name}"
            if owner not in self.states:
                raise FileFormatError(f"has an unknown entry: {shorten(key)}")
            self.states[owner][rest] = array

    def _check_metadata(self) -> None:
        if not isinstance(self.parts, dict) or _MODEL not in self.parts:
            raise FileFormatError("has no model in its metadata")
        names = [name for name in self.parts if name != _MODEL]
        several = all(name.startswith(f"{_PREPROCESSING}.") for name in names)
        if not several and names != [_PREPROCESSING]:
            raise FileFormatError(f"has unknown parts: {shorten(', '.join(names))}")
        for name, part in self.parts.items():
            if not isinstance(part, dict) or part.keys() != {"class", "settings", "metadata"}:
                raise FileFormatError(f"has an invalid entry for {shorten(name)}")
            if not isinstance(part["class"], str) or not isinstance(part["settings"], dict):
                raise FileFormatError(f"has an invalid class or settings for {shorten(name)}")
            if not isinstance(part["metadata"], dict | None):
                raise FileFormatError(f"has invalid metadata for {shorten(name)}")
            if _CLASS in part["settings"]:
                raise FileFormatError(f"has an invalid object as the settings of {shorten(name)}")
            _check_settings(part["settings"], name)
        labels = self.labels
        is_list = isinstance(labels, list) and all(isinstance(n, _PLAIN) for n in labels)
        if not is_list and labels is not None:
            raise FileFormatError("has invalid labels")
        if not isinstance(self.extra, dict):
            raise FileFormatError("has invalid notes")

    def classes(self) -> list[tuple[str, str]]:
        """Return where a class is needed, and its name."""
        needed = []
        for name, part in self.parts.items():
            needed.append((name, part["class"]))
            needed += [(f"a setting of {name}", other) for other in _named_in(part["settings"])]
        return needed

    def build(self, known: Mapping[str, Builder], changes: Mapping[str, Any]) -> SavedModel:
        """Build all parts, and load their states."""
        built = {}
        for name, part in self.parts.items():
            settings = _built(part["settings"], known)
            settings |= changes if name == _MODEL else {}
            value = known[part["class"]](**settings)
            if not isinstance(value, LoadsStateDict):
                raise TypeError(
                    f"{name}: {part['class']} returned {describe(value)}, expected an object with "
                    "state_dict() and load_state_dict()"
                )
            value.load_state_dict(self.states[name])
            built[name] = value
        model = built.pop(_MODEL)
        if callable(evaluate := getattr(model, "eval", None)):
            evaluate()
        preprocessing: Any = built.pop(_PREPROCESSING, None)
        if built:
            preprocessing = {name.partition(".")[2]: value for name, value in built.items()}
        return SavedModel(model, preprocessing, self.labels, self.extra)


def _check_settings(value: Any, name: str) -> None:
    """Raise a FileFormatError unless each object in the settings has a class and settings."""
    if isinstance(value, list):
        for item in value:
            _check_settings(item, name)
    if not isinstance(value, dict):
        return
    if _CLASS in value and not (
        value.keys() == {_CLASS, "settings"}
        and isinstance(value[_CLASS], str)
        and isinstance(value["settings"], dict)
        and _CLASS not in value["settings"]
    ):
        raise FileFormatError(f"has an invalid object in the settings of {shorten(name)}")
    for item in value.values():
        _check_settings(item, name)


def _named_in(value: Any) -> list[str]:
    """Return the names of the classes in settings."""
    if isinstance(value, list):
        return [name for item in value for name in _named_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value[_CLASS]] if _CLASS in value else []
    return own + [name for item in value.values() for name in _named_in(item)]


def _built(value: Any, known: Mapping[str, Builder]) -> Any:
    """Return settings with the objects in them."""
    if isinstance(value, list):
        return [_built(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    if _CLASS in value:
        return known[value[_CLASS]](**_built(value["settings"], known))
    return {key: _built(item, known) for key, item in value.items()}
