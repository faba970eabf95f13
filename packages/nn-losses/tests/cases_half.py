"""Rows of half precision: losses, metrics and operations of more elements than float16 counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_losses as nl
import numpy as np
from nn_tensor.testing import MANY, LossCase, MetricCase, OpCase, ops_of

__all__ = ["HALF"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Generator = np.random.Generator
Draw = Callable[[Generator, Shape], list[Array]]

_OPS = ops_of("nn_losses")
_ELEMENTS: tuple[Shape, ...] = ((MANY,), (MANY, 2), (2, MANY))
_ROWS: tuple[Shape, ...] = ((MANY, 3), (3, MANY), (2, MANY // 2, 3))


def _probability(rng: Generator, shape: Shape) -> Array:
    return rng.uniform(0.1, 0.9, shape)


def _normal(rng: Generator, shape: Shape) -> list[Array]:
    # apart, so that rounding does not decide which of both is larger
    x, distance = rng.normal(size=shape), rng.uniform(0.2, 0.8, shape)
    return [x, x + distance * rng.choice([-1, 1], shape)]


def _binary(rng: Generator, shape: Shape) -> list[Array]:
    return [_probability(rng, shape), _probability(rng, shape)]


def _logits(rng: Generator, shape: Shape) -> list[Array]:
    return [rng.normal(size=shape), _probability(rng, shape)]


def _log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _softmax(rng: Generator, shape: Shape) -> Array:
    return np.exp(_log_softmax(rng.normal(size=shape)))


def _distributions(rng: Generator, shape: Shape) -> list[Array]:
    return [_log_softmax(rng.normal(size=shape)), _softmax(rng, shape)]


def _log_distributions(rng: Generator, shape: Shape) -> list[Array]:
    return [_log_softmax(rng.normal(size=shape)) for _ in range(2)]


def _classes(rng: Generator, shape: Shape) -> list[Array]:
    return [rng.normal(size=shape), np.asarray(rng.integers(0, shape[-1], shape[:-1]))]


def _log_classes(rng: Generator, shape: Shape) -> list[Array]:
    x, classes = _classes(rng, shape)
    return [_log_softmax(x), classes]


def _scores(rng: Generator, shape: Shape) -> list[Array]:
    return [rng.normal(size=shape), _softmax(rng, shape)]


_LOSSES: list[tuple[Any, str, Draw, tuple[Shape, ...], dict[str, Any]]] = [
    (nl.MSELoss, "", _normal, _ELEMENTS, {}),
    (nl.L1Loss, "", _normal, _ELEMENTS, {}),
    (nl.HuberLoss, "", _normal, _ELEMENTS, {"delta": 0.5}),
    (nl.BCELoss, "", _binary, _ELEMENTS, {}),
    (nl.BCEWithLogitsLoss, "", _logits, _ELEMENTS, {}),
    (nl.BCEWithLogitsLoss, "weighted", _logits, _ELEMENTS[1:2], {"pos_weight": [0.5, 2.0]}),
    (nl.KLDivLoss, "", _distributions, _ROWS[:1], {}),
    (nl.KLDivLoss, "log target", _log_distributions, _ROWS[:1], {"log_target": True}),
    (nl.SoftmaxCrossEntropyLoss, "classes", _classes, _ROWS, {}),
    (nl.SoftmaxCrossEntropyLoss, "smoothed", _classes, _ROWS, {"label_smoothing": 0.1}),
    (
        nl.SoftmaxCrossEntropyLoss,
        "weighted",
        _classes,
        _ROWS[:1],
        {"weight": [0.5, 1.0, 2.0], "ignore_index": 1},
    ),
    (nl.SoftmaxCrossEntropyLoss, "probabilities", _scores, _ROWS, {}),
    (nl.CrossEntropy, "", _scores, _ROWS, {}),
    (nl.NLLLoss, "", _log_classes, _ROWS, {}),
    (nl.NLLLoss, "weighted", _log_classes, _ROWS[:1], {"weight": [0.5, 1, 2], "ignore_index": 1}),
]


def _drawing(draw: Draw, shape: Shape) -> Callable[[Generator], list[Array]]:
    return lambda rng: draw(rng, shape)


# A sum of losses of 70,000 elements is beyond the range of float16, and its gradient is that of
# the losses unreduced.
LOSSES = [
    LossCase(
        loss,
        None,
        _drawing(draw, shape),
        f"{label} {shape} {reduction}".strip(),
        {**options, "reduction": reduction},
    )
    for loss, label, draw, shapes, options in _LOSSES
    for shape in shapes
    for reduction in ("mean", "none")
]
LOSSES += [
    LossCase(
        loss,
        None,
        _drawing(lambda rng, s, f=draw: [x / 64 for x in f(rng, s)], (MANY,)),
        "sum",
        {"reduction": "sum"},
    )
    for loss, draw in ((nl.MSELoss, _normal), (nl.L1Loss, _normal))
]


def _one_hot(rng: Generator, shape: Shape) -> list[Array]:
    scores, classes = _classes(rng, shape)
    return [scores, np.equal(classes[..., None], np.arange(shape[-1])).astype(float)]


def _ranks(rng: Generator, shape: Shape) -> list[Array]:
    return [rng.normal(size=shape), rng.integers(0, 2, shape)]


_BY_EXAMPLE = (nl.Accuracy, nl.TopKAccuracy)

METRICS = [
    MetricCase(metric, None, _drawing(draw, shape), f"{label} {shape}".strip(), options)
    for metric, label, draw, shapes, options in (
        *((m, "", _normal, _ELEMENTS, {}) for m in (nl.MAE, nl.RMSE)),
        (nl.R2, "", _normal, _ELEMENTS[:2], {}),
        *((m, "", _ranks, _ELEMENTS[:1], {}) for m in (nl.ROCAUC, nl.AveragePrecision)),
        *(
            # a matrix of 70,000 classes would be too large
            (metric, label, draw, _ROWS if metric in _BY_EXAMPLE else _ROWS[::2], options)
            for metric, options in (
                (nl.Accuracy, {}),
                (nl.TopKAccuracy, {"k": 2}),
                (nl.Precision, {}),
                (nl.Recall, {}),
                (nl.F1Score, {}),
            )
            for label, draw in (("classes", _classes), ("one-hot", _one_hot))
        ),
        (nl.ConfusionMatrix, "", _classes, (_ROWS[0], _ROWS[2]), {"num_classes": 3}),
    )
    for shape in shapes
]


def _op(name: str, label: str, draw: Draw, shape: Shape, **options: Any) -> OpCase:
    return OpCase(_OPS[name], None, _drawing(draw, shape), f"{label} {shape}".strip(), options)


OPS = [
    OpCase(_OPS["huber"], None, [("normal", (MANY,))], "many", {"delta": 0.5}),
    OpCase(_OPS["clamped_log"], None, [("positive", (MANY,))], "many"),
    *(
        _op(name, "", draw, shape)
        for name, draw in (
            ("binary_cross_entropy", _binary),
            ("binary_cross_entropy_with_logits", _logits),
            ("kl_divergence", _logits),
            ("kl_divergence_with_log_target", _normal),
        )
        for shape in _ELEMENTS
    ),
]

HALF = [*LOSSES, *METRICS, *OPS]
