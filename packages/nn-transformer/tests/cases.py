"""The rows of the modules and models, of attention, and of the operations and kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import nn_transformer as nt
import numpy as np
from nn_tensor.extend import Kernel
from nn_tensor.testing import KernelCase, LayerCase, OpCase, kernels_of, ops_of
from nn_transformer.modules.blockwise_attention import AttentionOptions

from . import references

Array = np.ndarray[Any, Any]
Generator = np.random.Generator

_OPS, _KERNELS = ops_of("nn_transformer"), kernels_of("nn_transformer")

_TOKENS = np.array([[1, 4, 4, 0], [3, 0, 2, 4]])

_OPERANDS: dict[str, tuple[tuple[int, ...], ...]] = {
    "": ((2, 3, 4), (2, 5, 4), (2, 5, 2)),
    "heads": ((2, 2, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4)),
    "many keys": ((1, 2, 3), (1, 300, 3), (1, 300, 2)),
    "no batch": ((0, 3, 4), (0, 5, 4), (0, 5, 2)),
    "no queries": ((2, 0, 4), (2, 5, 4), (2, 5, 2)),
    "no keys": ((2, 3, 4), (2, 0, 4), (2, 0, 2)),
}


def _normal(*shapes: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [("normal", shape) for shape in shapes]


def _attention_op(causal: bool) -> Callable[..., Any]:
    options = AttentionOptions(0.5, causal, 0.0, 0, True)
    return lambda q, k, v: _OPS["attention"](q, k, v, True, options)


# Unlike an op, it returns a Tensor whatever it is given.
_attention = functools.partial(OpCase, nt.scaled_dot_product_attention, arrays_give_arrays=False)

_PROBABILITY = {"invalid": (-0.1, 1.1, np.nan, "a")}

ATTENTION = [
    *(
        _attention(
            references.attention,
            _normal(*shapes),
            f"{label} {kind}".strip(),
            options,
            invalid={} if label or kind else {"dropout": _PROBABILITY["invalid"]},
        )
        for label, shapes in {
            **_OPERANDS,
            "matrices": ((3, 4), (5, 4), (5, 2)),
            "leading dimensions broadcast": ((2, 1, 3, 4), (3, 5, 4), (5, 2)),
        }.items()
        for kind, options in {"": {}, "causal": {"causal": True, "scale": 0.3}}.items()
        if not (options and "no" in label)
    ),
    *(
        _attention(
            references.attention,
            [*_normal((2, 3, 4), (2, 5, 4), (2, 5, 2)), (kind, shape)],
            f"{kind} mask {label}".strip(),
        )
        for kind in ("booleans", "normal")
        for label, shape in {"": (2, 3, 5), "of keys": (5,), "of queries": (3, 1)}.items()
    ),
    OpCase(
        lambda q, k, v: nt.scaled_dot_product_attention(q, k, v, dropout=0.4, rng=0),
        None,
        _normal((2, 3, 4), (2, 5, 4), (2, 5, 2)),
        "dropout",
        name="scaled_dot_product_attention",
        arrays_give_arrays=False,
    ),
]

OPS = [
    *(
        OpCase(
            _attention_op(causal),
            lambda q, k, v, causal=causal: references.attention(q, k, v, None, causal, 0.5),
            _normal(*shapes),
            f"{label} {'causal' if causal else ''}".strip(),
            name="attention",
        )
        for label, shapes in _OPERANDS.items()
        for causal in (False, True)
        if not (causal and "no" in label)
    ),
    OpCase(
        _OPS["rotate_pairs"],
        lambda x, c, s: np.stack(
            [x[..., ::2] * c - x[..., 1::2] * s, x[..., ::2] * s + x[..., 1::2] * c], -1
        ).reshape(x.shape),
        _normal((2, 3, 2, 4), (3, 1, 2), (3, 1, 2)),
        wrt=[0],
    ),
]


def _scores(
    shape: tuple[int, ...], gain: float, masked: bool, diagonal: int, normalize: bool
) -> Callable[[Generator], list[Any]]:
    def draw(rng: Generator) -> list[Any]:
        allowed = rng.random(shape) < 0.6 if masked else None
        return [rng.normal(0, gain, shape), allowed, diagonal, normalize]

    return draw


def _normalized(name: str) -> Kernel:
    """Return `masked_exp` with what does not depend on the shift: the weights, and log-sums."""
    masked_exp = _KERNELS[name]

    def finish(xp: Any, function: Callable[..., Any], scores: Any, *options: Any) -> Any:
        with np.errstate(invalid="ignore"):  # OpenBLAS computes with what lies behind short rows
            shift, row_sum = function(xp, scores, *options)
        if not options[-1]:
            scores /= row_sum
        return xp.log(row_sum) + shift

    kernel = Kernel(lambda xp, *arguments: finish(xp, masked_exp.reference, *arguments))
    on_cuda = masked_exp.cuda_implementation
    kernel.cuda(lambda cp, *arguments: finish(cp, on_cuda, *arguments))
    vars(kernel).update(__name__=name, __module__=masked_exp.__module__)
    return kernel


def _softmax_backward(rows: int, count: int) -> Callable[[Generator], list[Any]]:
    return lambda rng: [
        rng.normal(size=(rows, count)),
        references.softmax(rng.normal(size=(rows, count))),
    ]


class _BackwardOfWeights:
    """The backward pass with the attention weights as an array, after the values."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.cpu_implementation = kernel, kernel.cpu_implementation
        vars(self).update(__name__=kernel.__name__, __module__=kernel.__module__)

    def __call__(self, xp: Any, *arguments: Any) -> Any:
        return self._call(self.kernel, xp, *arguments)

    def reference(self, xp: Any, *arguments: Any) -> Any:
        return self._call(self.kernel.reference, xp, *arguments)

    def _call(self, function: Any, xp: Any, *arguments: Any) -> Any:
        g, query, key, value, weights, mask, options = arguments
        return function(xp, g, query, key, value, mask, [weights], options)


