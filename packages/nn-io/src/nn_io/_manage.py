"""The two public functions: which format, which file, which error."""

import os
from collections.abc import Mapping
from typing import Any

from nn_io import _npz, _pickle, _safetensors
from nn_io._atomic import replace_file
from nn_io._errors import FileFormatError
from nn_io._source import open_source
from nn_io._state import HasStateDict, state_of

_FORMATS = {".safetensors": _safetensors, ".npz": _npz, ".pkl": _pickle}


def save_model_parameters(
    model: HasStateDict | Mapping[str, Any],
    path: str | os.PathLike[str],
) -> None:
    """Write the parameters of a model to a file, which is replaced as a whole or not at all.

    The ending of ``path`` chooses the format: ``.safetensors``, ``.npz`` or ``.pkl``. ``model``
    is anything with ``state_dict()``, or a mapping from names to arrays; configuration may stand
    under ``"__metadata__"``, as a mapping of what JSON can say. Tuples in it become lists. Keys
    keep their order. The file bears a checksum, and other programs read it as any file of its
    format.

    Raises TypeError or ValueError, naming the key, for what cannot be saved, ValueError for an
    unknown ending, and OSError, naming the file, where writing fails; the file that was there
    before is then intact.

    >>> import numpy as np, pathlib, tempfile
    >>> state = {"0.weights": np.eye(2), "__metadata__": {"class": "Sequential"}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model_parameters(state, pathlib.Path(folder, "model.safetensors"))
    ...     print(*(path.name for path in pathlib.Path(folder).iterdir()))
    model.safetensors
    """
    name = _name_of(path)
    chosen = _format_of(name)
    state = state_of(model)
    replace_file(name, lambda file: chosen.write(file, state))


def load_state_dict_from_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state dict from a ``.safetensors``, ``.npz`` or ``.pkl`` file, running nothing in it.

    The arrays are writable, C-contiguous and in native byte order. Files of other programs are
    read too, as long as they hold a flat mapping of numeric arrays; bfloat16 becomes float32,
    which is exact. A pickle may be of any protocol, also from ``pickle.dump(model.state_dict(),
    file)``; names under which it stored one array share one array.

    Raises FileFormatError, naming the file, where the content is damaged, cut short, hostile or
    of another kind, ValueError for an unknown ending, and OSError where the file cannot be read.

    >>> import numpy as np, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.npz")
    ...     save_model_parameters({"bias": np.arange(3.0)}, path)
    ...     print(load_state_dict_from_file(path))
    {'bias': array([0., 1., 2.])}
    """
    name = _name_of(path)
    chosen = _format_of(name)
    try:
        with open_source(name) as source:
            state: dict[str, Any] = chosen.read(source)
            return state
    except FileFormatError as error:
        raise FileFormatError(f"{name}: {error}") from error.__cause__
    except MemoryError as error:
        raise FileFormatError(f"{name}: needs more memory than there is") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), name) from error


def _name_of(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be str or os.PathLike, got {type(path).__name__}")
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError(f"path must not hold a NUL character, got {name!r}")
    return name


def _format_of(name: str) -> Any:
    ending = os.path.splitext(name)[1].lower()
    if ending not in _FORMATS:
        raise ValueError(f"path must end in {', '.join(_FORMATS)}, got {name!r}")
    return _FORMATS[ending]
