"""The pages for users of PyTorch and Keras: every name in their tables exists, on both sides."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from nn_layers import BatchNorm2D, Conv2D, Dense, LayerNorm, LeakyReLU
from nn_losses import KLDivLoss, SoftmaxCrossEntropyLoss
from nn_optim import Adagrad, Adam, AdamW, Lion, RMSprop, clip_gradients_by_norm
from nn_tensor import Tensor
from nn_transformer import MultiHeadAttention, causal_mask

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = {"torch": DOCS / "coming-from-pytorch.md", "keras": DOCS / "coming-from-keras.md"}
ROW = re.compile(r"^\| `([\w.]+)` \| `([\w.]+)` \|", re.MULTILINE)


def rows(framework):
    """Return the pairs of names in the tables of a page."""
    return ROW.findall(PAGES[framework].read_text(encoding="utf-8"))


def find(name, aliases=()):
    """Return what a dotted name stands for; raise AttributeError if there is no such thing."""
    parts = dict(aliases).get(name.partition(".")[0], name.partition(".")[0])
    value = importlib.import_module(parts) if isinstance(parts, str) else parts
    for part in name.split(".")[1:]:
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(f"{value.__name__}.{part}")
    return value


@pytest.mark.parametrize("framework", PAGES)
def test_tables_name_what_exists_here(framework):
    found = rows(framework)
    assert len(found) > 30
    for _, here in found:
        find(here, {"Tensor": Tensor})


@pytest.mark.parametrize("framework", PAGES)
def test_tables_name_what_exists_in_the_other_framework(framework):
    pytest.importorskip(framework)
    module = importlib.import_module(framework)
    instance_attributes = {"torch.optim.Optimizer.param_groups"}  # set by the constructor
    for there, _ in rows(framework):
        if there not in instance_attributes:
            find(there, {"Tensor": getattr(module, "Tensor", None)})


def test_every_table_row_is_read():
    for framework, page in PAGES.items():
        lines = [x for x in page.read_text(encoding="utf-8").splitlines() if x.startswith("| `")]
        assert len(lines) == len(rows(framework))


def test_defaults_that_the_keras_page_names():
    parameter = [Tensor([1.0], requires_grad=True)]
    assert Adam(parameter).epsilon == 1e-8
    assert (RMSprop(parameter).lr, RMSprop(parameter).alpha) == (0.01, 0.99)
    assert AdamW(parameter).weight_decay == 0.01
    assert LeakyReLU().alpha == 0.01
    assert (BatchNorm2D(2).epsilon, LayerNorm(2).epsilon, BatchNorm2D(2).momentum) == (
        1e-5,
        1e-5,
        0.1,
    )


def test_defaults_that_equal_those_of_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = [Tensor([1.0], requires_grad=True)], [torch.ones(1, requires_grad=True)]
    names = {"epsilon": "eps"}
    for optimizer, other in [
        (Adam, torch.optim.Adam),
        (AdamW, torch.optim.AdamW),
        (RMSprop, torch.optim.RMSprop),
        (Adagrad, torch.optim.Adagrad),
    ]:
        defaults = other(theirs).defaults
        group = optimizer(ours).groups[0]
        shared = {o: names.get(o, o) for o in group.keys() if names.get(o, o) in defaults}  # noqa: SIM118
        assert {"lr", "epsilon", "weight_decay"} <= set(shared)
        assert {o: group[o] for o in shared} == {o: defaults[name] for o, name in shared.items()}
    assert (Adam(ours).beta1, Adam(ours).beta2) == torch.optim.Adam(theirs).defaults["betas"]
    assert (Lion(ours).beta1, Lion(ours).beta2) == (0.9, 0.99)


def test_weights_are_transposed_and_kernels_are_not():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 3)).astype(np.float32)
    linear, dense = torch.nn.Linear(3, 4), Dense(3, 4)
    dense.load_state_dict(
        {"weights": linear.weight.detach().numpy().T, "bias": linear.bias.detach().numpy()}
    )
    np.testing.assert_allclose(
        dense(Tensor(x)).data, linear(torch.from_numpy(x)).detach().numpy(), atol=1e-6
    )
    images = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    theirs, ours = torch.nn.Conv2d(3, 4, 3, padding=1), Conv2D(3, 4, 3, padding=1)
    ours.load_state_dict(
        {"weights": theirs.weight.detach().numpy(), "bias": theirs.bias.detach().numpy()}
    )
    np.testing.assert_allclose(
        ours(Tensor(images)).data, theirs(torch.from_numpy(images)).detach().numpy(), atol=1e-5
    )


def test_masks_are_those_of_scaled_dot_product_attention_and_not_of_multihead_attention():
    torch = pytest.importorskip("torch")
    mask = causal_mask(4).numpy()
    assert mask.dtype == bool
    assert mask[0].tolist() == [True, False, False, False]
    theirs = torch.nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float32)
    assert np.array_equal(mask, theirs.numpy() == 0)
    x = Tensor(np.random.default_rng(0).normal(size=(1, 4, 8)).astype(np.float32))
    attention = MultiHeadAttention(8, 2, rng=0).eval()
    masked = attention(x, x, x, mask)
    changed = x.copy()
    changed.data[:, -1] += 1  # the last position, which the others may not attend to
    np.testing.assert_array_equal(
        attention(changed, changed, changed, mask).data[:, :-1], masked.data[:, :-1]
    )


def test_classes_are_the_last_dimension():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 3)).astype(np.float32)
    classes = rng.integers(0, 3, (2, 5))
    ours = SoftmaxCrossEntropyLoss()(Tensor(logits), classes).item()
    theirs = torch.nn.CrossEntropyLoss()(
        torch.from_numpy(logits).transpose(1, 2), torch.from_numpy(classes)
    )
    assert ours == pytest.approx(theirs.item(), rel=1e-6)


def test_reductions_of_the_divergence_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    prediction = np.log(rng.dirichlet(np.ones(3), 4)).astype(np.float32)
    target = rng.dirichlet(np.ones(3), 4).astype(np.float32)
    for reduction in ("batchmean", "sum"):
        ours = KLDivLoss(reduction)(Tensor(prediction), target).item()
        theirs = torch.nn.KLDivLoss(reduction=reduction)(
            torch.from_numpy(prediction), torch.from_numpy(target)
        )
        assert ours == pytest.approx(theirs.item(), rel=1e-5)


def test_clipping_raises_for_a_norm_that_is_not_finite():
    x = Tensor([1.0], requires_grad=True)
    (x * np.inf).sum().backward()
    with pytest.raises(FloatingPointError, match="norm"):
        clip_gradients_by_norm([x], 1.0)
    clip_gradients_by_norm([x], 1.0, error_if_nonfinite=False)
