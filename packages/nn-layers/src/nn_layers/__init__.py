"""Layers, activations and models for nn-tensor.

A layer is a class with Tensors as attributes and a `forward`; `Sequential` puts layers in a row,
and a subclass of `BaseModel` connects them in any other way.
"""

from nn_tensor import parse_dtype as parse_dtype

from nn_layers._activations import ELU as ELU
from nn_layers._activations import Activation as Activation
from nn_layers._activations import LeakyReLU as LeakyReLU
from nn_layers._activations import ReLU as ReLU
from nn_layers._activations import Sigmoid as Sigmoid
from nn_layers._activations import Softmax as Softmax
from nn_layers._activations import Tanh as Tanh
from nn_layers._dense import Dense as Dense
from nn_layers._flatten import Flatten as Flatten
from nn_layers._initializers import initialize as initialize
from nn_layers._model import BaseModel as BaseModel
from nn_layers._module import Base_Layer as Base_Layer
from nn_layers._sequential import Sequential as Sequential

__all__ = [
    "Activation",
    "BaseModel",
    "Base_Layer",
    "Dense",
    "ELU",
    "Flatten",
    "LeakyReLU",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "initialize",
    "parse_dtype",
]
