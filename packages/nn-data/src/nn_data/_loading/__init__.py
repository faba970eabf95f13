"""The loader: the order of an epoch, its batches, and the threads that read ahead."""

from nn_data._loading._loader import Loader as Loader

__all__ = ["Loader"]
