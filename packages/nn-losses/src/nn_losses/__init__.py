"""Loss functions and metrics for nn-tensor."""

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
from nn_losses._regression import HuberLoss, L1Loss, MSELoss

__all__ = [
    "Accuracy",
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
    "SoftmaxCrossEntropyLoss",
    "TopKAccuracy",
]


def __dir__() -> list[str]:
    return sorted(__all__)
