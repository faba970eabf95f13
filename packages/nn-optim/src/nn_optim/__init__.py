"""Optimizers for nn-tensor, schedules of their learning rates, and gradient clipping.

What you need to write your own is in `nn_optim.extend`.
"""

from nn_optim._adagrad import Adagrad
from nn_optim._adam import Adam, AdamW
from nn_optim._clip import clip_gradients_by_norm, clip_gradients_by_value
from nn_optim._group import Group
from nn_optim._lion import Lion
from nn_optim._optimizer import Optimizer
from nn_optim._rmsprop import RMSprop
from nn_optim._schedules import ChainedSchedules as ChainedSchedules
from nn_optim._schedules import CosineSchedule as CosineSchedule
from nn_optim._schedules import ExponentialSchedule as ExponentialSchedule
from nn_optim._schedules import InverseSquareRoot as InverseSquareRoot
from nn_optim._schedules import LinearWarmup as LinearWarmup
from nn_optim._schedules import MultiStepSchedule as MultiStepSchedule
from nn_optim._schedules import OneCycle as OneCycle
from nn_optim._schedules import ReduceOnPlateau as ReduceOnPlateau
from nn_optim._schedules import Schedule as Schedule
from nn_optim._schedules import SequentialSchedules as SequentialSchedules
from nn_optim._schedules import StepSchedule as StepSchedule
from nn_optim._sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ChainedSchedules",
    "CosineSchedule",
    "ExponentialSchedule",
    "Group",
    "InverseSquareRoot",
    "LinearWarmup",
    "Lion",
    "MultiStepSchedule",
    "OneCycle",
    "Optimizer",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "SequentialSchedules",
    "StepSchedule",
    "clip_gradients_by_norm",
    "clip_gradients_by_value",
]


def __dir__() -> list[str]:
    return sorted([*__all__, "extend"])
