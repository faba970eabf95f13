"""Mistakes that a type checker finds: of a line without one, the ignored error is an error."""

from nn_data.transforms import RandomFlip
from nn_layers import GELU, Conv2D, Dense
from nn_losses import CrossEntropy, F1Score, MSELoss
from nn_optim import SGD
from nn_tensor import Tensor, exp, softmax, use_kernels
from nn_transformer import LanguageModel

from downstream.layers import Scale

x = Tensor([1.0])
MSELoss("avg")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
CrossEntropy("total")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
F1Score("mean")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Dense(3, 2, initialization="heee")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Dense(3, 2, "he")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Conv2D(3, 2, 3, padding="full")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
GELU("erf")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
use_kernels("cuda")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
SGD([x], learning_rate=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
LanguageModel(
    vocab_size=9,
    d_model=8,
    num_heads=2,
    num_layers=1,
    activation="tanh",  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
)
RandomFlip(layout="hwc")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
x.view(1, 1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
exp(x, 2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
softmax(x, dim=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
x.sum(dim=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
x.grad.zero_()  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
Scale(3)(x, x)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
