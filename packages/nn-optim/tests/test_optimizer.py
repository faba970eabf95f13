"""What all optimizers share: parameters, options, decay, state, and what a failed step leaves."""

import pickle

import numpy as np
import pytest
from nn_optim import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from nn_tensor import Tensor, ones, randn, zeros

KINDS = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (Adam, {}),
    (Adam, {"weight_decay": 0.1}),
    (AdamW, {}),
    (Adam, {"beta2": 0.5, "amsgrad": True}),
    (RMSprop, {}),
    (RMSprop, {"momentum": 0.9, "centered": True}),
    (Adagrad, {"initial_accumulator_value": 0.5}),
    (Lion, {"weight_decay": 0.1}),
]
IDS = [
    "SGD",
    "SGD-nesterov",
    "Adam",
    "Adam-decay",
    "AdamW",
    "Adam-amsgrad",
    "RMSprop",
    "RMSprop-all",
]
IDS += ["Adagrad", "Lion"]
CLASSES = [SGD, Adam, AdamW, RMSprop, Adagrad, Lion]


def leaf(*shape, seed=0, device="cpu", dtype="float32"):
    return randn(*shape, rng=seed, device=device, dtype=dtype, requires_grad=True)


def train(optimizer, steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for x in optimizer.parameters:
            x.grad = Tensor(rng.standard_normal(x.shape), device=x.device, dtype=x.dtype)
        optimizer.step()
        optimizer.decay_lr()


def values(optimizer):
    return [x.numpy().copy() for x in optimizer.parameters]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# Parameters


def test_each_parameter_counts_once():
    x, y = leaf(2), leaf(3)
    assert SGD([x, y, x, y, x]).parameters == (x, y)


def test_parameters_may_come_from_a_generator():
    assert len(SGD(leaf(2) for _ in range(3)).parameters) == 3


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ([], ValueError, "parameters: expected at least one Tensor, got none"),
        (leaf(2), TypeError, "parameters: expected several Tensors, got Tensor"),
        (5, TypeError, "parameters: expected several Tensors, got int"),
        ([leaf(2), np.ones(2)], TypeError, r"parameters\[1\]: expected a Tensor, got ndarray"),
        ([leaf(2), zeros(2)], ValueError, r"parameters\[1\]: does not require a gradient"),
        ([leaf(2) * 2], ValueError, r"parameters\[0\]: is the result of an operation"),
    ],
)
@pytest.mark.parametrize("kind", CLASSES)
def test_wrong_parameters(kind, parameters, error, message):
    with pytest.raises(error, match=message):
        kind(parameters)


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
def test_parameters_without_gradient_are_left_alone(kind, options, device):
    x, y = leaf(3, device=device), leaf(3, device=device)
    before = y.numpy().copy()
    optimizer = kind([x, y], lr=0.1, **options)
    for _ in range(2):
        x.grad = ones(3, device=device)
        optimizer.step()
    np.testing.assert_array_equal(y.numpy(), before)

    # the first step of y is a first step, however late it comes
    y.grad = ones(3, device=device)
    x.zero_grad()
    optimizer.step()
    z = Tensor(before, device=device, requires_grad=True)
    z.grad = ones(3, device=device)
    kind([z], lr=0.1, **options).step()
    np.testing.assert_array_equal(y.numpy(), z.numpy())


def test_zero_grad():
    x = leaf(3)
    optimizer = SGD([x])
    x.grad = ones(3)
    optimizer.zero_grad()
    assert not x.has_grad


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
def test_steps_in_place(kind, options, device):
    x = leaf(3, 4, device=device)
    array = x.data
    optimizer = kind([x], **options)
    train(optimizer, 3)
    assert x.data is array


