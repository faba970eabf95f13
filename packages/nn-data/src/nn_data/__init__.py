"""Data loading: batches of arrays, tables and files, in a reproducible order that can be resumed.

`Loader` makes batches of arrays, data frames, sequences and files. `nn_data.transforms` augments
batches of images, `nn_data.tabular` prepares tables, `nn_data.text` has vocabularies.
"""

from typing import TYPE_CHECKING

from nn_data import tabular as tabular
from nn_data import text as text
from nn_data import transforms as transforms
from nn_data._collate import Pad as Pad
from nn_data._collate import Padded as Padded
from nn_data._collate import stack as stack
from nn_data._elsewhere import missing_name as _missing_name
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

_ELSEWHERE = """
    DataLoader=Loader; Dataset=Source; IterableDataset=Source; PyDataset=Source;
    TensorDataset=Loader((x, y)); StackDataset=Loader((x, y)); ConcatDataset=Concat;
    random_split=split; train_test_split=split; WeightedRandomSampler=Weighted;
    RandomSampler=Loader(data, shuffle=True); SequentialSampler=Loader(data), which keeps the order;
    SubsetRandomSampler=Loader(Subset(data, indices), shuffle=True);
    DistributedSampler=Loader(data, shard=(rank, size)); default_collate=stack;
    default_convert=Loader(data, convert=Tensor); pad_sequence=Pad; pad_sequences=Pad;
    DatasetFolder=ImageFolder; image_dataset_from_directory=ImageFolder;
    StandardScaler=tabular.Standardize; SimpleImputer=tabular.Impute;
    OneHotEncoder=tabular.OneHot; ToTensor=transforms.Normalize;
    RandomHorizontalFlip=transforms.RandomFlip; Lambda=Loader(data, transform=function)
"""

if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)
