"""Checks of what a `Trainer` is given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from nn_tensor.extend import describe

from nn_train._protocols import Metric

__all__ = ["check_methods", "check_metrics", "needs_value"]


def check_methods(name: str, value: Any, needed: str) -> None:
    """Raise unless an object has the attributes that are needed."""
    missing = [method for method in needed.split() if not hasattr(value, method)]
    if missing:
        raise TypeError(
            f"{name}: expected an object with {', '.join(missing)}, got {type(value).__name__}"
        )


def check_metrics(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the metrics by name, or raise."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics: expected a dict by name, got {describe(metrics)}")
    for name, metric in metrics.items():
        if not isinstance(name, str) or name in ("epoch", "loss", "lr") or name.startswith("val_"):
            raise ValueError(
                f"metrics: the name {name!r} is taken, or not a string; choose another"
            )
        if not isinstance(metric, Metric) and not callable(metric):
            raise TypeError(
                f"metrics[{name!r}]: expected update, result and reset, or a function of "
                f"prediction and target, got {describe(metric)}"
            )
    return dict(metrics)


def needs_value(step: Any) -> bool:
    """Return whether a schedule has to be given a number."""
    try:
        parameters = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.default is p.empty and p.kind in positional for p in parameters)
