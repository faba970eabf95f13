"""Saving and loading parameters safely: safetensors, npz and restricted pickle."""

from nn_io._errors import FileFormatError
from nn_io._manage import load_state_dict_from_file, save_model_parameters
from nn_io._state import METADATA_KEY

__all__ = [
    "METADATA_KEY",
    "FileFormatError",
    "load_state_dict_from_file",
    "save_model_parameters",
]
