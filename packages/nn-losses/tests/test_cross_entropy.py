"""Classification losses: values, gradients of every order, extremes, options and wrong calls."""

import numpy as np
import pytest
from nn_losses import CrossEntropy, NLLLoss, SoftmaxCrossEntropyLoss
from nn_tensor import Tensor, enable_grad, grad, log_softmax, ones
from nn_tensor.testing import gradcheck

SHAPES = [(7,), (5, 3), (2, 4, 6), (2, 1, 3, 5), (3, 1), (1, 1000)]
REDUCTIONS = ["mean", "sum", "none"]
KINDS = ["indices", "one-hot", "probabilities"]


def draw(shape, kind, seed=0):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal(shape)
    classes = rng.integers(0, shape[-1], shape[:-1])
    if kind == "indices":
        return logits, classes
    if kind == "one-hot":
        return logits, np.eye(shape[-1])[classes]
    weights = rng.random(shape)
    return logits, weights / weights.sum(-1, keepdims=True)


def expected(logits, target, reduction):
    """Compute the definition, in float64 and with no thought of overflow."""
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    if target.ndim < logits.ndim:
        target = np.eye(logits.shape[-1])[target]
    losses = -(target * np.log(probabilities)).sum(-1)
    return {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_equals_its_definition(shape, kind, reduction, device):
    logits, target = draw(shape, kind)
    loss = SoftmaxCrossEntropyLoss(reduction)(
        Tensor(logits, device=device), Tensor(target, device=device)
    )
    np.testing.assert_allclose(
        loss.numpy(), expected(logits, target, reduction), rtol=1e-12, atol=1e-13
    )
    assert loss.shape == (shape[:-1] if reduction == "none" else ())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_gradients_of_first_and_second_order(shape, reduction, kind, device):
    logits, target = draw(shape, kind)
    loss = SoftmaxCrossEntropyLoss(reduction)
    target = Tensor(target, device=device)
    gradcheck(lambda x: loss(x, target), [Tensor(logits, device=device)], order=2)


def test_gradients_of_third_order(device):
    logits, target = draw((3, 4), "indices")
    target = Tensor(target, device=device)
    loss = SoftmaxCrossEntropyLoss("sum")
    gradcheck(lambda x: loss(x, target), [Tensor(logits, device=device)], order=3)


def test_gradients_of_probabilities(device):
    logits, target = draw((4, 5), "probabilities")
    loss = SoftmaxCrossEntropyLoss("none")
    inside = Tensor(0.05 + 0.9 * target, device=device)
    gradcheck(loss, [Tensor(logits, device=device), inside], order=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(8, 10), (3, 6, 20)])
def test_equals_torch(kind, reduction, shape):
    torch = pytest.importorskip("torch")
    logits, target = draw(shape, kind)
    logits = logits.astype(np.float32)
    x = Tensor(logits, requires_grad=True)
    loss = SoftmaxCrossEntropyLoss(reduction)(x, target)
    loss.sum().backward()

    y = torch.tensor(logits, requires_grad=True)
    rows = torch.tensor(target if kind == "indices" else target.astype(np.float32))
    rows = rows.reshape(-1) if kind == "indices" else rows.reshape(-1, shape[-1])
    other = torch.nn.functional.cross_entropy(y.reshape(-1, shape[-1]), rows, reduction=reduction)
    other.sum().backward()
    # float32: both round each of the sums over a row, the softmax and the result
    np.testing.assert_allclose(
        loss.numpy(), other.detach().numpy().reshape(loss.shape), rtol=2e-6, atol=1e-6
    )
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_dtype_is_that_of_the_prediction(dtype, kind, device):
    logits, target = draw((4, 3), kind)
    x = Tensor(logits, dtype=dtype, device=device, requires_grad=True)
    loss = SoftmaxCrossEntropyLoss()(x, Tensor(target, device=device))
    loss.backward()
    assert loss.dtype == x.grad.dtype == np.dtype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_indices_of_any_integer_dtype(dtype, device):
    logits, target = draw((4, 300 if dtype != "int8" else 100), "indices")
    loss = SoftmaxCrossEntropyLoss()
    x = Tensor(logits, device=device)
    small = target % 100
    assert loss(x, Tensor(small, dtype=dtype, device=device)).item() == pytest.approx(
        loss(x, Tensor(small, device=device)).item(), rel=1e-15
    )