def _attention_arrays(
    shape: tuple[int, ...], masked: str, causal: bool, backward: bool
) -> Callable[[Generator], list[Any]]:
    def draw(rng: Generator) -> list[Any]:
        batch, heads, targets, sources, d, e = shape
        options = AttentionOptions(0.4, causal, 0.0, 0, True)
        query, key, value, g = (
            rng.normal(size=(batch, length, heads, size)).swapaxes(1, 2)
            for length, size in ((targets, d), (sources, d), (sources, e), (targets, e))
        )
        mask: Any = True
        if masked == "booleans":
            mask = rng.random((targets, sources)) < 0.6
            mask[0] = False
        elif masked == "of keys":
            mask = rng.random((batch, 1, 1, sources)) < 0.6
        elif masked == "added":
            mask = rng.normal(size=(heads, targets, sources))
            mask[:, :, 0] = -np.inf
        if not backward:
            return [query, key, value, mask, options]
        scores = rng.normal(size=(batch, heads, targets, sources))
        if causal:
            scores[..., ~np.tri(targets, sources, sources - targets, dtype=bool)] = -np.inf
        with np.errstate(invalid="ignore"):  # rows without keys
            weights = np.nan_to_num(references.softmax(scores))
        weights = np.ascontiguousarray(weights.swapaxes(-1, -2)).swapaxes(-1, -2)
        return [g, query, key, value, weights, mask, options]

    return draw


_ATTENTION_SHAPES = {
    "": (2, 3, 5, 7, 4, 6),
    "several blocks": (2, 2, 37, 40, 16, 17),
    "one query": (3, 2, 1, 9, 8, 8),
    "one key": (3, 2, 4, 1, 8, 8),
    "more queries than keys": (1, 2, 33, 5, 3, 35),
}


