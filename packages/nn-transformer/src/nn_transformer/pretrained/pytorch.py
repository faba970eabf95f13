"""Weights of PyTorch's ``nn.MultiheadAttention`` and ``nn.Transformer``, its stacks and layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nn_transformer.pretrained.weight_map import Match, Weight, WeightMap, linear, norm, prefixed

__all__ = [
    "TORCH_ATTENTION",
    "from_torch_attention",
    "from_torch_transformer",
    "torch_transformer_map",
    "torch_transformer_settings",
]

_ATTENTION = (
    *linear("in_proj_", "*.", "d_model", "d_model"),
    *linear("out_proj.", "output.", "d_model", "d_model"),
)
_FEED_FORWARD = (
    *linear("linear1.", "feed_forward.hidden.", "d_model", "d_ff"),
    *linear("linear2.", "feed_forward.output.", "d_ff", "d_model"),
)
_ENCODER_LAYER = (
    *prefixed("self_attn.", "attention.", _ATTENTION),
    *_FEED_FORWARD,
    *norm("norm1.", "attention_norm."),
    *norm("norm2.", "feed_forward_norm."),
)
_DECODER_LAYER = (
    *prefixed("self_attn.", "attention.", _ATTENTION),
    *prefixed("multihead_attn.", "cross_attention.", _ATTENTION),
    *_FEED_FORWARD,
    *norm("norm1.", "attention_norm."),
    *norm("norm2.", "cross_attention_norm."),
    *norm("norm3.", "feed_forward_norm."),
)

_OTHER_SIZES = "MultiHeadAttention has no kdim and vdim other than d_model"
_UNSUPPORTED = {
    "q_proj_weight": _OTHER_SIZES,
    "k_proj_weight": _OTHER_SIZES,
    "v_proj_weight": _OTHER_SIZES,
    "bias_k": "MultiHeadAttention has no add_bias_kv",
    "bias_v": "MultiHeadAttention has no add_bias_kv",
}

TORCH_ATTENTION = WeightMap(_ATTENTION, unsupported=_UNSUPPORTED)


def torch_transformer_map(names: Iterable[str]) -> WeightMap:
    """Return the weight map of the PyTorch module whose state dict has these names."""
    names = [name for name in names if isinstance(name, str)]
    parts = [part for part in ("encoder.", "decoder.") if any(n.startswith(part) for n in names)]
    weights: tuple[Weight, ...] = ()
    for part in parts or [""]:
        own = [name.removeprefix(part) for name in names if name.startswith(part)]
        is_decoder = part == "decoder." or any(".multihead_attn." in f".{name}" for name in own)
        layer = _DECODER_LAYER if is_decoder and part != "encoder." else _ENCODER_LAYER
        if part or any(name.startswith("layers.") for name in own):
            stack = prefixed("layers.{n}.", "layers.{n}.", layer)
            stack += prefixed("", "", norm("norm.", "final_norm."), f"{part}norm")
            weights += prefixed(part, part, stack)
        else:
            weights += layer
    return WeightMap(weights, unsupported=_UNSUPPORTED)


def _match(caller: str, state: Any) -> Match:
    names = state if isinstance(state, Mapping) else ()
    return Match(caller, torch_transformer_map(names), state)


def from_torch_attention(state: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return the state dict of a `MultiHeadAttention` from that of PyTorch's.

    .. math:: W^Q, W^K, W^V = W_1^T, W_2^T, W_3^T \quad\text{for}\quad
        W_\text{in} = [W_1; W_2; W_3]

    PyTorch's ``in_proj_weight`` has the shape ``(3 * d_model, d_model)``; each projection of
    `MultiHeadAttention` has ``(d_model, d_model)``, inputs first. A source without biases gives a
    state dict without biases.

    Args:
        state: arrays by name, of any floating dtype: what `np.asarray` accepts, such as the arrays
            of a file or PyTorch's own ``state_dict()`` on the CPU. It is not changed.

    Returns:
        New arrays of the same dtypes, for ``load_state_dict``.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit, as for ``kdim``,
            ``vdim`` and ``add_bias_kv``, which are not supported; it lists all such names.
        TypeError: if `state` is not a mapping.

    >>> import numpy as np
    >>> from nn_transformer import MultiHeadAttention, from_torch_attention
    >>> source = {"in_proj_weight": np.ones((24, 8)), "out_proj.weight": np.ones((8, 8))}
    >>> state = from_torch_attention(source)
    >>> list(state)
    ['query.weights', 'key.weights', 'value.weights', 'output.weights']
    >>> MultiHeadAttention(d_model=8, num_heads=2, bias=False).load_state_dict(state)
    """
    return Match("from_torch_attention", TORCH_ATTENTION, state).state_dict()


