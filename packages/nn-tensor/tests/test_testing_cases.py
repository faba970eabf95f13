"""The checks of a table find what is wrong in ops, layers, losses, optimizers and kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, exp
from nn_tensor.extend import kernel, op
from nn_tensor.testing import (
    Case,
    KernelCase,
    LayerCase,
    LossCase,
    OpCase,
    OptimizerCase,
    each_check,
    kernels_of,
    missing_cases,
)


def failures(case: Case) -> set[str]:
    """Return the names of the checks that fail."""
    found = set()
    for check in each_check([case]):
        try:
            check()
        except (AssertionError, ValueError, RuntimeError, TypeError, IndexError):
            found.add(check.name)
    return found


# Ops


def scale(x: Any, factor: float = 2.0) -> Any:
    if not isinstance(factor, (int, float)):
        raise TypeError(f"factor: expected a number, got {factor!r}")
    return x * factor


@op
def wrong_gradient(xp: Any, x: Any, /, factor: float = 2.0) -> Any:
    return x * factor


@wrong_gradient.gradient("x")
def _(g: Any, factor: float) -> Any:
    return g * factor * 1.001


@op
def writes_into_its_input(xp: Any, x: Any, /, factor: float = 2.0) -> Any:
    x *= factor
    return x


@writes_into_its_input.gradient("x")
def _(g: Any, factor: float) -> Any:
    return g * factor


@op
def reads_memory_in_its_order(xp: Any, x: Any, /, factor: float = 2.0) -> Any:
    return x.ravel("K").reshape(x.shape) * factor


@reads_memory_in_its_order.gradient("x")
def _(g: Any, factor: float) -> Any:
    return g * factor


def in_single_precision(x: Any, factor: float = 2.0) -> Any:
    return (x * factor).astype("float32")


FAULTY_OPS: list[tuple[Callable[..., Any], set[str]]] = [
    (scale, set()),
    (lambda x, factor=2.0: scale(x, factor + 1e-4), {"forward"}),
    (wrong_gradient, {"gradients", "memory_layout"}),
    (writes_into_its_input, {"inputs_unchanged"}),
    (reads_memory_in_its_order, {"memory_layout"}),
    (in_single_precision, {"forward", "gradients"}),
    (lambda x, factor=2.0: scale(Tensor(x).detach(), factor), {"recording", "forward"}),
    (lambda x, factor=2.0: Tensor(x) * factor, {"forward"}),
    (lambda x, factor=2.0: x[:1] * factor, {"forward", "broadcasting"}),
]


@pytest.mark.parametrize(("function", "expected"), FAULTY_OPS)
def test_faulty_ops_are_found(function: Callable[..., Any], expected: set[str]) -> None:
    case = OpCase(
        function,
        lambda x, factor=2.0: x * np.asarray(factor, x.dtype),
        [("normal", (3, 4))],
        name="scale",
        elementwise=True,
        invalid={"factor": ("many", None)} if function is scale else {},
    )
    found = failures(case)
    assert found >= expected
    assert bool(found) == bool(expected)


def test_an_invalid_option_that_is_accepted_is_found() -> None:
    case = OpCase(
        lambda x, factor=1: x, None, [("normal", (2,))], name="f", invalid={"factor": [0]}
    )
    assert failures(case) == {"invalid_option"}


# Layers


class Affine:
    """A layer with a buffer that it updates in training."""

    training = True
    fault = ""

    def __init__(self, size: int = 3, fault: str = "") -> None:
        if size < 1:
            raise ValueError(f"size: expected at least 1, got {size}")
        self.weights = Tensor(np.ones(size, np.float32), requires_grad=True)
        self.calls = Tensor(np.zeros((), np.float32))
        self.fault = fault

    @property
    def parameters(self) -> list[Tensor]:
        return [self.weights]

    def __call__(self, x: Tensor) -> Any:
        if self.training or self.fault == "counts in evaluation":
            self.calls.data[...] += 1
        if self.fault == "random":
            return x * self.weights * np.random.default_rng().normal()
        if self.fault == "no empty batch" and not len(x):
            raise ValueError("empty")
        return x * (self.weights.detach() if self.fault == "detached" else self.weights)

    def train(self, mode: bool = True) -> Affine:
        self.training = mode or self.fault == "always training"
        return self

    def to(self, device: Any = None, dtype: Any = None) -> Affine:
        if self.fault == "new parameters":
            self.weights = Tensor(self.weights.numpy(), device, dtype, requires_grad=True)
        for x in (self.weights, self.calls):
            x.set_dtype(dtype)
            x.set_device(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        state = {"weights": self.weights.numpy().copy(), "calls": self.calls.numpy().copy()}
        return {"weights": state["weights"]} if self.fault == "forgets" else state

    def load_state_dict(self, state: Any) -> None:
        own = self.state_dict()
        missing, unexpected = own.keys() - state.keys(), state.keys() - own.keys()
        if self.fault == "writes first":
            self.weights.data = Tensor(np.full(3, 7.0))
        if missing or (unexpected and self.fault != "takes other keys"):
            raise ValueError(f"missing {missing}, unexpected {unexpected}")
        self.weights.data = Tensor(state["weights"])
        if "calls" in own and self.fault != "loads a part":
            self.calls.data = Tensor(state["calls"])


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("", set()),
        ("random", {"modes", "state_dict", "gradients", "forward"}),
        ("detached", {"gradients"}),
        ("no empty batch", {"empty_batch"}),
        ("counts in evaluation", {"modes"}),
        ("always training", {"modes"}),
        ("new parameters", {"conversion"}),
        ("writes first", {"state_dict"}),
        ("takes other keys", {"state_dict"}),
        ("loads a part", {"state_dict"}),
    ],
)
def test_faulty_layers_are_found(fault: str, expected: set[str]) -> None:
    case = LayerCase(
        Affine,
        lambda x, weights: x * weights,
        [("normal", (4, 3))],
        options={"fault": fault},
        invalid={"size": (0, -1)},
    )
    found = failures(case)
    assert found >= expected
    assert bool(found) == bool(expected)


# Losses


class SquaredError:
    def __init__(self, reduction: str = "mean", fault: str = "") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction: {reduction}")
        self.reduction, self.fault = reduction, fault

    def __call__(self, prediction: Tensor, target: Tensor) -> Any:
        if prediction.shape != target.shape and self.fault != "broadcasts":
            raise ValueError(f"shapes {prediction.shape} and {target.shape}")
        losses = (prediction - target) ** 2
        if self.reduction == "none":
            return losses
        total = losses.sum()
        if self.reduction == "sum":
            return total.detach() * 1.0 if self.fault == "detached sum" else total
        return total / (len(losses) if self.fault == "mean of rows" else losses.size)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("", set()),
        ("broadcasts", {"shapes"}),
        ("mean of rows", {"reduction"}),
        ("detached sum", {"reduction"}),
    ],
)
def test_faulty_losses_are_found(fault: str, expected: set[str]) -> None:
    case = LossCase(
        SquaredError,
        lambda p, t: (p - t) ** 2,
        [("normal", (4, 3)), ("normal", (4, 3))],
        options={"fault": fault},
        invalid={"reduction": ("some",)},
    )
    assert failures(case) == expected


# Optimizers


class Momentum:
    def __init__(self, parameters: Any, lr: float = 0.1, fault: str = "") -> None:
        if not (isinstance(lr, float) and 0 <= lr < np.inf) and fault != "any rate":
            raise ValueError(f"lr: expected at least 0, got {lr}")
        self.parameters, self.lr, self.fault = list(parameters), lr, fault
        self.velocities = [np.zeros(x.shape) for x in self.parameters]

    def step(self) -> None:
        for x, v in zip(self.parameters, self.velocities, strict=True):
            if not x.has_grad and self.fault != "moves all":
                continue
            gradient = x.grad.numpy() if x.has_grad else np.ones(x.shape)
            v[...] = 0.9 * v + gradient
            x.data = Tensor((x.numpy() - self.lr * v).astype(x.dtype), device=x.device)
            if self.fault == "changes gradients":
                x.grad.data[...] = 0

    def state_dict(self) -> dict[str, Any]:
        return {str(i): v.copy() for i, v in enumerate(self.velocities)}

    def load_state_dict(self, state: Any) -> None:
        if state.keys() != self.state_dict().keys():
            raise ValueError(f"unexpected or missing: {state.keys() ^ self.state_dict().keys()}")
        if self.fault != "forgets":
            self.velocities = [v.copy() for v in state.values()]


def momentum(x: Any, gradients: Any, lr: float = 0.1, fault: str = "") -> Any:
    v = np.zeros_like(x)
    for g in gradients:
        v = 0.9 * v + g
        x = x - lr * v
    return x


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("", set()),
        ("any rate", {"invalid_option"}),
        ("moves all", {"missing_gradient"}),
        ("changes gradients", {"trajectory", "exact_resume", "state_dict"}),
        ("forgets", {"exact_resume", "state_dict"}),
    ],
)
def test_faulty_optimizers_are_found(fault: str, expected: set[str]) -> None:
    assert failures(OptimizerCase(Momentum, momentum, options={"fault": fault})) == expected


def test_a_wrong_rule_is_found() -> None:
    case = OptimizerCase(Momentum, lambda *a, **o: momentum(*a, **o) + 1e-3)
    assert failures(case) == {"trajectory"}


# Kernels


@kernel
def doubled(xp: Any, x: Any) -> Any:
    return x * 2


@doubled.cpu
def _(x: Any) -> Any:
    return x * 2.001


@kernel
def doubled_in_place(xp: Any, x: Any) -> None:
    x *= 2


@doubled_in_place.cpu
def _(x: Any) -> None:
    x *= 2.001


def test_faulty_implementations_are_found() -> None:
    pytest.importorskip("numba")
    for faulty in (doubled, doubled_in_place):
        assert failures(KernelCase(faulty, inputs=[("normal", (3,))])) == {"implementations"}


def test_kernels_of_a_package() -> None:
    found = kernels_of("nn_tensor")
    assert {"erf", "add_at"} <= set(found)
    assert all(name == kernel.__name__ for name, kernel in found.items())


# Tables


ROW = OpCase(exp, np.exp, [("normal", (2,))])


def test_rows_are_told_apart_by_labels() -> None:
    with pytest.raises(ValueError, match="two rows are named 'exp'"):
        each_check([ROW, OpCase(exp, np.exp, [("normal", (3,))])])
    assert each_check([ROW, OpCase(exp, np.exp, [("normal", (3,))], "longer")])


def test_skipped_checks() -> None:
    skip = {"gradients": "is tested elsewhere", "forward float32": "is imprecise"}
    names = {str(check) for check in each_check([OpCase(exp, np.exp, [((0, 1), (2,))], skip=skip)])}
    assert "exp: gradients" not in names
    assert "exp: forward float32" not in names
    assert "exp: forward float64" in names
    with pytest.raises(ValueError, match=r"skip: has no checks \['gradient'\]"):
        each_check([OpCase(exp, np.exp, [((0, 1), (2,))], skip={"gradient": "a typing error"})])


def test_missing_cases() -> None:
    assert missing_cases(["log", "exp", "abs"], [ROW]) == ["abs", "log"]
    assert missing_cases(["log", "exp"], [ROW], {"log": "is tested elsewhere"}) == []
    for wrong in ("exp", "sin"):
        with pytest.raises(ValueError, match=rf"exempt: .*\['{wrong}'\]"):
            missing_cases(["exp"], [ROW], {wrong: "is tested elsewhere"})


def test_inputs_depend_on_the_row_alone() -> None:
    first, again = ROW.draw(), ROW.draw("float32")
    np.testing.assert_array_equal(first[0].astype("float32"), again[0])
    assert not np.array_equal(first[0], OpCase(exp, np.exp, ROW.inputs, "other").draw()[0])
    given = OpCase(exp, np.exp, [[1.0, 2.0], ((2, 3), (4,)), (lambda rng, shape: 5.0, ())])
    drawn = given.draw("float16")
    assert [x.dtype for x in drawn] == ["float16"] * 3
    assert ((drawn[1] >= 2) & (drawn[1] <= 3)).all()
