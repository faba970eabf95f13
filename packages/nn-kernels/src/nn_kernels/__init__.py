"""Compiled CPU kernels for the nn packages: convolution, pooling, normalization, recurrent layers.

`find` returns the implementation of a kernel by name; nn-tensor asks for it when the kernel is
first needed. `nn_kernels.convolution` has those of convolution, `nn_kernels.pooling` max-pooling,
`nn_kernels.average_pooling` average pooling, `nn_kernels.recurrent` the steps of recurrent layers,
`nn_kernels.attention` attention, `nn_kernels.few_queries` that of few queries,
`nn_kernels.token_step` the layers of a transformer for one token, `nn_kernels.activations` ReLU,
`nn_kernels.gelu` GELU, `nn_kernels.softmax` softmax and cross-entropy, `nn_kernels.batch_norm`
batch normalization, `nn_kernels.layer_norm` layer normalization, `nn_kernels.embedding` embeddings,
`nn_kernels.dropout` dropout, `nn_kernels.arithmetic` sums of large arrays, and `nn_kernels.matmul`
products of matrices.
`nn_kernels.elementwise` compiles elementwise calls of NumPy to one function, and `nn_kernels.jobs`
runs the job of a kernel again for other arrays.
`set_num_threads` sets the number of threads.
"""

import sys as _sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nn_kernels import _objects
from nn_kernels._compile import compile_function as compile_function
from nn_kernels._generated import compile_parts as compile_parts
from nn_kernels._generated import compile_source as compile_source
from nn_kernels._threads import get_num_threads as get_num_threads
from nn_kernels._threads import set_num_threads as set_num_threads

__all__ = [
    "compile_function",
    "compile_parts",
    "compile_source",
    "find",
    "get_num_threads",
    "set_num_threads",
]

__version__ = "0.1.0"

if not _objects.any_exists():  # the folder's name has both versions, so that they fit
    import numba as _numba  # noqa: F401 - it raises ImportError if it is too old for this NumPy

# Where the implementations are, so that only those that are needed are imported.
_MODULES = {
    "apply_dropout": "dropout",
    "add": "arithmetic",
    "attend_few_queries": "few_queries",
    "attend_token": "token_step",
    "attention": "attention",
    "attention_gradient": "attention",
    "avg_pool2d": "average_pooling",
    "avg_pool2d_gradient": "average_pooling",
    "batch_norm": "batch_norm",
    "batch_norm_gradient": "batch_norm",
    "conv2d": "convolution",
    "conv2d_bias_gradient": "convolution",
    "conv2d_input_gradient": "convolution",
    "conv2d_max_pool2d_relu": "convolution",
    "conv2d_relu": "convolution",
    "conv2d_weight_gradient": "convolution",
    "cross_entropy": "softmax",
    "cross_entropy_gradient": "softmax",
    "feed_forward_token": "token_step",
    "gelu": "gelu",
    "gelu_gradient": "gelu",
    "gru_backward_steps": "recurrent",
    "gru_before_backward_steps": "recurrent",
    "gru_before_forward_steps": "recurrent",
    "gru_forward_steps": "recurrent",
    "layer_norm": "layer_norm",
    "layer_norm_gradient": "layer_norm",
    "linear": "matmul",
    "lstm_backward_steps": "recurrent",
    "lstm_forward_steps": "recurrent",
    "matmul": "matmul",
    "max_pool2d": "pooling",
    "max_pool2d_gradient": "pooling",
    "relu": "activations",
    "rnn_backward_steps": "recurrent",
    "rnn_forward_steps": "recurrent",
    "scale_channels": "batch_norm",
    "scale_channels_gradient": "batch_norm",
    "scale_rows_gradient": "layer_norm",
    "scaled_layer_norm": "layer_norm",
    "scaled_layer_norm_gradient": "layer_norm",
    "segment_sum": "embedding",
    "select_positive": "activations",
    "softmax": "softmax",
    "softmax_gradient": "softmax",
    "take_rows": "embedding",
}


def find(name: str) -> Callable[..., Any]:
    """Return the implementation of a kernel.

    An implementation takes the arguments of the kernel's reference, and returns NotImplemented for
    those that it leaves to the reference.

    Raises:
        LookupError: if no kernel has the name.

    >>> find("conv2d").__name__
    'conv2d'
    """
    if name not in _MODULES:
        raise LookupError(f"name: expected one of {sorted(_MODULES)}, got {name!r}")
    from importlib import import_module

    return getattr(import_module(f"nn_kernels.{_MODULES[name]}"), name)


# numba's names; nn-tensor, which reads such tables for the other packages, is above this one
_ELSEWHERE = "njit=compile_function; jit=compile_function"

if not TYPE_CHECKING:  # to type checkers a name that is not here is an error

    def __getattr__(name):
        here = dict(entry.split("=") for entry in _ELSEWHERE.split("; ")).get(name)
        message = f"module {__name__!r} has no attribute {name!r}"
        if here and _sys._getframe(1).f_code.co_name == "_handle_fromlist":  # of importlib
            raise ImportError(f"cannot import name {name!r} from {__name__!r}; here it is {here}")
        raise AttributeError(f"{message}; here it is {here}" if here else message)


def __dir__() -> list[str]:
    return sorted(__all__)
