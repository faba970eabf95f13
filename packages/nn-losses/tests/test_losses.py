"""Every loss: what all have in common, from one table of cases, and what is particular."""

import warnings
from types import MappingProxyType
from typing import Any, NamedTuple

import nn_losses
import nn_tensor
import numpy as np
import pytest
from nn_losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropy,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
    SoftmaxCrossEntropyLoss,
)
from nn_tensor import Tensor, grad, no_grad, ones
from nn_tensor.testing import gradcheck

REDUCTIONS = ["mean", "sum", "none"]


class Case(NamedTuple):
    """A loss, how its inputs look, and its namesake in torch.nn."""

    loss: Any
    prediction: str
    target: str
    torch: str
    options: dict[str, Any] = MappingProxyType({})


CASES = {
    "MSELoss": Case(MSELoss, "real", "real", "MSELoss"),
    "L1Loss": Case(L1Loss, "real", "real", "L1Loss"),
    "HuberLoss": Case(HuberLoss, "real", "real", "HuberLoss"),
    "HuberLoss delta": Case(HuberLoss, "real", "real", "HuberLoss", {"delta": 0.3}),
    "BCELoss": Case(BCELoss, "unit", "unit", "BCELoss"),
    "BCEWithLogitsLoss": Case(BCEWithLogitsLoss, "real", "unit", "BCEWithLogitsLoss"),
    "BCEWithLogitsLoss pos_weight": Case(
        BCEWithLogitsLoss, "real", "unit", "BCEWithLogitsLoss",
        {"pos_weight": [0.5, 1.0, 2.0, 3.0]},
    ),
    "KLDivLoss": Case(KLDivLoss, "log-probabilities", "probabilities", "KLDivLoss"),
    "KLDivLoss log target": Case(
        KLDivLoss, "log-probabilities", "log-probabilities", "KLDivLoss", {"log_target": True}
    ),
    "CrossEntropy": Case(CrossEntropy, "real", "probabilities", "CrossEntropyLoss"),
    "SoftmaxCrossEntropyLoss": Case(
        SoftmaxCrossEntropyLoss, "real", "probabilities", "CrossEntropyLoss"
    ),
    "SoftmaxCrossEntropyLoss indices": Case(
        SoftmaxCrossEntropyLoss, "real", "indices", "CrossEntropyLoss"
    ),
    "NLLLoss": Case(NLLLoss, "log-probabilities", "indices", "NLLLoss"),
}  # fmt: skip
each_case = pytest.mark.parametrize("name", CASES)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def draw(kind, shape, rng):
    if kind == "real":
        return 2 * rng.standard_normal(shape)
    if kind == "unit":
        return rng.uniform(0.2, 0.8, shape)
    if kind == "indices":
        return rng.integers(0, shape[-1], shape[:-1])
    weights = rng.uniform(0.1, 1, shape)
    weights /= weights.sum(-1, keepdims=True)
    return np.log(weights) if kind == "log-probabilities" else weights


def inputs(name, shape=(3, 4), seed=0):
    rng = np.random.default_rng(seed)
    return draw(CASES[name].prediction, shape, rng), draw(CASES[name].target, shape, rng)


def build(name, reduction="mean"):
    return CASES[name].loss(reduction=reduction, **CASES[name].options)


def on(device, *arrays):
    return [Tensor(a, device=device) for a in arrays]


def test_every_loss_has_a_case():
    names = {name for name in nn_losses.__all__ if issubclass(getattr(nn_losses, name), Loss)}
    assert names - {"Loss"} == {case.loss.__name__ for case in CASES.values()}


def test_loss_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Loss()


@each_case
@pytest.mark.parametrize("reduction", ["average", None, 1])
def test_unknown_reduction(name, reduction):
    with pytest.raises(ValueError, match=f"reduction: expected one of .* got {reduction!r}"):
        build(name, reduction)


def test_a_custom_loss():
    class AbsoluteLoss(Loss):
        def forward(self, prediction, target):
            return self.reduce(nn_tensor.abs(prediction - target))

    assert AbsoluteLoss()(ones(4), 3.0).item() == 2.0
    assert AbsoluteLoss("none")(ones(4), 3.0).shape == (4,)
    assert repr(AbsoluteLoss("sum")) == "AbsoluteLoss(reduction='sum')"


