"""Saving and loading parameters safely: safetensors, npz and restricted pickle."""

from nn_tensor.extend import METADATA_KEY

from nn_io._checkpoint import Checkpoint, LoadsStateDict, load_checkpoint, save_checkpoint
from nn_io._errors import FileFormatError
from nn_io._rename import rename_state
from nn_io._save_load import load_state_dict_from_file, save_model_parameters
from nn_io._state_dict import HasStateDict

__all__ = [
    "METADATA_KEY",
    "Checkpoint",
    "FileFormatError",
    "HasStateDict",
    "LoadsStateDict",
    "load_checkpoint",
    "load_state_dict_from_file",
    "rename_state",
    "save_checkpoint",
    "save_model_parameters",
]


def __dir__() -> list[str]:
    return sorted(__all__)
