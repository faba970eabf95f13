"""States of other libraries' models, for the models of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nn_transformer._foreign import Reading, read
from nn_transformer._maps import BERT, GPT2, TORCH_ATTENTION, torch_table

__all__ = [
    "bert_settings",
    "from_bert",
    "from_gpt2",
    "from_torch_attention",
    "from_torch_transformer",
    "gpt2_settings",
    "torch_transformer_settings",
]

_HEADS = ("pooler", "cls")


def from_torch_attention(state: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return the state of a `MultiHeadAttention` from that of PyTorch's ``MultiheadAttention``.

    .. math:: W^Q, W^K, W^V = W_1^T, W_2^T, W_3^T \quad\text{for}\quad
        W_\text{in} = [W_1; W_2; W_3]

    PyTorch keeps ``in_proj_weight`` as ``(3 * d_model, d_model)``, here each projection has
    ``(d_model, d_model)``, inputs first. Without biases there, there are none here.

    Args:
        state: arrays by name, of any floating dtype: what `np.asarray` takes, as the arrays of a
            file or PyTorch's own ``state_dict()`` on the CPU. It is not changed.

    Returns:
        New arrays of the same dtypes, for ``load_state_dict``.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit, as for ``kdim``,
            ``vdim`` and ``add_bias_kv``, which are not supported; it lists all such names.
        TypeError: if `state` is no mapping.

    >>> import numpy as np
    >>> from nn_transformer import MultiHeadAttention, from_torch_attention
    >>> theirs = {"in_proj_weight": np.ones((24, 8)), "out_proj.weight": np.ones((8, 8))}
    >>> ours = from_torch_attention(theirs)
    >>> list(ours)
    ['query.weights', 'key.weights', 'value.weights', 'output.weights']
    >>> MultiHeadAttention(d_model=8, num_heads=2, bias=False).load_state_dict(ours)
    """
    return read("from_torch_attention", TORCH_ATTENTION, state).state()


