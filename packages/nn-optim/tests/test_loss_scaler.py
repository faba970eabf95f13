"""The loss scaler: PyTorch's scales, skipped steps, clipping, and exact resume."""

import logging

import numpy as np
import pytest
from nn_optim import SGD, Adam, LossScaler, clip_gradients_by_norm
from nn_tensor import Tensor, autocast

INFINITE = [0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1]


def parameter(*shape, device="cpu", dtype="float32"):
    values = np.random.default_rng(len(shape)).normal(size=shape)
    return Tensor(values, dtype=dtype, device=device, requires_grad=True)


def backward(scaler, parameters, infinite=False):
    loss = sum((x * x).sum() for x in parameters) * (np.inf if infinite else 0.5)
    scaler.scale(loss).backward()


def test_scales_are_those_of_torch():
    torch = pytest.importorskip("torch")
    options = {
        "init_scale": 64.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2
    }  # fmt: skip
    theirs = torch.nn.Parameter(torch.ones(2))
    their_optimizer = torch.optim.SGD([theirs], lr=0.5)
    their_scaler = torch.amp.GradScaler("cpu", **options)
    ours = Tensor(np.ones(2, "float32"), requires_grad=True)
    optimizer, scaler = SGD([ours], lr=0.5), LossScaler(**options)
    for infinite in INFINITE:
        their_optimizer.zero_grad()
        their_loss = (theirs * theirs).sum() * (np.inf if infinite else 0.5)
        their_scaler.scale(their_loss).backward()
        their_scaler.step(their_optimizer)
        their_scaler.update()
        optimizer.zero_grad()
        backward(scaler, [ours], infinite)
        assert scaler.step(optimizer) is not bool(infinite)
        assert scaler.loss_scale == their_scaler.get_scale()
        assert scaler.growth_tracker == their_scaler._get_growth_tracker()
        np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())


def test_a_step_equals_one_without_a_scale(device):
    plain, scaled = (parameter(3, 4, device=device) for _ in range(2))
    optimizer, scaler = Adam([plain]), LossScaler()
    other = Adam([scaled])
    for _ in range(3):
        for x, own in ((plain, LossScaler(enabled=False)), (scaled, scaler)):
            x.zero_grad()
            backward(own, [x])
        optimizer.step()
        assert scaler.step(other)
    np.testing.assert_array_equal(scaled.numpy(), plain.numpy())  # a power of 2 rounds nothing


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 5000, -1])
def test_a_skipped_step_changes_nothing_but_the_scale(bad, place, device):
    xs = [parameter(6000, device=device), parameter(2, 3, device=device)]
    optimizer, scaler = Adam(xs), LossScaler()
    backward(scaler, xs)
    assert scaler.step(optimizer)
    before = [x.numpy().copy() for x in xs], optimizer.state_dict()
    gradients = [np.ones(x.shape, "float32") for x in xs]
    gradients[0][place] = bad
    for x, gradient in zip(xs, gradients, strict=True):
        x.grad = Tensor(gradient, device=device)
    assert not scaler.step(optimizer)
    assert (scaler.loss_scale, scaler.skipped_steps) == (2.0**15, 1)
    for x, value, gradient in zip(xs, before[0], gradients, strict=True):
        np.testing.assert_array_equal(x.numpy(), value)
        np.testing.assert_array_equal(x.grad.numpy(), gradient)
    for key, value in optimizer.state_dict().items():
        if key != "__metadata__":
            np.testing.assert_array_equal(value, before[1][key])


def test_several_optimizers_step_together_or_not_at_all(device):
    x, y = parameter(3, device=device), parameter(2, 2, device=device)
    first, second, scaler = SGD([x], lr=0.5), SGD([y], lr=0.5), LossScaler()
    start = x.numpy().copy(), y.numpy().copy()
    backward(scaler, [x, y])
    y.grad = Tensor(np.full((2, 2), np.inf, "float32"), device=device)
    assert not scaler.step(first, second)
    np.testing.assert_array_equal(x.numpy(), start[0])
    for t in (x, y):
        t.zero_grad()
    backward(scaler, [x, y])
    assert scaler.step(first, second)
    np.testing.assert_allclose(x.numpy(), start[0] / 2, rtol=1e-6)  # the gradient is x itself
    np.testing.assert_allclose(y.numpy(), start[1] / 2, rtol=1e-6)


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_gradients_are_clipped_after_they_are_unscaled(limit, device):
    ours, other = ([parameter(3, 4, device=device), parameter(5, device=device)] for _ in range(2))
    scaler = LossScaler()
    backward(scaler, ours)
    scaler.step(SGD(ours, lr=1.0), clip_norm=limit)
    backward(LossScaler(enabled=False), other)
    clip_gradients_by_norm(other, limit)
    SGD(other, lr=1.0).step()
    for x, y in zip(ours, other, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)


