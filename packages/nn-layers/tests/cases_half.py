"""Rows of half precision: each layer and operation with more elements than float16 counts."""

from __future__ import annotations

import dataclasses
from typing import Any

import nn_layers as nl
import numpy as np
from nn_layers.ops import (
    activations,
    batch_norm,
    conv2d,
    conv2d_relu,
    dropout,
    embedding,
    gelu,
    layer_norm,
    linear,
    normalization,
    pooling,
)
from nn_layers.ops.windows import Windows
from nn_tensor.testing import MANY, LayerCase, OpCase

from .cases_layers import LAYERS

__all__ = ["HALF"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

# Sums of so many are far beyond 2048, where adding ones in float16 stops.
SOME = 8192

# Of several roundings one after another.
_CHAIN = 5e-3

_ACTIVATIONS = (
    nl.ReLU, nl.Tanh, nl.Sigmoid, nl.LeakyReLU, nl.ELU, nl.GELU, nl.SiLU, nl.Softplus, nl.Identity,
    nl.Softmax, nl.LogSoftmax,
)  # fmt: skip

# As far as the derivative follows from the rounded output: see cases_half.py of nn-tensor.
_BOUNDS: dict[Any, float] = {
    nl.Sigmoid: 4e-3,
    nl.LogSoftmax: 8e-3,
    nl.GELU: _CHAIN,
    nl.SiLU: _CHAIN,
}


def _layer(layer: Any, shape: Shape, label: str, domain: Any = "normal", **more: Any) -> LayerCase:
    options = {k: v for k, v in more.items() if k not in ("half_bound", "training")}
    more = {k: v for k, v in more.items() if k not in options}
    return LayerCase(layer, None, [(domain, shape)], label, options, **more)


def _of_activations() -> list[LayerCase]:
    rows = []
    for layer in _ACTIVATIONS:
        more = {"half_bound": _BOUNDS.get(layer, 2e-3)}
        rows.append(_layer(layer, (MANY,), "many", **more))
        if layer in (nl.Softmax, nl.LogSoftmax):
            rows += [
                _layer(layer, shape, f"axis {axis}", axis=axis, **more)
                for axis, shape in enumerate(((MANY, 2, 2), (2, MANY, 2), (2, 2, MANY)))
            ]
    rows += [
        _layer(nl.PReLU, (SOME, 2), "one weight"),
        _layer(nl.PReLU, (SOME, 3), "channels", num_parameters=3),
        _layer(nl.PReLU, (2, 3, 64, 128), "images", num_parameters=3),
        _layer(nl.Dropout, (MANY,), "many", p=0.4, rng=0),
    ]
    return rows


def _of_products() -> list[LayerCase]:
    unit: Any = (0.0, 1.0)
    return [
        _layer(nl.Dense, (SOME, 2), "batch", unit, input_size=2, output_size=3, rng=0),
        _layer(nl.Dense, (2, SOME, 2), "sequences", unit, input_size=2, output_size=3, rng=0),
        _layer(nl.Dense, (2, SOME), "features", unit, input_size=SOME, output_size=2, rng=0),
        _layer(nl.Dense, (2, 2), "outputs", unit, input_size=2, output_size=SOME, rng=0),
        *(
            _layer(layer, shape, label, unit, in_channels=c, out_channels=o, rng=0, **options)
            for layer, label, shape, o, options in (
                (nl.Conv1D, "batch", (SOME, 2, 3), 2, {"kernel_size": 2}),
                (nl.Conv1D, "time", (1, 2, SOME), 2, {"kernel_size": 3, "padding": "same"}),
                (nl.Conv1D, "channels", (1, SOME, 3), 2, {"kernel_size": 2}),
                (nl.Conv1D, "window", (1, 1, 4100), 2, {"kernel_size": 4099}),
                (nl.Conv2D, "batch", (SOME, 1, 3, 2), 2, {"kernel_size": 2}),
                (nl.Conv2D, "rows", (1, 1, SOME, 2), 2, {"kernel_size": 2}),
                (nl.Conv2D, "columns", (1, 1, 2, SOME), 2, {"kernel_size": 2, "padding": 1}),
                (nl.Conv2D, "channels", (1, SOME, 3, 2), 2, {"kernel_size": 2}),
                (nl.Conv2D, "window", (1, 1, 65, 129), 2, {"kernel_size": (64, 128)}),
                (nl.Conv2D, "outputs", (1, 1, 3, 3), SOME, {"kernel_size": 2}),
                (nl.ConvTranspose2D, "batch", (SOME, 1, 2, 2), 2, {"kernel_size": 2}),
                (nl.ConvTranspose2D, "rows", (1, 1, SOME, 2), 2, {"kernel_size": 2}),
                (nl.ConvTranspose2D, "columns", (1, 1, 2, SOME), 2, {"kernel_size": 2}),
                (nl.ConvTranspose2D, "channels", (1, SOME, 2, 2), 2, {"kernel_size": 2}),
                (nl.ConvTranspose2D, "window", (1, 1, 65, 129), 1, {"kernel_size": (64, 128)}),
            )
            for c in [shape[1]]
        ),
    ]


def _of_poolings() -> list[LayerCase]:
    rows = []
    for layer in (nl.MaxPool1D, nl.AvgPool1D):  # windows of MANY are those of the operations
        rows += [
            _layer(layer, (1, 1, SOME), "time", kernel_size=SOME, stride=1),
            _layer(layer, (1, 1, 300), "overlap", kernel_size=100, stride=1, padding=50),
            _layer(layer, (MANY, 1, 2), "batch", kernel_size=2),
        ]
    for layer in (nl.MaxPool2D, nl.AvgPool2D):
        rows += [
            _layer(layer, (1, 1, SOME, 1), "rows", kernel_size=(SOME, 1), stride=1),
            _layer(layer, (1, 1, 1, SOME), "columns", kernel_size=(1, SOME), stride=1),
            _layer(layer, (1, 1, 40, 30), "overlap", kernel_size=(20, 16), stride=1, padding=5),
            _layer(layer, (MANY, 1, 2, 2), "batch", kernel_size=2),
        ]
    for one in (nl.GlobalAvgPool1D, nl.GlobalMaxPool1D):
        rows.append(_layer(one, (2, 2, MANY), "time"))
    for two in (nl.GlobalAvgPool2D, nl.GlobalMaxPool2D):
        rows += [
            _layer(two, (1, 2, MANY, 2), "rows"),
            _layer(two, (1, 2, 2, MANY), "columns"),
        ]
    return rows


def _of_normalizations() -> list[LayerCase]:
    more = {"half_bound": _CHAIN}
    rows = []
    for layer in (nl.LayerNorm, nl.RMSNorm):
        rows += [
            _layer(layer, (2, MANY), "features", normalized_shape=MANY, **more),
            _layer(layer, (SOME, 3), "batch", normalized_shape=3, **more),
            _layer(layer, (2, SOME, 3), "sequences", normalized_shape=3, **more),
            _layer(layer, (2, 2, MANY // 2), "two axes", normalized_shape=(2, MANY // 2), **more),
        ]
    groups: dict[str, Any] = {"num_groups": 2, **more}
    rows += [
        _layer(nl.GroupNorm, (SOME, 4), "batch", num_channels=4, **groups),
        _layer(nl.GroupNorm, (2, 4, SOME, 2), "rows", num_channels=4, **groups),
        _layer(nl.GroupNorm, (2, 4, 2, SOME), "columns", num_channels=4, **groups),
        _layer(nl.GroupNorm, (2, MANY), "channels", num_channels=MANY, **groups),
        _layer(nl.BatchNorm1D, (MANY, 2), "batch", num_features=2, **more),
        _layer(nl.BatchNorm1D, (2, 2, MANY), "time", num_features=2, **more),
        _layer(nl.BatchNorm1D, (SOME, 2), "evaluated", num_features=2, training=False, **more),
        _layer(nl.BatchNorm2D, (MANY, 2, 1, 2), "batch", num_features=2, **more),
        _layer(nl.BatchNorm2D, (1, 2, MANY, 2), "rows", num_features=2, **more),
        _layer(nl.BatchNorm2D, (1, 2, 2, MANY), "columns", num_features=2, **more),
    ]
    return rows


_LAYERS = [
    *_of_activations(),
    *_of_products(),
    *_of_poolings(),
    *_of_normalizations(),
    _layer(nl.Flatten, (2, MANY, 2), "many"),
    LayerCase(nl.Reshape, None, [("normal", (2, MANY))], "many", {"shape": (2, -1)}),
    _layer(nl.Upsample, (1, 1, 2, 2), "nearest", scale=(SOME, 1)),
    _layer(nl.Upsample, (1, 1, 2, 2), "nearest, columns", scale=(1, SOME)),
    _layer(nl.Upsample, (1, 1, 2, 2), "bilinear", scale=(SOME, 1), mode="bilinear"),
    _layer(nl.Upsample, (1, 1, 2, 2), "bilinear, columns", scale=(1, SOME), mode="bilinear"),
    *(
        # a layer norm of five features, whose variance may be small, makes errors larger
        dataclasses.replace(row, inputs=[("normal", (SOME, 4))], label="batch", half_bound=5e-2)
        for row in LAYERS
        if row.name == "Sequential" and not row.label
    ),
    *(
        LayerCase(nl.Embedding, None, [tokens], label, {"vocab_size": 3, "d_model": 2})
        for label, tokens in {
            "one token": np.zeros(SOME, int),
            "sequences": np.arange(SOME).reshape(2, -1) % 2,
        }.items()
    ),
]


def _op(
    function: Any, label: str, *inputs: Any, half_bound: float = 2e-3, **options: Any
) -> OpCase:
    drawn = [((0.0, 1.0), x) if isinstance(x, tuple) else x for x in inputs]
    return OpCase(function, None, drawn, label, options, half_bound=half_bound)


def _normal(function: Any, label: str, *shapes: Shape, **options: Any) -> OpCase:
    return OpCase(function, None, [("normal", s) for s in shapes], label, options)


def _index(shape: Shape, windows: Windows) -> Array:
    x = np.random.default_rng(0).normal(size=shape)
    return np.asarray(pooling.max_pool2d_forward(np, x, windows)[1])


def _pooling_ops() -> list[OpCase]:
    rows = []
    for label, size, windows in (
        ("rows", (MANY, 1), Windows((MANY, 1))),
        ("columns", (1, SOME), Windows((1, SOME))),
        ("overlap", (40, 30), Windows((20, 16), (1, 1), (5, 5, 5, 5))),
    ):
        shape = (1, 1, *size)
        output = (1, 1, *windows.output_size(size))
        index = _index(shape, windows)
        rows += [
            _normal(pooling.max_pool2d, label, shape, windows=windows),
            _normal(pooling.avg_pool2d, label, shape, windows=windows),
            _op(pooling.max_unpool2d, label, output, index, size=size, windows=windows),
            _op(pooling.gather_by_window_index, label, shape, index, windows=windows),
            _op(pooling.avg_pool2d_gradient, label, output, size=size, windows=windows),
        ]
    return rows


def _convolution_ops() -> list[OpCase]:
    rows = []
    for label, n, c, o, size, windows in (
        ("batch", SOME, 1, 1, (2, 3), Windows((2, 2))),
        ("channels", 1, SOME, 2, (2, 3), Windows((2, 2))),
        ("outputs", 1, 2, SOME, (2, 3), Windows((2, 2))),
        ("rows", 1, 1, 2, (SOME, 2), Windows((2, 2), (1, 1), (1, 0, 1, 0))),
        ("columns", 1, 1, 2, (2, SOME), Windows((2, 2), (1, 2))),
        ("window", 1, 1, 2, (65, 129), Windows((64, 128))),
    ):
        x, w = (n, c, *size), (o, c, *windows.kernel)
        g = (n, o, *windows.output_size(size))
        rows += [
            _op(conv2d.conv2d, label, x, w, (o,), windows=windows),
            _op(conv2d_relu.conv2d_relu, label, x, w, (o,), windows=windows),
            _op(conv2d.conv2d_input_gradient, label, g, w, size=size, windows=windows),
            _op(conv2d.conv2d_weight_gradient, label, x, g, windows=windows),
            _op(conv2d.conv2d_bias_gradient, label, g),
        ]
        if label in ("channels", "window"):  # elsewhere some of the many maxima are ties in float16
            pooled = Windows((1, 2), (1, 2))
            options = {"windows": windows, "pooled": pooled}
            rows.append(_op(conv2d_relu.conv2d_max_pool2d_relu, label, x, w, (o,), **options))
    return rows


def _normalization_ops() -> list[OpCase]:
    rows = []
    for label, shape, axes in (
        ("first", (MANY, 2), (0,)),
        ("last", (2, MANY), (-1,)),
        ("middle", (2, MANY, 2), (1,)),
        ("two", (MANY, 2, 2), (0, 2)),
    ):
        inverse = tuple(
            1 if i in {a % len(shape) for a in axes} else n for i, n in enumerate(shape)
        )
        for center in (True, False):
            options: dict[str, Any] = {"axes": axes, "center": center}
            name = f"{label} center={center}"
            row = _normal(normalization.standardize, name, shape, epsilon=0.1, **options)
            rows.append(dataclasses.replace(row, half_bound=_CHAIN))
            rows.append(
                OpCase(
                    normalization.standardize_gradient,
                    None,
                    [("normal", shape), ("normal", shape), ((0.5, 1.0), inverse)],
                    name,
                    options,
                    half_bound=_CHAIN,
                )
            )
    rows += [
        dataclasses.replace(
            _op(layer_norm.standardize_and_scale, "rows", (2, MANY), (MANY,), (MANY,), epsilon=0.1),
            half_bound=_CHAIN,
        ),
        *(
            dataclasses.replace(
                _op(batch_norm.batch_norm, label, shape, shape[1:2], shape[1:2], epsilon=0.1),
                half_bound=_CHAIN,
            )
            for label, shape in {
                "features": (MANY, 2),
                "batch": (MANY, 2, 1, 2),
                "places": (2, 2, MANY),
            }.items()
        ),
        _op(normalization.scale_and_shift, "rows", (SOME, 3), (3,), (3,)),
        _op(normalization.scale_and_shift, "channels", (2, 3, 64, 128), (3, 1, 1), (3, 1, 1)),
        _op(normalization.scale_and_shift, "features", (2, MANY), (MANY,), (MANY,)),
        _op(normalization.scale_and_shift, "scalar bias", (SOME, 2), (2,), ()),
        dataclasses.replace(
            _op(normalization.moving_average, "many", (MANY,), (MANY,), momentum=0.3),
            half_bound=_CHAIN,
        ),
    ]
    return rows


def _dropout(x: Any, p: float) -> Any:
    return dropout.dropout(x, p, np.random.default_rng(0))


_OPS = [
    _op(linear.linear, "batch", (SOME, 2), (2, 3), (3,)),
    _op(linear.linear, "sequences", (2, SOME, 2), (2, 3), (3,)),
    _op(linear.linear, "features", (2, SOME), (SOME, 3), (3,)),
    _op(linear.linear, "vector", (SOME,), (SOME, 3), (3,)),
    *(
        OpCase(function, None, [("normal", (MANY,))], "many", options, half_bound=bound)
        for function, options, bound in (
            (activations.leaky_relu, {"alpha": 0.1}, 2e-3),
            (activations.elu, {"alpha": 1.0}, 2e-3),
            (activations.silu, {}, _CHAIN),
            (gelu.gelu, {}, _CHAIN),
            (gelu.gelu_tanh, {}, _CHAIN),
        )
    ),
    OpCase(gelu.gelu_gradient, None, [("normal", (MANY,))] * 2, "many", half_bound=_CHAIN),
    OpCase(_dropout, None, [("normal", (MANY,))], "many", {"p": 0.4}, name="dropout"),
    *_convolution_ops(),
    *_pooling_ops(),
    *_normalization_ops(),
    _op(embedding.embedding_lookup, "one token", (3, 2), np.zeros(SOME, int)),
    _op(embedding.embedding_lookup, "sequences", (3, 2), np.arange(SOME).reshape(2, -1) % 2),
    _op(embedding.embedding_scatter, "one token", (SOME, 2), np.zeros(SOME, int), vocab_size=3),
    _op(
        embedding.embedding_scatter,
        "sequences",
        (2, SOME, 2),
        np.arange(2 * SOME).reshape(2, -1) % 2,
        vocab_size=3,
    ),
]

HALF = [*_LAYERS, *_OPS]