@each_case
@each_reduction
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_gradients_of_first_and_second_order(name, reduction, shape, device):
    case = CASES[name]
    x, y = on(device, *inputs(name, shape))
    loss = build(name, reduction)
    if case.target == "indices":
        gradcheck(lambda p: loss(p, y), [x], order=2)
    else:
        gradcheck(loss, [x, y], order=2)


@each_case
@each_reduction
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4,), (50, 4), (2, 3, 4)])
def test_equals_torch(name, reduction, dtype, shape):
    torch = pytest.importorskip("torch")
    case = CASES[name]
    x, y = inputs(name, shape)
    x = x.astype(dtype)
    y = y if case.target == "indices" else y.astype(dtype)
    a = Tensor(x, requires_grad=True)
    b = Tensor(y, requires_grad=case.target != "indices")
    losses = build(name, reduction)(a, b)
    losses.backward(Tensor(np.ones(losses.shape, dtype)))

    options = {k: torch.tensor(v, dtype=getattr(torch, dtype)) if isinstance(v, list) else v
               for k, v in case.options.items()}  # fmt: skip
    theirs = getattr(torch.nn, case.torch)(reduction=reduction, **options)
    c = torch.tensor(x, requires_grad=True)
    d = torch.tensor(y, requires_grad=case.target != "indices")
    classes = case.torch in ("CrossEntropyLoss", "NLLLoss")
    rows = (c.reshape(-1, 4), d.reshape(-1, *([4] if d.ndim == c.ndim else []))) if classes else (
        c, d)  # fmt: skip
    with warnings.catch_warnings():  # torch recommends 'batchmean'
        warnings.filterwarnings("ignore", "reduction: 'mean' divides", UserWarning)
        others = theirs(*rows)
    others.sum().backward()
    rtol = 1e-9 if dtype == "float64" else 1e-4
    atol = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(
        losses.numpy(), others.detach().numpy().reshape(losses.shape), rtol=rtol, atol=atol
    )
    np.testing.assert_allclose(a.grad.numpy(), c.grad.numpy(), rtol=rtol, atol=atol)
    if case.target != "indices":
        np.testing.assert_allclose(b.grad.numpy(), d.grad.numpy(), rtol=rtol, atol=atol)


@each_case
@each_reduction
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("given", ["float32", "float64"])
def test_dtype_is_that_of_the_prediction(name, reduction, dtype, given, device):
    x, y = inputs(name)
    y = y if y.dtype.kind == "i" else y.astype(given)
    a = Tensor(x.astype(dtype), device=device, requires_grad=True)
    losses = build(name, reduction)(a, Tensor(y, device=device))
    losses.sum().backward()
    assert losses.dtype == a.grad.dtype == np.dtype(dtype)
    exact = build(name, reduction)(*on(device, x, y)).numpy()
    np.testing.assert_allclose(losses.numpy(), exact, rtol=20 * float(np.finfo(dtype).eps),
                               atol=4 * float(np.finfo(dtype).eps))  # fmt: skip


@each_case
def test_half_precision_accumulates_in_single(name, device):
    x, y = inputs(name, (3000, 4))
    half = build(name, "mean")(*on(device, x.astype("float16"), y))
    assert half.item() == pytest.approx(build(name)(*on(device, x, y)).item(), rel=3e-3)


@each_case
def test_inputs_are_not_written_to_whatever_their_layout(name, device):
    x, y = inputs(name, (5, 4))
    loss = build(name, "sum")
    results = []
    for a, b in [
        (x, y),
        (np.asfortranarray(x), np.asfortranarray(y)),
        (np.repeat(x, 2, -1)[:, ::2], np.repeat(y, 2, 0)[::2]),
        (x[::-1].copy()[::-1], y[::-1].copy()[::-1]),
    ]:
        before = a.copy(), b.copy()
        a.flags.writeable = b.flags.writeable = False
        p = Tensor(a, device=device, requires_grad=True)
        value = loss(p, Tensor(b, device=device))
        value.backward()
        np.testing.assert_array_equal(a, before[0])
        np.testing.assert_array_equal(b, before[1])
        results.append((value.numpy(), p.grad.numpy()))
    for value, gradient in results[1:]:
        np.testing.assert_allclose(value, results[0][0], rtol=1e-14)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-13, atol=1e-15)


