"""The rows of the layers."""

from __future__ import annotations

from typing import Any

import nn_layers as nl
import numpy as np
from nn_layers.ops.windows import Windows
from nn_tensor.testing import LayerCase

from . import references

Array = np.ndarray[Any, Any]

_SIZES: dict[str, Any] = {"invalid": (0, -1, 2.5, "3", None)}
_DEVICES = ("gpu", 1)
_DTYPES = ("int64", "complex64", bool)

_ACTIVATIONS: list[tuple[Any, Any, str, dict[str, Any], dict[str, Any]]] = [
    (nl.ReLU, lambda x: np.maximum(x, 0), "", {}, {}),
    (nl.Tanh, np.tanh, "", {}, {}),
    (nl.Sigmoid, lambda x: 1 / (1 + np.exp(-x)), "", {}, {}),
    (nl.LeakyReLU, references.leaky_relu, "", {}, {"alpha": (np.nan, np.inf, "a", None)}),
    (nl.LeakyReLU, lambda x: np.where(x > 0, x, 2 * x), "steep", {"alpha": 2.0}, {}),
    (nl.ELU, references.elu, "", {}, {"alpha": (np.nan, np.inf, "a", None)}),
    (nl.ELU, lambda x: references.elu(x, 0.5), "flat", {"alpha": 0.5}, {}),
    (nl.GELU, references.gelu, "", {}, {"approximate": ("erf", None)}),
    (nl.GELU, references.gelu_tanh, "tanh", {"approximate": "tanh"}, {}),
    (nl.SiLU, references.silu, "", {}, {}),
    (nl.Softplus, lambda x: np.log1p(np.exp(x)), "", {}, {}),
    (nl.Identity, lambda x: x, "", {}, {}),
]

_NO_BATCH = {"empty_batch": "has no dimension of a batch"}


def _of_activations() -> list[LayerCase]:
    rows = []
    for layer, reference, label, options, invalid in _ACTIVATIONS:
        for kind, shape in {"": (3, 4), "images": (2, 3, 2, 2), "0-d": (), "empty": (2, 0)}.items():
            rows.append(
                LayerCase(
                    layer,
                    reference,
                    [("nonzero", shape)],
                    f"{label} {kind}".strip(),
                    options,
                    invalid={} if kind else {**invalid, "device": ("gpu",)},
                    skip={} if shape else _NO_BATCH,
                )
            )
    for layer, reference in (
        (nl.Softmax, references.softmax),
        (nl.LogSoftmax, lambda x, axis=-1: np.log(references.softmax(x, axis))),
    ):
        rows += [
            LayerCase(layer, reference, [("normal", (3, 4))], invalid={"device": ("gpu",)}),
            LayerCase(layer, reference, [("normal", (5,))], "vector", skip=_NO_BATCH),
            LayerCase(
                layer,
                lambda x, f=reference: f(x, 1),
                [("normal", (2, 3, 4))],
                "axis",
                {"axis": 1},
            ),
            LayerCase(layer, reference, [("normal", (0, 4))], "empty"),
        ]
    return rows


def _conv2d(windows: Windows, groups: int = 1) -> Any:
    return lambda x, w, bias=0.0: references.conv2d(x, w, bias, windows, groups)


_CONVOLUTIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "": ({"kernel_size": 3, "rng": 0}, _conv2d(Windows((3, 3)))),
    "padded": (
        {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
        _conv2d(Windows((3, 2), (2, 1), (1, 1, 0, 0))),
    ),
    "same": (
        {"kernel_size": 2, "padding": "same", "dilation": (1, 3)},
        _conv2d(Windows((2, 2), (1, 1), (0, 1, 1, 2), (1, 3))),
    ),
    "same strided": (
        {"kernel_size": 3, "padding": "same", "stride": 2},
        lambda x, w, bias=0.0: references.conv2d(
            x, w, bias, Windows((3, 3), (2, 2)).padded_same(x.shape[2:]), 1
        ),
    ),
    "groups": (
        {"kernel_size": 2, "groups": 2, "initialization": "he"},
        _conv2d(Windows((2, 2)), 2),
    ),
    "without bias": ({"kernel_size": 3, "bias": False}, _conv2d(Windows((3, 3)))),
}


