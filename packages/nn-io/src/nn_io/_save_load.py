"""Saving and loading: `save_model_parameters` and `load_state_dict_from_file`."""

import os
from collections.abc import Mapping
from typing import Any

from nn_io._atomic_write import replace_file
from nn_io._bounded_reader import open_reader
from nn_io._errors import FileFormatError, prefixed
from nn_io._formats import FORMATS
from nn_io._state_dict import HasStateDict, plain_state

__all__ = ["load_state_dict_from_file", "save_model_parameters"]


def save_model_parameters(
    model: HasStateDict | Mapping[str, Any],
    path: str | os.PathLike[str],
) -> None:
    """Write the parameters of a model to a file, which is replaced as a whole or not at all.

    Keys keep their order. The file has a checksum, and other programs read it as any file of its
    format.

    Args:
        model: anything with ``state_dict()``, or a mapping from names to arrays. The key
            ``"__metadata__"`` may hold configuration: a mapping of JSON values, in which tuples
            become lists.
        path: the file; its suffix selects the format: ``.safetensors``, ``.npz`` or ``.pkl``.

    Raises:
        TypeError: for a value of a type that cannot be saved; it names the key.
        ValueError: for a value that cannot be saved, naming the key, or for an unknown suffix.
        OSError: naming the file, where writing fails; the file that was there before is intact.

    >>> import numpy as np, pathlib, tempfile
    >>> state = {"0.weights": np.eye(2), "__metadata__": {"class": "Sequential"}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model_parameters(state, pathlib.Path(folder, "model.safetensors"))
    ...     print(*(path.name for path in pathlib.Path(folder).iterdir()))
    model.safetensors
    """
    name = _name_of(path)
    file_format = _format_of(name)
    state = plain_state(model)
    replace_file(name, lambda file: file_format.write(file, state))


def load_state_dict_from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state dict from a ``.safetensors``, ``.npz`` or ``.pkl`` file; no code in it is run.

    Files of other programs are read too, as long as they hold a flat mapping of numeric arrays;
    bfloat16 becomes float32, which is exact. A pickle may be of any protocol, also from
    ``pickle.dump(model.state_dict(), file)``; names that referred to one array share one array
    after loading.

    Args:
        path: the file; its suffix selects the format.

    Returns:
        Arrays by name, in the order of the file: writable, C-contiguous and in native byte order.
        Under ``"__metadata__"``, if the file has it, a dict of configuration.

    Raises:
        FileFormatError: naming the file, where the content is damaged, truncated, hostile or in
            another format.
        ValueError: for an unknown suffix.
        OSError: where the file cannot be read.

    >>> import numpy as np, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.npz")
    ...     save_model_parameters({"bias": np.arange(3.0)}, path)
    ...     print(load_state_dict_from_file(path))
    {'bias': array([0., 1., 2.])}
    """
    name = _name_of(path)
    file_format = _format_of(name)
    try:
        with prefixed(lambda: f"{name}:"), open_reader(name) as reader:
            state: dict[str, Any] = file_format.read(reader)
            return state
    except MemoryError as error:
        raise FileFormatError(f"{name}: needs more memory than there is") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), name) from error


def _name_of(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected str or os.PathLike, got {type(path).__name__}")
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError(f"path: expected no NUL character, got {name!r}")
    return name


def _format_of(name: str) -> Any:
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in FORMATS:
        raise ValueError(f"path: expected a suffix of {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[suffix]
