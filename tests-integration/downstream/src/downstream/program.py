"""The types that a user sees. It also runs: what the types say is what comes out."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_type

import numpy as np
from nn_data import Loader
from nn_io import load_state_dict_from_file, save_model_parameters
from nn_layers import Dense, ReLU, Sequential
from nn_losses import Accuracy, MSELoss, SoftmaxCrossEntropyLoss
from nn_optim import Adam
from nn_tensor import (
    Tensor,
    add,
    average,
    concatenate,
    exp,
    grad,
    matmul,
    mean,
    no_grad,
    softmax,
    split,
    stack,
    topk,
    where,
)
from nn_transformer import LanguageModel

from downstream.layers import Recurrent, Residual
from downstream.ops import swish
from downstream.optimizers import PolynomialSchedule, Signum

Array = np.ndarray[Any, Any]


def functions(x: Tensor, array: Array) -> None:
    """A Tensor among the arguments gives a Tensor, arrays alone an array."""
    assert_type(exp(x), Tensor)
    assert_type(exp(array), Array)
    assert_type(add(x, 1.0), Tensor)
    assert_type(add(1.0, x), Tensor)
    assert_type(add(array, x), Tensor)
    assert_type(add(array, array), Array)
    assert_type(where(array > 0, x, 0.0), Tensor)
    assert_type(where(array > 0, 0.0, x), Tensor)
    assert_type(softmax(x, axis=-1), Tensor)
    assert_type(mean(array, axis=0, keepdims=True), Array)
    assert_type(matmul(x, x), Tensor)
    assert_type(matmul(array, array), Array)
    assert_type(concatenate([x, x]), Tensor)
    assert_type(concatenate([array, array]), Array)
    assert_type(stack([x, x], axis=1), Tensor)
    assert_type(split(x, 2), list[Tensor])
    assert_type(topk(x, 2).values, Tensor)
    assert_type(topk(array, 2).indices, Array)
    assert_type(x.topk(2).indices, Tensor)
    assert_type(average(x), Tensor)
    assert_type(average(x, returned=True), tuple[Tensor, Tensor])
    assert_type(swish(x, beta=2.0), Tensor)
    assert_type(swish(array), Array)


def methods(x: Tensor) -> None:
    """Operators and methods give Tensors, `data` an array, `grad` a gradient."""
    assert_type(x + 1, Tensor)
    assert_type(2.0 * x, Tensor)
    assert_type(x @ x, Tensor)
    assert_type(x[0], Tensor)
    assert_type(x > 0, Tensor)
    assert_type(x.sum(axis=0, keepdims=True), Tensor)
    assert_type(x.reshape(-1).exp().mean(), Tensor)
    assert_type(x.split(2), list[Tensor])
    assert_type(x.data, Array)
    assert_type(x.numpy(), Array)
    assert_type(x.shape, tuple[int, ...])
    y = (x * x).sum()
    assert_type(grad(y, x, retain_graph=True), Tensor)
    assert_type(grad(y.exp(), [x, y]), tuple[Tensor, ...])
    y = (x * x).sum()
    y.backward()
    assert_type(x.grad.numpy(), Array | Any)  # no cast, and no check for None


def calls(x: Tensor) -> None:
    """A call of a layer has the signature of its `forward`, and a loss gives a Tensor."""
    model = Sequential(Dense(2, 3), ReLU(), Residual(3, depth=2))
    assert_type(Dense(2, 3, initialization="he")(x), Tensor)
    assert_type(model(x), Tensor)
    assert_type(Recurrent(2)(x, state=x), tuple[Tensor, Tensor])
    assert_type(MSELoss("sum")(model(x), np.zeros((2, 3))), Tensor)
    language_model = LanguageModel(10, d_model=8, num_heads=2, num_layers=1, max_seq_len=8)
    assert_type(language_model([[1, 2, 3]]), Tensor)
    assert_type(Accuracy()(model(x), [0, 1]), float)
    assert_type(model.parameters, list[Tensor])


def train() -> float:
    """Train, save and load a model; return its last loss."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(32, 2)).astype(np.float32)
    labels = (features[:, 0] > 0).astype(np.int64)
    model = Sequential(Dense(2, 8), ReLU(), Residual(8, depth=1), Dense(8, 2))
    loss_function = SoftmaxCrossEntropyLoss()
    steps = 0.0
    for optimizer in (Adam(model.parameters, lr=0.01), Signum(model.parameters, lr=0.01)):
        schedule = PolynomialSchedule(optimizer, total_steps=10)
        for inputs, targets in Loader((features, labels), batch_size=8, shuffle=True, seed=0):
            loss = loss_function(model(Tensor(inputs)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            steps = float(loss.item())
    with TemporaryDirectory() as folder, no_grad():
        path = Path(folder, "model.safetensors")
        save_model_parameters(model, path)
        model.load_state_dict(load_state_dict_from_file(path))
    return steps


if __name__ == "__main__":
    square = [[1.0, 2.0], [3.0, 4.0]]
    functions(Tensor(square), np.array(square, dtype=np.float32))
    methods(Tensor(square, requires_grad=True))
    calls(Tensor(square))
    print(f"loss {train():.3f}")