def _pooled(function: Any, *windows: Any) -> Any:
    return lambda x: function(x, Windows(*windows))


def _of_poolings() -> list[LayerCase]:
    invalid = {
        "kernel_size": (0, 1.5, "2", (1, 2, 3)),
        "stride": (0, -1, (2, 0), 0.5),
        "padding": (-1, 2, "same"),
    }
    rows = []
    for layer, function in (
        (nl.MaxPool2D, references.max_pool2d),
        (nl.AvgPool2D, references.avg_pool2d),
    ):
        rows += [
            LayerCase(
                layer,
                _pooled(function, (2, 2), (2, 2)),
                [("distinct", (2, 3, 4, 5))],
                invalid=invalid,
            ),
            LayerCase(
                layer,
                _pooled(function, (3, 2), (1, 2), (1, 1, 1, 1)),
                [("distinct", (2, 2, 5, 4))],
                "padded",
                {"kernel_size": (3, 2), "stride": (1, 2), "padding": 1},
            ),
            LayerCase(
                layer,
                _pooled(function, (3, 3), (3, 3)),
                [("distinct", (1, 2, 7, 6))],
                "disjoint",
                {"kernel_size": 3, "stride": None},
            ),
        ]
    return rows


def _layer_norm(axes: tuple[int, ...], epsilon: float = 1e-5, center: bool = True) -> Any:
    return lambda x, w=1.0, b=0.0: references.standardize(x, axes, epsilon, center) * w + b


def _group_norm(x: Array, w: Array, b: Array, groups: int) -> Array:
    normal = references.standardize(x.reshape(len(x), groups, -1), (-1,), 0.1).reshape(x.shape)
    return normal * references.channels(w, x.ndim) + references.channels(b, x.ndim)


def _batch_norm(x: Array, w: Any = 1.0, b: Any = 0.0) -> Array:
    w, b = (references.channels(np.asarray(v), x.ndim) for v in (w, b))
    return references.standardize(x, (0, *range(2, x.ndim)), 0.1) * w + b


_MEAN, _VARIANCE = np.array([-1.0, 0.5, 2.0]), np.array([0.5, 1.0, 4.0])


def _after_training(layer: Any) -> Any:
    """Return a function that makes a layer with running statistics other than the first ones."""

    def build(**options: Any) -> Any:
        made = layer(3, **options)
        statistics = {"running_mean": _MEAN, "running_var": _VARIANCE, "num_batches_tracked": 7}
        made.load_state_dict({**made.state_dict(), **statistics})
        return made

    return build


def _by_running_statistics(x: Array, w: Any = 1.0, b: Any = 0.0) -> Array:
    mean, variance, w, b = (
        references.channels(np.asarray(v), x.ndim) for v in (_MEAN, _VARIANCE, w, b)
    )
    return (x - mean) / np.sqrt(variance + 0.1) * w + b


_NO_VARIANCE = {"memory_layout broadcast": "equal values have a variance of 0"}
_EPSILONS = (-1.0, np.nan, "small")