def test_targets_may_be_lists_arrays_and_tensors(device):
    x = Tensor([[1.0, 2.0], [3.0, 5.0]], device=device)
    loss = SoftmaxCrossEntropyLoss()
    values = {
        loss(x, target).item()
        for target in (
            [1, 0],
            [[0, 1], [1, 0]],
            [[False, True], [True, False]],
            Tensor([1, 0], device=device),
            Tensor([[0.0, 1.0], [1.0, 0.0]], device=device).data,
        )
    }
    assert len(values) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["indices", "one-hot"])
def test_large_logits_are_exact(dtype, kind, device):
    logits = Tensor(
        [[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, 1e4]],
        dtype=dtype,
        device=device,
        requires_grad=True,
    )
    target = [1, 1, 2] if kind == "indices" else [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    losses = SoftmaxCrossEntropyLoss("none")(logits, target)
    np.testing.assert_allclose(losses.numpy(), [2e4, 0.0, np.log(3.0)], rtol=1e-6)
    losses.sum().backward()
    third = 1 / 3
    np.testing.assert_allclose(
        logits.grad.numpy(),
        [[1, -1, 0], [0, 0, 0], [third, third, third - 1]],
        rtol=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("kind", ["indices", "one-hot"])
def test_classes_of_probability_0_add_nothing(kind, device):
    logits = Tensor([[0.0, -np.inf, 0.0]], device=device, requires_grad=True)
    target = [2] if kind == "indices" else [[0.0, 0.0, 1.0]]
    loss = SoftmaxCrossEntropyLoss()(logits, target)
    (first,) = grad(loss, [logits], create_graph=True)
    np.testing.assert_allclose(loss.item(), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(first.numpy(), [[0.5, 0.0, -0.5]], atol=1e-7)
    second = grad(first[0, 0], logits)
    np.testing.assert_allclose(second.numpy(), [[0.25, 0.0, -0.25]], atol=1e-7)


@pytest.mark.parametrize("kind", ["indices", "one-hot"])
@pytest.mark.parametrize("row", [[0.0, -np.inf], [-np.inf, -np.inf]])
def test_the_loss_of_a_target_of_probability_0_is_infinite(kind, row, device):
    logits = Tensor([row], device=device, requires_grad=True)
    loss = SoftmaxCrossEntropyLoss()(logits, [1] if kind == "indices" else [[0.0, 1.0]])
    loss.backward()
    assert loss.item() == np.inf
    np.testing.assert_array_equal(logits.grad.numpy()[0, 1], -1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_reaches_the_loss(kind, place, device):
    logits, target = draw((2, 3), kind)
    logits[1, place] = np.nan
    losses = SoftmaxCrossEntropyLoss("none")(
        Tensor(logits, device=device), Tensor(target, device=device)
    ).numpy()
    assert np.isfinite(losses[0])
    assert np.isnan(losses[1])


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_not_written_to(kind):
    logits, target = draw((3, 4), kind)
    before = logits.copy(), target.copy()
    logits.flags.writeable = target.flags.writeable = False
    x = Tensor(logits, requires_grad=True)
    SoftmaxCrossEntropyLoss()(x, target).backward()
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(target, before[1])


@pytest.mark.parametrize("kind", KINDS)
def test_layout_of_memory_does_not_matter(kind, device):
    logits, target = draw((4, 6), kind)
    loss = SoftmaxCrossEntropyLoss("none")
    plain = loss(Tensor(logits, device=device), Tensor(target, device=device))
    strided = Tensor(np.asfortranarray(logits), device=device, requires_grad=True)
    assert loss(strided, Tensor(target, device=device)).tolist() == pytest.approx(
        plain.tolist(), rel=1e-14
    )
    loss(strided, Tensor(target, device=device)).sum().backward()
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    hot = np.eye(6)[target] if kind == "indices" else target
    np.testing.assert_allclose(strided.grad.numpy(), probabilities - hot, atol=1e-14)


def test_empty_batch(device):
    x = Tensor(np.zeros((0, 4), np.float32), device=device, requires_grad=True)
    target = Tensor(np.zeros(0, np.int64), device=device)
    loss = SoftmaxCrossEntropyLoss("sum")(x, target)
    loss.backward()
    assert loss.item() == 0.0
    assert x.grad.shape == (0, 4)


def test_backward_of_the_same_loss_twice(device):
    x = Tensor([[1.0, 2.0]], device=device, requires_grad=True)
    loss = SoftmaxCrossEntropyLoss()(x, [0])
    loss.backward(retain_graph=True)
    once = x.grad.numpy().copy()
    loss.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * once)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (np.array([0, 1, 2]), ValueError, r"target: shape \(3,\).*\(4, 3\).*\(4,\)"),
        (np.zeros((4, 1), int), ValueError, r"target: shape \(4, 1\).*\(4, 3\)"),
        (np.zeros((1, 3)), ValueError, r"target: shape \(1, 3\).*\(4, 3\)"),
        (np.array(0), ValueError, r"target: shape \(\).*\(4, 3\)"),
        (np.zeros(4), TypeError, r"target: class indices must be integers, got float64.*\(4,\)"),
        (np.zeros(4, bool), TypeError, r"target: class indices must be integers, got bool"),
        (np.array([0, 1, 3, 2]), IndexError, r"target: class 3 does not exist, expected 0 to 2"),
        (np.array([0, -1, 1, 2]), IndexError, r"target: class -1 does not exist"),
        (np.full((4, 3), 1.5), ValueError, r"target: probabilities .* got 1.5"),
        (np.full((4, 3), -1), ValueError, r"target: probabilities .* got -1"),
        (np.zeros((4, 3), complex), TypeError, r"target: expected real numbers, got complex128"),
        ("cat", TypeError, r"expected numbers"),
    ],
)
def test_wrong_targets(target, error, message):
    with pytest.raises(error, match=message):
        SoftmaxCrossEntropyLoss()(ones(4, 3), target)


@pytest.mark.parametrize(
    ("prediction", "error", "message"),
    [
        (Tensor([[1, 2]]), TypeError, "prediction: expected a floating dtype, got int64"),
        (Tensor(1.0), ValueError, r"prediction: expected shape .* got \(\)"),
        (ones(2, 0), ValueError, r"prediction: expected shape .* got \(2, 0\)"),
    ],
)
def test_wrong_predictions(prediction, error, message):
    with pytest.raises(error, match=message):
        SoftmaxCrossEntropyLoss()(prediction, [0])


@pytest.mark.cuda
def test_a_target_on_another_device_is_refused():
    with pytest.raises(ValueError, match="target: is on cpu, the prediction on cuda"):
        SoftmaxCrossEntropyLoss()(ones(2, 3, device="cuda"), np.array([0, 1]))


# Weights, smoothing and examples that are ignored

WEIGHT = [0.5, 2.0, 0.0, 1.0, 3.0]
OPTIONS = [
    {"weight": WEIGHT},
    {"label_smoothing": 0.1},
    {"ignore_index": -100},
    {"ignore_index": 1},
    {"weight": WEIGHT, "ignore_index": 4},
    {"weight": WEIGHT, "label_smoothing": 0.3},
    {"ignore_index": 0, "label_smoothing": 1.0},
    {"weight": WEIGHT, "ignore_index": 3, "label_smoothing": 0.2},
]
each_options = pytest.mark.parametrize("options", OPTIONS, ids=str)


def some_ignored(options, shape=(4, 3, 5), seed=1):
    logits, classes = draw(shape, "indices", seed)
    if options.get("ignore_index", 0) < 0:
        classes[0] = options["ignore_index"]
    return logits, classes


def definition(logits, target, options, reduction):
    """Compute the formulas of the documentation, example by example."""
    count = logits.shape[-1]
    weight = np.array(options.get("weight", [1.0] * count))
    smoothing = options.get("label_smoothing", 0.0)
    losses, total = [], 0.0
    for x, k in zip(logits.reshape(-1, count), target.reshape(-1), strict=True):
        if k == options.get("ignore_index"):
            losses.append(0.0)
            continue
        y = (1 - smoothing) * np.eye(count)[k] + smoothing / count
        losses.append(-(weight * y * (x - np.log(np.exp(x).sum()))).sum())
        total += weight[k]
    if reduction == "none":
        return np.reshape(losses, target.shape)
    return sum(losses) / (total if reduction == "mean" else 1)


@each_options
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_options_equal_their_definition(options, reduction, device):
    logits, classes = some_ignored(options)
    loss = SoftmaxCrossEntropyLoss(reduction, **options)
    found = loss(Tensor(logits, device=device), Tensor(classes, device=device))
    np.testing.assert_allclose(
        found.numpy(), definition(logits, classes, options, reduction), rtol=1e-12
    )


@each_options
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_with_options(options, reduction, device):
    logits, classes = some_ignored(options)
    loss = SoftmaxCrossEntropyLoss(reduction, **options)
    target = Tensor(classes, device=device)
    gradcheck(lambda x: loss(x, target), [Tensor(logits, device=device)], order=2)


@each_options
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["indices", "probabilities"])
def test_options_equal_torch(options, reduction, dtype, kind):
    torch = pytest.importorskip("torch")
    logits, target = some_ignored(options, (9, 5))
    if kind == "probabilities":
        options = {k: v for k, v in options.items() if k != "ignore_index"}
        target = draw((9, 5), kind)[1].astype(dtype)
    x = Tensor(logits.astype(dtype), requires_grad=True)
    y = torch.tensor(logits.astype(dtype), requires_grad=True)
    losses = SoftmaxCrossEntropyLoss(reduction, **options)(x, target)
    losses.sum().backward()
    theirs = dict(options)
    if "weight" in options:
        theirs["weight"] = torch.tensor(WEIGHT, dtype=y.dtype)
    others = torch.nn.CrossEntropyLoss(reduction=reduction, **theirs)(y, torch.tensor(target))
    others.sum().backward()
    rtol, atol = (1e-9, 1e-12) if dtype == "float64" else (1e-4, 1e-6)
    np.testing.assert_allclose(losses.numpy(), others.detach().numpy(), rtol=rtol, atol=atol)
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [s for s in OPTIONS if "label_smoothing" not in s], ids=str)
def test_nll_is_the_second_half(reduction, options, device):
    torch = pytest.importorskip("torch")
    logits, classes = some_ignored(options, (9, 5))
    target = Tensor(classes, device=device)
    x, y = (Tensor(logits, device=device, requires_grad=True) for _ in range(2))
    losses = NLLLoss(reduction, **options)(log_softmax(x), target)
    others = SoftmaxCrossEntropyLoss(reduction, **options)(y, target)
    np.testing.assert_allclose(losses.numpy(), others.numpy(), rtol=1e-12)
    losses.sum().backward()
    others.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-11, atol=1e-14)
    theirs = dict(options)
    if "weight" in options:
        theirs["weight"] = torch.tensor(WEIGHT, dtype=torch.float64)
    wanted = torch.nn.NLLLoss(reduction=reduction, **theirs)(
        torch.log_softmax(torch.tensor(logits), -1), torch.tensor(classes)
    )
    np.testing.assert_allclose(losses.numpy(), wanted.numpy(), rtol=1e-12)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropyLoss, NLLLoss])
