"""Every rule: its equations, PyTorch's numbers, and every implementation of their kernels."""

import nn_optim
import numpy as np
import pytest
from nn_optim import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from nn_tensor import Tensor, use_kernels
from nn_tensor.extend import Kernel, array_module

from .equations import EQUATIONS

SHAPES = [(3,), (), (4, 5), (2, 3, 4), (0, 3), (140000,)]  # the last is more than one block
DTYPES = ["float32", "float64"]
STEPS = 8

RULES = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.05}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    (SGD, {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.05}),
    (SGD, {"lr": 0.0}),
    (Adam, {}),
    (Adam, {"lr": 0.1}),
    (Adam, {"lr": 0.1, "beta1": 0.0, "beta2": 0.5, "epsilon": 1e-3}),
    (Adam, {"lr": 0.1, "weight_decay": 0.05}),
    (AdamW, {}),
    (AdamW, {"lr": 0.1, "weight_decay": 0.5}),
    (AdamW, {"lr": 0.1, "weight_decay": 0.0, "beta1": 0.5}),
    (RMSprop, {}),
    (RMSprop, {"lr": 0.1, "alpha": 0.5, "epsilon": 1e-3, "weight_decay": 0.05}),
    (RMSprop, {"lr": 0.1, "centered": True}),
    (RMSprop, {"lr": 0.1, "momentum": 0.9}),
    (RMSprop, {"lr": 0.1, "momentum": 0.5, "centered": True, "weight_decay": 0.05}),
    (Adagrad, {}),
    (Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.05, "epsilon": 1e-3}),
    (Lion, {}),
    (Lion, {"lr": 0.1, "beta1": 0.5, "beta2": 0.75, "weight_decay": 0.05}),
]
IN_TORCH = [rule for rule in RULES if rule[0] is not Lion]
IDS = [f"{kind.__name__}-{options}" for kind, options in RULES]


def draw(shape, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), rng.standard_normal((steps, *shape))


def run(kind, options, x, gradients):
    optimizer = kind([x], **options)
    for gradient in gradients:
        x.grad = Tensor(gradient, device=x.device, dtype=x.dtype)
        optimizer.step()
    return x.numpy()


@pytest.mark.parametrize(("kind", "options"), RULES, ids=IDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_equations(kind, options, shape, device):
    start, gradients = draw(shape)
    x = Tensor(start.copy(), device=device, requires_grad=True)
    wanted = EQUATIONS[kind](start, gradients, **options)
    np.testing.assert_allclose(run(kind, options, x, gradients), wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("kind", "options"), IN_TORCH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torch(kind, options, dtype):
    torch = pytest.importorskip("torch")
    start, gradients = draw((13, 7))
    start, gradients = start.astype(dtype), gradients.astype(dtype)
    found = run(kind, options, Tensor(start.copy(), requires_grad=True), gradients)

    y = torch.tensor(start, requires_grad=True)
    names = {"epsilon": "eps"}
    theirs = {names.get(k, k): v for k, v in options.items() if k not in ("beta1", "beta2")}
    if kind in (Adam, AdamW):
        theirs["betas"] = options.get("beta1", 0.9), options.get("beta2", 0.999)
    other = getattr(torch.optim, kind.__name__)([y], **theirs)
    for gradient in gradients:
        y.grad = torch.tensor(gradient)
        other.step()
    # a few roundings in each step, and near the first step Adam divides small by small
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("kind", "options"), RULES, ids=IDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_best_kernel_equals_reference(kind, options, dtype, device):
    start, gradients = draw((140001,), steps=3)
    results = []
    for choice in ("auto", "reference"):
        x = Tensor(start.astype(dtype), device=device, requires_grad=True)
        with use_kernels(choice):
            results.append(run(kind, options, x, gradients))
    # compilers may contract a product and a sum into one rounding
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    if options.get("centered") and device == "cuda":
        tolerance *= 10  # the variance is a difference, in which one rounding less shows
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance)


KERNELS = [
    (SGD, (None,), (0.1, 0.0, False, 0.01)),
    (SGD, (1,), (0.1, 0.9, True, 0.01)),
    (SGD, (1,), (0.1, 0.9, False, 0.0)),
    (Adam, (1, 1, None), (3, 0.1, 0.9, 0.999, 1e-8, 0.01, False, False)),
    (Adam, (1, 1, 1), (3, 0.1, 0.9, 0.999, 1e-8, 0.01, False, True)),
    (AdamW, (1, 1, None), (3, 0.1, 0.9, 0.999, 1e-8, 0.05, True, False)),
    (RMSprop, (1, None, None), (0.1, 0.9, 1e-8, 0.0, 0.0)),
    (RMSprop, (1, 1, 1), (0.1, 0.9, 1e-8, 0.5, 0.01)),
    (Adagrad, (1,), (0.1, 1e-8, 0.01)),
    (Lion, (1,), (0.1, 0.9, 0.99, 0.01)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "state", "options"), KERNELS)
def test_cpu_implementation_as_plain_python(kind, state, options, dtype):
    rng = np.random.default_rng(0)
    arrays = [kept and rng.random(20).astype(dtype) for kept in (1, 1, *state)]
    for array in (arrays[1], arrays[-1]):
        if array is not None:
            array[:2] = 0.0
    others = [array if array is None else array.copy() for array in arrays]
    kind.rule.reference(np, *arrays, *options)
    kind.rule.cpu_implementation(*others, *options)
    for array, other in zip(arrays, others, strict=True):
        if array is not None:
            assert array.dtype == other.dtype
            tolerance = 2e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(array, other, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "state", "options"), KERNELS)