def test_a_graph_that_saved_the_parameter_notices_the_step():
    x = leaf(3)
    optimizer = SGD([x])
    y = (x * x).sum()
    x.grad = ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_layout_of_memory_does_not_matter(kind, options, layout):
    plain = leaf(4, 6, dtype="float64")
    memory = np.zeros((8, 6)) if layout == "strided" else np.zeros((6, 4))
    view = memory[::2] if layout == "strided" else memory.T
    view[...] = plain.data
    other = Tensor(view, requires_grad=True)
    for x in (plain, other):
        train(kind([x], **options), 3)
    assert other.data is view
    np.testing.assert_array_equal(other.data, plain.data)


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
def test_float16_is_computed_in_float32(kind, options, device):
    x = Tensor(np.ones(4), dtype="float16", device=device, requires_grad=True)
    optimizer = kind([x], lr=0.125, **options)
    for _ in range(2):
        x.grad = Tensor([1e-4, -1e-4, 1.0, 0.0], dtype="float16", device=device)
        optimizer.step()
    assert x.dtype == np.float16
    assert np.isfinite(x.numpy()).all()
    if kind is Adam and not options:
        np.testing.assert_allclose(x.numpy(), [0.75, 1.25, 0.75, 1.0], atol=2e-3)


# Options


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan"), -float("inf")])
@pytest.mark.parametrize("name", ["lr", "decay", "weight_decay"])
@pytest.mark.parametrize("kind", CLASSES)
def test_options_out_of_range(kind, name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected a finite number >= 0, got {value}"):
        kind([leaf(2)], **{name: value})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (SGD, "momentum", 1.0),
        (SGD, "momentum", -0.5),
        (Adam, "beta1", 1.0),
        (Adam, "beta1", -0.1),
        (Adam, "beta2", 1.5),
        (Adam, "beta2", float("nan")),
        (Adam, "epsilon", -1e-8),
        (Adam, "epsilon", float("inf")),
        (RMSprop, "alpha", 1.0),
        (RMSprop, "momentum", 1.0),
        (RMSprop, "epsilon", -1.0),
        (Adagrad, "initial_accumulator_value", float("inf")),
        (Adagrad, "epsilon", -1.0),
        (Lion, "beta1", 1.0),
        (Lion, "beta2", -0.5),
    ],
)
def test_options_out_of_their_own_range(kind, name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .* got {value}"):
        kind([leaf(2)], **{name: value})


@pytest.mark.parametrize("value", ["0.1", None, True, 1j, [0.1]])
def test_options_that_are_not_numbers(value):
    with pytest.raises(TypeError, match="lr: expected a finite number >= 0, got"):
        SGD([leaf(2)], lr=value)


def test_options_of_numpy_are_numbers():
    optimizer = SGD([leaf(2)], lr=np.float32(0.5), momentum=np.float64(0.25))
    assert (optimizer.lr, optimizer.momentum) == (0.5, 0.25)
    assert type(optimizer.lr) is type(optimizer.momentum) is float


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="nesterov: needs momentum"):
        SGD([leaf(2)], nesterov=True)
    with pytest.raises(TypeError, match="nesterov: expected True or False, got 1"):
        SGD([leaf(2)], momentum=0.9, nesterov=1)


def test_a_refused_option_keeps_its_value():
    optimizer = Adam([leaf(2)], lr=0.5)
    with pytest.raises(ValueError, match="lr"):
        optimizer.lr = float("nan")
    with pytest.raises(ValueError, match="beta1"):
        optimizer.beta1 = 2
    assert (optimizer.lr, optimizer.beta1) == (0.5, 0.9)


def test_options_may_change_between_steps(device):
    x = Tensor([1.0], device=device, requires_grad=True)
    optimizer = SGD([x], lr=0.5)
    x.grad = ones(1, device=device)
    optimizer.step()
    optimizer.lr = 0.25
    optimizer.momentum = 0.5
    optimizer.step()
    optimizer.step()
    np.testing.assert_array_equal(x.numpy(), [1 - 0.5 - 0.25 - 0.25 * 1.5])


# Decay


