"""Sources: samples that are read by index, a whole batch at once."""

from nn_data._sources._convert import as_source as as_source
from nn_data._sources._frames import table_array as table_array
from nn_data._sources._frames import table_columns as table_columns
from nn_data._sources._source import ItemSource as ItemSource
from nn_data._sources._source import Source as Source
from nn_data._sources._views import Concat as Concat
from nn_data._sources._views import Subset as Subset

__all__ = ["Concat", "ItemSource", "Source", "Subset", "as_source", "table_array", "table_columns"]
