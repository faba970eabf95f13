"""Loss functions and metrics for nn-tensor."""

from nn_losses._binary import BCELoss as BCELoss
from nn_losses._binary import BCEWithLogitsLoss as BCEWithLogitsLoss
from nn_losses._cross_entropy import CrossEntropy as CrossEntropy
from nn_losses._cross_entropy import NLLLoss as NLLLoss
from nn_losses._cross_entropy import SoftmaxCrossEntropyLoss as SoftmaxCrossEntropyLoss
from nn_losses._divergence import KLDivLoss as KLDivLoss
from nn_losses._loss import Loss as Loss
from nn_losses._metrics import Accuracy as Accuracy
from nn_losses._metrics import ConfusionMatrix as ConfusionMatrix
from nn_losses._metrics import F1Score as F1Score
from nn_losses._metrics import Precision as Precision
from nn_losses._metrics import Recall as Recall
from nn_losses._metrics import TopKAccuracy as TopKAccuracy
from nn_losses._regression import HuberLoss as HuberLoss
from nn_losses._regression import L1Loss as L1Loss
from nn_losses._regression import MSELoss as MSELoss

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