def _of_normalizations() -> list[LayerCase]:
    rows = [
        LayerCase(
            nl.LayerNorm,
            _layer_norm((-1,)),
            [("normal", (3, 5))],
            "",
            {"normalized_shape": 5},
            invalid={
                "normalized_shape": (0, (), (2, 0), 1.5, "5"),
                "epsilon": _EPSILONS,
                "dtype": _DTYPES,
                "device": _DEVICES,
            },
        ),
        LayerCase(
            nl.LayerNorm,
            _layer_norm((-2, -1), 0.1),
            [("normal", (2, 2, 3, 4))],
            "two axes",
            {"normalized_shape": (3, 4), "epsilon": 0.1},
        ),
        LayerCase(
            nl.LayerNorm,
            _layer_norm((-1,), 0.1),
            [("normal", (3, 5))],
            "without bias",
            {"normalized_shape": 5, "epsilon": 0.1, "bias": False},
        ),
        LayerCase(
            nl.LayerNorm,
            _layer_norm((-1,), 0.1),
            [("normal", (3, 5))],
            "without parameters",
            {"normalized_shape": 5, "epsilon": 0.1, "affine": False},
        ),
        LayerCase(
            nl.RMSNorm,
            _layer_norm((-1,), 0.1, center=False),
            [("normal", (2, 3, 5))],
            "",
            {"normalized_shape": 5, "epsilon": 0.1},
            invalid={
                "normalized_shape": (0, (), (2, 0), 1.5, "5"),
                "epsilon": _EPSILONS,
                "dtype": _DTYPES,
                "device": _DEVICES,
            },
        ),
        LayerCase(
            nl.RMSNorm,
            _layer_norm((-2, -1), 0.1, center=False),
            [("normal", (2, 3, 4))],
            "two axes",
            {"normalized_shape": [3, 4], "epsilon": 0.1, "affine": False},
        ),
    ]
    for label, shape, groups in (
        ("", (2, 6, 4), 2),
        ("one group", (3, 4), 1),
        ("instances", (2, 3, 2, 3), 3),
    ):
        rows.append(
            LayerCase(
                nl.GroupNorm,
                lambda x, w, b, groups=groups: _group_norm(x, w, b, groups),
                [("normal", shape)],
                label,
                {"num_groups": groups, "num_channels": shape[1], "epsilon": 0.1},
                invalid={}
                if label
                else {
                    "num_groups": (0, 4, 1.5, "2"),
                    "num_channels": (0, 5, 1.5, "6"),
                    "epsilon": _EPSILONS,
                    "dtype": _DTYPES,
                    "device": _DEVICES,
                },
            )
        )
    batch = {"num_features": 3, "epsilon": 0.1}
    invalid = {
        "num_features": (0, 1.5, "3"),
        "epsilon": _EPSILONS,
        "momentum": (-0.1, 1.1, np.nan, "m"),
        "dtype": _DTYPES,
        "device": _DEVICES,
    }
    for layer, shapes in (
        (nl.BatchNorm1D, {"": (6, 3), "sequences": (4, 3, 5)}),
        (nl.BatchNorm2D, {"": (2, 3, 4, 5)}),
    ):
        for label, shape in shapes.items():
            more: dict[str, Any] = {"invalid": {} if label else invalid}
            if len(shape) == 2:
                more["skip"] = _NO_VARIANCE
            x = [("normal", shape)]
            rows += [
                LayerCase(layer, _batch_norm, x, label, batch, **more),
                LayerCase(
                    _after_training(layer),
                    _by_running_statistics,
                    x,
                    f"{label} evaluated".strip(),
                    {"epsilon": 0.1},
                    name=layer.__name__,
                    training=False,
                ),
            ]
        rows.append(
            LayerCase(
                layer,
                _batch_norm,
                [("normal", shape)],
                "without parameters",
                {**batch, "affine": False, "momentum": None},
            )
        )
    return rows


def _of_rows(reference: Any, *rest: Any) -> Any:
    """Return the reference of sequences from that of images with one row."""

    def of_sequences(x: Array, *parameters: Array) -> Array:
        kernels = [p[:, :, None] if p.ndim == 3 else p for p in parameters]
        return np.asarray(reference(x[:, :, None], *kernels, *rest))[:, :, 0]

    return of_sequences