def test_calls_of_numpy_give_the_bits_of_the_rule(kind, state, options, dtype, monkeypatch):
    monkeypatch.setattr("nn_optim._update_rule._FEW", 3)
    monkeypatch.setattr("nn_optim._blocks._SIZE", 64)
    rng = np.random.default_rng(0)
    arrays = [kept and rng.random(150).astype(dtype) for kept in (1, 1, *state)]
    others = [array if array is None else array.copy() for array in arrays]
    gradient = arrays[1].copy()
    called = []
    written, function = kind.rule.function, kind.rule._translation.numpy_function
    monkeypatch.setattr(
        kind.rule._translation, "numpy_function", lambda *a: called.append(1) or function(*a)
    )
    kind.rule.reference(np, *arrays, *options)
    written(*others, *options)
    assert len(called) in (3, 4)  # with those before the first line of the cache
    for array, other in zip(arrays, others, strict=True):
        if array is not None:
            np.testing.assert_array_equal(array, other, strict=True)
    np.testing.assert_array_equal(arrays[1], gradient)


def test_every_rule_has_all_implementations():
    kinds = {kind for kind, _, _ in KERNELS}
    public = {kind for kind in vars(nn_optim).values() if isinstance(kind, type)}
    assert kinds == {k for k in public if issubclass(k, Optimizer)} - {Optimizer}
    for kind in kinds:
        assert isinstance(kind.rule, Kernel)
        assert kind.rule.cpu_implementation is not None
        assert kind.rule.cuda_implementation is not None


@pytest.mark.parametrize(("kind", "options"), RULES, ids=IDS)
def test_nan_and_infinity_stay_where_they_are(kind, options, device):
    x = Tensor(np.ones(4), device=device, requires_grad=True)
    gradient = np.array([1.0, np.nan, np.inf, -1.0])
    with np.errstate(invalid="ignore"):
        found = run(kind, options, x, [gradient, gradient])
    assert np.isfinite(found[[0, 3]]).all()
    assert not np.isfinite(found[1])


def test_adam_does_not_divide_by_zero(device):
    x = Tensor(np.ones(3, np.float32), device=device, requires_grad=True)
    np.testing.assert_array_equal(run(Adam, {}, x, np.zeros((3, 3))), np.ones(3))


@pytest.mark.parametrize("size", [1e-12, 1e-4, 1e4, 1e15])
def test_adam_steps_do_not_depend_on_the_size_of_gradients(size, device):
    x = Tensor(np.zeros(3, np.float32), device=device, requires_grad=True)
    found = run(Adam, {"lr": 0.5, "epsilon": 0.0}, x, size * np.array([[1.0, -1.0, 2.0]]))
    np.testing.assert_allclose(found, [-0.5, 0.5, -0.5], rtol=1e-5)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Lion])
def test_minimizes(kind, device):
    x = Tensor([3.0, -2.0], device=device, requires_grad=True)
    optimizer = kind([x], lr=0.1, weight_decay=0.0)
    for step in range(700):
        optimizer.lr = 0.1 * 0.99**step
        optimizer.zero_grad()
        ((x - 1.0) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(x.numpy(), [1.0, 1.0], atol=5e-3)
    assert array_module(x) is x.xp


def test_a_variance_that_rounds_below_zero_counts_as_zero(device):
    x = Tensor(np.zeros(1000, np.float32), device=device, requires_grad=True)
    found = run(
        RMSprop,
        {"centered": True, "alpha": 0.0, "epsilon": 1.0},
        x,
        [np.linspace(0.1, 9.0, 1000)] * 3,
    )
    assert np.isfinite(found).all()


def test_lion_moves_by_the_learning_rate_or_not_at_all(device):
    x = Tensor(np.zeros(4), device=device, requires_grad=True)
    found = run(Lion, {"lr": 0.5}, x, [[1e-9, -1e9, 0.0, np.nan]])
    np.testing.assert_array_equal(found, [-0.5, 0.5, 0.0, np.nan])
