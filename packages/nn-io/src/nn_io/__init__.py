"""Saving and loading parameters safely: safetensors, npz and restricted pickle."""

from typing import TYPE_CHECKING

from nn_tensor.extend import METADATA_KEY
from nn_tensor.extend import missing_name as _missing_name

from nn_io._checkpoint import (
    Checkpoint,
    HasGenerators,
    LoadsStateDict,
    load_checkpoint,
    save_checkpoint,
)
from nn_io._errors import FileFormatError
from nn_io._model_file import HasSettings, SavedModel, load_model, save_model
from nn_io._rename import rename_state
from nn_io._save_load import load_state_dict_from_file, save_model_parameters
from nn_io._state_dict import HasStateDict

__version__ = "0.2.0"

__all__ = [
    "METADATA_KEY",
    "Checkpoint",
    "FileFormatError",
    "HasGenerators",
    "HasSettings",
    "HasStateDict",
    "LoadsStateDict",
    "SavedModel",
    "load_checkpoint",
    "load_model",
    "load_state_dict_from_file",
    "rename_state",
    "save_checkpoint",
    "save_model",
    "save_model_parameters",
]

_ELSEWHERE = """
    save=save_model_parameters; load=load_state_dict_from_file; save_file=save_model_parameters;
    load_file=load_state_dict_from_file; save_weights=save_model_parameters;
    load_weights=load_state_dict_from_file
"""


if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)
