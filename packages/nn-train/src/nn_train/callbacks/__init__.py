"""Callbacks: hooks of a run, early stopping and checkpoints."""

from nn_train.callbacks._callback import Callback as Callback
from nn_train.callbacks._callback import Stop as Stop
from nn_train.callbacks._checkpoint import Checkpoint as Checkpoint
from nn_train.callbacks._early_stopping import EarlyStopping as EarlyStopping

__all__ = ["Callback", "Checkpoint", "EarlyStopping", "Stop"]
