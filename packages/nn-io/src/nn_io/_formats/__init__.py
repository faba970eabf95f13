"""The file formats by suffix; each is a module with `write` and `read`."""

from nn_io._formats import npz, pickle, safetensors

__all__ = ["FORMATS"]

FORMATS = {".safetensors": safetensors, ".npz": npz, ".pkl": pickle}