def _of_sequences() -> list[LayerCase]:
    rows = []
    convolutions: dict[str, tuple[dict[str, Any], Windows, int]] = {
        "": ({"kernel_size": 3, "rng": 0}, Windows((1, 3)), 1),
        "strided": (
            {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 2},
            Windows((1, 2), (1, 2), (0, 0, 1, 1), (1, 2)),
            1,
        ),
        "same": (
            {"kernel_size": 2, "padding": "same", "dilation": 3},
            Windows((1, 2), padding=(0, 0, 1, 2), dilation=(1, 3)),
            1,
        ),
        "same strided": (
            {"kernel_size": 4, "padding": "same", "stride": 3},
            Windows((1, 4), (1, 3)).padded_same((1, 7)),
            1,
        ),
        "causal groups": (
            {"kernel_size": 3, "padding": "causal", "groups": 2},
            Windows((1, 3), padding=(0, 0, 2, 0)),
            2,
        ),
        "without bias": ({"kernel_size": 3, "bias": False}, Windows((1, 3)), 1),
    }
    for label, (options, windows, groups) in convolutions.items():
        rows.append(
            LayerCase(
                nl.Conv1D,
                _of_rows(_conv2d(windows, groups)),
                [("normal", (2, 2, 7))],
                label,
                {"in_channels": 2, "out_channels": 4, **options},
                tolerances={"float16": 1e-2},
                invalid={}
                if label
                else {
                    "in_channels": _SIZES["invalid"],
                    "out_channels": _SIZES["invalid"],
                    "kernel_size": _SIZES["invalid"],
                    "stride": _SIZES["invalid"],
                    "padding": (-1, 1.5, "full"),
                    "dilation": _SIZES["invalid"],
                    "groups": (0, 3, 1.5),
                    "initialization": ("hé", None),
                    "device": _DEVICES,
                    "dtype": _DTYPES,
                    "rng": ("seed", 1.5),
                },
            )
        )
    for layer, function in (
        (nl.MaxPool1D, references.max_pool2d),
        (nl.AvgPool1D, references.avg_pool2d),
    ):
        rows += [
            LayerCase(
                layer,
                _of_rows(_pooled(function, (1, 2), (1, 2))),
                [("distinct", (2, 3, 7))],
                invalid={
                    "kernel_size": (0, 1.5, "2"),
                    "stride": (0, -1, 0.5),
                    "padding": (-1, 2, "same"),
                },
            ),
            LayerCase(
                layer,
                _of_rows(_pooled(function, (1, 3), (1, 1), (0, 0, 1, 1))),
                [("distinct", (2, 2, 5))],
                "padded",
                {"kernel_size": 3, "stride": 1, "padding": 1},
            ),
            LayerCase(
                layer,
                _of_rows(_pooled(function, (1, 3), (1, 3))),
                [("distinct", (1, 2, 8))],
                "disjoint",
                {"kernel_size": 3, "stride": None},
            ),
        ]
    rows += [
        LayerCase(nl.GlobalAvgPool1D, lambda x: x.mean(2), [("normal", (2, 3, 5))]),
        LayerCase(nl.GlobalMaxPool1D, lambda x: x.max(2), [("distinct", (2, 3, 5))]),
        LayerCase(nl.GlobalMaxPool2D, lambda x: x.max((2, 3)), [("distinct", (2, 3, 4, 5))]),
    ]
    return rows


def _transposed(windows: Windows, output_padding: int = 0, groups: int = 1) -> Any:
    """Return the sum over all windows, with what is cut off and added at the sides."""

    def reference(x: Array, w: Array, bias: Any = 0.0) -> Array:
        (kh, kw), (sh, sw), (dh, dw) = windows.kernel, windows.stride, windows.dilation
        n, c, height, width = x.shape
        outputs = w.shape[1]
        rows, columns = (height - 1) * sh + dh * (kh - 1) + 1, (width - 1) * sw + dw * (kw - 1) + 1
        full = np.zeros((n, groups * outputs, rows + output_padding, columns + output_padding))
        for channel in range(c):
            first = channel // (c // groups) * outputs
            for p in range(height):
                for q in range(width):
                    for i in range(kh):
                        for j in range(kw):
                            full[:, first : first + outputs, p * sh + i * dh, q * sw + j * dw] += (
                                x[:, channel, p, q, None] * w[channel, :, i, j]
                            )
        top, _, left, _ = windows.padding
        cut = full[:, :, top : full.shape[2] - top, left : full.shape[3] - left]
        return cut + (bias if isinstance(bias, float) else bias[:, None, None])

    return reference