def test_decay_follows_its_formula():
    optimizer = SGD([leaf(2)], lr=0.3, decay=0.1)
    for t in range(20):
        assert optimizer.lr == pytest.approx(0.3 / (1 + 0.1 * t), rel=1e-15)
        optimizer.decay_lr()


def test_a_step_alone_does_not_decay():
    x = leaf(2)
    optimizer = SGD([x], lr=0.3, decay=0.1)
    x.grad = ones(2)
    optimizer.step()
    assert optimizer.lr == 0.3


def test_setting_the_rate_starts_the_decay_anew():
    optimizer = SGD([leaf(2)], lr=0.3, decay=0.5)
    for _ in range(5):
        optimizer.decay_lr()
    optimizer.lr = 0.2
    assert optimizer.lr == 0.2
    optimizer.decay_lr()
    assert optimizer.lr == pytest.approx(0.2 / 1.5)


def test_steps_use_the_decayed_rate(device):
    x = Tensor([1.0], device=device, requires_grad=True)
    optimizer = SGD([x], lr=0.5, decay=1.0)
    optimizer.decay_lr()
    x.grad = ones(1, device=device)
    optimizer.step()
    np.testing.assert_array_equal(x.numpy(), [0.75])


# State


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
@pytest.mark.parametrize("through_pickle", [False, True])
def test_training_resumes_bit_for_bit(kind, options, through_pickle, device):
    def build():
        parameters = [leaf(4, 3, device=device), leaf(3, seed=1, device=device)]
        return kind(parameters, lr=0.1, decay=0.01, **options)

    whole = build()
    train(whole, 5)
    train(whole, 5, seed=1)

    first = build()
    train(first, 5)
    saved, parameters = first.state_dict(), values(first)
    train(first, 3, seed=2)  # what is saved must not follow
    if through_pickle:
        saved = pickle.loads(pickle.dumps(saved))

    second = build()
    for x, array in zip(second.parameters, parameters, strict=True):
        x.data[...] = Tensor(array, device=device).data
    second.load_state_dict(saved)
    train(second, 5, seed=1)
    assert_equal(values(second), values(whole))
    assert second.lr == whole.lr


def test_state_is_flat_and_on_the_host(device):
    optimizer = Adam([leaf(2, device=device), leaf(3, device=device)])
    optimizer.parameters[0].grad = ones(2, device=device)
    optimizer.step()
    state = optimizer.state_dict()
    metadata = state.pop("__metadata__")
    assert metadata == {"format_version": 1, "class": "Adam", "groups": [2]}
    assert all(type(array) is np.ndarray for array in state.values())
    options = ["lr", "decay", "beta1", "beta2", "epsilon", "weight_decay", "amsgrad", "decays"]
    assert list(state) == [
        *(f"groups.0.{name}" for name in options),
        *("0.step", "0.mean", "0.square", "1.step"),
    ]
    assert state["0.step"] == 1
    assert state["1.step"] == 0


def test_state_is_loaded_without_metadata():
    optimizer = Adam([leaf(2)])
    train(optimizer, 2)
    state = optimizer.state_dict()
    del state["__metadata__"]
    Adam([leaf(2)]).load_state_dict(state)


def test_state_without_amsgrad_is_that_of_an_earlier_version():
    optimizer = Adam([leaf(2)])
    train(optimizer, 2)
    state = optimizer.state_dict()
    del state["groups.0.amsgrad"]
    loaded = Adam([leaf(2)])
    loaded.load_state_dict(state)
    assert loaded.amsgrad is False
    switched = Adam([leaf(2)], amsgrad=True)
    switched.load_state_dict(state)
    assert switched.amsgrad is False