@each_case
@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (1, 3), (4, 4, 1), (5, 4), (1, 4, 4)])
def test_nothing_is_broadcast(name, shape):
    loss = build(name)
    x, _ = inputs(name, (4, 4))
    target = np.zeros(shape, int if CASES[name].target == "indices" else float)
    with pytest.raises(ValueError, match="target: ") as info:
        loss(Tensor(x), target)
    assert str(shape) in str(info.value)
    assert "(4, 4)" in str(info.value) or "(4,)" in str(info.value)


@each_case
@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_examples(name, shape, device):
    x, y = inputs(name, shape)
    for reduction in REDUCTIONS:
        p = Tensor(x, device=device, requires_grad=True)
        loss = build(name, reduction)(p, Tensor(y, device=device))
        if reduction == "none":
            assert loss.size == 0
        else:
            np.testing.assert_equal(loss.item(), np.nan if reduction == "mean" else 0.0)
        loss.sum().backward()
        assert p.grad.shape == shape


@each_case
def test_nan_reaches_the_loss(name, device):
    loss = build(name, "none")
    columns = range(4) if CASES[name].target != "indices" else [1]
    for column in columns:
        x, y = inputs(name)
        if y.ndim == 1:
            y[:] = 1
        x[1, column] = np.nan
        losses = loss(*on(device, x, y)).numpy()
        assert np.isnan(losses[1]).any()
        assert np.isfinite(losses[[0, 2]]).all()
        assert np.isnan(build(name)(*on(device, x, y)).item())


@each_case
def test_nan_in_the_target_reaches_the_loss(name, device):
    x, y = inputs(name)
    if y.dtype.kind == "f":
        y[1, 2] = np.nan
        losses = build(name, "none")(*on(device, x, y)).numpy()
        assert np.isnan(losses[1]).any()
        assert np.isfinite(losses[[0, 2]]).all()


@each_case
def test_nothing_is_recorded_where_no_gradient_is_required(name, device):
    x, y = on(device, *inputs(name))
    assert not build(name)(x, y).requires_grad
    x.requires_grad = True
    with no_grad():
        assert not build(name)(x, y).requires_grad


@each_case
def test_wrong_dtypes(name):
    x, y = inputs(name)
    with pytest.raises(TypeError, match="prediction: expected a floating dtype, got int64"):
        build(name)(Tensor(np.zeros(x.shape, int)), y)
    with pytest.raises(TypeError, match="target: expected real numbers, got complex64"):
        build(name)(x, np.zeros(y.shape, np.complex64))


@each_case
@pytest.mark.cuda
def test_a_target_on_another_device_is_refused(name):
    x, y = inputs(name)
    with pytest.raises(ValueError, match="target: is on cpu, the prediction on cuda"):
        build(name)(Tensor(x, device="cuda"), y)


# Regression


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
@pytest.mark.parametrize(
    ("loss", "function"),
    [
        (MSELoss, lambda d: d**2),
        (L1Loss, np.abs),
        (HuberLoss, lambda d: np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5)),
    ],
)
def test_regression_equals_its_definition(loss, function, reduction, shape, device):
    x, y = 2 * np.random.default_rng(0).standard_normal((2, *shape))
    found = loss(reduction=reduction)(Tensor(x, device=device), Tensor(y, device=device))
    losses = function(x - y)
    wanted = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-13)


@pytest.mark.parametrize("target", ["float64", "float32", "int64", "bool"])
def test_mse_casts_the_target(target, device):
    x = ones(3, device=device, requires_grad=True)
    loss = MSELoss()(x, Tensor(np.zeros(3, target), device=device))
    loss.backward()
    assert loss.dtype == x.grad.dtype == np.float32
    assert loss.item() == 1.0


@pytest.mark.parametrize("loss", [MSELoss, L1Loss, HuberLoss])
def test_regression_of_infinity_and_of_zero_error(loss, device):
    x = Tensor([np.inf, 2.0, -np.inf], device=device, requires_grad=True)
    losses = loss(reduction="none")(x, [0.0, 2.0, 0.0])
    losses.sum().backward()
    np.testing.assert_array_equal(losses.numpy(), [np.inf, 0.0, np.inf])
    limit = np.inf if loss is MSELoss else 1.0
    np.testing.assert_array_equal(x.grad.numpy(), [limit, 0.0, -limit])