def _bilinear(x: Array, scale: int, align_corners: bool) -> Array:
    """Interpolate along one axis after the other with `np.interp`."""
    for axis in (2, 3):
        size = x.shape[axis]
        count = size * scale
        positions = (np.arange(count) + 0.5) / scale - 0.5
        if align_corners:
            positions = np.linspace(0, size - 1, count)
        x = np.apply_along_axis(
            lambda v, at=positions: np.interp(at, np.arange(len(v)), v), axis, x
        )
    return x


def _of_enlarged_images() -> list[LayerCase]:
    rows = []
    for label, options, reference in (
        ("", {"kernel_size": 3, "rng": 0}, _transposed(Windows((3, 3)))),
        (
            "strided",
            {"kernel_size": 4, "stride": 2, "padding": 1},
            _transposed(Windows((4, 4), (2, 2), (1, 1, 1, 1))),
        ),
        (
            "output padding",
            {"kernel_size": 3, "stride": (2, 3), "padding": (1, 0), "output_padding": 1},
            _transposed(Windows((3, 3), (2, 3), (1, 1, 0, 0)), 1),
        ),
        (
            "dilated groups",
            {"kernel_size": 2, "dilation": 2, "groups": 2},
            _transposed(Windows((2, 2), dilation=(2, 2)), 0, 2),
        ),
        ("without bias", {"kernel_size": 2, "bias": False}, _transposed(Windows((2, 2)))),
    ):
        rows.append(
            LayerCase(
                nl.ConvTranspose2D,
                reference,
                [("normal", (2, 2, 3, 4))],
                label,
                {"in_channels": 2, "out_channels": 4, **options},
                tolerances={"float16": 1e-2},
                invalid={}
                if label
                else {
                    "in_channels": _SIZES["invalid"],
                    "out_channels": _SIZES["invalid"],
                    "kernel_size": (0, 1.5, "2", (1, 2, 3)),
                    "stride": (0, -1, (2, 0), 0.5),
                    "padding": (-1, "same", 1.5),
                    "output_padding": (-1, 1, 1.5),
                    "dilation": (0, (2, 0), 0.5),
                    "groups": (0, 3, 1.5),
                    "initialization": ("hé", None),
                    "device": _DEVICES,
                    "dtype": _DTYPES,
                    "rng": ("seed", 1.5),
                },
            )
        )
    rows += [
        LayerCase(
            nl.Upsample,
            lambda x: x.repeat(3, 2).repeat(2, 3),
            [("normal", (2, 3, 2, 4))],
            "",
            {"scale": (3, 2)},
            invalid={
                "scale": (0, 1.5, "2"),
                "mode": ("cubic", None),
                "align_corners": (True, "yes"),
            },
        ),
        *(
            LayerCase(
                nl.Upsample,
                lambda x, align=align: _bilinear(x, 3, align),
                [("normal", (2, 2, 3, 4))],
                f"bilinear {align}",
                {"scale": 3, "mode": "bilinear", "align_corners": align},
            )
            for align in (False, True)
        ),
        LayerCase(
            nl.PReLU,
            lambda x, w: np.where(x > 0, x, w * x),
            [("nonzero", (3, 4))],
            invalid={
                "num_parameters": _SIZES["invalid"],
                "alpha": (np.nan, "a", None),
                "device": _DEVICES,
                "dtype": _DTYPES,
            },
        ),
        LayerCase(
            nl.PReLU,
            lambda x, w: np.where(x > 0, x, w[:, None, None] * x),
            [("nonzero", (2, 3, 2, 2))],
            "channels",
            {"num_parameters": 3, "alpha": 0.1},
        ),
    ]
    return rows


def _mask(shape: tuple[int, ...]) -> Array:
    return nl.Dropout(0.4, rng=0)(np.ones(shape)).numpy()


