"""The rows of the losses, their operations, and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_losses as nl
import numpy as np
from nn_tensor.testing import KernelCase, LossCase, MetricCase, OpCase, kernels_of, ops_of

Array = np.ndarray[Any, Any]
Generator = np.random.Generator

_OPS, _KERNELS = ops_of("nn_losses"), kernels_of("nn_losses")
_REDUCTIONS = {"reduction": ("average", None, 1)}


def _log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _huber(d: Array, delta: float = 1.0) -> Array:
    size = np.abs(d)
    return np.where(size <= delta, d * d / 2, delta * (size - delta / 2))


def _binary(p: Array, y: Array) -> Array:
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def _binary_of_logits(x: Array, y: Array, weight: Any = 1.0) -> Array:
    return weight * y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))


def _cross_entropy(x: Array, y: Array) -> Array:
    return -(y * _log_softmax(x)).sum(-1)


def _one_hot(classes: Array, count: int) -> Array:
    return np.equal(classes[..., None], np.arange(count)).astype(float)


def _smoothed(y: Array, smoothing: float) -> Array:
    return (1 - smoothing) * y + smoothing / y.shape[-1]


def _cross_entropy_of_indices(x: Array, classes: Array, smoothing: float = 0.0) -> Array:
    y = _smoothed(_one_hot(classes, x.shape[-1]), smoothing).astype(x.dtype)
    return _cross_entropy(x, y)


def _softmax_minus_target(
    g: Array, exponentials: Array, total: Array, classes: Array, smoothing: float
) -> Array:
    target = _smoothed(_one_hot(classes, exponentials.shape[-1]), smoothing)
    return g[:, None] * (exponentials / total - target.astype(g.dtype))


_PROBABILITY = ((0.1, 0.9), (3, 4))
_CLASSES = np.array([2, 0, 3])

OPS = [
    OpCase(_OPS["huber"], _huber, [("nonzero", (3, 4))], "", {"delta": 1.2}, elementwise=True),
    OpCase(
        _OPS["clamped_log"],
        lambda x: np.maximum(np.log(x), -100),
        [("positive", (3, 4))],
        elementwise=True,
    ),
    *(
        OpCase(_OPS[name], reference, [(x, shape), (y, shape)], label)
        for name, reference, x, y in (
            ("binary_cross_entropy", _binary, (0.1, 0.9), (0.1, 0.9)),
            ("binary_cross_entropy_with_logits", _binary_of_logits, "nonzero", (0.1, 0.9)),
            ("kl_divergence", lambda x, y: y * (np.log(y) - x), "normal", (0.1, 0.9)),
            (
                "kl_divergence_with_log_target",
                lambda x, z: np.exp(z) * (z - x),
                "normal",
                "normal",
            ),
        )
        for label, shape in {"": (3, 4), "0-d": (), "empty": (0, 4)}.items()
    ),
    *(
        OpCase(
            _OPS["cross_entropy_with_indices"],
            _cross_entropy_of_indices,
            [("normal", (len(classes), 4)), classes],
            label,
            {"smoothing": smoothing},
        )
        for label, classes, smoothing in (
            ("", _CLASSES, 0.0),
            ("smoothed", _CLASSES, 0.3),
            ("empty", _CLASSES[:0], 0.0),
        )
    ),
    *(
        OpCase(
            _OPS["_softmax_minus_target"],
            _softmax_minus_target,
            [("normal", (3,)), ("positive", (3, 4)), ("positive", (3, 1)), _CLASSES],
            label,
            {"smoothing": smoothing},
        )
        for label, smoothing in (("", 0.0), ("smoothed", 0.3))
    ),
    *(
        OpCase(
            _OPS["cross_entropy_with_probabilities"],
            _cross_entropy,
            [("normal", shape), ((0.1, 0.9), shape)],
            label,
        )
        for label, shape in {"": (3, 4), "empty": (0, 4), "one class": (3, 1)}.items()
    ),
]


def _apart(shape: tuple[int, ...]) -> Callable[[Generator], list[Array]]:
    """Return a function that draws two arrays whose elements are not close to each other."""

    def draw(rng: Generator) -> list[Array]:
        x = np.asarray(rng.normal(size=shape))
        distance = rng.uniform(0.2, 0.8, shape) + rng.integers(0, 2, shape)
        return [x, np.asarray(x + distance * rng.choice([-1, 1], shape))]

    return draw


_SHAPES: dict[str, tuple[int, ...]] = {
    "": (3, 4),
    "images": (2, 3, 2, 2),
    "0-d": (),
    "empty": (0, 4),
}


def _skip(shape: tuple[int, ...]) -> dict[str, str]:
    if not shape:
        return {"shapes": "a scalar has no part"}
    if 0 not in shape:
        return {}
    return {
        "shapes": "a part of nothing has the same shape",
        "reduction mean": "the mean of nothing is NaN: test_losses.py",
    }


def _of_regression() -> list[LossCase]:
    rows = []
    for label, shape in _SHAPES.items():
        for loss, reference, options, invalid in (
            (nl.MSELoss, lambda x, y: (x - y) ** 2, {}, {}),
            (nl.L1Loss, lambda x, y: np.abs(x - y), {}, {}),
            (
                nl.HuberLoss,
                lambda x, y: _huber(x - y, 0.9),
                {"delta": 0.9},
                {"delta": (0, -1.0, np.nan, np.inf, "a")},
            ),
        ):
            rows.append(
                LossCase(
                    loss,
                    reference,
                    _apart(shape),
                    label,
                    options,
                    invalid={**_REDUCTIONS, **invalid},
                    skip=_skip(shape),
                )
            )
    return rows


_WEIGHTS = {"invalid": (-1.0, [np.nan], [[1.0], [2.0, 3.0]], "a")}


def _of_elements() -> list[LossCase]:
    rows = []
    for label, shape in _SHAPES.items():
        probability, more = ((0.1, 0.9), shape), {"skip": _skip(shape)}
        rows += [
            LossCase(
                nl.BCELoss, _binary, [probability, probability], label, invalid=_REDUCTIONS, **more
            ),
            LossCase(
                nl.BCEWithLogitsLoss,
                _binary_of_logits,
                [("nonzero", shape), probability],
                label,
                invalid={**_REDUCTIONS, "pos_weight": _WEIGHTS["invalid"]},
                **more,
            ),
            LossCase(
                nl.KLDivLoss,
                lambda x, y: y * (np.log(y) - x),
                [("normal", shape), probability],
                label,
                invalid={**_REDUCTIONS, "log_target": (1, "yes", None)},
                **more,
            ),
            LossCase(
                nl.KLDivLoss,
                lambda x, z: np.exp(z) * (z - x),
                [("normal", shape), ("normal", shape)],
                f"{label} log target".strip(),
                {"log_target": True},
                **more,
            ),
        ]
    weight = np.array([0.5, 1.0, 2.0, 3.0])
    rows.append(
        LossCase(
            nl.BCEWithLogitsLoss,
            lambda x, y: _binary_of_logits(x, y, weight),
            [("nonzero", (3, 4)), _PROBABILITY],
            "weighted",
            {"pos_weight": weight},
        )
    )
    return rows


_CLASS_WEIGHT = np.array([0.5, 1.0, 2.0, 3.0])
_CLASS_OPTIONS: dict[str, Any] = {
    **_REDUCTIONS,
    "weight": (-1.0, [[1.0]], [np.inf], "a"),
    "ignore_index": (0.5, "a"),
}


def _weights(x: Array, classes: Array) -> Any:
    return (_CLASS_WEIGHT[classes] * (classes != 1)).sum()


def _of_classes() -> list[LossCase]:
    rows = []
    indices = {
        "": _CLASSES,
        "sequences": np.array([[1, 0, 3], [2, 2, 1]]),
        "one example": np.array(2),
        "empty": _CLASSES[:0],
        "bytes": _CLASSES.astype(np.uint8),
    }
    for label, classes in indices.items():
        x: Any = ("normal", (*classes.shape, 4))
        more = {"skip": _skip(classes.shape)}
        rows += [
            LossCase(
                nl.SoftmaxCrossEntropyLoss,
                _cross_entropy_of_indices,
                [x, classes],
                label,
                invalid={**_CLASS_OPTIONS, "label_smoothing": (-0.1, 1.1, np.nan, "a")},
                **more,
            ),
            LossCase(
                nl.NLLLoss,
                lambda x, k: -np.take_along_axis(x, k[..., None].astype(int), -1)[..., 0],
                [x, classes],
                label,
                invalid=_CLASS_OPTIONS,
                **more,
            ),
        ]
    for loss, log_probabilities in (
        (nl.SoftmaxCrossEntropyLoss, _log_softmax),
        (nl.NLLLoss, lambda x: x),
    ):
        rows.append(
            LossCase(
                loss,
                lambda x, k, f=log_probabilities: (
                    -(_one_hot(k, 4) * f(x) * _CLASS_WEIGHT * (k != 1)[..., None]).sum(-1)
                ),
                [("normal", (2, 3, 4)), indices["sequences"]],
                "weighted, with ignored classes",
                {"weight": _CLASS_WEIGHT, "ignore_index": 1},
                weights=_weights,
            )
        )
    smoothing = {"label_smoothing": 0.2}
    rows += [
        LossCase(
            nl.SoftmaxCrossEntropyLoss,
            lambda x, k: _cross_entropy_of_indices(x, k, 0.2),
            [("normal", (3, 4)), _CLASSES],
            "smoothed",
            smoothing,
        ),
        LossCase(
            nl.SoftmaxCrossEntropyLoss,
            lambda x, k: _cross_entropy(x, _smoothed(_one_hot(k, 4), 0.2) * _CLASS_WEIGHT),
            [("normal", (3, 4)), _CLASSES],
            "smoothed and weighted",
            {**smoothing, "weight": _CLASS_WEIGHT},
            weights=lambda x, k: _CLASS_WEIGHT[k].sum(),
        ),
        LossCase(
            nl.SoftmaxCrossEntropyLoss,
            lambda x, y: _cross_entropy(x, _smoothed(y, 0.2) * _CLASS_WEIGHT),
            [("normal", (3, 4)), _PROBABILITY],
            "probabilities, smoothed and weighted",
            {**smoothing, "weight": _CLASS_WEIGHT},
        ),
    ]
    for loss in (nl.SoftmaxCrossEntropyLoss, nl.CrossEntropy):
        for label, shape in {
            "probabilities": (3, 4),
            "probabilities of sequences": (2, 3, 4),
            "probabilities of one example": (4,),
            "no probabilities": (0, 4),
        }.items():
            more = {"skip": _skip(shape[:-1])}
            x, y = ("normal", shape), ((0.1, 0.9), shape)
            rows.append(LossCase(loss, _cross_entropy, [x, y], label, invalid=_REDUCTIONS, **more))
    return rows


LOSSES = [*_of_regression(), *_of_elements(), *_of_classes()]


def _matrix(scores: Array, classes: Array) -> Array:
    count = scores.shape[-1]
    predicted = scores.argmax(-1).reshape(-1)
    matrix = np.zeros((count, count), int)
    for k, j in zip(classes.reshape(-1), predicted, strict=True):
        matrix[int(k), j] += 1
    return matrix


def _top_k(k: int) -> Callable[..., Any]:
    def reference(scores: Array, classes: Array) -> Any:
        best = np.argsort(-scores, -1, kind="stable")[..., :k]
        return (best == classes[..., None]).any(-1).mean()

    return reference


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.where(denominator == 0, 0.0, numerator / np.maximum(denominator, 1))


def _precision(m: Array) -> Array:
    return _ratio(np.diagonal(m), m.sum(0))


def _recall(m: Array) -> Array:
    return _ratio(np.diagonal(m), m.sum(1))


def _f1(m: Array) -> Array:
    return _ratio(2 * np.diagonal(m), m.sum(0) + m.sum(1))


def _averaged(ratios: Callable[[Array], Array], average: str) -> Callable[..., Any]:
    def reference(scores: Array, classes: Array) -> Any:
        matrix = _matrix(scores, classes)
        if average == "micro":
            return np.trace(matrix) / matrix.sum()
        values = ratios(matrix)
        if average == "none":
            return values
        weights = matrix.sum(1) if average == "weighted" else None
        return np.average(values, weights=weights)

    return reference


def _of_one_hot(reference: Callable[..., Any]) -> Callable[..., Any]:
    return lambda scores, y: reference(scores, y.argmax(-1))


def _metric(metric: Any, reference: Any, label: str = "", **more: Any) -> list[MetricCase]:
    """Return rows for class indices of several shapes, and for one-hot targets."""
    rows = []
    for kind, shape in {"": (9,), "sequences": (4, 3), "one example": ()}.items():

        def draw(rng: Generator, shape: Any = shape) -> list[Array]:
            scores = rng.integers(-3, 3, (*shape, 4)).astype(float)  # with ties
            return [scores, np.asarray(rng.integers(0, 4, shape))]

        def one_hot(rng: Generator, draw: Any = draw) -> list[Array]:
            scores, classes = draw(rng)
            return [scores, _one_hot(classes, 4)]

        full = f"{label} {kind}".strip()
        rows.append(MetricCase(metric, reference, draw, full, skip=_skip(shape), **more))
        rows.append(
            MetricCase(metric, _of_one_hot(reference), one_hot, f"{full} one-hot".strip(), **more)
        )
    return rows


def _r2(x: Array, y: Array) -> Any:
    residual, squares = ((x - y) ** 2).sum(0), ((y - y.mean(0)) ** 2).sum(0) * (np.ptp(y, 0) != 0)
    constant = np.where(residual == 0, 1.0, 0.0)
    return np.where(
        squares == 0, constant, 1 - residual / np.where(squares == 0, 1, squares)
    ).mean()


def _auc(x: Array, y: Array) -> Any:
    pairs = x[y == 1][:, None] - x[y == 0]
    return (pairs > 0).mean() + (pairs == 0).mean() / 2


def _average_precision(x: Array, y: Array) -> Any:
    # The precision at the score of each positive example, ties included.
    return np.mean([y[x >= score].mean() for score in x[y == 1]])


def _ranked(metric: Any, reference: Any) -> list[MetricCase]:
    rows = []
    for label, levels in {"ties": 4, "": 1000}.items():

        def draw(rng: Generator, levels: int = levels) -> list[Array]:
            y = rng.permutation(np.repeat([0, 1], (7, 5)))
            return [rng.integers(-levels, levels, 12).astype(float), y]

        rows.append(MetricCase(metric, reference, draw, label))
    return rows


METRICS = [
    *(
        MetricCase(metric, reference, lambda rng, s=shape: list(rng.normal(size=(2, *s))), label)
        for metric, reference in (
            (nl.MAE, lambda x, y: abs(x - y).mean()),
            (nl.RMSE, lambda x, y: np.sqrt(((x - y) ** 2).mean())),
            (nl.R2, _r2),
        )
        for label, shape in {"": (9,), "columns": (9, 3)}.items()
    ),
    *_ranked(nl.ROCAUC, _auc),
    *_ranked(nl.AveragePrecision, _average_precision),
    *_metric(nl.Accuracy, _top_k(1)),
    *(
        row
        for k in (1, 2, 4)
        for row in _metric(
            nl.TopKAccuracy,
            _top_k(k),
            f"of {k}",
            options={"k": k},
            invalid={"k": (0, -1, 1.5, "a")},
        )
    ),
    *_metric(
        nl.ConfusionMatrix,
        _matrix,
        options={"num_classes": 4},
        invalid={"num_classes": (0, 1.5, "a")},
    ),
    *(
        row
        for metric, ratios in ((nl.Precision, _precision), (nl.Recall, _recall), (nl.F1Score, _f1))
        for average in ("macro", "micro", "weighted", "none")
        for row in _metric(
            metric,
            _averaged(ratios, average),
            average,
            options={"average": average},
            invalid={"average": ("mean", None), "zero_division": ("a", None)},
        )
    ),
]


def _of_cross_entropy() -> list[KernelCase]:
    rows = []
    shapes = {"": (5, 7), "one class": (3, 1), "warps": (6, 70), "long": (3, 3000), "none": (0, 4)}
    shapes |= {"one vector": (40, 16), "a vector and more": (40, 27), "many rows": (500, 12)}
    for label, (count, length) in shapes.items():
        for weighted, smoothing in ((False, 0.0), (True, 0.0), (False, 0.25), (True, 0.25)):

            def forward(
                rng: Generator,
                count: int = count,
                length: int = length,
                weighted: bool = weighted,
                smoothing: float = smoothing,
            ) -> list[Any]:
                logits = rng.normal(0, 5, (count, length))
                if length > 2 and not smoothing:
                    logits[:, 1] = -np.inf
                classes = rng.choice([k for k in range(length) if k != 1], count)
                scale = rng.integers(0, 3, count).astype(float) if weighted else None
                return [logits, classes, scale, smoothing]

            def backward(
                rng: Generator,
                count: int = count,
                length: int = length,
                smoothing: float = smoothing,
            ) -> list[Any]:
                exponentials = rng.uniform(0, 1, (count, length))
                total = exponentials.sum(-1, keepdims=True)
                classes = rng.integers(0, length, count)
                return [rng.normal(size=count), exponentials, total, classes, smoothing]

            name = f"{label} weighted={weighted} smoothing={smoothing}".strip()
            tolerances = {"float32": 1e-5, "float64": 1e-13}
            options: dict[str, Any] = {"label": name, "tolerances": tolerances}
            rows.append(KernelCase(_KERNELS["cross_entropy_forward"], None, forward, **options))
            if not weighted:
                rows.append(
                    KernelCase(_KERNELS["cross_entropy_backward"], None, backward, **options)
                )
    return rows


def _with_nan(rng: Generator) -> list[Any]:
    logits = rng.normal(size=(4, 40))
    logits[0, 35], logits[1] = np.nan, -np.inf
    return [logits, np.array([0, 1, 2, 3]), None, 0.0]


KERNELS = [
    *_of_cross_entropy(),
    KernelCase(_KERNELS["cross_entropy_forward"], None, _with_nan, "NaN"),
]