def test_amsgrad_against_torch(device):
    torch = pytest.importorskip("torch")
    for kind in (Adam, AdamW):
        x = Tensor(np.linspace(-2, 2, 7), device=device, requires_grad=True)
        y = torch.tensor(x.numpy().copy(), requires_grad=True)
        optimizer = kind([x], lr=0.1, beta2=0.5, weight_decay=0.01, amsgrad=True)
        theirs = getattr(torch.optim, kind.__name__)(
            [y], lr=0.1, betas=(0.9, 0.5), weight_decay=0.01, amsgrad=True
        )
        for scale in (1, 5, 0.1, 0.01, 3):  # gradients that shrink, so that the largest stays
            x.grad = x.detach() * scale
            y.grad = y.detach() * scale
            optimizer.step()
            theirs.step()
        np.testing.assert_allclose(x.numpy(), y.detach().numpy(), rtol=1e-12)


def test_momentum_that_was_switched_off_is_forgotten():
    first, second = (SGD([leaf(3)], momentum=0.9) for _ in range(2))
    train(first, 2)
    train(second, 2)
    first.momentum = second.momentum = 0.0
    second.load_state_dict(first.state_dict())
    for optimizer in (first, second):
        train(optimizer, 1)
        optimizer.momentum = 0.9
        train(optimizer, 1)
    assert_equal(values(first), values(second))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.mean"), "missing: 0.mean"),
        (lambda s: s.pop("groups.0.lr"), "missing: groups.0.lr"),
        (lambda s: s.pop("1.step"), "missing: 1.step"),
        (lambda s: s.update({"2.step": np.array(0)}), "unexpected: 2.step"),
        (lambda s: s.update({"1.square": np.zeros(4)}), r"1.square: expected shape \(3,\).*\(4,\)"),
        (lambda s: s.update({"0.mean": np.zeros((2, 2), complex)}), "0.mean: .* got complex128"),
        (lambda s: s.update({"0.mean": np.array([None])}), "0.mean: .* got object"),
        (lambda s: s.update({"groups.0.lr": np.array(np.nan)}), "groups.0.lr: lr: .* got nan"),
        (lambda s: s.update({"groups.0.beta1": np.ones(2)}), "groups.0.beta1: "),
        (
            lambda s: s.update({"0.step": np.array(-1)}),
            r"0\.step: count: expected an integer >= 0, got -1",
        ),
        (
            lambda s: s.update({"0.step": np.array(1.5)}),
            r"0\.step: count: expected an integer >= 0, got 1\.5",
        ),
        (lambda s: s["__metadata__"].update({"class": "SGD"}), "belongs to SGD, not to Adam"),
        (lambda s: s["__metadata__"].update({"format_version": 2}), "version 2 is newer"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    source = Adam([leaf(2, 2), leaf(3)], lr=0.5)
    train(source, 2)
    state = source.state_dict()
    change(state)
    target = Adam([leaf(2, 2), leaf(3)], lr=0.1)
    train(target, 1)
    before = target.state_dict()
    with pytest.raises(ValueError, match=message):
        target.load_state_dict(state)
    after = target.state_dict()
    assert list(after) == list(before)
    assert_equal(*([s[k] for k in s if k != "__metadata__"] for s in (before, after)))


def test_all_that_does_not_fit_is_listed():
    state = Adam([leaf(2)]).state_dict()
    del state["0.step"], state["groups.0.beta2"]
    state["more"] = np.zeros(1)
    with pytest.raises(ValueError, match=r"(?s)missing: groups.0.beta2.*missing: 0.step.*: more"):
        Adam([leaf(2)]).load_state_dict(state)


def test_state_that_is_not_a_mapping():
    with pytest.raises(TypeError, match=r"state: expected a dict .* got \[1\]"):
        SGD([leaf(2)]).load_state_dict([1])


# Moves, and steps that fail


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
def test_state_follows_the_dtype(kind, options, device):
    x = leaf(4, device=device)
    optimizer = kind([x], **options)
    train(optimizer, 2)
    x.set_dtype("float64")
    train(optimizer, 1)
    assert x.dtype == np.float64
    state = optimizer.state_dict()
    assert all(a.dtype == np.float64 for k, a in state.items() if k[:2] == "0." and k != "0.step")


@pytest.mark.cuda
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
def test_state_follows_the_device(kind, options):
    results = []
    for devices in (("cpu", "cpu"), ("cpu", "cuda"), ("cuda", "cpu")):
        x = leaf(4, device=devices[0], dtype="float64")
        optimizer = kind([x], **options)
        train(optimizer, 2)
        x.set_device(devices[1])
        train(optimizer, 2)
        assert x.device == devices[1]
        results.append(x.numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-13)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-13)


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
@pytest.mark.parametrize("failure", ["read-only", "shape"])
def test_a_failed_step_changes_nothing(kind, options, failure):
    x, y = leaf(3), leaf(3, seed=1)
    optimizer = kind([x, y], **({"momentum": 0.9} if kind is SGD else {}) | options)
    train(optimizer, 2)
    x.grad = y.grad = ones(3)
    if failure == "read-only":
        y.data.flags.writeable = False
        message = r"parameters\[1\]: its array is read-only"
    else:
        y.data = np.zeros(5, np.float32)
        y.grad = ones(5)
        message = r"parameters\[1\]: its shape \(3,\) became \(5,\)"
    before = x.numpy().copy()
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    np.testing.assert_array_equal(x.numpy(), before)
    y.data = np.zeros(3, np.float32)
    assert optimizer.state_dict()["0.step"] == 2


