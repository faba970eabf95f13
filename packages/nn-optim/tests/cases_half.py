"""Rows of half precision: each optimizer and clipping of more elements than float16 counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nn_optim as no
import numpy as np
from nn_tensor import Tensor
from nn_tensor.testing import MANY, OpCase, OptimizerCase

__all__ = ["HALF"]

OPTIMIZERS = [
    OptimizerCase(kind, None, label=label, options={"lr": 0.1, **options})
    for kind, label, options in (
        (no.SGD, "", {}),
        (no.SGD, "momentum", {"momentum": 0.9, "weight_decay": 0.05}),
        (no.SGD, "nesterov", {"momentum": 0.9, "nesterov": True}),
        (no.Adam, "", {}),
        (no.Adam, "amsgrad", {"amsgrad": True, "weight_decay": 0.05}),
        (no.AdamW, "", {"weight_decay": 0.5}),
        (no.RMSprop, "", {}),
        (no.RMSprop, "all", {"alpha": 0.5, "momentum": 0.5, "centered": True, "epsilon": 1e-3}),
        (no.Adagrad, "", {}),
        (no.Lion, "", {}),
    )
]


def _clipped(clip: Callable[..., Any], *limits: float) -> Callable[..., Any]:
    """Return a function that clips gradients of two parameters, and gives the norm before it."""

    def call(first: Any, second: Any) -> Any:
        gradients = [x if isinstance(x, Tensor) else Tensor(x) for x in (first, second)]
        parameters = []
        for g in gradients:
            parameter = Tensor(np.zeros(g.shape, g.dtype), g.device, requires_grad=True)
            parameter.grad = g.detach().copy()
            parameters.append(parameter)
        norm = clip(parameters, *limits)
        results = [x.grad.detach() for x in parameters]
        return results if norm is None else [*results, Tensor(float(norm), dtype="float32")]

    return call


CLIPPING = [
    OpCase(
        _clipped(clip, *limits),
        None,
        [("normal", shape), ("normal", (3,))],
        label,
        name=clip.__name__,
        wrt=(),
    )
    for label, shape in (("", (MANY,)), ("rows", (MANY, 2)), ("columns", (2, MANY)))
    for clip, limits in (
        (no.clip_gradients_by_norm, (1.0,)),
        (no.clip_gradients_by_value, (0.5,)),
    )
]

HALF = [*OPTIMIZERS, *CLIPPING]
