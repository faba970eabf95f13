"""The page on error messages: every row of its tables is what the cause raises."""

import re
from pathlib import Path

import nn_tensor as nt
import numpy as np
import pytest
from nn_io import FileFormatError, load_state_dict_from_file, save_model_parameters
from nn_layers import Conv2D, Dense, Embedding, Flatten, Sequential
from nn_losses import CrossEntropy, MSELoss, SoftmaxCrossEntropyLoss
from nn_optim import SGD
from nn_tensor import Tensor, no_grad, ones

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| (?!message|---)(.*?) \| (.*) \|$", re.MULTILINE)
ROWS = [message.strip("`") for message, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
LEAF = {"requires_grad": True}


def backward_twice():
    loss = (ones(2, **LEAF) * 2).sum()
    loss.backward()
    loss.backward()


def change_a_leaf():
    x = ones(2, **LEAF)
    x += 1


def change_a_saved_array():
    x = Tensor(np.ones(2), **LEAF)
    with nt.detect_anomaly():
        y = (x * x).sum()
        x.data[0] = 2.0
        y.backward()


def change_a_saved_array_by_tensor():
    x, y = ones(2, **LEAF), ones(2)
    product = (x * y).sum()
    with no_grad():
        y += 1
    product.backward()


def load_a_damaged_file(folder):
    path = folder / "model.safetensors"
    save_model_parameters({"w": np.ones(3)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    load_state_dict_from_file(path)


CAUSES = {
    "Dense(784→10): input has 28 features, expected 784": (
        ValueError,
        lambda: Dense(784, 10)(ones(5, 28, 28)),
    ),
    "Conv2D(3→4, 3×3): input has 28 channels, expected 3": (
        ValueError,
        lambda: Conv2D(3, 4, 3)(ones(5, 28, 28, 3)),
    ),
    "target: shape (5,) differs from the prediction's shape (5, 1)": (
        ValueError,
        lambda: MSELoss()(ones(5, 1), ones(5)),
    ),
    "target: shape (5,) differs from the prediction's (5, 3)": (
        ValueError,
        lambda: CrossEntropy()(ones(5, 3), ones(5).astype("int64")),
    ),
    "target: class indices must be integers, got float32 of shape (5,)": (
        TypeError,
        lambda: CrossEntropy()(ones(5, 3), ones(5)),
    ),
    "target: shape (5, 1) does not fit the prediction's shape (5, 3)": (
        ValueError,
        lambda: SoftmaxCrossEntropyLoss()(ones(5, 3), Tensor(np.ones((5, 1), dtype=np.int64))),
    ),
    "target: class 3 does not exist, expected 0 to 2": (
        IndexError,
        lambda: SoftmaxCrossEntropyLoss()(ones(2, 3), Tensor([1, 3])),
    ),
    "tokens: 10 is out of range for vocab_size=10": (
        IndexError,
        lambda: Embedding(10, 4)(Tensor([[3, 10]])),
    ),
    "Dense takes 2 positional arguments (input_size, output_size): "
    "give initialization='he' by name": (TypeError, lambda: Dense(3, 4, "he")),
    "initialization: expected one of 'xavier', 'xavier_normal', ...": (
        ValueError,
        lambda: Dense(3, 4, initialization="heee"),
    ),
    "parameters[0]: does not require a gradient": (ValueError, lambda: SGD([ones(2)])),
    "backward: a Tensor of shape (2,) needs a gradient": (
        ValueError,
        lambda: (ones(2, **LEAF) * 2).backward(),
    ),
    "the graph through sum was freed by an earlier backward": (RuntimeError, backward_twice),
    "this Tensor does not require a gradient": (RuntimeError, lambda: ones(2).sum().backward()),
    "a leaf that requires a gradient cannot be changed in place": (RuntimeError, change_a_leaf),
    "saved an array of shape (2,) that was changed in place before backward": (
        RuntimeError,
        change_a_saved_array_by_tensor,
    ),
    "the state does not fit, nothing was changed": (
        ValueError,
        lambda: Dense(3, 4).load_state_dict({"weight": np.ones((3, 4))}),
    ),
}


@pytest.mark.parametrize("message", [m for m in ROWS if m in CAUSES])
def test_row_is_the_message_of_its_cause(message):
    error, cause = CAUSES[message]
    pattern = re.escape(message).replace(re.escape("..."), ".*")
    with pytest.raises(error, match=pattern):
        cause()


def test_every_row_is_run():
    others = ["device 'cuda' cannot be used: CuPy is not installed", "the names of two devices"]
    assert sorted(ROWS) == sorted([*CAUSES, *others, "FileFormatError"])


def test_saved_array_that_another_array_changed_is_found_in_detect_anomaly():
    with pytest.raises(RuntimeError, match="changed in place"):
        change_a_saved_array()


def test_damaged_file_is_named(tmp_path):
    with pytest.raises(FileFormatError, match=re.escape("model.safetensors")):
        load_a_damaged_file(tmp_path)


def test_state_that_does_not_fit_lists_names_and_shapes():
    state = {"weight": np.ones((3, 4)), "bias": np.ones(5)}
    with pytest.raises(ValueError, match="nothing was changed") as caught:
        Dense(3, 4).load_state_dict(state)
    for part in ("missing: weights,", "perhaps renamed: weight -> weights", "(4,)", "(5,)"):
        assert part in str(caught.value)


def test_cuda_without_cupy_says_what_to_install():
    if nt.has_cupy:
        pytest.skip("CuPy and a CUDA device are available")
    with pytest.raises(RuntimeError, match="device 'cuda' cannot be used") as caught:
        ones(2, device="cuda")
    assert re.search(r"CuPy is not installed.*pip install|no CUDA|driver", str(caught.value))


def test_operands_on_two_devices_are_named():
    if not nt.has_cupy:
        pytest.skip("needs a CUDA device")
    with pytest.raises(ValueError, match=r"cpu.*cuda:0|cuda:0.*cpu"):
        ones(2) + ones(2, device="cuda")


def test_cures_that_the_page_gives_work():
    model = Sequential(Flatten(), Dense(784, 10))
    assert model(ones(5, 28, 28)).shape == (5, 10)
    assert Conv2D(3, 4, 3)(ones(5, 28, 28, 3).transpose(0, 3, 1, 2)).shape == (5, 4, 26, 26)
    assert MSELoss()(ones(5, 1).squeeze(-1), ones(5)).item() == 0
    assert MSELoss()(ones(5, 1), ones(5).reshape(-1, 1)).item() == 0
    assert SoftmaxCrossEntropyLoss()(ones(5, 3), ones(5).astype("int64")).shape == ()
    loss = (ones(2, **LEAF) * 2).sum()
    loss.backward(retain_graph=True)
    loss.backward()
