"""The rows of the optimizers, their kernels, and the schedules."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import nn_optim as no
import numpy as np
from nn_tensor import Tensor
from nn_tensor.testing import Case, KernelCase, OptimizerCase, assert_close, kernels_of

from .equations import EQUATIONS

Generator = np.random.Generator

_NOT_A_RATE = (-0.1, 1.0, np.nan, "a", None)
_NEGATIVE = (-0.1, np.nan, np.inf, "a", None)
_LR = (-0.1, np.nan, np.inf, "fast", None)
_COMMON = {"lr": _LR, "weight_decay": _NEGATIVE, "decay": _NEGATIVE}
_INVALID: dict[Any, dict[str, Any]] = {
    no.SGD: {"momentum": _NOT_A_RATE, "nesterov": (True, 1, "yes")},
    no.Adam: {
        "amsgrad": (1, "yes"),
        "beta1": _NOT_A_RATE,
        "beta2": _NOT_A_RATE,
        "epsilon": _NEGATIVE,
    },
    no.AdamW: {
        "amsgrad": (1, "yes"),
        "beta1": _NOT_A_RATE,
        "beta2": _NOT_A_RATE,
        "epsilon": _NEGATIVE,
    },
    no.RMSprop: {
        "alpha": _NOT_A_RATE,
        "epsilon": _NEGATIVE,
        "momentum": _NOT_A_RATE,
        "centered": (1, "yes"),
    },
    no.Adagrad: {"epsilon": _NEGATIVE, "initial_accumulator_value": _NEGATIVE},
    no.Lion: {"beta1": _NOT_A_RATE, "beta2": _NOT_A_RATE},
}

OPTIMIZERS = [
    *(
        OptimizerCase(
            kind,
            EQUATIONS[kind],
            label=label,
            options=options,
            new_options=("amsgrad",) if issubclass(kind, no.Adam) else (),
            invalid={} if label else {**_COMMON, **_INVALID[kind]},
        )
        for kind, label, options in (
            (no.SGD, "", {"lr": 0.1}),
            (no.SGD, "weight decay", {"lr": 0.1, "weight_decay": 0.05}),
            (no.SGD, "momentum", {"lr": 0.1, "momentum": 0.9}),
            (no.SGD, "nesterov", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
            (no.Adam, "", {}),
            (no.Adam, "fast", {"lr": 0.1, "beta1": 0.0, "beta2": 0.5, "epsilon": 1e-3}),
            (no.Adam, "weight decay", {"lr": 0.1, "weight_decay": 0.05}),
            (no.Adam, "amsgrad", {"lr": 0.1, "beta2": 0.5, "amsgrad": True}),
            (no.AdamW, "", {}),
            (no.AdamW, "amsgrad", {"lr": 0.1, "beta2": 0.5, "amsgrad": True}),
            (no.AdamW, "weight decay", {"lr": 0.1, "weight_decay": 0.5}),
            (no.RMSprop, "", {}),
            (no.RMSprop, "centered", {"lr": 0.1, "centered": True, "epsilon": 1e-3}),
            (
                no.RMSprop,
                "momentum",
                {"lr": 0.1, "alpha": 0.5, "momentum": 0.5, "weight_decay": 0.05},
            ),
            (no.Adagrad, "", {}),
            (
                no.Adagrad,
                "weight decay",
                {"lr": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.05},
            ),
            (no.Lion, "", {}),
            (no.Lion, "weight decay", {"lr": 0.1, "beta1": 0.5, "weight_decay": 0.05}),
        )
    )
]


def _step(
    size: int, state: tuple[bool, ...], options: tuple[Any, ...]
) -> Callable[[Generator], list[Any]]:
    """Return a function that draws parameter, gradient and state; what is not kept is None."""

    def draw(rng: Generator) -> list[Any]:
        arrays = [rng.normal(size=size), rng.normal(size=size)]
        # so small after the first that a variance, as RMSprop's, is not a difference of equals
        ranges = [(1, 2), *[(0.1, 0.5)] * len(state)]
        pairs = zip(ranges, state, strict=False)
        kept = [rng.uniform(*bounds, size) if wanted else None for bounds, wanted in pairs]
        return [*arrays, *kept, *options]

    return draw


_KERNELS = kernels_of("nn_optim")

KERNELS = [
    *(
        KernelCase(
            _KERNELS[name],
            None,
            _step(size, state, options),
            f"{label} {kind}".strip(),
            tolerances={"float32": 2e-6, "float64": 1e-14},
        )
        for name, label, state, options in (
            ("sgd_step", "", (False,), (0.1, 0.0, False, 0.01)),
            ("sgd_step", "momentum", (True,), (0.1, 0.9, False, 0.0)),
            ("sgd_step", "nesterov", (True,), (0.1, 0.9, True, 0.01)),
            ("adam_step", "", (True, True, False), (3, 0.1, 0.9, 0.999, 1e-8, 0.01, False, False)),
            (
                "adam_step",
                "decoupled",
                (True, True, False),
                (3, 0.1, 0.9, 0.999, 1e-8, 0.05, True, False),
            ),
            (
                "adam_step",
                "amsgrad",
                (True, True, True),
                (3, 0.1, 0.9, 0.999, 1e-8, 0.01, False, True),
            ),
            ("rmsprop_step", "", (True, False, False), (0.1, 0.9, 1e-8, 0.0, 0.0)),
            ("rmsprop_step", "all", (True, True, True), (0.1, 0.9, 1e-8, 0.5, 0.01)),
            ("adagrad_step", "", (True,), (0.1, 1e-8, 0.01)),
            ("lion_step", "", (True,), (0.1, 0.9, 0.99, 0.01)),
        )
        for kind, size in {"": 37, "none": 0, "several blocks": 140001}.items()
    ),
    KernelCase(
        _KERNELS["lion_step"],
        inputs=[("normal", (4,)), np.zeros(4), np.zeros(4), 0.1, 0.9, 0.99, 0.0],
        label="no direction",
    ),
    *(
        KernelCase(
            _KERNELS["sum_of_squares"],
            inputs=[("normal", (size,))],
            label=label,
            dtypes=("float16", "float32", "float64"),
            tolerances=dict.fromkeys(("float16", "float32", "float64"), 1e-12),
        )
        for label, size in {"": 37, "none": 0, "long": 20000}.items()
    ),
]

_SHAPES = {"": [(3, 4), (), (5000,)], "empty": [(0,), (2, 0)], "many": [(n,) for n in range(99)]}
KERNELS += [
    case
    for label, shapes in _SHAPES.items()
    for dtype in ("float16", "float32", "float64")
    for case in (
        KernelCase(
            _KERNELS["total_of_squares"],
            inputs=[("normal", shape) for shape in shapes],
            label=f"{label} {dtype}".strip(),
            dtypes=(dtype,),
            tolerances={dtype: 1e-12},
        ),
        KernelCase(
            _KERNELS["scale_arrays"],
            None,
            lambda rng, shapes=shapes: [0.3, *(rng.normal(size=shape) for shape in shapes)],
            f"{label} {dtype}".strip(),
            dtypes=(dtype,),
        ),
    )
]

_BASES, _STEPS = (0.5, 0.02), 30


@dataclass(frozen=True, eq=False)
class ScheduleCase(Case):
    """A row of a schedule: ``function(optimizer, **options)``.

    The reference, ``f(base, step, **options)``, returns the learning rate for a step.
    """

    def build(self, **options: Any) -> Any:
        groups = [{"parameters": Tensor(np.ones(2), requires_grad=True), "lr": lr} for lr in _BASES]
        return self.function(no.SGD(groups), **{**self.options, **options})

    def rates(self, schedule: Any, steps: int) -> list[list[float]]:
        """Return the rates of each group, before the first step and after each."""
        found = []
        for _ in range(steps):
            found.append([group["lr"] for group in schedule.optimizer.groups])
            schedule.step()
        return found

    def checks(self) -> Iterator[tuple[str, ...]]:
        yield from (("rates",), ("exact_resume",))
        yield from super().checks()

    def check_rates(self, device: str) -> None:
        """Each rate is that of the formula."""
        expected = [[self.reference(b, t, **self.options) for b in _BASES] for t in range(_STEPS)]
        assert_close(np.array(self.rates(self.build(), _STEPS)), np.array(expected))

    def check_exact_resume(self, device: str) -> None:
        """A schedule that continues from a pickled state gives the same rates."""
        first, second = self.build(), self.build()
        self.rates(first, 7)
        second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
        assert self.rates(second, _STEPS) == self.rates(first, _STEPS)


def _cosine(
    base: float, t: int, period: int, min_lr: float = 0.0, restarts: bool = False, T_mult: int = 1
) -> float:
    while restarts and t >= period:
        t, period = t - period, period * T_mult
    return min_lr + (base - min_lr) * (1 + math.cos(math.pi * t / period)) / 2


def _one_cycle(
    base: float,
    t: int,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    linear: bool = False,
) -> float:
    first, last = base / div_factor, base / (div_factor * final_div_factor)
    rise, end = pct_start * total_steps - 1, total_steps - 1
    if t <= rise:
        x, y, u = first, base, t / rise
    else:
        x, y, u = base, last, min((t - rise) / (end - rise), 1)
    return x + (y - x) * u if linear else y + (x - y) * (1 + math.cos(math.pi * u)) / 2


def _warmup(base: float, t: int, warmup: int = 5, start_factor: float = 1 / 3) -> float:
    return base * (start_factor + (1 - start_factor) * min(t / warmup, 1))


def _chained(optimizer: Any) -> Any:
    parts = [no.LinearWarmup(optimizer), no.ExponentialSchedule(optimizer, 0.9)]
    return no.ChainedSchedules(parts)


def _sequential(optimizer: Any) -> Any:
    parts = [no.LinearWarmup(optimizer), no.ExponentialSchedule(optimizer, 0.9)]
    return no.SequentialSchedules(parts, [8])


_COUNT = (0, -1, 1.5, "a", None)

SCHEDULES = [
    ScheduleCase(
        no.StepSchedule,
        lambda b, t, step_size, gamma: b * gamma ** (t // step_size),
        options={"step_size": 7, "gamma": 0.5},
        invalid={"step_size": _COUNT, "gamma": _NEGATIVE},
    ),
    ScheduleCase(
        no.MultiStepSchedule,
        lambda b, t, milestones, gamma: b * gamma ** sum(k <= t for k in milestones),
        options={"milestones": (3, 4, 20), "gamma": 0.3},
        invalid={"milestones": ((3, 3), (0, 2), (1.5,), 3, "34"), "gamma": _NEGATIVE},
    ),
    ScheduleCase(
        no.ExponentialSchedule,
        lambda b, t, gamma: b * gamma**t,
        options={"gamma": 0.9},
        invalid={"gamma": _NEGATIVE},
    ),
    ScheduleCase(
        no.CosineSchedule,
        _cosine,
        options={"period": 25, "min_lr": 0.01},
        invalid={
            "period": _COUNT,
            "min_lr": _NEGATIVE,
            "restarts": (1, "yes"),
            "T_mult": _COUNT,
        },
    ),
    ScheduleCase(
        no.CosineSchedule,
        _cosine,
        label="restarts",
        options={"period": 4, "restarts": True, "T_mult": 2},
    ),
    ScheduleCase(
        no.LinearWarmup,
        _warmup,
        options={"warmup": 9, "start_factor": 0.1},
        invalid={"warmup": _COUNT, "start_factor": _NEGATIVE},
    ),
    ScheduleCase(
        no.OneCycle,
        _one_cycle,
        options={"total_steps": 25},
        invalid={
            "total_steps": (1, *_COUNT),
            "pct_start": _NOT_A_RATE,
            "div_factor": (0.5, np.nan, "a"),
            "final_div_factor": (0.5, np.nan, "a"),
            "linear": (1, "yes"),
        },
    ),
    ScheduleCase(
        no.OneCycle,
        _one_cycle,
        label="linear",
        options={"total_steps": 20, "pct_start": 0.5, "linear": True},
    ),
    ScheduleCase(
        no.InverseSquareRoot,
        lambda b, t, warmup: b * warmup**0.5 * min((t + 1) ** -0.5, (t + 1) * warmup**-1.5),
        options={"warmup": 6},
        invalid={"warmup": _COUNT},
    ),
    ScheduleCase(_chained, lambda b, t: _warmup(b, t) * 0.9**t, name="ChainedSchedules"),
    ScheduleCase(
        _sequential,
        lambda b, t: _warmup(b, t) if t < 8 else b * 0.9 ** (t - 8),
        name="SequentialSchedules",
    ),
]

KERNELS += [
    KernelCase(
        _KERNELS["unscale_arrays"],
        None,
        lambda rng, shapes=shapes: [0.25, *(rng.normal(size=shape) for shape in shapes)],
        label,
    )
    for label, shapes in _SHAPES.items()
]