def _few_queries(
    shape: tuple[int, ...], sources: int, masked: bool, gain: float
) -> Callable[[Generator], list[Any]]:
    """Draw queries of a shape, and keys and values as they stand in the buffer of a KV cache."""

    def draw(rng: Generator) -> list[Any]:
        *leading, _, d = shape
        keys, values = (rng.normal(size=(*leading, sources + 3, n)) for n in (d, d + 1))
        mask = rng.random((shape[0], *[1] * (len(shape) - 2), sources)) < 0.6 if masked else True
        query = rng.normal(0, gain, shape)
        return [query, keys[..., :sources, :], values[..., :sources, :], mask, 0.5]

    return draw


def _attention_of_token(rows: int, options: str) -> Callable[[Generator], list[Any]]:
    """Draw the arguments of `attend_token`, with what the words in `options` name."""

    def draw(rng: Generator) -> list[Any]:
        size, heads, group, d, positions, stop = 12, 2, 2, 4, 9, 6
        new, biased = "memory" not in options, "bias" in options

        def projection(inputs: int, outputs: int) -> list[Any]:
            return [
                rng.normal(0, 0.3, (inputs, outputs)),
                rng.normal(size=outputs) * 1.0 if biased else None,
            ]

        of_new = [*projection(size, heads * d), *projection(size, heads * d)] if new else [None] * 4
        angles: list[Any] = [None, None]
        if "rotary" in options:
            angles = [f(rng.normal(size=(rows, d // 2))) for f in (np.cos, np.sin)]
        shape = (rows if new else 1, heads, positions, d)
        mask = None
        if "mask" in options:
            mask = rng.random((rows, stop)) < 0.5
            mask[:, -1] = True
        number: Any = stop
        if "counted" in options:
            mask, number = rng.integers(0, stop, rows), np.array([stop])
        return [
            rng.normal(size=(rows, size)), rng.normal(size=size), rng.normal(size=size), 1e-5,
            "after" not in options, *projection(size, heads * group * d), *of_new,
            *projection(heads * group * d, size), *angles,
            rng.normal(size=shape), rng.normal(size=shape), mask, number,
        ]  # fmt: skip

    return draw


def _feed_forward_of_token(rows: int, activation: str) -> Callable[[Generator], list[Any]]:
    def draw(rng: Generator) -> list[Any]:
        size, inner = 12, 40
        return [
            rng.normal(size=(rows, size)), rng.normal(size=size), None, 1e-5, rows != 2,
            rng.normal(0, 0.3, (size, inner)), rng.normal(size=inner),
            rng.normal(0, 0.3, (inner, size)), None, activation,
        ]  # fmt: skip

    return draw


KERNELS = [
    *(
        KernelCase(
            _KERNELS["attend_token"],
            None,
            _attention_of_token(rows, options),
            f"{rows} rows {options}".strip(),
            tolerances={"float32": 2e-5},
        )
        for rows in (1, 3)
        for options in (
            "",
            "bias",
            "after bias mask",
            "rotary",
            "memory",
            "memory mask bias",
            "counted",
        )
    ),
    *(
        KernelCase(
            _KERNELS["feed_forward_token"],
            None,
            _feed_forward_of_token(rows, activation),
            f"{rows} rows {activation}",
            tolerances={"float32": 2e-5},
        )
        for rows in (1, 2)
        for activation in ("relu", "gelu", "gelu_tanh")
    ),
    *(
        KernelCase(
            _KERNELS["attend_few_queries"],
            None,
            _few_queries(shape, sources, masked, gain),
            f"{label} masked={masked}".strip(),
            tolerances={"float32": 2e-5},
        )
        for label, shape, sources, gain in (
            ("", (2, 3, 1, 5), 7, 1),
            ("wide", (2, 1, 4, 35), 70, 1),
            ("large", (2, 3, 1, 5), 7, 1e4),
            ("many", (1, 2, 9, 4), 6, 1),
            ("no keys", (2, 3, 1, 5), 0, 1),
            ("no rows", (0, 3, 1, 5), 7, 1),
            ("one head", (2, 1, 5), 7, 1),
        )
        for masked in (False, True)
    ),
    *(
        KernelCase(
            _KERNELS["forward"],
            None,
            _attention_arrays(shape, masked, causal, False),
            f"{label} {masked} {'causal' if causal else ''}".strip(),
            tolerances={"float32": 2e-5},
        )
        for label, shape in _ATTENTION_SHAPES.items()
        for masked in ("", "booleans", "of keys", "added")
        for causal in (False, True)
    ),
    *(
        KernelCase(
            _BackwardOfWeights(_KERNELS["backward"]),
            None,
            _attention_arrays(shape, "", causal, True),
            f"{label} {'causal' if causal else ''}".strip(),
            tolerances={"float32": 2e-5},
        )
        for label, shape in _ATTENTION_SHAPES.items()
        for causal in (False, True)
    ),
    *(
        KernelCase(
            _normalized("masked_exp"),
            None,
            _scores(shape, gain, masked, diagonal, normalize),
            f"{label} masked={masked} diagonal={diagonal} normalize={normalize}".strip(),
        )
        for label, shape, gain in (
            ("", (2, 3, 5), 1),
            ("large", (2, 3, 5), 1e4),
            ("no keys", (2, 3, 0), 1),
            ("no rows", (0, 3, 5), 1),
            ("long", (2, 3, 2000), 1),
        )
        for masked in (False, True)
        for diagonal in (shape[-1], 1, -1)
        for normalize in (False, True)
    ),
    *(
        KernelCase(_KERNELS["softmax_backward"], None, _softmax_backward(*shape), label)
        for label, shape in {
            "": (6, 5),
            "one column": (3, 1),
            "long rows": (2, 3000),
            "no rows": (0, 4),
            "no columns": (3, 0),
        }.items()
    ),
]

# Half precision rounds after each of many operations.
_TOLERANCES = {"float16": 2e-2, "float32": 2e-5}


def _layer(
    module: Any,
    reference: Callable[..., Array],
    inputs: list[Any],
    label: str = "",
    options: dict[str, Any] | None = None,
    **more: Any,
) -> LayerCase:
    """Return a row whose reference takes the inputs and a dict of parameters by path."""
    paths = [path for path, _ in module(**(options or {})).named_parameters()]
    count = len(inputs)

    def by_path(*arrays: Array) -> Array:
        return reference(*arrays[:count], dict(zip(paths, arrays[count:], strict=True)))

    options = options or {}
    more = {"tolerances": _TOLERANCES, "step": 3e-4, **more}
    return LayerCase(module, by_path, inputs, label, options, **more)


_SIZE = (0, -1, 1.5, "8")
_PLACEMENT: dict[str, Any] = {
    "device": ("gpu", 1),
    "dtype": ("int64", bool),
    "rng": ("seed", 1.5),
}
_LAYER_OPTIONS: dict[str, Any] = {
    **_PLACEMENT,
    "d_model": (*_SIZE, 7),
    "num_heads": (*_SIZE, 3),
    "d_ff": _SIZE,
    "dropout": _PROBABILITY["invalid"],
    "activation": ("tanh", None),
    "num_kv_heads": _SIZE,
    "norm_epsilon": (-1.0, np.nan, "a"),
}
_STACK_OPTIONS: dict[str, Any] = {
    **_LAYER_OPTIONS,
    "vocab_size": _SIZE,
    "num_layers": _SIZE,
    "max_seq_len": _SIZE,
    "padding_idx": (-1, 5, 0.5, "a"),
    "positions": ("absolute", None),
}

_POSITIONS: dict[str, Any] = {"d_model": _SIZE, "max_seq_len": _SIZE, **_PLACEMENT}

PARTS = [
    *(
        LayerCase(
            nt.Embedding,
            lambda t, w: w[t],
            [tokens],
            label,
            {"vocab_size": 5, "d_model": 3},
            invalid={}
            if label
            else {
                "vocab_size": _SIZE,
                "d_model": _SIZE,
                "padding_idx": (-1, 5, 0.5),
                **_PLACEMENT,
            },
        )
        for label, tokens in {"": _TOKENS, "a list of tokens": _TOKENS[0]}.items()
    ),
    LayerCase(
        nt.PositionalEncoding,
        lambda x: x + references.sinusoids(*x.shape[1:]),
        _normal((2, 3, 5)),
        "",
        {"d_model": 5, "max_seq_len": 7},
        invalid={**_POSITIONS, "dropout": _PROBABILITY["invalid"]},
        tolerances={"float32": 1e-6, "float64": 1e-7},  # the table is float32 until it is converted
    ),
    LayerCase(
        nt.LearnedPositions,
        lambda x, w: x + w[:3],
        _normal((2, 3, 5)),
        "",
        {"d_model": 5, "max_seq_len": 7},
        invalid={**_POSITIONS, "dropout": _PROBABILITY["invalid"]},
    ),
    LayerCase(
        nt.RotaryPositions,
        references.rotate,
        _normal((2, 3, 2, 4)),
        "",
        {"d_head": 4, "max_seq_len": 7, "dtype": "float64"},
        invalid={"d_head": (*_SIZE, 3), "max_seq_len": _SIZE, "dtype": ("int64",)},
    ),
]


def _attention_rows() -> list[LayerCase]:
    rows = []
    x = _normal((2, 3, 8), (2, 4, 8), (2, 4, 8))
    for label, options, mask in (
        ("", {}, None),
        ("grouped queries", {"num_kv_heads": 2}, None),
        ("without bias", {"bias": False}, None),
        ("boolean mask", {}, ("booleans", (2, 1, 3, 4))),
        ("floating mask", {"num_kv_heads": 1}, ("normal", (2, 3, 4))),
    ):

        def reference(q: Array, k: Array, v: Array, *rest: Any) -> Array:
            mask = rest[0] if len(rest) > 1 else None
            if mask is not None and mask.ndim == 3:
                mask = mask[:, None]
            return references.multi_head_attention(q, k, v, rest[-1], 4, mask)

        rows.append(
            _layer(
                nt.MultiHeadAttention,
                reference,
                [*x, mask] if mask else x,
                label,
                {"d_model": 8, "num_heads": 4, "rng": 0, **options},
                invalid={}
                if label
                else {
                    "d_model": (*_SIZE, 7),
                    "num_heads": (*_SIZE, 3),
                    "num_kv_heads": (*_SIZE, 3),
                    "dropout": _PROBABILITY["invalid"],
                    **_PLACEMENT,
                },
            )
        )
    return rows


_KINK = dict.fromkeys(
    ("gradients", "memory_layout broadcast", "gradient_dtype float16"),
    "ReLU has a kink: the rows of another activation have gradients",
)
_VARIANTS: dict[str, dict[str, Any]] = {
    "": {"activation": "gelu_tanh"},
    "relu": {"activation": "relu"},
    "norm first": {"norm_first": True, "activation": "gelu_tanh", "bias": False},
}


def _layer_rows() -> list[LayerCase]:
    rows = []
    for label, options in _VARIANTS.items():
        sizes: dict[str, Any] = {"d_model": 4, "num_heads": 2, "d_ff": 6, "rng": 0}
        known = {k: v for k, v in options.items() if k != "bias"}
        more: dict[str, Any] = {
            "invalid": {} if label else _LAYER_OPTIONS,
            "skip": _KINK if label == "relu" else {},
        }
        rows += [
            _layer(
                nt.EncoderLayer,
                lambda x, p, o=known: references.layer(x, p, 2, **o),
                _normal((2, 3, 4)),
                label,
                {**sizes, **options, "dropout": 0.0},
                **more,
            ),
            _layer(
                nt.DecoderLayer,
                lambda x, memory, p, o=known: references.layer(x, p, 2, memory, **o),
                _normal((2, 3, 4), (2, 2, 4)),
                label,
                {**sizes, **options, "dropout": 0.0},
                **more,
            ),
        ]
    for module, inputs in (
        (nt.EncoderLayer, _normal((2, 3, 4))),
        (nt.DecoderLayer, _normal((2, 3, 4), (2, 2, 4))),
    ):
        options = {"d_model": 4, "num_heads": 2, "dropout": 0.3, "activation": "gelu", "rng": 0}
        rows.append(LayerCase(module, None, inputs, "dropout", options))
    return rows


_SMALL: dict[str, Any] = {
    "d_model": 4,
    "num_heads": 2,
    "num_layers": 2,
    "d_ff": 3,
    "dropout": 0.0,
    "max_seq_len": 6,
    "dtype": "float64",  # that of the table of positions, before it is converted
    "rng": 0,
}
_STACKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "": ({"activation": "gelu_tanh"}, {}),
    "learned": (
        {"norm_first": True, "activation": "gelu_tanh", "positions": "learned", "padding_idx": 0},
        {"embedding_norm": True},
    ),
    "rotary": ({"activation": "gelu_tanh", "positions": "rotary"}, {"final_norm": True}),
}


def _model_rows() -> list[LayerCase]:
    rows = []
    memory = ("normal", (2, 3, 4))
    for label, (known, other) in _STACKS.items():
        options = {"vocab_size": 5, **_SMALL, **known, **other}
        one = {**options, "num_layers": 1}
        causal = {**known, "causal": True}
        more: dict[str, Any] = {"order": 1, "invalid": {} if label else _STACK_OPTIONS}
        rows += [
            _layer(
                nt.Encoder,
                lambda t, p, o=known: references.stack(t, p, 2, **o),
                [_TOKENS],
                label,
                {**options, "num_segments": 2 if label else 0},
                **{
                    **more,
                    "invalid": {**more["invalid"], "num_segments": (-1, 0.5)} if not label else {},
                },
            ),
            _layer(
                nt.Decoder,
                lambda t, m, p, o=causal: references.stack(t, p, 2, m, **o),
                [_TOKENS, memory],
                label,
                one,
                **more,
            ),
        ]
        defaults = {"norm_first": False, "positions": "sinusoidal"}
        rows.append(
            _layer(
                nt.LanguageModel,
                lambda t, p, o=causal: references.stack(t, p, 2, **o) @ p["embedding.weights"].T,
                [_TOKENS],
                label,
                {**defaults, **one},
                **more,
            )
        )
        pair = {k: v for k, v in one.items() if k != "vocab_size"}
        source = "" if label else "encoder"

        def transform(
            s: Array, t: Array, p: Any, known: Any = known, causal: Any = causal
        ) -> Array:
            padding = known.get("padding_idx")
            mask = None if padding is None else (s != padding)[:, None, None]
            memory = references.stack(s, references.part(p, "encoder"), 2, **known)
            decoder = references.part(p, "decoder")
            hidden = references.stack(t, decoder, 2, memory, **causal, memory_mask=mask)
            return references.dense(hidden, references.part(p, "output"))

        invalid = {k: v for k, v in _STACK_OPTIONS.items() if k != "vocab_size"}
        rows.append(
            _layer(
                nt.Transformer,
                transform,
                [_TOKENS, _TOKENS[:, :3]],
                label,
                {"src_vocab_size": 5, "tgt_vocab_size": 6, **pair},
                order=1,
                invalid={**invalid, "tie_weights": ("some", 2)} if source else {},
            )
        )
    return rows


MODULES = [*PARTS, *_attention_rows(), *_layer_rows(), *_model_rows()]
