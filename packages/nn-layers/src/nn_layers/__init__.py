"""Layers, activations and models for nn-tensor.

A layer is a class with Tensors as attributes and a `forward`; `Sequential` applies layers one after
the other, and a subclass of `BaseModel` connects them in any other way. `nn_layers.ops` has the
operations and `nn_layers.layers.token_ids` the checks of token ids, for custom layers;
`nn_layers.layers`, `nn_layers.module` and `nn_layers.initializers` define what is exported here.
"""

from typing import TYPE_CHECKING

from nn_tensor import parse_dtype as parse_dtype
from nn_tensor.extend import missing_name as _missing_name

from nn_layers.initializers import initialize as initialize
from nn_layers.layers import fused as _fused  # noqa: F401 - declares what is computed together
from nn_layers.layers.activations import ELU as ELU
from nn_layers.layers.activations import GELU as GELU
from nn_layers.layers.activations import Activation as Activation
from nn_layers.layers.activations import Identity as Identity
from nn_layers.layers.activations import LeakyReLU as LeakyReLU
from nn_layers.layers.activations import LogSoftmax as LogSoftmax
from nn_layers.layers.activations import ReLU as ReLU
from nn_layers.layers.activations import Sigmoid as Sigmoid
from nn_layers.layers.activations import SiLU as SiLU
from nn_layers.layers.activations import Softmax as Softmax
from nn_layers.layers.activations import Softplus as Softplus
from nn_layers.layers.activations import Tanh as Tanh
from nn_layers.layers.conv1d import Conv1D as Conv1D
from nn_layers.layers.conv2d import Conv2D as Conv2D
from nn_layers.layers.conv_transpose2d import ConvTranspose2D as ConvTranspose2D
from nn_layers.layers.dense import Dense as Dense
from nn_layers.layers.dropout import Dropout as Dropout
from nn_layers.layers.embedding import Embedding as Embedding
from nn_layers.layers.normalization import BatchNorm1D, BatchNorm2D, GroupNorm, LayerNorm, RMSNorm
from nn_layers.layers.pooling import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D
from nn_layers.layers.pooling1d import (
    AvgPool1D,
    GlobalAvgPool1D,
    GlobalMaxPool1D,
    MaxPool1D,
)
from nn_layers.layers.prelu import PReLU as PReLU
from nn_layers.layers.reshape import Flatten, Reshape
from nn_layers.layers.upsample import Upsample as Upsample
from nn_layers.module.base_layer import Base_Layer as Base_Layer
from nn_layers.module.base_model import BaseModel as BaseModel
from nn_layers.module.sequential import Sequential as Sequential

__version__ = "0.2.0"

__all__ = [
    "Activation",
    "AvgPool1D",
    "AvgPool2D",
    "BaseModel",
    "Base_Layer",
    "BatchNorm1D",
    "BatchNorm2D",
    "Conv1D",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool1D",
    "MaxPool2D",
    "PReLU",
    "RMSNorm",
    "ReLU",
    "Reshape",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Upsample",
    "initialize",
    "parse_dtype",
]

_ELSEWHERE = """
    Linear=Dense; Conv2d=Conv2D; MaxPool2d=MaxPool2D; AvgPool2d=AvgPool2D; MaxPooling2D=MaxPool2D;
    AveragePooling2D=AvgPool2D; AdaptiveAvgPool2d=GlobalAvgPool2D; Swish=SiLU; Module=BaseModel;
    GlobalAveragePooling2D=GlobalAvgPool2D; BatchNorm1d=BatchNorm1D; BatchNorm2d=BatchNorm2D;
    BatchNormalization=BatchNorm2D; LayerNormalization=LayerNorm; Unflatten=Reshape;
    Model=BaseModel; Layer=Base_Layer; ModuleList=a list in an attribute;
    Parameter=a Tensor with requires_grad=True in an attribute; ModuleDict=a dict in an attribute;
    functional=nn_tensor and nn_layers.ops;
    CrossEntropyLoss=nn_losses.SoftmaxCrossEntropyLoss; MSELoss=nn_losses.MSELoss;
    MultiheadAttention=nn_transformer.MultiHeadAttention; Transformer=nn_transformer.Transformer
"""


if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return [*__all__, "ops"]