LAYERS = [
    *_of_activations(),
    *(
        LayerCase(
            nl.Dense,
            lambda x, w, b=0.0: x @ w + b,
            [("normal", shape)],
            label,
            {"input_size": 4, "output_size": 2, "rng": 0, **options},
            invalid={}
            if label
            else {
                "input_size": _SIZES["invalid"],
                "output_size": _SIZES["invalid"],
                "initialization": ("glorot", None),
                "device": _DEVICES,
                "dtype": _DTYPES,
                "rng": ("seed", 1.5),
            },
            skip=_NO_BATCH if len(shape) == 1 else {},
        )
        for label, shape, options in (
            ("", (3, 4), {}),
            ("vector", (4,), {}),
            ("sequences", (2, 3, 4), {}),
            ("without bias", (3, 4), {"bias": False}),
            ("empty", (2, 0, 4), {}),
            ("in float64", (3, 4), {"dtype": "float64", "initialization": "orthogonal"}),
        )
    ),
    *(
        LayerCase(
            nl.Conv2D,
            reference,
            [("normal", (2, 2, 4, 5))],
            label,
            {"in_channels": 2, "out_channels": 4, **options},
            invalid={}
            if label
            else {
                "in_channels": _SIZES["invalid"],
                "out_channels": _SIZES["invalid"],
                "kernel_size": (0, (3, 0), (1, 2, 3), 1.5, "3"),
                "stride": (0, (1, -1), 1.5),
                "padding": (-1, "full", 1.5),
                "dilation": (0, 1.5),
                "groups": (0, 3, 1.5),
                "initialization": ("glorot", None),
                "device": _DEVICES,
                "dtype": _DTYPES,
                "rng": ("seed", 1.5),
            },
        )
        for label, (options, reference) in _CONVOLUTIONS.items()
    ),
    *_of_poolings(),
    LayerCase(nl.GlobalAvgPool2D, lambda x: x.mean((2, 3)), [("normal", (2, 3, 4, 5))]),
    *_of_normalizations(),
    LayerCase(
        nl.Dropout,
        lambda x: x * _mask(x.shape),
        [("normal", (3, 4))],
        "",
        {"p": 0.4, "rng": 0},
        invalid={"p": (-0.1, 1.1, np.nan, "half"), "rng": ("seed", 1.5)},
    ),
    LayerCase(nl.Dropout, lambda x: x, [("normal", (3, 4))], "evaluated", training=False),
    LayerCase(
        nl.Dropout,
        lambda x: x * _mask(x.shape),
        [("normal", ())],
        "0-d",
        {"p": 0.4, "rng": 0},
        skip=_NO_BATCH,
    ),
    *_of_sequences(),
    *_of_enlarged_images(),
    LayerCase(nl.Flatten, lambda x: x.reshape(2, 24), [("normal", (2, 3, 4, 2))]),
    LayerCase(nl.Flatten, lambda x: x.reshape(3, 0), [("normal", (3, 0, 2))], "of nothing"),
    LayerCase(
        nl.Reshape,
        lambda x: x.reshape(2, 4, 3),
        [("normal", (2, 12))],
        "",
        {"shape": (4, -1)},
        invalid={"shape": (0, (-1, -1), (2, 0), 1.5, "4")},
    ),
    LayerCase(
        lambda: nl.Sequential(
            nl.Dense(4, 5, rng=0), nl.Tanh(), nl.LayerNorm(5), nl.Dense(5, 2, rng=1)
        ),
        lambda x, w, b, scale, shift, v, c: (
            _layer_norm((-1,))(np.tanh(x @ w + b), scale, shift) @ v + c
        ),
        [("normal", (3, 4))],
        name="Sequential",
    ),
    LayerCase(nl.Sequential, lambda x: x, [("normal", (3, 4))], "without layers"),
    *(
        LayerCase(
            nl.Embedding,
            lambda t, w: w[t],
            [tokens],
            label,
            {"vocab_size": 5, "d_model": 3},
            invalid={}
            if label
            else {
                "vocab_size": (0, -1, 1.5, "8"),
                "d_model": (0, -1, 1.5, "8"),
                "padding_idx": (-1, 5, 0.5),
                "device": _DEVICES,
                "dtype": _DTYPES,
                "rng": ("seed", 1.5),
            },
        )
        for label, tokens in {
            "": np.array([[1, 4, 4, 0], [3, 0, 2, 4]]),
            "a list of tokens": np.array([1, 4, 4, 0]),
        }.items()
    ),
]