def test_large_gradients_of_float64_are_finite():
    x = Tensor(np.array([1.0]), requires_grad=True)
    scaler = LossScaler(init_scale=2.0)
    scaler.scale((x * 1e200).sum()).backward()
    assert scaler.step(SGD([x], lr=0.0))
    assert x.grad.item() == 1e200


def test_many_skipped_steps_are_said_once(caplog):
    x, y = parameter(2), parameter(3)
    scaler = LossScaler()
    with caplog.at_level(logging.WARNING, "nn_optim"):
        for _ in range(45):
            x.grad, y.grad = Tensor(np.ones(2, "float32")), Tensor(np.full(3, np.nan, "float32"))
            assert not scaler.step(SGD([x, y], lr=0.1))
    assert [r.getMessage().count("gradients of parameters[1] are") for r in caplog.records] == [1]


def test_the_scale_never_becomes_zero_or_infinite():
    x = parameter(2)
    scaler = LossScaler(init_scale=1e-300, backoff_factor=1e-9, growth_interval=1)
    for _ in range(3):
        x.grad = Tensor(np.full(2, np.inf, "float32"))
        scaler.step(SGD([x], lr=0.1))
    assert scaler.loss_scale > 0
    assert 1 / scaler.loss_scale < np.inf
    scaler = LossScaler(init_scale=1e308, growth_interval=1, growth_factor=100.0)
    x.grad = Tensor(np.zeros(2, "float32"))
    scaler.step(SGD([x], lr=0.1))
    assert scaler.loss_scale == 1e308


def test_state_continues_exactly():
    def run(steps, state=None):
        x = parameter(3)
        optimizer, scaler = Adam([x]), LossScaler(init_scale=8.0, growth_interval=2)
        if state:
            x.data[...] = state[0]
            optimizer.load_state_dict(state[1])
            scaler.load_state_dict(state[2])
        for n in steps:
            x.zero_grad()
            backward(scaler, [x], INFINITE[n])
            scaler.step(optimizer)
        return x.numpy().copy(), optimizer.state_dict(), scaler.state_dict()

    whole, resumed = run(range(10)), run(range(6, 10), run(range(6)))
    np.testing.assert_array_equal(whole[0], resumed[0])
    assert whole[2] == resumed[2]


def test_a_failed_load_changes_nothing():
    scaler = LossScaler()
    state = LossScaler(init_scale=2.0).state_dict() | {"growth_tracker": np.array(-1)}
    with pytest.raises(ValueError, match=r"growth_tracker: expected .*>= 0, got -1"):
        scaler.load_state_dict(state)
    assert scaler.loss_scale == 2.0**16
    with pytest.raises(ValueError, match="belongs to Adam"):
        scaler.load_state_dict(scaler.state_dict() | {"__metadata__": {"class": "Adam"}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_scale": 0.0}, "init_scale: expected a finite number > 0"),
        ({"growth_factor": 1.0}, "growth_factor: expected a finite number > 1"),
        ({"backoff_factor": 1.0}, "backoff_factor: expected a finite number > 0 and < 1"),
        ({"growth_interval": 0}, "growth_interval: expected an integer >= 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LossScaler(**options)


def test_what_cannot_be_scaled_is_refused():
    scaler, half = LossScaler(), parameter(2, dtype="float16")
    with pytest.raises(TypeError, match="loss: expected a floating Tensor"):
        scaler.scale(1.0)
    with pytest.raises(TypeError, match="at least one optimizer"):
        scaler.step()
    with pytest.raises(TypeError, match="expected an Optimizer, got"):
        scaler.step([half])
    half.grad = Tensor(np.ones(2, "float16"))
    with pytest.raises(TypeError, match=r"parameters\[0\]: is float16.*autocast"):
        scaler.step(SGD([half], lr=0.1))
    with pytest.raises(AttributeError, match="step, which also changes the scale"):
        scaler.update()


def test_small_gradients_survive_in_half_precision(device):
    x = Tensor(np.full((4, 4), 1e-4, "float32"), device=device, requires_grad=True)
    w = Tensor(np.full((4, 4), 1e-4, "float32"), device=device, requires_grad=True)
    optimizer, scaler = SGD([w], lr=1.0), LossScaler()
    gradients = []
    for own in (LossScaler(enabled=False), scaler):
        w.zero_grad()
        with autocast("float16"):
            loss = (x @ w * 1e-4).mean()
        own.scale(loss).backward()
        gradients.append(w.grad.numpy().copy())
    assert gradients[0].max() == 0  # underflow
    assert gradients[1].min() > 0
    assert scaler.step(optimizer)
    np.testing.assert_allclose(w.grad.numpy(), 1e-8 / 4, rtol=2e-2)