def from_torch_transformer(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a transformer's layers from that of one of PyTorch's modules.

    PyTorch's ``Transformer`` gives what `Transformer` has under ``encoder`` and ``decoder``;
    ``TransformerEncoder`` and ``TransformerDecoder`` give the layers and the norm of `Encoder` and
    `Decoder`, ``TransformerEncoderLayer`` and ``TransformerDecoderLayer`` an `EncoderLayer` or a
    `DecoderLayer`. Which one it is, the names tell. PyTorch's modules have neither embeddings nor
    scores: complete the state by ``{**model.state_dict(), **from_torch_transformer(state)}``.
    Matrices are turned to ``(inputs, outputs)``.

    Args:
        state: as for `from_torch_attention`.

    Returns:
        New arrays of the same dtypes.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is no mapping.

    >>> import numpy as np
    >>> from nn_transformer import EncoderLayer, from_torch_transformer
    >>> shapes = {
    ...     "self_attn.in_proj_weight": (24, 8), "self_attn.out_proj.weight": (8, 8),
    ...     "linear1.weight": (32, 8), "linear2.weight": (8, 32),
    ...     "norm1.weight": (8,), "norm2.weight": (8,),
    ... }
    >>> ours = from_torch_transformer({name: np.ones(shape) for name, shape in shapes.items()})
    >>> ours["feed_forward.0.weights"].shape
    (8, 32)
    >>> EncoderLayer(d_model=8, num_heads=2, bias=False).load_state_dict(ours)
    """
    return _torch("from_torch_transformer", state).state()


def torch_transformer_settings(state: Mapping[str, Any], num_heads: int) -> dict[str, Any]:
    """Return the arguments of the model that `from_torch_transformer` gives a state for.

    ``d_model``, ``num_heads``, ``d_ff`` and ``bias``, of stacks also ``num_layers`` and
    ``final_norm``. Names and shapes do not tell ``activation`` and ``norm_first``.

    Args:
        state: as for `from_torch_attention`.
        num_heads: how many heads each attention has, which no shape tells.

    Raises:
        ValueError: as `from_torch_transformer`; also if encoder and decoder differ in the number of
            their layers or in having a last norm.

    >>> import numpy as np
    >>> from nn_transformer import torch_transformer_settings
    >>> shapes = {
    ...     "self_attn.in_proj_weight": (24, 8), "self_attn.out_proj.weight": (8, 8),
    ...     "linear1.weight": (32, 8), "linear2.weight": (8, 32),
    ...     "norm1.weight": (8,), "norm2.weight": (8,),
    ... }
    >>> state = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> torch_transformer_settings(state, num_heads=2)
    {'d_model': 8, 'num_heads': 2, 'd_ff': 32, 'bias': False}
    """
    caller = "torch_transformer_settings"
    reading = _torch(caller, state)
    settings: dict[str, Any] = {
        "d_model": reading.sizes["d_model"],
        "num_heads": num_heads,
        "d_ff": reading.sizes["d_ff"],
        "bias": "bias" in reading.given,
    }
    if reading.layers:
        norms = {
            before: before.replace("layers.", "norm") in reading.given for before in reading.layers
        }
        if len(set(reading.layers.values())) > 1 or len(set(norms.values())) > 1:
            raise ValueError(
                f"{caller}: encoder and decoder differ: layers {reading.layers}, last norms {norms}"
            )
        settings["num_layers"] = next(iter(reading.layers.values()))
        settings["final_norm"] = next(iter(norms.values()))
    return settings


def from_bert(state: Mapping[str, Any], ignore: Iterable[str] = _HEADS) -> dict[str, Any]:
    """Return the state of an `Encoder` from that of a BERT of Hugging Face.

    (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", 2019.) Names may begin with ``bert.``; norms may have the older ``gamma`` and
    ``beta``; the buffer ``position_ids`` is no weight and left out. Matrices are turned to
    ``(inputs, outputs)``.

    Args:
        state: as for `from_torch_attention`.
        ignore: first parts of names, after ``bert.``, of what an `Encoder` has no place for: by
            default the pooler and the heads of the pre-training. ``ignore=()`` leaves out nothing,
            and so refuses them.

    Returns:
        New arrays of the same dtypes, for ``load_state_dict`` of an
        ``Encoder(**bert_settings(...))``.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is no mapping.

    >>> import numpy as np
    >>> from nn_transformer import Encoder, bert_settings, from_bert
    >>> shapes = {
    ...     "embeddings.word_embeddings.weight": (30, 8),
    ...     "embeddings.position_embeddings.weight": (16, 8),
    ...     "embeddings.token_type_embeddings.weight": (2, 8),
    ...     "embeddings.LayerNorm.weight": (8,),
    ...     "encoder.layer.0.attention.self.query.weight": (8, 8),
    ...     "encoder.layer.0.attention.self.key.weight": (8, 8),
    ...     "encoder.layer.0.attention.self.value.weight": (8, 8),
    ...     "encoder.layer.0.attention.output.dense.weight": (8, 8),
    ...     "encoder.layer.0.attention.output.LayerNorm.weight": (8,),
    ...     "encoder.layer.0.intermediate.dense.weight": (32, 8),
    ...     "encoder.layer.0.output.dense.weight": (8, 32),
    ...     "encoder.layer.0.output.LayerNorm.weight": (8,),
    ... }
    >>> state = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> encoder = Encoder(**bert_settings(state, num_heads=2))
    >>> encoder.load_state_dict(from_bert(state))
    >>> encoder.max_seq_len
    16
    """
    return read("from_bert", BERT, state, ignore).state()


def bert_settings(
    state: Mapping[str, Any], num_heads: int, ignore: Iterable[str] = _HEADS
) -> dict[str, Any]:
    """Return the arguments of the `Encoder` that is the BERT of `state`.

    The sizes come from the shapes. ``activation`` (gelu), ``norm_epsilon`` (1e-12) and the rest are
    those of BERT: where a file's ``config.json`` says otherwise, so must you.

    Args:
        state: as for `from_bert`.
        num_heads: how many heads each attention has, which no shape tells: 12 in BERT's base model.
        ignore: as for `from_bert`.

    Raises:
        ValueError: as `from_bert`.

    See `from_bert` for an example.
    """
    reading = read("bert_settings", BERT, state, ignore)
    return {
        **_sizes(reading, num_heads, "encoder.layer."),
        "num_segments": reading.sizes["num_segments"],
        "embedding_norm": True,
        "norm_first": False,
        "norm_epsilon": 1e-12,
        "positions": "learned",
        "activation": "gelu",
    }


def from_gpt2(state: Mapping[str, Any], ignore: Iterable[str] = ()) -> dict[str, Any]:
    """Return the state of a `LanguageModel` from that of a GPT-2 of Hugging Face.

    (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.) Names may begin
    with ``transformer.``; the buffers ``attn.bias`` and ``attn.masked_bias`` of older files are no
    weights and left out. Hugging Face keeps these matrices as ``(inputs, outputs)``, as here.
    ``lm_head.weight`` is left out if it equals ``wte.weight``, and else is ``output.weights`` of a
    model without tied weights.

    Args:
        state: as for `from_torch_attention`.
        ignore: first parts of names, after ``transformer.``, of what is to be left out.

    Returns:
        New arrays of the same dtypes, for ``load_state_dict`` of a
        ``LanguageModel(**gpt2_settings(...))``.

    Raises:
        ValueError: if a name is unknown, one is missing or a shape does not fit; it lists all.
        TypeError: if `state` is no mapping.

    >>> import numpy as np
    >>> from nn_transformer import LanguageModel, from_gpt2, gpt2_settings
    >>> shapes = {
    ...     "wte.weight": (30, 8), "wpe.weight": (16, 8),
    ...     "h.0.ln_1.weight": (8,), "h.0.ln_2.weight": (8,), "ln_f.weight": (8,),
    ...     "h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_proj.weight": (8, 8),
    ...     "h.0.mlp.c_fc.weight": (8, 32), "h.0.mlp.c_proj.weight": (32, 8),
    ... }
    >>> state = {name: np.ones(shape) for name, shape in shapes.items()}
    >>> model = LanguageModel(**gpt2_settings(state, num_heads=2))
    >>> model.load_state_dict(from_gpt2(state))
    >>> model.max_seq_len
    16
    """
    reading = read("from_gpt2", GPT2, state, ignore)
    result = reading.state()
    if _tied(reading):
        result.pop("output.weights", None)
    return result


def gpt2_settings(
    state: Mapping[str, Any], num_heads: int, ignore: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the arguments of the `LanguageModel` that is the GPT-2 of `state`.

    The sizes come from the shapes. ``activation`` (gelu_tanh), ``norm_epsilon`` (1e-5) and the rest
    are those of GPT-2: where a file's ``config.json`` says otherwise, so must you.

    Args:
        state: as for `from_gpt2`.
        num_heads: how many heads each attention has, which no shape tells: 12 in GPT-2 small.
        ignore: as for `from_gpt2`.

    Raises:
        ValueError: as `from_gpt2`.

    See `from_gpt2` for an example.
    """
    reading = read("gpt2_settings", GPT2, state, ignore)
    return {
        **_sizes(reading, num_heads, "h."),
        "norm_first": True,
        "norm_epsilon": 1e-5,
        "positions": "learned",
        "activation": "gelu_tanh",
        "tie_weights": _tied(reading),
    }


def _torch(caller: str, state: Any) -> Reading:
    return read(caller, torch_table(state if isinstance(state, Mapping) else ()), state)


def _tied(reading: Reading) -> bool:
    arrays = {row.source: array for row, _, array in reading.entries}
    head = arrays.get("lm_head.weight")
    return head is None or np.array_equal(head, arrays["wte.weight"])


def _sizes(reading: Reading, num_heads: int, layers: str) -> dict[str, Any]:
    return {
        "vocab_size": reading.sizes["vocab_size"],
        "d_model": reading.sizes["d_model"],
        "num_heads": num_heads,
        "num_layers": reading.layers[layers],
        "d_ff": reading.sizes["d_ff"],
        "max_seq_len": reading.sizes["max_seq_len"],
        "bias": "bias" in reading.given,
    }