@pytest.mark.parametrize("options", [{}, {"weight": [1.0, 2.0, 3.0]}], ids=str)
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e4])
def test_logits_that_are_ignored_may_be_anything(loss, options, value, device):
    x = Tensor([[0.0, -1.0, -2.0], [value] * 3], device=device, requires_grad=True)
    losses = loss("none", ignore_index=-1, **options)(x, Tensor([1, -1], device=device))
    assert np.isfinite(losses.numpy()[0])
    assert losses.numpy()[1] == 0
    (first,) = grad(losses.sum(), [x], create_graph=True)
    np.testing.assert_array_equal(first.numpy()[1], 0)
    assert np.isfinite(first.numpy()).all()
    if loss is SoftmaxCrossEntropyLoss:
        second = grad((first**2).sum(), x)
        assert np.isfinite(second.numpy()).all()
        losses = loss("none", ignore_index=-1, label_smoothing=0.1, **options)(x, [1, -1])
        losses.sum().backward()
        np.testing.assert_array_equal([losses.numpy()[1], *x.grad.numpy()[1]], 0)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropyLoss, NLLLoss])
def test_all_ignored(loss, device):
    x = Tensor(np.zeros((2, 3)), device=device, requires_grad=True)
    total = loss("sum", ignore_index=-1)(x, [-1, -1])
    average = loss("mean", ignore_index=-1)(x, [-1, -1])
    assert total.item() == 0
    assert np.isnan(average.item())  # as in PyTorch: 0 / 0 examples
    average.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 0)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@each_options
