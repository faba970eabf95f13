"""The rows of the operations, and of their kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nn_layers.ops import (
    activations,
    batch_norm,
    conv2d,
    conv2d_relu,
    dropout,
    embedding,
    gelu,
    im2col,
    layer_norm,
    linear,
    normalization,
    normalization_by_channel,
    normalization_by_row,
    pooling,
)
from nn_layers.ops.windows import Windows
from nn_tensor.testing import KernelCase, OpCase

from . import references

Generator = np.random.Generator
Array = np.ndarray[Any, Any]

# batch, channels, outputs, size, windows, groups
CONVOLUTIONS: dict[str, tuple[int, int, int, tuple[int, int], Windows, int]] = {
    "": (2, 3, 4, (4, 5), Windows((3, 3)), 1),
    "padded": (2, 1, 2, (4, 3), Windows((3, 3), (1, 1), (1, 1, 1, 1)), 1),
    "one side padded": (1, 2, 2, (3, 4), Windows((2, 3), (1, 1), (0, 1, 1, 2)), 1),
    "strided and dilated": (1, 2, 2, (7, 6), Windows((2, 3), (2, 2), (1, 1, 2, 2), (3, 2)), 1),
    "groups": (2, 4, 6, (3, 4), Windows((2, 2), (1, 1), (1, 0, 1, 0)), 2),
    "depthwise": (2, 3, 3, (5, 5), Windows((3, 3), (2, 2), (1, 1, 1, 1)), 3),
    "1×1": (2, 3, 4, (3, 2), Windows((1, 1)), 1),
    "by rows": (2, 17, 2, (4, 4), Windows((3, 3), (1, 1), (1, 1, 1, 1)), 1),
    "no images": (0, 2, 3, (4, 4), Windows((3, 3)), 1),
}

# A GPU adds the 153 products of a window one after the other.
CONVOLUTION_TOLERANCES: dict[str, dict[str, float]] = {"by rows": {"float32": 1e-5}}

# shape, windows
POOLINGS: dict[str, tuple[tuple[int, ...], Windows]] = {
    "": ((2, 3, 4, 6), Windows((2, 2), (2, 2))),
    "overlapping": ((1, 2, 6, 5), Windows((3, 3), (2, 2))),
    "padded": ((2, 2, 5, 4), Windows((3, 2), (2, 2), (1, 1, 1, 1))),
    "gaps": ((2, 1, 5, 7), Windows((2, 2), (3, 4))),
    "dilated": ((1, 2, 7, 8), Windows((3, 2), (2, 1), (2, 2, 1, 1), (2, 3))),
    "many elements": ((1, 1, 19, 18), Windows((18, 16), (1, 2))),
    "no images": ((0, 2, 4, 4), Windows((2, 2), (2, 2))),
    "no channels": ((2, 0, 4, 4), Windows((2, 2), (2, 2))),
}


def _output_shape(shape: tuple[int, ...], windows: Windows) -> tuple[int, ...]:
    return *shape[:2], *windows.output_size((shape[2], shape[3]))


def _pooled(size: tuple[int, int], groups: int) -> Windows:
    """Return windows of maxima: those of 2×2 that a convolution pools, or others."""
    if min(size) < 2 or groups == 2:
        return Windows((3, 2), (2, 1), (1, 1, 1, 0))
    return Windows((2, 2), (2, 2))


def _away_from_zero(x: Any, w: Any, windows: Windows, groups: int) -> Any:
    """Return a function that draws images, weights, and a bias with which no output is near 0."""

    def draw(rng: Generator) -> list[Any]:
        images, weights = rng.normal(size=x), rng.normal(size=w)
        outputs = references.conv2d(images, weights, 0.0, windows, groups)
        rows = np.sort(outputs.swapaxes(0, 1).reshape(len(weights), -1))
        if not rows.size:
            return [images, weights, np.zeros(len(weights))]
        gap = np.diff(rows).argmax(1)[:, None]
        ends = (np.take_along_axis(rows, gap + i, 1) for i in (0, 1))
        return [images, weights, -sum(ends)[:, 0] / 2]

    return draw


def _of_convolutions() -> list[OpCase]:
    rows = []
    for label, (n, c, o, size, windows, groups) in CONVOLUTIONS.items():
        x, w = ("normal", (n, c, *size)), ("normal", (o, c // groups, *windows.kernel))
        g = ("normal", (n, o, *windows.output_size(size)))
        options = {"windows": windows, "groups": groups}
        pooled = _pooled(windows.output_size(size), groups)
        away = _away_from_zero(x[1], w[1], windows, groups)
        for op, inputs, more in (
            (conv2d.conv2d, (x, w, ("normal", (o,))), {}),
            (conv2d_relu.conv2d_relu, away, {}),
            (conv2d_relu.conv2d_max_pool2d_relu, away, {"pooled": pooled}),
            (conv2d.conv2d_input_gradient, (g, w), {"size": size}),
            (conv2d.conv2d_weight_gradient, (x, g), {}),
        ):
            reference = getattr(references, op.__name__)
            tolerances = CONVOLUTION_TOLERANCES.get(label, {})
            settings = {**options, **more}
            rows.append(OpCase(op, reference, inputs, label, settings, tolerances=tolerances))
        rows.append(OpCase(conv2d.conv2d_bias_gradient, lambda g: g.sum((0, 2, 3)), (g,), label))
    return rows


def _index(shape: tuple[int, ...], windows: Windows) -> Array:
    """Return for each window the index of an element that is not padding, as pooling keeps it."""
    x = np.random.default_rng(0).normal(size=shape)
    return np.asarray(pooling.max_pool2d_forward(np, x, windows)[1])


def _of_poolings() -> list[OpCase]:
    rows = []
    for label, (shape, windows) in POOLINGS.items():
        size = shape[2:]
        x, g = ("distinct", shape), ("normal", _output_shape(shape, windows))
        index = _index(shape, windows)
        for op, inputs, options in (
            (pooling.max_pool2d, [x], {}),
            (pooling.max_unpool2d, [g, index], {"size": size}),
            (pooling.gather_by_window_index, [x, index], {}),
            (pooling.avg_pool2d, [x], {}),
            (pooling.avg_pool2d_gradient, [g], {"size": size}),
        ):
            reference = getattr(references, op.__name__)
            rows.append(OpCase(op, reference, inputs, label, {**options, "windows": windows}))
    return rows


def _inverse_of(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    reduced = {axis % len(shape) for axis in axes}
    return "positive", tuple(1 if i in reduced else n for i, n in enumerate(shape))


_NORMALIZATIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool]] = {
    "": ((3, 5), (-1,), True),
    "vector": ((5,), (-1,), True),
    "without mean": ((2, 3, 4), (-1,), False),
    "two axes": ((2, 3, 4), (-2, -1), True),
    "first axes": ((3, 4, 2), (0, 2), True),
    "first axes without mean": ((3, 4), (0,), False),
    "long rows": ((2, 5000), (-1,), True),
    "no rows": ((0, 5), (-1,), True),
    "of nothing": ((3, 0), (-1,), True),
}


def _of_normalizations() -> list[OpCase]:
    rows = []
    for label, (shape, axes, center) in _NORMALIZATIONS.items():
        x = ("normal", shape)
        skip = {}
        if 0 in axes:
            skip["memory_layout broadcast"] = "a variance of 0 has no derivative of its root"
        options = {"axes": axes, "center": center}
        rows += [
            OpCase(
                normalization.standardize,
                references.standardize,
                [x],
                label,
                {**options, "epsilon": 0.1},
                skip=skip,
            ),
            OpCase(
                normalization.standardize_gradient,
                references.standardize_gradient,
                [x, x, _inverse_of(shape, axes)],
                label,
                options,
            ),
        ]
    return rows


_TOKENS = np.array([[1, 4, 4, 0], [3, 0, 2, 4]])


def _dropout(x: Any, p: float) -> Any:
    return dropout.dropout(x, p, np.random.default_rng(0))


OPS = [
    *(
        OpCase(linear.linear, lambda x, w, b: x @ w + b, tuple(("normal", s) for s in shapes), name)
        for name, shapes in {
            "": ((3, 4), (4, 2), (2,)),
            "vector": ((4,), (4, 2), (2,)),
            "more dimensions": ((2, 3, 4), (4, 2), (2,)),
            "no rows": ((0, 4), (4, 2), (2,)),
            "no features": ((3, 0), (0, 2), (2,)),
            "no rows, more dimensions": ((2, 0, 4), (4, 2), (2,)),
        }.items()
    ),
    *(
        OpCase(op, reference, [("nonzero", (3, 4))], label, options, elementwise=True)
        for op, reference, label, options in (
            (activations.leaky_relu, references.leaky_relu, "", {"alpha": 0.1}),
            (activations.leaky_relu, references.leaky_relu, "steep", {"alpha": -2.0}),
            (activations.elu, references.elu, "", {"alpha": 1.0}),
            (activations.elu, references.elu, "flat", {"alpha": 0.5}),
            (activations.silu, references.silu, "", {}),
            (gelu.gelu, references.gelu, "", {}),
            (gelu.gelu_tanh, references.gelu_tanh, "", {}),
        )
    ),
    OpCase(gelu.gelu_gradient, references.gelu_gradient, [("normal", (3, 4))] * 2),
    *(
        OpCase(
            _dropout,
            lambda x, p: x * _dropout(np.ones_like(x), p),
            [("normal", shape)],
            label,
            {"p": p},
            name="dropout",
        )
        for label, shape, p in (
            ("", (3, 4), 0.4),
            ("0-d", (), 0.4),
            ("empty", (0, 4), 0.4),
            ("of all", (3, 4), 1.0),
            ("of none", (3, 4), 0.0),
        )
    ),
    *_of_convolutions(),
    *(
        OpCase(
            lambda x, w, windows: conv2d.conv2d(x, w, 0.0, windows),
            lambda x, w, windows: references.conv2d(x, w, 0.0, windows),
            [("normal", (2, 3, 4, 5)), ("normal", (2, 3, 3, 3))],
            "without bias",
            {"windows": windows},
            name="conv2d",
        )
        for windows in [Windows((3, 3))]
    ),
    *_of_poolings(),
    *_of_normalizations(),
    OpCase(
        normalization.moving_average,
        lambda value, average, momentum: average + momentum * (value - average),
        [("normal", (7,)), ("normal", (7,))],
        options={"momentum": 0.3},
    ),
    *(
        OpCase(
            normalization.scale_and_shift,
            lambda x, w, b: x * w + b,
            tuple(("normal", s) for s in shapes),
            label,
        )
        for label, shapes in {
            "": ((3, 4), (4,), (4,)),
            "two axes": ((2, 3, 4), (3, 4), (3, 4)),
            "channels": ((2, 3, 4, 2), (3, 1, 1), (3, 1, 1)),
            "scalar bias": ((3, 4), (4,), ()),
            "no rows": ((0, 4), (4,), (4,)),
            "of nothing": ((3, 0), (0,), (0,)),
        }.items()
    ),
    *(
        OpCase(
            layer_norm.standardize_and_scale,
            references.standardize_and_scale,
            tuple(("normal", s) for s in (shape, *parameters)),
            label,
            {"epsilon": 0.1, "center": center},
        )
        for label, (shape, *parameters), center in (
            ("", ((3, 4), (4,), (4,)), True),
            ("two axes", ((2, 3, 4), (3, 4), (3, 4)), True),
            ("no mean", ((2, 3, 4), (4,), (4,)), False),
            ("no rows", ((0, 4), (4,), (4,)), True),
        )
    ),
    *(
        OpCase(
            batch_norm.batch_norm,
            references.batch_norm,
            [("normal", shape), ("normal", shape[1:2]), ("normal", shape[1:2])],
            label,
            {"epsilon": 0.1},
            skip={"memory_layout broadcast": "a variance of 0 has no derivative of its root"},
        )
        for label, shape in {
            "": (4, 3),
            "images": (2, 3, 4, 2),
            "sequences": (2, 3, 5),
            "large planes": (2, 2, 50, 60),
            "no samples": (0, 3, 4),
            "no places": (2, 3, 0),
            "no channels": (2, 0, 4),
        }.items()
    ),
    OpCase(
        lambda x, w: layer_norm.standardize_and_scale(x, w, 0.0, 0.1),
        lambda x, w: references.standardize_and_scale(x, w, 0.0, 0.1),
        [("normal", (3, 4)), ("normal", (4,))],
        "without bias",
        name="standardize_and_scale",
    ),
    OpCase(
        lambda x, w: normalization.scale_and_shift(x, w, 0.0),
        lambda x, w: x * w,
        [("normal", (3, 4)), ("normal", (4,))],
        "without bias",
        name="scale_and_shift",
    ),
    *(
        OpCase(embedding.embedding_lookup, lambda w, t: w[t], [("normal", (5, 3)), tokens], label)
        for label, tokens in {
            "": _TOKENS,
            "one token": np.array(3),
            "bytes": _TOKENS.astype(np.uint8),
            "no tokens": _TOKENS[:0],
        }.items()
    ),
    OpCase(
        embedding.embedding_lookup,
        lambda w, t, padding_idx: w[t],
        [("normal", (5, 3)), _TOKENS],
        "padding",
        {"padding_idx": 4},
        skip=dict.fromkeys(
            ("gradients", "memory_layout broadcast"), "the row of the padding gets no gradient"
        ),
    ),
    *(
        OpCase(
            embedding.embedding_scatter,
            lambda g, t, vocab_size: np.einsum(
                "nj,nv->vj",
                g.reshape(-1, 3),
                (t.reshape(-1, 1) == np.arange(vocab_size)).astype(g.dtype),
            ),
            [("normal", (*tokens.shape, 3)), tokens],
            label,
            {"vocab_size": 5},
        )
        for label, tokens in {"": _TOKENS, "one token": np.array(3), "none": _TOKENS[:0]}.items()
    ),
]


def _columns(
    shape: tuple[int, ...], windows: Windows, first: int
) -> Callable[[Generator], list[Any]]:
    n, c, height, width = shape
    rows, columns = windows.output_size((height - first, width))
    target = (c, *windows.kernel, rows, n, columns)

    def draw(rng: Generator) -> list[Any]:
        return [
            rng.normal(size=target),
            rng.normal(size=shape),
            first,
            windows.stride,
            windows.dilation,
        ]

    return draw


def _of_columns() -> list[KernelCase]:
    rows = []
    for label, shape, windows, first in (
        ("", (2, 3, 5, 6), Windows((3, 2)), 0),
        ("from a row", (2, 3, 5, 6), Windows((3, 2)), 2),
        ("strided", (1, 2, 7, 8), Windows((2, 3), (2, 3)), 1),
        ("dilated", (2, 1, 8, 7), Windows((2, 3), (1, 2), dilation=(3, 2)), 0),
        ("1×1", (3, 2, 3, 3), Windows((1, 1)), 0),
        ("no images", (0, 2, 3, 3), Windows((2, 2)), 0),
    ):
        draw = _columns(shape, windows, first)
        rows.append(KernelCase(im2col.im2col, None, draw, label))

        def swapped(rng: Generator, draw: Any = draw) -> list[Any]:
            columns, padded, *rest = draw(rng)
            return [padded, columns, *rest]

        rows.append(KernelCase(im2col.col2im, None, swapped, label))
    return rows


def _of_convolution_kernels() -> list[KernelCase]:
    rows = []
    for label, (n, c, o, size, windows, groups) in CONVOLUTIONS.items():
        x, w = (n, c, *size), (o, c // groups, *windows.kernel)
        g = (n, o, *windows.output_size(size))
        pooled = _pooled(windows.output_size(size), groups)
        for kernel, shapes, options in (
            (conv2d.conv2d_forward, (x, w, (o,)), (windows, groups)),
            (conv2d_relu.conv2d_relu_forward, (x, w, (o,)), (windows, groups)),
            (conv2d_relu.conv2d_max_pool2d_relu_forward, (x, w, (o,)), (windows, groups, pooled)),
            (conv2d.conv2d_backward_input, (g, w), (size, windows, groups)),
            (conv2d.conv2d_backward_weight, (x, g), (windows, groups)),
            (conv2d.conv2d_backward_bias, (g,), ()),
        ):

            def draw(rng: Generator, shapes: Any = shapes, options: Any = options) -> list[Any]:
                return [*(rng.normal(size=shape) for shape in shapes), *options]

            tolerances = CONVOLUTION_TOLERANCES.get(label, {})
            rows.append(KernelCase(kernel, None, draw, label, tolerances=tolerances))
    return rows


def _of_pooling_kernels() -> list[KernelCase]:
    rows = []
    for label, (shape, windows) in POOLINGS.items():
        output = _output_shape(shape, windows)

        def forward(rng: Generator, shape: Any = shape, windows: Any = windows) -> list[Any]:
            x = rng.integers(-9, 9, shape).astype(float)  # with ties
            x[rng.random(shape) < 0.1] = np.nan
            return [x, windows]

        def backward(
            rng: Generator, shape: Any = shape, windows: Any = windows, output: Any = output
        ) -> list[Any]:
            return [rng.normal(size=output), _index(shape, windows), np.empty(shape), windows]

        def average(rng: Generator, shape: Any = shape, windows: Any = windows) -> list[Any]:
            return [rng.normal(size=shape), windows]

        def spread(
            rng: Generator, shape: Any = shape, windows: Any = windows, output: Any = output
        ) -> list[Any]:
            return [rng.normal(size=output), np.empty(shape), windows]

        rows.append(KernelCase(pooling.avg_pool2d_forward, None, average, label))
        rows.append(KernelCase(pooling.avg_pool2d_backward, None, spread, label))
        rows.append(KernelCase(pooling.max_pool2d_forward, None, forward, label))
        rows.append(KernelCase(pooling.max_pool2d_backward, None, backward, label))
    return rows


def _saturating(rng: Generator, size: int) -> Array:
    """Return values of which some are far out, infinite, or NaN."""
    x = rng.normal(0, 3, size)
    x[: size // 2] *= 10
    x[: min(size, 4)] = (np.inf, -np.inf, 0, np.nan)[:size]
    return x


def _gelu_forward(size: int) -> Callable[[Generator], list[Any]]:
    return lambda rng: [_saturating(rng, size), np.empty(size), []]


def _gelu_backward(size: int, keep: bool) -> Callable[[Generator], list[Any]]:
    def draw(rng: Generator) -> list[Any]:
        x = _saturating(rng, size)
        slope = references.gelu_gradient(np.ones(size), x.clip(-40, 40)) if keep else None
        return [rng.normal(size=size), x, slope, np.empty(size)]

    return draw


def _rows(count: int, length: int, *more: Any, gain: float = 1) -> Callable[[Generator], list[Any]]:
    return lambda rng: [gain + gain * rng.normal(size=(count, length)), *more]


_MATRICES = {
    "": (5, 7),
    "one row": (1, 9),
    "one column": (4, 1),
    "one vector": (40, 16),
    "a vector and more": (40, 27),
    "several warps": (6, 70),
    "long": (3, 5000),
}


def _scatter(
    vocab_size: int, count: int, dtype: Any, length: int = 3
) -> Callable[[Generator], list[Any]]:
    return lambda rng: [
        rng.normal(size=(count, length)),
        rng.integers(0, vocab_size, count).astype(dtype),
        vocab_size,
    ]


def _of_channel_kernels() -> list[KernelCase]:
    rows = []
    shapes = {"": (3, 4, 5), "one": (1, 1, 1), "large": (5, 13, 217), "long": (70, 2, 241)}
    for label, shape in shapes.items():
        images, vector = ("normal", shape), ("positive", (shape[1],))
        for kernel, inputs in (
            (normalization_by_channel.batch_norm_forward, [images, vector, vector, 0.1]),
            (
                normalization_by_channel.batch_norm_backward,
                [images, images, vector, vector, vector],
            ),
            (normalization_by_channel.batch_scale_forward, [images, vector, vector]),
            (normalization_by_channel.batch_scale_backward, [images, images, vector]),
        ):
            tolerances = {"float32": 1e-4, "float64": 1e-11}  # sums of 1,000 numbers near 0
            rows.append(KernelCase(kernel, inputs=inputs, label=label, tolerances=tolerances))
    vector = ("normal", (7,))
    rows.append(KernelCase(normalization.moving_average_forward, inputs=[vector, vector, 0.3]))
    return rows


KERNELS = [
    *_of_channel_kernels(),
    *_of_columns(),
    *_of_convolution_kernels(),
    *_of_pooling_kernels(),
    *(
        row
        for label, size in {"": 37, "none": 0, "several blocks": 70000}.items()
        for row in (
            KernelCase(gelu.gelu_forward, None, _gelu_forward(size), label),
            KernelCase(gelu.gelu_backward, None, _gelu_backward(size, True), label),
            KernelCase(gelu.gelu_backward, None, _gelu_backward(size, False), f"{label} no slope"),
        )
    ),
    *(
        row
        for label, (count, length) in _MATRICES.items()
        for center in (True, False)
        for row in (
            KernelCase(
                normalization_by_row.layer_norm_forward,
                None,
                _rows(count, length, 0.1, center),
                f"{label} center={center}".strip(),
            ),
            KernelCase(
                normalization_by_row.layer_norm_backward,
                None,
                lambda rng, count=count, length=length, center=center: [
                    rng.normal(size=(count, length)),
                    rng.normal(size=(count, length)),
                    rng.uniform(0.5, 2, (count, 1)),
                    center,
                ],
                f"{label} center={center}".strip(),
            ),
        )
    ),
    *(
        row
        for label, (count, length) in {**_MATRICES, "several parts": (300, 500)}.items()
        for center in (True, False)
        for row in (
            KernelCase(
                layer_norm.standardize_and_scale_forward,
                None,
                lambda rng, count=count, length=length, center=center: [
                    rng.normal(size=(count, length)),
                    rng.normal(size=length),
                    rng.normal(size=length) if center else None,
                    0.1,
                    center,
                ],
                f"{label} center={center}".strip(),
            ),
            KernelCase(
                layer_norm.standardize_and_scale_backward,
                None,
                lambda rng, count=count, length=length, center=center: [
                    rng.normal(size=(count, length)),
                    rng.normal(size=(count, length)),
                    rng.uniform(0.5, 2, (count, 1)),
                    rng.normal(size=length),
                    center,
                ],
                f"{label} center={center}".strip(),
                # sums of numbers near 0
                tolerances={"float32": 2e-4, "float64": 1e-12},
            ),
        )
    ),
    *(
        row
        for label, (count, length) in {**_MATRICES, "many rows": (9000, 3)}.items()
        for row in (
            KernelCase(
                normalization_by_row.scale_and_shift_forward,
                None,
                lambda rng, count=count, length=length: [
                    rng.normal(size=(count, length)),
                    rng.normal(size=length),
                    rng.normal(size=length),
                ],
                label,
            ),
            KernelCase(
                normalization_by_row.scale_and_shift_backward,
                None,
                lambda rng, count=count, length=length: [
                    rng.normal(size=(count, length)),
                    rng.normal(size=(count, length)),
                    rng.normal(size=length),
                ],
                label,
                # sums of 9,000 numbers near 0
                tolerances={"float32": 2e-4, "float64": 1e-12} if count > 1000 else {},
            ),
        )
    ),
    *(
        KernelCase(
            embedding.take_rows,
            None,
            lambda rng, count=count, length=length, shape=shape: [
                rng.normal(size=(count, length)),
                rng.integers(0, count, shape),
            ],
            label,
        )
        for label, count, length, shape in (
            ("", 5, 3, (2, 4)),
            ("none", 5, 3, (0,)),
            ("several parts", 50, 70, (3, 300)),
            ("short rows", 12, 27, (64, 17)),
        )
    ),
    *(
        KernelCase(embedding.segment_sum, None, _scatter(*sizes), label)
        for label, sizes in {
            "": (5, 12, np.int64),
            "bytes": (5, 12, np.uint8),
            "none": (5, 0, np.int64),
            "many": (3, 500, np.int32),
            "one vector": (12, 40, np.int64, 16),
            "a vector and more": (12, 40, np.int64, 27),
        }.items()
    ),
]
