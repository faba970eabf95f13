"""A run that was stopped and resumed equals one that never stopped, bit for bit."""

import re

import numpy as np
import pytest
from nn_io import load_checkpoint, load_state_dict_from_file, rename_state, save_checkpoint
from nn_io import save_model_parameters as save
from nn_layers import Dense, ReLU, Sequential
from nn_losses import SoftmaxCrossEntropyLoss
from nn_optim import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    CosineSchedule,
    LinearWarmup,
    Lion,
    LossScaler,
    ReduceOnPlateau,
    RMSprop,
    SequentialSchedules,
    clip_gradients_by_norm,
)
from nn_tensor import Tensor, autocast

STEPS = 1000
BATCH = 16
rng = np.random.default_rng(0)
IMAGES = rng.standard_normal((200, 12)).astype(np.float32)
CLASSES = rng.integers(0, 4, 200)


class Run:
    """A model, what trains it, and the losses so far."""

    def __init__(self, device, kind=AdamW, seed=0, plateau=False):
        draw = np.random.default_rng(seed)
        self.model = Sequential(Dense(12, 16, rng=draw), ReLU(), Dense(16, 4, rng=draw))
        self.model.set_device(device)
        self.device = device
        *weights, biases = self.model.parameters
        self.optimizer = kind(
            [{"parameters": weights, "weight_decay": 0.1}, {"parameters": [biases]}], lr=0.003
        )
        if plateau:
            self.schedule = ReduceOnPlateau(self.optimizer, gamma=0.5, patience=2)
        else:
            parts = [
                LinearWarmup(self.optimizer, 50),
                CosineSchedule(self.optimizer, 100, min_lr=1e-4, restarts=True, T_mult=2),
            ]
            self.schedule = SequentialSchedules(parts, [50])
        self.rng = np.random.default_rng(seed)
        self.loss = SoftmaxCrossEntropyLoss()
        self.losses = []

    def parts(self):
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "rng": self.rng,
        }

    def train(self, steps):
        for _ in range(steps):
            rows = self.rng.permutation(len(IMAGES))[:BATCH]
            x, y = Tensor(IMAGES[rows]).to(self.device), Tensor(CLASSES[rows]).to(self.device)
            loss = self.loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            clip_gradients_by_norm(self.optimizer.parameters, 1.0)
            self.optimizer.step()
            if isinstance(self.schedule, ReduceOnPlateau):
                self.schedule.step(loss)
            else:
                self.schedule.step()
            self.losses.append(loss.item())


class MixedRun(Run):
    """A run in float16; its scale is at first so large that steps are skipped, and grows again."""

    def __init__(self, device, seed=0):
        super().__init__(device, seed=seed)
        self.scaler = LossScaler(init_scale=2.0**24, growth_interval=7)
        self.stepped = []

    def parts(self):
        return super().parts() | {"parts": {"loss_scaler": self.scaler}}

    def train(self, steps):
        for _ in range(steps):
            rows = self.rng.permutation(len(IMAGES))[:BATCH]
            x, y = Tensor(IMAGES[rows]).to(self.device), Tensor(CLASSES[rows]).to(self.device)
            with autocast("float16"):
                loss = self.loss(self.model(x), y)
            self.optimizer.zero_grad()
            with np.errstate(over="ignore", invalid="ignore"):  # NumPy warns of steps to skip
                self.scaler.scale(loss).backward()
            self.stepped.append(self.scaler.step(self.optimizer, clip_norm=1.0))
            if self.stepped[-1]:
                self.schedule.step()
            self.losses.append((loss.item(), self.scaler.loss_scale))


def assert_same(first, second):
    for name in ("model", "optimizer", "schedule"):
        one, other = (getattr(run, name).state_dict() for run in (first, second))
        assert list(one) == list(other)
        for key, value in one.items():
            np.testing.assert_equal(value, other[key], err_msg=f"{name}: {key}")
    assert first.rng.bit_generator.state == second.rng.bit_generator.state


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, device, suffix):
    path = tmp_path / f"run{suffix}"
    stop = int(np.random.default_rng().integers(1, STEPS))
    whole = Run(device)
    whole.train(STEPS)

    first = Run(device)
    first.train(stop)
    save_checkpoint(path, **first.parts(), step=stop, extra={"loss": first.losses[-1]})
    first.train(3)  # what is saved must not follow

    second = Run(device, seed=1)
    found = load_checkpoint(path, **second.parts())
    assert found == (stop, {"loss": whole.losses[stop - 1]})
    second.train(STEPS - found.step)
    assert second.losses == whole.losses[stop:], f"stopped after {stop} steps"
    assert_same(second, whole)