@pytest.mark.parametrize(
    ("delta", "error", "message"),
    [
        (0, ValueError, "delta: expected a finite number > 0, got 0"),
        (-1.0, ValueError, "delta: .* got -1.0"),
        (np.nan, ValueError, "delta: .* got nan"),
        (np.inf, ValueError, "delta: .* got inf"),
        ("mean", TypeError, "delta: expected a finite number > 0, got 'mean'"),
        (None, TypeError, "delta: expected a finite number > 0, got None"),
    ],
)
def test_wrong_delta(delta, error, message):
    with pytest.raises(error, match=message):
        HuberLoss(delta=delta)


# Binary classification and distributions


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bce_of_probabilities_0_and_1(dtype, device):
    x = Tensor(np.array([0, 0, 1, 1], dtype), device=device, requires_grad=True)
    losses = BCELoss("none")(x, Tensor(np.array([0, 1, 0, 1], dtype), device=device))
    np.testing.assert_array_equal(losses.numpy(), [0, 100, 100, 0])
    losses.sum().backward()
    gradient = x.grad.numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.sign(gradient), [0, -1, 1, 0])


def test_bce_of_probabilities_0_and_1_equals_torch():
    torch = pytest.importorskip("torch")
    x, y = np.array([0, 0, 1, 1, 1e-30]), np.array([0.0, 1.0, 0.5, 1.0, 0.5])
    a, c = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    b, d = Tensor(y, requires_grad=True), torch.tensor(y, requires_grad=True)
    losses, others = BCELoss("none")(a, b), torch.nn.BCELoss(reduction="none")(c, d)
    losses.sum().backward()
    others.sum().backward()
    np.testing.assert_allclose(losses.numpy(), others.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(
        a.grad.numpy(), c.grad.numpy(), rtol=1e-8
    )  # its 1e-12 is rounded to float32


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_large_logits_are_exact(dtype, pos_weight, device):
    x = Tensor(np.array([1e4, 1e4, -1e4, -1e4], dtype), device=device, requires_grad=True)
    losses = BCEWithLogitsLoss("none", pos_weight=pos_weight)(
        x, Tensor([1.0, 0, 1, 0], device=device)
    )
    weight = pos_weight or 1.0
    wanted = np.array([0, 1e4, weight * 1e4, 0], dtype)
    np.testing.assert_array_equal(losses.numpy(), wanted)
    losses.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1, -weight, 0])


def test_infinite_logits(device):
    x = Tensor([np.inf, np.inf, -np.inf, -np.inf], device=device, requires_grad=True)
    losses = BCEWithLogitsLoss(reduction="none")(x, [1, 0, 1, 0])
    losses.sum().backward()
    np.testing.assert_array_equal(losses.numpy(), [0, np.inf, np.inf, 0])
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1, -1, 0])


def test_bce_with_logits_equals_bce_of_their_sigmoid(device):
    x, y = inputs("BCEWithLogitsLoss")
    probabilities = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(
        BCEWithLogitsLoss(reduction="none")(*on(device, x, y)).numpy(),
        BCELoss("none")(*on(device, probabilities, y)).numpy(),
        rtol=1e-12,
    )


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (3, 4)])
def test_pos_weight_broadcasts(shape, device):
    x, y = inputs("BCEWithLogitsLoss")
    weight = np.random.default_rng(1).uniform(0.5, 2, shape)
    losses = BCEWithLogitsLoss("none", pos_weight=Tensor(weight))(*on(device, x, y)).numpy()
    p = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(
        losses, -(weight * y * np.log(p) + (1 - y) * np.log(1 - p)), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (-1.0, ValueError, "pos_weight: expected finite numbers >= 0, got -1.0"),
        ([1.0, np.nan], ValueError, "pos_weight: .* got nan"),
        ("2", TypeError, "pos_weight: expected numbers, got '2'"),
        ([[1.0], [2.0, 3.0]], TypeError, "pos_weight: expected numbers, got "),
    ],
)
def test_wrong_pos_weight(weight, error, message):
    with pytest.raises(error, match=message):
        BCEWithLogitsLoss(pos_weight=weight)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 3, 4)])
