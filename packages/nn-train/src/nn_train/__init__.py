"""Training of models: steps and whole runs, history, early stopping, checkpoints, resume, logs.

`Trainer` requires methods of models, losses, optimizers and loaders, not base classes.
`nn_train.callbacks` has the callbacks, `nn_train.sklearn` estimators for scikit-learn.
"""

from typing import TYPE_CHECKING

from nn_tensor.extend import missing_name as _missing_name

from nn_train import callbacks as callbacks
from nn_train._diagnosis import NonFiniteError as NonFiniteError
from nn_train._history import History as History
from nn_train._protocols import HasState as HasState
from nn_train._protocols import Metric as Metric
from nn_train._protocols import Model as Model
from nn_train._protocols import Optimizer as Optimizer
from nn_train._protocols import Schedule as Schedule
from nn_train._trainer import Forward as Forward
from nn_train._trainer import StepResult as StepResult
from nn_train._trainer import Trainer as Trainer
from nn_train.callbacks import Callback as Callback
from nn_train.callbacks import Checkpoint as Checkpoint
from nn_train.callbacks import CSVLogger as CSVLogger
from nn_train.callbacks import EarlyStopping as EarlyStopping
from nn_train.callbacks import JSONLinesLogger as JSONLinesLogger
from nn_train.callbacks import Stop as Stop
from nn_train.callbacks import TensorBoardLogger as TensorBoardLogger

__version__ = "0.1.0"

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Forward",
    "HasState",
    "History",
    "JSONLinesLogger",
    "Metric",
    "Model",
    "NonFiniteError",
    "Optimizer",
    "Schedule",
    "StepResult",
    "Stop",
    "TensorBoardLogger",
    "Trainer",
    "callbacks",
]

_ELSEWHERE = """
    ModelCheckpoint=Checkpoint; BackupAndRestore=Checkpoint; SummaryWriter=TensorBoardLogger;
    TensorBoard=TensorBoardLogger;
    clip_grad_norm_=nn_optim.clip_gradients_by_norm; LightningModule=Trainer;
    clip_grad_value_=nn_optim.clip_gradients_by_value; TerminateOnNaN=NonFiniteError;
    ReduceLROnPlateau=nn_optim.ReduceOnPlateau; LearningRateScheduler=nn_optim.StepSchedule;
    LambdaCallback=Callback; ProgressBar=Trainer; DataLoader=nn_data.Loader
"""

if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)