@pytest.mark.parametrize("stop", [2, 12, 40])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pkl"])
def test_mixed_precision_resumes(tmp_path, device, suffix, stop):
    whole, first, second = MixedRun(device), MixedRun(device), MixedRun(device, seed=1)
    whole.train(80)
    assert not all(whole.stepped[:3])  # stop 2 lies between skipped steps
    assert not all(whole.stepped[40:])
    assert sum(whole.stepped) > 40
    first.train(stop)
    save_checkpoint(tmp_path / f"run{suffix}", **first.parts())
    first.train(3)  # what is saved must not follow
    load_checkpoint(tmp_path / f"run{suffix}", **second.parts())
    second.train(80 - stop)
    assert second.losses == whole.losses[stop:]
    assert second.stepped == whole.stepped[stop:]
    assert second.scaler.state_dict() == whole.scaler.state_dict()
    assert_same(second, whole)


@pytest.mark.parametrize("plateau", [False, True])
@pytest.mark.parametrize("kind", [SGD, Adam, RMSprop, Adagrad, Lion])
def test_every_optimizer_resumes(tmp_path, device, kind, plateau):
    whole, first = Run(device, kind, plateau=plateau), Run(device, kind, plateau=plateau)
    second = Run(device, kind, seed=1, plateau=plateau)
    whole.train(80)
    first.train(33)
    save_checkpoint(tmp_path / "run.npz", **first.parts())
    load_checkpoint(tmp_path / "run.npz", **second.parts())
    second.train(47)
    assert second.losses == whole.losses[33:]
    assert_same(second, whole)


def test_a_rate_that_was_set_by_hand_is_kept(tmp_path):
    first, second = Run("cpu"), Run("cpu", seed=1)
    first.train(5)
    first.optimizer.lr = 0.125
    save_checkpoint(tmp_path / "run.npz", **first.parts())
    load_checkpoint(tmp_path / "run.npz", **second.parts())
    assert second.optimizer.lr == 0.125
    assert_same(first, second)


@pytest.mark.parametrize("part", ["model", "optimizer", "schedule"])
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, device, part):
    saved, target, same = Run(device), Run(device, seed=1), Run(device, seed=1)
    other = {
        "model": Sequential(Dense(12, 16), ReLU(), Dense(16, 5)),
        "optimizer": Adam(saved.model.parameters),
        "schedule": LinearWarmup(saved.optimizer),
    }
    saved.train(5)
    for run in (target, same):
        run.train(3)
        run.optimizer.groups[0]["lr"] = 0.25
    save_checkpoint(tmp_path / "run.npz", **saved.parts() | {part: other[part]})
    with pytest.raises(ValueError, match="nothing was changed") as caught:
        load_checkpoint(tmp_path / "run.npz", **target.parts())
    assert f"while loading {part}" in caught.value.__notes__[0]
    assert_same(target, same)
    for run in (target, same):
        run.train(5)
    assert target.losses == same.losses


def test_linear_layers_of_torch_become_dense_ones(tmp_path, device):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    save({k: v.numpy() for k, v in theirs.state_dict().items()}, tmp_path / "torch.safetensors")
    state = rename_state(
        load_state_dict_from_file(tmp_path / "torch.safetensors"),
        {re.compile(r"(\d)\.weight"): r"\1.weights", re.compile(r"(\d)\.bias"): r"\1.bias"},
        transpose=[re.compile(r"\d\.weights")],
    )
    ours = Run(device).model
    ours.load_state_dict(state)
    np.testing.assert_allclose(
        ours(Tensor(IMAGES).to(device)).numpy(),
        theirs(torch.tensor(IMAGES)).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )
