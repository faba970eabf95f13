"""A table with columns of different kinds as one matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nn_data._sources import table_columns
from nn_data.tabular._fitted import Fitted

__all__ = ["ColumnTransformer"]


class ColumnTransformer:
    """Apply transforms to the columns of a table, and concatenate the results.

    Args:
        columns: a dict from the names of columns to a transform, a list of transforms that are
            applied in turn, or None to leave the column unchanged. The result has the same order;
            other columns are dropped.

    Raises:
        TypeError: for a value that is not a transform.

    >>> from nn_data.tabular import Impute, OneHot, Standardize
    >>> table = {"age": np.array([30.0, np.nan, 50.0]), "city": np.array(["Rome", "Oslo", "Rome"])}
    >>> features = ColumnTransformer({"age": [Impute(), Standardize()], "city": OneHot()})
    >>> features.fit(table)(table).round(2)
    array([[-1.22,  0.  ,  1.  ],
           [ 0.  ,  1.  ,  0.  ],
           [ 1.22,  0.  ,  1.  ]], dtype=float32)
    """

    def __init__(self, columns: Mapping[Any, Fitted | Sequence[Fitted] | None]) -> None:
        if not isinstance(columns, Mapping) or not columns:
            raise TypeError(f"columns: expected transforms by name of column, got {columns!r}")
        self.columns: dict[Any, list[Fitted]] = {}
        for name, given in columns.items():
            chain = [] if given is None else [given] if isinstance(given, Fitted) else list(given)
            if not all(isinstance(transform, Fitted) for transform in chain):
                raise TypeError(f"columns[{name!r}]: expected transforms of tables, got {given!r}")
            self.columns[name] = chain

    def fit(self, table: Any) -> Self:
        """Fit the transforms to training data in sequence, each to the output of those before it.

        Args:
            table: a dict of columns, or a data frame.
        """
        for name, column in self._chosen(table).items():
            for transform in self.columns[name]:
                column = transform.fit(column)(column)
        return self

    def __call__(self, table: Any) -> NDArray[np.float32]:
        """Return the features of a table, or of a batch of its rows, in float32: (n, features)."""
        parts: list[NDArray[np.float32]] = []
        for name, column in self._chosen(table).items():
            for transform in self.columns[name]:
                column = transform(column)
            if column.dtype.kind not in "biuf":
                raise TypeError(f"column {name!r} has no numbers ({column.dtype}): use OneHot")
            if parts and len(column) != len(parts[0]):
                raise ValueError(
                    f"column {name!r} has {len(column)} values, the first one {len(parts[0])}"
                )
            parts.append(column.reshape(len(column), -1).astype(np.float32))
        return np.concatenate(parts, axis=1)

    def _chosen(self, table: Any) -> dict[Any, NDArray[Any]]:
        columns = table_columns(table, "table")
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise ValueError(f"the table has no column {missing[0]!r}, it has {list(columns)}")
        return {name: columns[name] for name in self.columns}

    def settings(self) -> dict[str, Any]:
        """Return the arguments that build another transformer like this one, not yet fitted.

        Raises:
            TypeError: for columns whose names are not strings.
        """
        for name in self.columns:
            if not isinstance(name, str):
                raise TypeError(f"columns: expected strings as names, got {name!r}")
        return {"columns": {name: list(chain) for name, chain in self.columns.items()}}

    def state_dict(self) -> dict[str, Any]:
        """Return the statistics of all transforms, by the name of the column and their place."""
        return {
            f"{name}.{i}.{key}": value
            for name, chain in self.columns.items()
            for i, transform in enumerate(chain)
            for key, value in transform.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the statistics of all transforms.

        Raises:
            ValueError: for a state that does not fit; nothing is changed then.
        """
        remaining = dict(state)
        before = [(t, dict(vars(t))) for chain in self.columns.values() for t in chain]
        try:
            for name, chain in self.columns.items():
                for i, transform in enumerate(chain):
                    prefix = f"{name}.{i}."
                    keys = [key for key in remaining if key.startswith(prefix)]
                    own = {key.removeprefix(prefix): remaining.pop(key) for key in keys}
                    transform.load_state_dict(own)
            if remaining:
                raise ValueError(f"the state has unexpected keys: {', '.join(sorted(remaining))}")
        except BaseException:
            for transform, attributes in before:
                vars(transform).clear()
                vars(transform).update(attributes)
            raise

    def __repr__(self) -> str:
        return f"ColumnTransformer({self.columns!r})"
