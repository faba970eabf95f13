"""Losses and metrics of float16: sums, counts and gradients of more than 65,504 elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_losses as nl
import numpy as np
import pytest
from nn_tensor import Tensor, one_hot
from nn_tensor.testing import Check, half_precision_checks, kernels_of, missing_cases

from .cases_half import HALF
from .test_cases import EXEMPT, NAMES

# What an operation calls is compared through the operation.
KERNELS_AND_ROWS = dict.fromkeys(kernels_of("nn_losses"), "a kernel: its operation has rows")
KERNELS_AND_ROWS |= dict.fromkeys(
    (
        "_softmax_minus_target",
        "cross_entropy_with_indices",
        "cross_entropy_with_probabilities",
    ),
    "is given rows of float32 at least: the losses that call it have rows",
)


@pytest.mark.parametrize("check", half_precision_checks(HALF), ids=str)
def test_half_precision(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, HALF, {**EXEMPT, **KERNELS_AND_ROWS}) == []
    assert {case.name for case in HALF} <= NAMES


MANY = 70_000  # more than the largest number of float16
SHAPES = [(MANY,), (MANY, 2), (2, MANY)]
H = np.float16

Draw = Callable[[np.random.Generator, tuple[int, ...]], list[np.ndarray]]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(size=shape).astype(H), rng.normal(size=shape).astype(H)]


def _binary(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.uniform(0.1, 0.9, shape).astype(H), (rng.random(shape) < 0.5).astype(H)]


def _classes(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.normal(size=shape).astype(H), rng.integers(0, shape[-1], shape[0])]


def _logs(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    x = rng.normal(size=shape)
    logs = x - np.log(np.exp(x).sum(-1, keepdims=True))
    return [logs.astype(H), rng.integers(0, shape[-1], shape[0])]


def _log_pairs(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    other = np.exp(rng.normal(size=shape))
    return [_logs(rng, shape)[0], (other / other.sum(-1, keepdims=True)).astype(H)]


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    x, classes = _classes(rng, shape)
    p = np.exp(x.astype(float))
    p = (p / p.sum(-1, keepdims=True)).astype(H)
    return [p, np.asarray(one_hot(Tensor(classes), shape[-1]).numpy(), H)]


ROWS: list[tuple[Any, Draw, list[tuple[int, ...]]]] = [
    *((kind, _normal, SHAPES) for kind in (nl.MSELoss, nl.L1Loss, nl.HuberLoss)),
    *((kind, _binary, SHAPES) for kind in (nl.BCELoss, nl.BCEWithLogitsLoss)),
    (nl.SoftmaxCrossEntropyLoss, _classes, [(MANY, 3), (3, MANY)]),
    (nl.CrossEntropy, _probabilities, [(MANY, 3)]),
    (nl.NLLLoss, _logs, [(MANY, 3), (3, MANY)]),
    (nl.KLDivLoss, _log_pairs, [(MANY, 3), (3, MANY)]),
]
CASES = [(kind, draw, shape) for kind, draw, shapes in ROWS for shape in shapes]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("kind", "draw", "shape"), CASES, ids=[f"{kind.__name__}-{s}" for kind, _, s in CASES]
)
@pytest.mark.filterwarnings("ignore:overflow encountered")  # a sum beyond the range of float16
def test_values_and_gradients(
    kind: Any, draw: Draw, shape: tuple[int, ...], reduction: str, device: str
) -> None:
    data, target = draw(np.random.default_rng(0), shape)
    found = []
    for dtype in (H, np.float64):
        x = Tensor(data.astype(dtype), device, requires_grad=True)
        y = Tensor(target.astype(dtype) if target.dtype == H else target, device)
        loss = kind(reduction)(x, y)
        assert loss.dtype == dtype
        loss.backward(None if loss.size == 1 else 1.0)
        found.append((loss.numpy().astype(float), x.grad.numpy().astype(float)))
    (value, gradient), (expected, exact) = found
    largest = np.abs(expected).max()
    if largest < 65504:
        np.testing.assert_allclose(value, expected, rtol=5e-3, atol=5e-3 * largest)
    # gradients below 6e-5 are subnormal in float16, with steps of 6e-8
    scale = np.abs(exact).max()
    np.testing.assert_allclose(gradient, exact, rtol=5e-3, atol=5e-3 * scale + 6e-8)
    assert scale < 1e-7 or np.abs(gradient).max() > scale / 2


@pytest.mark.parametrize(
    "kind", [nl.Accuracy, nl.Precision, nl.Recall, nl.F1Score, nl.TopKAccuracy, nl.ConfusionMatrix]
)
def test_metrics_count_all(kind: Any, device: str) -> None:
    rng = np.random.default_rng(0)
    logits, classes = rng.normal(size=(MANY, 3)).astype(H), rng.integers(0, 3, MANY)
    build = (lambda: kind(3)) if kind is nl.ConfusionMatrix else kind
    if kind is nl.TopKAccuracy:
        build = lambda: kind(2)  # noqa: E731
    results = [
        np.asarray(
            Tensor(build()(Tensor(logits.astype(t), device), Tensor(classes, device))).numpy()
        )
        for t in (H, np.float64)
    ]
    np.testing.assert_array_equal(*results)


def test_every_loss_has_a_row() -> None:
    losses = {n for n in nl.__all__ if n.endswith("Loss") and n != "Loss"} | {"CrossEntropy"}
    assert losses == {kind.__name__ for kind, _, _ in ROWS}
