"""The layers of a stack for one new token of few rows, each sublayer as one kernel.

As text is generated, a token goes through a layer's modules in ten times the time that its
multiplications take. Here a sublayer (norm, projections, what is between them, residual connection)
is one function, compiled where nn-kernels is installed. `token_step` uses them where the modules
would compute the same: layers of the classes of this package in eval mode, on a CPU, in float32 or
float64, without gradients. All else is left to the modules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nn_layers import GELU, Dense, Dropout, LayerNorm, ReLU
from nn_layers.ops.gelu import gelu, gelu_tanh
from nn_layers.ops.layer_norm import standardize_and_scale_forward
from nn_tensor.extend import (
    array_of,
    kernel,
    matrix_product,
)

from nn_transformer.modules.few_queries import attend_few_queries
from nn_transformer.modules.rotary_embedding import rotate_pairs

__all__ = [
    "attend_token",
    "attention_parameters",
    "feed_forward_parameters",
    "feed_forward_token",
    "is_plain",
    "register_plain",
]

Array = Any


@kernel
def attend_token(
    xp: Any,
    x: Array,
    norm: Array,
    norm_bias: Array | None,
    epsilon: float,
    first: bool,
    query: Array,
    query_bias: Array | None,
    key: Array | None,
    key_bias: Array | None,
    value: Array | None,
    value_bias: Array | None,
    output: Array,
    output_bias: Array | None,
    cosines: Array | None,
    sines: Array | None,
    keys: Array,
    values: Array,
    mask: Array | None,
    stop: int | Array,
) -> Array:
    """Return the attention sublayer for one token of each row, ``(rows, d_model)``.

    The norm comes `first`, or after the residual connection. Key and value of the token are
    written to `keys` and `values`, ``(rows, kv_heads, positions, d_head)``, at ``stop - 1``, unless
    `key` is None. A row attends to the positions before `stop` that a mask ``(1 or rows,
    positions)`` allows; or a mask of int64, ``(rows,)``, says how many of the first it leaves out.
    `stop` may be an array ``(1,)``, which is read anew in each replay. The rotary embedding is that
    of queries and keys, ``(1 or rows, d / 2)``.
    """
    rows, (_, heads, _, width) = len(x), keys.shape
    stop = stop if isinstance(stop, int) else int(stop.item())
    given = _normalized(xp, x, norm, norm_bias, epsilon) if first else x

    def project(weights: Array, bias: Array | None) -> Array:
        projected = matrix_product(given, weights, bias).reshape(rows, -1, width)
        if cosines is None or sines is None or weights is value:
            return projected
        return rotate_pairs(projected, cosines[:, None], sines[:, None])

    queries = project(query, query_bias).reshape(rows, heads, -1, width)
    if key is not None:
        keys[:, :, stop - 1] = project(key, key_bias)
        values[:, :, stop - 1] = project(value, value_bias)
    keys, values = keys[:, :, :stop], values[:, :, :stop]
    if len(keys) != rows:
        keys, values = (xp.broadcast_to(a, (rows, *a.shape[1:])) for a in (keys, values))
    if mask is not None and mask.ndim == 1:
        mask = xp.arange(stop) >= xp.asarray(mask)[:, None]
    allowed = True if mask is None else mask[:, None, None, :stop]
    scale = 1 / math.sqrt(width)
    mixed = attend_few_queries.reference(xp, queries, keys, values, allowed, scale)
    change = matrix_product(mixed.reshape(rows, -1), output, output_bias)
    out = x + change
    return out if first else _normalized(xp, out, norm, norm_bias, epsilon)


attend_token.cpu("attend_token")


@kernel
def feed_forward_token(
    xp: Any,
    x: Array,
    norm: Array,
    norm_bias: Array | None,
    epsilon: float,
    first: bool,
    hidden: Array,
    hidden_bias: Array | None,
    output: Array,
    output_bias: Array | None,
    activation: str,
) -> Array:
    """Return the feed-forward sublayer for few rows, ``(rows, d_model)``."""
    given = _normalized(xp, x, norm, norm_bias, epsilon) if first else x
    inner = _ACTIVATIONS[activation](xp, matrix_product(given, hidden, hidden_bias))
    out = x + matrix_product(inner, output, output_bias)
    return out if first else _normalized(xp, out, norm, norm_bias, epsilon)


feed_forward_token.cpu("feed_forward_token")

_ACTIVATIONS: dict[str, Callable[[Any, Array], Array]] = {
    "relu": lambda xp, x: xp.maximum(x, 0),
    "gelu": lambda xp, x: gelu(x),
    "gelu_tanh": lambda xp, x: gelu_tanh(x),
}


def _normalized(xp: Any, x: Array, norm: Array, bias: Array | None, epsilon: float) -> Array:
    return standardize_and_scale_forward.reference(xp, x, norm, bias, epsilon, True)[0]


_FORWARDS: dict[type, Any] = {}  # of the classes, which a program may replace


def register_plain(*kinds: Any) -> None:
    """Remember the `forward` of classes, whose instances `is_plain` is asked for."""
    _FORWARDS.update({kind: kind.forward for kind in kinds})


def is_plain(module: Any, kind: Any) -> bool:
    """Return whether a module is of exactly this class, and no `forward` has been replaced."""
    is_kind = type(module) is kind and "forward" not in vars(module)
    return is_kind and kind.forward is _FORWARDS[kind]


register_plain(Dense, Dropout, GELU, LayerNorm, ReLU)


def _is_off(dropout: Any) -> bool:
    return is_plain(dropout, Dropout) and not (dropout.training and dropout.p)


def _norm_parameters(layer: Any, norm: Any) -> list[Any] | None:
    if not is_plain(norm, LayerNorm) or norm.weights is None or not _is_off(layer.dropout):
        return None
    return [norm.weights, norm.bias, norm.epsilon, layer.norm_first]


def _with_projections(parameters: list[Any], projections: Sequence[Any]) -> list[Any] | None:
    """Return parameters with those of projections, or None if they are not all of one dtype."""
    weights = parameters[0]
    dtype = array_of(weights).dtype
    for dense in projections:
        if dense is None:
            parameters += [None, None]
            continue
        if not is_plain(dense, Dense) or array_of(dense.weights).dtype != dtype:
            return None
        parameters += [dense.weights, dense.bias]
    return parameters if type(array_of(weights)) is np.ndarray else None


def attention_parameters(
    layer: Any, attention: Any, norm: Any, new: bool = True
) -> list[Any] | None:
    """Return the parameters of `attend_token`, or None if these modules compute something else.

    Args:
        layer: the layer, of which the class is known.
        attention: its `MultiHeadAttention`.
        norm: its norm.
        new: whether keys and values are projected.
    """
    parameters = _norm_parameters(layer, norm)
    if parameters is None or (attention.training and attention.dropout.p):
        return None
    projected = (attention.key, attention.value) if new else (None, None)
    return _with_projections(parameters, [attention.query, *projected, attention.output])


def feed_forward_parameters(layer: Any) -> list[Any] | None:
    """Return the parameters of `feed_forward_token`, or None as `attention_parameters` does."""
    parameters, network = _norm_parameters(layer, layer.feed_forward_norm), layer.feed_forward
    if parameters is None or not _is_off(network.dropout):
        return None
    activation = network.activation
    if is_plain(activation, GELU):
        name = "gelu" if activation.approximate == "none" else "gelu_tanh"
    elif is_plain(activation, ReLU):
        name = "relu"
    else:
        return None
    parameters = _with_projections(parameters, [network.hidden, network.output])
    return None if parameters is None else [*parameters, name]
