"""Optimizers for nn-tensor, schedules of their learning rates, and gradient clipping.

The API for custom optimizers and schedules is `nn_optim.extend`.
"""

from typing import TYPE_CHECKING

from nn_tensor.extend import missing_name as _missing_name
from nn_tensor.extend import names_elsewhere as _names_elsewhere

from nn_optim._adagrad import Adagrad
from nn_optim._adam import Adam, AdamW
from nn_optim._clip import clip_gradients_by_norm, clip_gradients_by_value
from nn_optim._group import Group
from nn_optim._lion import Lion
from nn_optim._loss_scaler import LossScaler
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

__version__ = "0.2.0"

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
    "LossScaler",
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

_ELSEWHERE = """
    StepLR=StepSchedule; MultiStepLR=MultiStepSchedule; ExponentialLR=ExponentialSchedule;
    CosineAnnealingLR=CosineSchedule; CosineAnnealingWarmRestarts=CosineSchedule;
    LinearLR=LinearWarmup; OneCycleLR=OneCycle; ReduceLROnPlateau=ReduceOnPlateau;
    SequentialLR=SequentialSchedules; ChainedScheduler=ChainedSchedules;
    LambdaLR=a subclass of Schedule; lr_scheduler=nn_optim; CosineDecay=CosineSchedule;
    ExponentialDecay=ExponentialSchedule; RMSProp=RMSprop;
    GradScaler=LossScaler; LossScaleOptimizer=LossScaler;
    clip_grad_norm_=clip_gradients_by_norm; clip_grad_value_=clip_gradients_by_value
"""
_names_elsewhere("get_last_lr=schedule.optimizer.lr; last_epoch=steps; base_lrs=rate")(Schedule)
_names_elsewhere(
    "update=step, which also changes the scale; unscale_=step(optimizer, clip_norm=...); "
    "get_scale=loss_scale"
)(LossScaler)
_names_elsewhere(
    "param_groups=groups; add_param_group=add_group; learning_rate=lr; state=state_dict(); "
    "minimize=loss.backward() and step(); apply_gradients=step"
)(Optimizer)

if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted([*__all__, "extend"])