def test_large_logits_with_options(dtype, options, device):
    values = np.array([[1e4, -1e4, 0, 5, -5], [-1e4, 1e4, 0, 1e4, 0]], dtype)
    x = Tensor(values, device=device, requires_grad=True)
    losses = SoftmaxCrossEntropyLoss("none", **options)(x, [0, 4])
    losses.sum().backward()
    assert losses.dtype == x.grad.dtype == np.dtype(dtype)
    assert np.isfinite(losses.numpy()).all()
    assert np.isfinite(x.grad.numpy()).all()


def test_gradients_of_the_backward_pass(device):
    logits, classes = draw((3, 4), "indices")
    losses = SoftmaxCrossEntropyLoss("none", label_smoothing=0.1)
    target = Tensor(classes, device=device)

    def backward(x, grad_output):
        with enable_grad():  # finite differences are taken of Tensors without gradients
            x = x if x.requires_grad else Tensor(x.data, requires_grad=True)
            return grad(losses(x, target), [x], grad_output, create_graph=True)[0]

    weights = np.random.default_rng(0).uniform(0.5, 2, 3)
    gradcheck(backward, [Tensor(a, device=device) for a in (logits, weights)], order=2)


def test_cross_entropy_equals_its_definition(device):
    logits, target = draw((3, 4, 5), "probabilities")
    for reduction in REDUCTIONS:
        loss = CrossEntropy(reduction)(Tensor(logits, device=device), Tensor(target, device=device))
        np.testing.assert_allclose(loss.numpy(), expected(logits, target, reduction), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SoftmaxCrossEntropyLoss(weight=[1, -2]), ValueError, "weight: .* got -2"),
        (lambda: SoftmaxCrossEntropyLoss(weight=[1, np.inf]), ValueError, "weight: .* got inf"),
        (lambda: SoftmaxCrossEntropyLoss(weight=3), ValueError, r"weight: .* got shape \(\)"),
        (lambda: SoftmaxCrossEntropyLoss(weight="abc"), TypeError, "weight: .* got 'abc'"),
        (lambda: SoftmaxCrossEntropyLoss(ignore_index=1.0), TypeError, "ignore_index: .* got 1.0"),
        (lambda: SoftmaxCrossEntropyLoss(ignore_index=True), TypeError, "ignore_index: .* True"),
        (lambda: SoftmaxCrossEntropyLoss(label_smoothing=1.5), ValueError, "smoothing: .* 1.5"),
        (lambda: SoftmaxCrossEntropyLoss(label_smoothing=-0.1), ValueError, "smoothing: .* -0.1"),
        (lambda: SoftmaxCrossEntropyLoss(label_smoothing="a"), TypeError, "smoothing: .* 'a'"),
        (lambda: NLLLoss(weight=[[1.0]]), ValueError, r"weight: .* got shape \(1, 1\)"),
    ],
)
def test_wrong_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "target", "error", "message"),
    [
        (SoftmaxCrossEntropyLoss(weight=[1, 2]), [0, 1], ValueError, "weight: has 2 .* 3 classes"),
        (SoftmaxCrossEntropyLoss(ignore_index=-1), [0, -2], IndexError, "class -2 .*index=-1"),
        (SoftmaxCrossEntropyLoss(ignore_index=-1), np.zeros((2, 3)), ValueError, "index=-1 needs"),
        (CrossEntropy(), [0, 1], ValueError, r"target: shape \(2,\) .* \(2, 3\); .* one_hot"),
        (NLLLoss(), np.zeros((2, 3)), ValueError, r"target: expected class indices .* \(2, 3\)"),
        (NLLLoss(), [0, 3], IndexError, "target: class 3 does not exist, expected 0 to 2"),
    ],
)
def test_targets_and_weights_that_do_not_fit(loss, target, error, message):
    with pytest.raises(error, match=message):
        loss(ones(2, 3), target)
