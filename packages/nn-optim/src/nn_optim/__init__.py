"""Optimizers for nn-tensor: SGD and Adam."""

from nn_optim._adam import Adam as Adam
from nn_optim._optimizer import Flag as Flag
from nn_optim._optimizer import Optimizer as Optimizer
from nn_optim._optimizer import Option as Option
from nn_optim._optimizer import State as State
from nn_optim._sgd import SGD as SGD

__all__ = ["SGD", "Adam", "Flag", "Optimizer", "Option", "State"]
