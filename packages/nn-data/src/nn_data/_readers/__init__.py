"""Readers of files: arrays in, errors that name the file."""

from nn_data._readers._csv import read_csv as read_csv
from nn_data._readers._idx import read_idx as read_idx
from nn_data._readers._idx import read_idx_folder as read_idx_folder
from nn_data._readers._images import ImageFolder as ImageFolder
from nn_data._readers._lines import read_lines as read_lines

__all__ = ["ImageFolder", "read_csv", "read_idx", "read_idx_folder", "read_lines"]
