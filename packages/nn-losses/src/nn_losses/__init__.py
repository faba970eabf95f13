"""Loss functions and metrics for nn-tensor."""

from nn_losses._cross_entropy import SoftmaxCrossEntropyLoss as SoftmaxCrossEntropyLoss
from nn_losses._loss import Loss as Loss
from nn_losses._metrics import Accuracy as Accuracy
from nn_losses._regression import MSELoss as MSELoss

__all__ = ["Accuracy", "Loss", "MSELoss", "SoftmaxCrossEntropyLoss"]
