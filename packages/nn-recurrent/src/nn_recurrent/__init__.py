"""Recurrent layers for nn-tensor: `LSTM`, `GRU` and `RNN` over whole batches of sequences.

A layer takes ``(batch, time, features)`` and returns the outputs of all steps and the state after
the last: ``output, (h, c) = lstm(x, lengths=lengths)``. The cells are for custom loops.
`nn_recurrent.ops` has the operations; `nn_recurrent.layers` and `nn_recurrent.weights`, the maps
from and to the weights of other libraries, define what is exported here.
"""

from typing import TYPE_CHECKING

from nn_tensor.extend import missing_name as _missing_name

from nn_recurrent.layers.bidirectional import Bidirectional as Bidirectional
from nn_recurrent.layers.gru import GRU as GRU
from nn_recurrent.layers.gru_cell import GRUCell as GRUCell
from nn_recurrent.layers.lstm import LSTM as LSTM
from nn_recurrent.layers.lstm_cell import LSTMCell as LSTMCell
from nn_recurrent.layers.rnn import RNN as RNN
from nn_recurrent.layers.rnn_cell import RNNCell as RNNCell
from nn_recurrent.weights.gate_order import GATE_ORDERS as GATE_ORDERS
from nn_recurrent.weights.gate_order import reorder_gates as reorder_gates
from nn_recurrent.weights.keras import from_keras_recurrent as from_keras_recurrent
from nn_recurrent.weights.keras import to_keras_recurrent as to_keras_recurrent
from nn_recurrent.weights.onnx import from_onnx_recurrent as from_onnx_recurrent
from nn_recurrent.weights.onnx import to_onnx_recurrent as to_onnx_recurrent
from nn_recurrent.weights.pytorch import from_torch_recurrent as from_torch_recurrent
from nn_recurrent.weights.pytorch import to_torch_recurrent as to_torch_recurrent
from nn_recurrent.weights.pytorch import torch_recurrent_settings as torch_recurrent_settings

__version__ = "0.1.0"

__all__ = [
    "GATE_ORDERS",
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "RNN",
    "RNNCell",
    "Bidirectional",
    "from_keras_recurrent",
    "from_onnx_recurrent",
    "from_torch_recurrent",
    "reorder_gates",
    "to_keras_recurrent",
    "to_onnx_recurrent",
    "to_torch_recurrent",
    "torch_recurrent_settings",
]

_ELSEWHERE = """
    RNNBase=LSTM or GRU or RNN; SimpleRNN=RNN; SimpleRNNCell=RNNCell;
    StackedRNNCells=the argument num_layers; TimeDistributed=nn_layers.Dense;
    Masking=the argument lengths; pack_padded_sequence=the argument lengths;
    pad_packed_sequence=the argument lengths; pad_sequence=nn_data.Pad; Linear=nn_layers.Dense;
    Embedding=nn_layers.Embedding
"""

if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        raise _missing_name(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return [*__all__, "ops"]
