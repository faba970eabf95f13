"""Callbacks: hooks of a run, early stopping, checkpoints and logs."""

from nn_train.callbacks._callback import Callback as Callback
from nn_train.callbacks._callback import Stop as Stop
from nn_train.callbacks._checkpoint import Checkpoint as Checkpoint
from nn_train.callbacks._early_stopping import EarlyStopping as EarlyStopping
from nn_train.callbacks._loggers import CSVLogger as CSVLogger
from nn_train.callbacks._loggers import JSONLinesLogger as JSONLinesLogger
from nn_train.callbacks._tensorboard import TensorBoardLogger as TensorBoardLogger

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "JSONLinesLogger",
    "Stop",
    "TensorBoardLogger",
]