def test_pos_weight_that_does_not_fit(shape):
    with pytest.raises(ValueError, match=r"pos_weight: shape .* does not broadcast") as info:
        BCEWithLogitsLoss(pos_weight=np.ones(shape))(ones(3, 4), ones(3, 4))
    assert str(shape) in str(info.value)
    assert "(3, 4)" in str(info.value)


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "message"),
    [
        (BCELoss(), 1.5, 0.0, "prediction: probabilities lie between 0 and 1, got 1.5"),
        (BCELoss(), -0.5, 0.0, "prediction: probabilities lie between 0 and 1, got -0.5"),
        (BCELoss(), 0.5, 2.0, "target: probabilities lie between 0 and 1, got 2.0"),
        (BCEWithLogitsLoss(), 1.0, -1.0, "target: probabilities .* got -1.0"),
        (KLDivLoss(), -1.0, 1.25, "target: probabilities .* got 1.25"),
    ],
)
def test_values_outside_0_to_1_are_not_probabilities(loss, prediction, target, message):
    with pytest.raises(ValueError, match=message):
        loss(Tensor([[prediction]]), [[target]])


def test_kl_of_events_of_probability_0(device):
    x = Tensor([[0.0, -np.inf], [-np.inf, -1.0]], device=device, requires_grad=True)
    for log_target, y in ((False, [[1.0, 0], [0, 1]]), (True, [[0.0, -np.inf], [-np.inf, 0]])):
        losses = KLDivLoss("none", log_target=log_target)(x, Tensor(y, device=device))
        np.testing.assert_array_equal(losses.numpy(), [[0, 0], [0, 1]])
        (gradient,) = grad(losses.sum(), [x])
        np.testing.assert_array_equal(gradient.numpy(), [[-1, 0], [0, -1]])
    certain = Tensor([0.0, 1.0], device=device, requires_grad=True)
    KLDivLoss()(Tensor([-1.0, -1.0], device=device), certain).backward()
    assert np.isfinite(certain.grad.numpy()).all()


@pytest.mark.parametrize("log_target", [False, True])
def test_kl_of_a_batch(log_target, device):
    x, y = inputs("KLDivLoss")
    wanted = (y * (np.log(y) - x)).sum() / 3
    loss = KLDivLoss("batchmean", log_target=log_target)
    a, b = on(device, x, np.log(y) if log_target else y)
    assert loss(a, b).item() == pytest.approx(wanted, rel=1e-13)
    gradcheck(loss, [a, b], order=2)
    assert np.isnan(loss(ones(0, 3), ones(0, 3)).item())
    with pytest.raises(ValueError, match=r"'batchmean' needs a batch dimension, got shape \(\)"):
        loss(Tensor(-1.0), Tensor(0.5))
    with pytest.raises(TypeError, match="log_target: expected True or False, got 'yes'"):
        KLDivLoss("mean", log_target="yes")


def test_descriptions():
    losses = [
        HuberLoss(delta=0.5),
        BCEWithLogitsLoss("sum", pos_weight=[1, 2]),
        KLDivLoss("batchmean", log_target=True),
        SoftmaxCrossEntropyLoss(weight=[1, 2], ignore_index=-1, label_smoothing=0.1),
        NLLLoss(),
    ]
    assert list(map(repr, losses)) == [
        "HuberLoss(delta=0.5, reduction='mean')",
        "BCEWithLogitsLoss(pos_weight=[1.0, 2.0], reduction='sum')",
        "KLDivLoss(log_target=True, reduction='batchmean')",
        "SoftmaxCrossEntropyLoss(weight=[1.0, 2.0], ignore_index=-1, label_smoothing=0.1, "
        "reduction='mean')",
        "NLLLoss(reduction='mean')",
    ]


# Arguments


@each_case
def test_the_reduction_goes_by_position(name):
    case = CASES[name]
    assert case.loss("sum", **case.options).reduction == "sum"
    assert case.loss(**case.options).reduction == "mean"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MSELoss("mean", 1), r"MSELoss takes 1 positional argument \(reduction\), got 2"),
        (lambda: HuberLoss("mean", 0.5), "HuberLoss takes .* give delta=0.5 by name"),
        (lambda: BCEWithLogitsLoss("sum", 2.0), "BCEWithLogitsLoss .* pos_weight=2.0 by name"),
        (lambda: KLDivLoss("sum", True), "KLDivLoss takes .* give log_target=True by name"),
        (lambda: NLLLoss("sum", [1, 2], 5), "NLLLoss .* weight=.1, 2., ignore_index=5 by name"),
        (lambda: SoftmaxCrossEntropyLoss("sum", None, 0), ".* weight=None, ignore_index=0 by"),
    ],
)
def test_options_are_given_by_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_the_package_shows_what_users_need():
    shown = {name for name in dir(nn_losses) if not name.startswith("_")}
    assert shown == set(nn_losses.__all__)
    assert len(shown) == 22
