"""A model, an optimizer and a schedule with the methods that a Trainer needs, and no more."""

import numpy as np
from nn_tensor import Tensor


class Linear:
    """A linear function with random noise on its inputs while training."""

    def __init__(self, size=3, seed=0, noise=0.0):
        self.w = Tensor(np.random.default_rng(seed).normal(size=(size, 1)), requires_grad=True)
        self.training = False
        self.noise, self.rng = noise, np.random.default_rng(seed)
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        if self.training and self.noise:
            x = x + Tensor(self.noise * self.rng.normal(size=x.shape))
        return x @ self.w

    def named_parameters(self):
        return [("w", self.w)]

    def named_generators(self):
        return [("rng", self.rng)]

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def zero_grad(self):
        self.w.zero_grad()

    def state_dict(self):
        return {"w": self.w.numpy().copy()}

    def load_state_dict(self, state):
        self.w.data[...] = state["w"]


class Momentum:
    def __init__(self, parameters, lr=0.05):
        self.parameters, self.lr = parameters, lr
        self.velocity = [np.zeros(p.shape) for p in parameters]

    def step(self):
        for velocity, p in zip(self.velocity, self.parameters, strict=True):
            velocity *= 0.9
            velocity += p.grad.data
            p.data[...] -= self.lr * velocity

    def state_dict(self):
        return {"lr": np.array(self.lr)} | {str(n): v for n, v in enumerate(self.velocity)}

    def load_state_dict(self, state):
        self.lr = float(state["lr"])
        for n, velocity in enumerate(self.velocity):
            velocity[...] = state[str(n)]


class Halving:
    def __init__(self, optimizer):
        self.optimizer, self.seen = optimizer, []

    def step(self, *value):
        self.seen.append(value)
        self.optimizer.lr *= 0.5

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def squared_error(prediction, target):
    return ((prediction - target) ** 2).mean()


def batches(sizes=(4, 4, 4, 2), size=3, seed=1):
    rng = np.random.default_rng(seed)
    return [(Tensor(rng.normal(size=(n, size))), Tensor(rng.normal(size=(n, 1)))) for n in sizes]
