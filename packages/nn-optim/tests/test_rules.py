"""`SGD` and `Adam`: their equations, PyTorch's numbers, and every column of their kernels."""

import numpy as np
import pytest
from nn_optim import SGD, Adam
from nn_optim._adam import adapt
from nn_optim._sgd import descend, descend_with_momentum
from nn_tensor import Tensor, use_kernels
from nn_tensor.extend import array_module

SHAPES = [(3,), (), (4, 5), (2, 3, 4), (0, 3), (20000,)]  # the last is more than one block
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
]
IDS = [f"{kind.__name__}-{options}" for kind, options in RULES]


def sgd(x, gradients, lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0):
    """Compute the equations of `SGD`, written down as in its sources."""
    v = np.zeros_like(x)
    for g in gradients:
        d = g + weight_decay * x
        v = momentum * v + d
        x = x - lr * (d + momentum * v if nesterov else v)
    return x


def adam(x, gradients, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0):
    """Compute algorithm 1 of Kingma and Ba (2015), line by line."""
    m = np.zeros_like(x)
    v = np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        d = g + weight_decay * x
        m = beta1 * m + (1 - beta1) * d
        v = beta2 * v + (1 - beta2) * d**2
        corrected_m = m / (1 - beta1**t)
        corrected_v = v / (1 - beta2**t)
        x = x - lr * corrected_m / (np.sqrt(corrected_v) + epsilon)
    return x


EQUATIONS = {SGD: sgd, Adam: adam}


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


@pytest.mark.parametrize(("kind", "options"), RULES, ids=IDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_torch(kind, options, dtype):
    torch = pytest.importorskip("torch")
    start, gradients = draw((13, 7))
    start, gradients = start.astype(dtype), gradients.astype(dtype)
    found = run(kind, options, Tensor(start.copy(), requires_grad=True), gradients)

    y = torch.tensor(start, requires_grad=True)
    names = {"epsilon": "eps"}
    theirs = {names.get(k, k): v for k, v in options.items() if k not in ("beta1", "beta2")}
    if kind is SGD:
        other = torch.optim.SGD([y], **theirs)
    else:
        betas = options.get("beta1", 0.9), options.get("beta2", 0.999)
        other = torch.optim.Adam([y], betas=betas, **theirs)
    for gradient in gradients:
        y.grad = torch.tensor(gradient)
        other.step()
    # a few roundings in each step, and near the first step Adam divides small by small
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("kind", "options"), RULES, ids=IDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_best_kernel_equals_reference(kind, options, dtype, device):
    start, gradients = draw((20001,), steps=3)
    results = []
    for choice in ("auto", "reference"):
        x = Tensor(start.astype(dtype), device=device, requires_grad=True)
        with use_kernels(choice):
            results.append(run(kind, options, x, gradients))
    # compilers may contract a product and a sum into one rounding
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(*results, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [descend, descend_with_momentum, adapt], ids=lambda k: k.__name__)
def test_cpu_column_as_plain_python(step, dtype):
    rng = np.random.default_rng(0)
    count = {"descend": 2, "descend_with_momentum": 3, "adapt": 4}[step.__name__]
    options = {
        "descend": (0.1, 0.01),
        "descend_with_momentum": (0.1, 0.9, 0.01, True),
        "adapt": (0.1, 0.9, 0.999, 1e-8, 0.01),
    }[step.__name__]
    arrays = [rng.random(20).astype(dtype) for _ in range(count)]
    others = [array.copy() for array in arrays]
    step.reference(np, *arrays, *options)
    step.cpu_column(*others, *options)
    for array, other in zip(arrays, others, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_allclose(array, other, rtol=1e-6 if dtype == "float32" else 1e-14)


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


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_minimises(kind, device):
    x = Tensor([3.0, -2.0], device=device, requires_grad=True)
    optimizer = kind([x], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        ((x - 1.0) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(x.numpy(), [1.0, 1.0], atol=1e-3)
    assert array_module(x) is x.xp
