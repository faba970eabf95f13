"""Preprocessing of tables: statistics are fitted once and belong in the checkpoint."""

from nn_data.tabular._columns import ColumnTransformer as ColumnTransformer
from nn_data.tabular._fitted import Fitted as Fitted
from nn_data.tabular._impute import Impute as Impute
from nn_data.tabular._one_hot import OneHot as OneHot
from nn_data.tabular._standardize import Standardize as Standardize

__all__ = ["ColumnTransformer", "Fitted", "Impute", "OneHot", "Standardize"]


def __dir__() -> list[str]:
    return sorted(__all__)
