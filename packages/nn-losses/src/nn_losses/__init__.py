"""Loss functions and metrics for nn-tensor."""

from typing import TYPE_CHECKING

from nn_tensor.extend import missing_name as _missing_name

from nn_losses._binary_cross_entropy import BCELoss, BCEWithLogitsLoss
from nn_losses._cross_entropy import CrossEntropy, SoftmaxCrossEntropyLoss
from nn_losses._kl_divergence import KLDivLoss
from nn_losses._loss import Loss
from nn_losses._metrics import (
    Accuracy,
    ConfusionMatrix,
    F1Score,
    Precision,
    Recall,
    TopKAccuracy,
)
from nn_losses._nll import NLLLoss
from nn_losses._ranking_metrics import ROCAUC, AveragePrecision
from nn_losses._regression import HuberLoss, L1Loss, MSELoss
from nn_losses._regression_metrics import MAE, R2, RMSE
from nn_losses._running import RunningMetric

__version__ = "0.2.0"

__all__ = [
    "MAE",
    "R2",
    "RMSE",
    "ROCAUC",
    "Accuracy",
    "AveragePrecision",
    "BCELoss",
    "BCEWithLogitsLoss",
    "ConfusionMatrix",
    "CrossEntropy",
    "F1Score",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
    "Precision",
    "Recall",
    "RunningMetric",
    "SoftmaxCrossEntropyLoss",
    "TopKAccuracy",
]

_ELSEWHERE = """
    CrossEntropyLoss=SoftmaxCrossEntropyLoss; SmoothL1Loss=HuberLoss; MeanSquaredError=MSELoss;
    MeanAbsoluteError=L1Loss; MAELoss=L1Loss; Huber=HuberLoss; KLDivergence=KLDivLoss;
    BinaryCrossentropy=BCELoss, or BCEWithLogitsLoss for logits;
    CategoricalCrossentropy=CrossEntropy; SparseCategoricalCrossentropy=SoftmaxCrossEntropyLoss
"""


if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)