def from_torch_transformer(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dict of a transformer's layers from that of one of PyTorch's modules.

    PyTorch's ``Transformer`` gives what `Transformer` has under ``encoder`` and ``decoder``;
    ``TransformerEncoder`` and ``TransformerDecoder`` give the layers and the final norm of
    `Encoder` and `Decoder`, ``TransformerEncoderLayer`` and ``TransformerDecoderLayer`` an
    `EncoderLayer` or a `DecoderLayer`. The module is recognized by the names. PyTorch's modules
    have neither embeddings nor an output projection: complete the state dict by
    ``{**model.state_dict(), **from_torch_transformer(state)}``. Matrices are transposed to
    ``(inputs, outputs)``.

    Args:
        state: as for `from_torch_attention`.

    Returns:
        New arrays of the same dtypes.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is not a mapping.

    >>> import numpy as np
    >>> from nn_transformer import EncoderLayer, from_torch_transformer
    >>> shapes = {
    ...     "self_attn.in_proj_weight": (24, 8), "self_attn.out_proj.weight": (8, 8),
    ...     "linear1.weight": (32, 8), "linear2.weight": (8, 32),
    ...     "norm1.weight": (8,), "norm2.weight": (8,),
    ... }
    >>> state = from_torch_transformer({name: np.ones(shape) for name, shape in shapes.items()})
    >>> state["feed_forward.hidden.weights"].shape
    (8, 32)
    >>> EncoderLayer(d_model=8, num_heads=2, bias=False).load_state_dict(state)
    """
    return _match("from_torch_transformer", state).state_dict()


def torch_transformer_settings(state: Mapping[str, Any], num_heads: int) -> dict[str, Any]:
    """Return the arguments of the model for the state dict of `from_torch_transformer`.

    ``d_model``, ``num_heads``, ``d_ff`` and ``bias``, of stacks also ``num_layers`` and
    ``final_norm``. ``activation`` and ``norm_first`` cannot be inferred.

    Args:
        state: as for `from_torch_attention`.
        num_heads: the number of attention heads, which shapes do not determine.

    Raises:
        ValueError: as `from_torch_transformer`; also if encoder and decoder differ in the number of
            their layers or in having a final norm.

    >>> import numpy as np
    >>> from nn_transformer import torch_transformer_settings
    >>> shapes = {
    ...     "self_attn.in_proj_weight": (24, 8), "self_attn.out_proj.weight": (8, 8),
    ...     "linear1.weight": (32, 8), "linear2.weight": (8, 32),
    ...     "norm1.weight": (8,), "norm2.weight": (8,),
    ... }
    >>> state = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> torch_transformer_settings(state, num_heads=2)
    {'d_model': 8, 'd_ff': 32, 'num_heads': 2, 'bias': False}
    """
    caller = "torch_transformer_settings"
    match = _match(caller, state)
    options, layers = match.options(num_heads), match.num_layers
    norms = {prefix: prefix.replace("layers.", "norm") in match.present for prefix in layers}
    if len({*layers.values()}) > 1 or len({*norms.values()}) > 1:
        raise ValueError(
            f"{caller}: encoder and decoder differ: layers {layers}, final norms {norms}"
        )
    return {**options, "final_norm": any(norms.values())} if layers else options
