"""Batches at the price of an index, in an order that is exact and can be resumed.

`Loader` gives batches of arrays, data frames, sequences and files. `nn_data.transforms` augments
batches of images, `nn_data.tabular` prepares tables, `nn_data.text` has vocabularies.
"""

from nn_data import tabular as tabular
from nn_data import text as text
from nn_data import transforms as transforms
from nn_data._collate import Pad as Pad
from nn_data._collate import Padded as Padded
from nn_data._collate import stack as stack
from nn_data._loading import Loader as Loader
from nn_data._readers import ImageFolder as ImageFolder
from nn_data._readers import read_csv as read_csv
from nn_data._readers import read_idx as read_idx
from nn_data._readers import read_idx_folder as read_idx_folder
from nn_data._readers import read_lines as read_lines
from nn_data._readers import read_text as read_text
from nn_data._samplers import Balanced as Balanced
from nn_data._samplers import BatchSampler as BatchSampler
from nn_data._samplers import ByLength as ByLength
from nn_data._samplers import Sampler as Sampler
from nn_data._samplers import Weighted as Weighted
from nn_data._sources import Concat as Concat
from nn_data._sources import ItemSource as ItemSource
from nn_data._sources import Source as Source
from nn_data._sources import Subset as Subset
from nn_data._split import split as split

__version__ = "0.1.0"

__all__ = [
    "Balanced",
    "BatchSampler",
    "ByLength",
    "Concat",
    "ImageFolder",
    "ItemSource",
    "Loader",
    "Pad",
    "Padded",
    "Sampler",
    "Source",
    "Subset",
    "Weighted",
    "read_csv",
    "read_idx",
    "read_idx_folder",
    "read_lines",
    "read_text",
    "split",
    "stack",
    "tabular",
    "text",
    "transforms",
]


def __dir__() -> list[str]:
    return sorted(__all__)
