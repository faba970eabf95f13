"""The base class, and `MSELoss`."""

import nn_tensor
import numpy as np
import pytest
from nn_losses import Loss, MSELoss, SoftmaxCrossEntropyLoss
from nn_tensor import Tensor, ones
from nn_tensor.testing import gradcheck

REDUCTIONS = ["mean", "sum", "none"]


def test_loss_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Loss()


@pytest.mark.parametrize("loss", [MSELoss, SoftmaxCrossEntropyLoss])
@pytest.mark.parametrize("reduction", ["average", None, 1])
def test_unknown_reduction(loss, reduction):
    with pytest.raises(ValueError, match=f"reduction: expected one of .* got {reduction!r}"):
        loss(reduction=reduction)


def test_a_loss_of_ones_own():
    class AbsoluteLoss(Loss):
        def forward(self, prediction, target):
            return self.reduce(nn_tensor.abs(prediction - target))

    assert AbsoluteLoss()(ones(4), 3.0).item() == 2.0
    assert AbsoluteLoss("none")(ones(4), 3.0).shape == (4,)
    assert repr(AbsoluteLoss("sum")) == "AbsoluteLoss(reduction='sum')"


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_mse_equals_its_definition(reduction, shape, device):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, *shape))
    loss = MSELoss(reduction)(Tensor(x, device=device), Tensor(y, device=device))
    losses = (x - y) ** 2
    wanted = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-13)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse_gradients(reduction, device):
    x, y = np.random.default_rng(0).standard_normal((2, 3, 4))
    gradcheck(MSELoss(reduction), [Tensor(x, device=device), Tensor(y, device=device)], order=2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse_equals_torch(reduction):
    torch = pytest.importorskip("torch")
    x, y = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
    a = Tensor(x, requires_grad=True)
    loss = MSELoss(reduction)(a, y)
    loss.sum().backward()
    b = torch.tensor(x, requires_grad=True)
    other = torch.nn.functional.mse_loss(b, torch.tensor(y), reduction=reduction)
    other.sum().backward()
    np.testing.assert_allclose(loss.numpy(), other.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("target", ["float64", "float32", "int64", "bool"])
def test_mse_casts_the_target(dtype, target, device):
    x = ones(3, dtype=dtype, device=device, requires_grad=True)
    loss = MSELoss()(x, Tensor(np.zeros(3, target), device=device))
    loss.backward()
    assert loss.dtype == x.grad.dtype == np.dtype(dtype)
    assert loss.item() == 1.0


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (1, 3), (3, 3, 1)])
def test_mse_never_broadcasts(shape):
    with pytest.raises(ValueError, match="target: shape") as info:
        MSELoss()(ones(3, 3), ones(shape))
    assert f"target: shape {shape}" in str(info.value)
    assert "(3, 3)" in str(info.value)


def test_mse_refuses_integers_to_train():
    with pytest.raises(TypeError, match="prediction: expected a floating dtype, got int64"):
        MSELoss()(Tensor([1, 2]), [1, 2])


def test_mse_nan_and_infinity(device):
    x = Tensor([np.nan, np.inf, 1.0], device=device)
    losses = MSELoss("none")(x, [0.0, 0.0, 0.0]).numpy()
    np.testing.assert_array_equal(losses, [np.nan, np.inf, 1.0])
