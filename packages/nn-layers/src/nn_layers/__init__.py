"""Layers, activations and models for nn-tensor.

A layer is a class with Tensors as attributes and a `forward`; `Sequential` applies layers one after
the other, and a subclass of `BaseModel` connects them in any other way. `nn_layers.ops` has the
operations, for layers of your own; `nn_layers.layers`, `nn_layers.module` and
`nn_layers.initializers` define what is exported here.
"""

from nn_tensor import parse_dtype as parse_dtype

from nn_layers.initializers import initialize as initialize
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
from nn_layers.layers.conv2d import Conv2D as Conv2D
from nn_layers.layers.dense import Dense as Dense
from nn_layers.layers.dropout import Dropout as Dropout
from nn_layers.layers.normalization import BatchNorm1D, BatchNorm2D, GroupNorm, LayerNorm, RMSNorm
from nn_layers.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from nn_layers.layers.reshape import Flatten, Reshape
from nn_layers.module.base_layer import Base_Layer as Base_Layer
from nn_layers.module.base_model import BaseModel as BaseModel
from nn_layers.module.sequential import Sequential as Sequential

__all__ = [
    "Activation",
    "AvgPool2D",
    "BaseModel",
    "Base_Layer",
    "BatchNorm1D",
    "BatchNorm2D",
    "Conv2D",
    "Dense",
    "Dropout",
    "ELU",
    "Flatten",
    "GELU",
    "GlobalAvgPool2D",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool2D",
    "RMSNorm",
    "ReLU",
    "Reshape",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "initialize",
    "parse_dtype",
]


def __dir__() -> list[str]:
    return [*__all__, "ops"]