def test_the_gradient_is_not_written_to(device):
    for kind, options in KINDS:
        x = leaf(3, device=device)
        x.grad = ones(3, device=device)
        optimizer = kind([x], **options)
        optimizer.step()
        np.testing.assert_array_equal(x.grad.numpy(), np.ones(3))


# Rules of one's own


def test_a_custom_rule(device):
    class Momentum(Optimizer):
        def init_state(self, options):
            return {"velocity": 0.0}

        def update(self, parameter, gradient, state, options):
            velocity = state["velocity"]
            velocity *= 0.9
            velocity += gradient
            parameter -= options["lr"] * velocity

    x, y = leaf(3, device=device), leaf(3, device=device)
    train(Momentum([x], lr=0.1), 4)
    train(SGD([y], lr=0.1, momentum=0.9), 4)
    np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Optimizer([leaf(2)], lr=0.1)


def test_repr():
    optimizer = SGD([leaf(2)], lr=0.5, decay=1.0)
    optimizer.decay_lr()
    assert repr(optimizer) == (
        "SGD(1 parameters, lr=0.25, decay=1.0, momentum=0.0, nesterov=False, weight_decay=0.0)"
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_parameters_are_updated_together_as_one_by_one(dtype, device):
    """Also where one is not contiguous, one is empty, and one starts later."""
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (5,), (0, 2), (70, 90), ()]
    starts = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    gradients = [[rng.normal(size=s).astype(dtype) for s in shapes] for _ in range(3)]

    def train(split):
        parameters = [Tensor(start.copy(), device, requires_grad=True) for start in starts]
        parameters.append(Tensor(starts[0].T.copy(), device, requires_grad=True))
        parameters[-1].data = parameters[-1].data.T
        groups = [[p] for p in parameters] if split else [parameters]
        optimizers = [AdamW(group, lr=0.1, weight_decay=0.1) for group in groups]
        for step, values in enumerate(gradients):
            for n, (parameter, value) in enumerate(
                zip(parameters, [*values, values[0]], strict=True)
            ):
                parameter.grad = None if n == 1 and step == 0 else Tensor(value, device)
            for optimizer in optimizers:
                optimizer.step()
        assert all(o.state_dict()["0.mean"].dtype != np.float16 for o in optimizers)
        return [parameter.numpy() for parameter in parameters]

    for together, alone in zip(train(False), train(True), strict=True):
        np.testing.assert_array_equal(together, alone)
