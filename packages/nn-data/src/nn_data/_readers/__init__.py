"""Readers of files: arrays in, errors that name the file."""

from nn_data._readers._csv import read_csv as read_csv
from nn_data._readers._idx import read_idx as read_idx
from nn_data._readers._idx import read_idx_folder as read_idx_folder
from nn_data._readers._images import ImageFolder as ImageFolder
from nn_data._readers._text import read_lines as read_lines
from nn_data._readers._text import read_text as read_text

__all__ = ["ImageFolder", "read_csv", "read_idx", "read_idx_folder", "read_lines", "read_text"]
