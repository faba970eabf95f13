"""Groups of parameters, options, and small parameters that are updated together."""

import copy
import inspect
import itertools

import numpy as np
import pytest
from nn_optim import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from nn_optim._tables import _divide
from nn_optim.extend import option
from nn_tensor import Tensor, ones, randn, use_kernels, zeros
from nn_tensor.extend import check_number

KINDS = [
    (SGD, {"momentum": 0.9}),
    (Adam, {}),
    (AdamW, {}),
    (RMSprop, {"centered": True, "momentum": 0.5}),
    (Adagrad, {"initial_accumulator_value": 0.1}),
    (Lion, {}),
]


def leaf(*shape, seed=0, **options):
    return randn(*shape, rng=seed, requires_grad=True, **options)


def train(optimizer, steps, seed=0, without=()):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for position, x in enumerate(optimizer.parameters):
            x.grad = Tensor(rng.standard_normal(x.shape), device=x.device, dtype=x.dtype)
            if position in without:
                x.zero_grad()
        optimizer.step()


def values(optimizer):
    return [x.numpy().copy() for x in optimizer.parameters]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# Groups


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_groups_are_as_optimizers_of_their_own(kind, options, device):
    def leaves():
        return [leaf(3, 2, device=device), leaf(4, seed=1, device=device)]

    a, b = leaves()
    grouped = kind(
        [{"parameters": [a]}, {"parameters": [b], "lr": 0.5, "weight_decay": 0.1}],
        lr=0.1,
        **options,
    )
    c, d = leaves()
    alone = [kind([c], lr=0.1, **options), kind([d], lr=0.5, **options | {"weight_decay": 0.1})]
    for seed in range(3):
        train(grouped, 1, seed)
        for x, y in ((a, c), (b, d)):
            y.grad = x.grad
        for optimizer in alone:
            optimizer.step()
    assert_equal([a.numpy(), b.numpy()], [c.numpy(), d.numpy()])


def test_options_of_groups():
    x, y = leaf(2), leaf(3)
    optimizer = Adam([{"parameters": x}, {"parameters": (y,), "lr": 0.5}], lr=0.1, beta1=0.8)
    first, second = optimizer.groups
    assert (first["lr"], second["lr"], second["beta1"]) == (0.1, 0.5, 0.8)
    assert first.parameters == (x,)
    assert optimizer.parameters == (x, y)
    assert list(first) == ["lr", "decay", "beta1", "beta2", "epsilon", "weight_decay", "amsgrad"]
    assert dict(second)["lr"] == 0.5
    assert optimizer.beta1 == 0.8
    with pytest.raises(ValueError, match=r"lr: is \[0.1, 0.5\] in the groups"):
        _ = optimizer.lr
    assert "2 parameters in 2 groups, lr=[0.1, 0.5], decay=0.0" in repr(optimizer)
    assert repr(second).startswith("Group(1 parameters, lr=0.5, ")
    optimizer.lr = 0.25
    assert (first["lr"], second["lr"]) == (0.25, 0.25)
    second["beta2"] = 0.5
    assert (first["beta2"], second["beta2"]) == (0.999, 0.5)
    with pytest.raises(KeyError, match=r"'betas': expected one of lr, decay"):
        second["betas"] = 0.5
    with pytest.raises(ValueError, match=r"lr: .* got nan"):
        second["lr"] = float("nan")
    assert second["lr"] == 0.25


def test_decay_of_groups():
    optimizer = SGD(
        [{"parameters": leaf(2)}, {"parameters": leaf(2), "decay": 1.0}], lr=1.0, decay=0.5
    )
    optimizer.decay_lr()
    assert [group["lr"] for group in optimizer.groups] == [1 / 1.5, 0.5]
    optimizer.groups[1]["lr"] = 2.0
    assert [group["lr"] for group in optimizer.groups] == [1 / 1.5, 2.0]


X, Y = leaf(2), leaf(3)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ([{"parameters": [X]}, Y], TypeError, r"parameters\[1\]: expected a dict .* got Tensor"),
        ([X, {"parameters": [Y]}], TypeError, r"parameters\[1\]: expected a Tensor, got dict"),
        ({"parameters": [X]}, TypeError, "parameters: expected several Tensors, got dict"),
        ([{"params": [X]}], ValueError, r"parameters\[0\]: has no 'parameters', only \['params'"),
        ([{"parameters": []}], ValueError, r"parameters\[0\]\['parameters'\]: expected at least"),
        ([{"parameters": "w"}], TypeError, r"\['parameters'\]: expected several Tensors, got str"),
        ([{"parameters": [zeros(2)]}], ValueError, r"\[0\]: does not require a gradient"),
        (
            [{"parameters": [Y]}, {"parameters": [X, Y]}],
            ValueError,
            r"parameters\[1\]\['parameters'\]\[1\]: float32 \(3,\) is in groups\[0\] too",
        ),
        ([{"parameters": X, "lr": -1}], ValueError, r"parameters\[0\]: lr: .* got -1"),
        ([{"parameters": X, "lr": "1"}], TypeError, r"parameters\[0\]: lr: .* got '1'"),
        ([{"parameters": X, "beta3": 1}], ValueError, r"unknown option 'beta3', expected one of"),
    ],
)
def test_wrong_groups(parameters, error, message):
    with pytest.raises(error, match=message):
        Adam(parameters)


def test_options_of_a_group_must_go_together():
    with pytest.raises(ValueError, match="nesterov: needs momentum above 0"):
        SGD([{"parameters": X, "momentum": 0.0}], momentum=0.9, nesterov=True)


def test_a_group_is_added():
    optimizer = Adam([X], lr=0.1)
    train(optimizer, 2)
    optimizer.lr = 0.5
    optimizer.add_group({"parameters": [Y], "beta1": 0.5})
    assert [group["lr"] for group in optimizer.groups] == [0.5, 0.1]
    assert optimizer.parameters == (X, Y)
    train(optimizer, 2)
    assert [optimizer.state_dict()[f"{i}.step"] for i in (0, 1)] == [4, 2]


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        ({"parameters": [Y, X]}, ValueError, r"group\['parameters'\]\[1\]: .* is in groups\[0\]"),
        ({"parameters": [Y], "lr": -1.0}, ValueError, r"group: lr: .* got -1"),
        ({"parameters": []}, ValueError, "expected at least one"),
        ([Y], TypeError, "group: expected a dict with parameters, got list"),
    ],
)
def test_a_wrong_group_is_not_added(group, error, message):
    optimizer = Adam([X], lr=0.1)
    with pytest.raises(error, match=message):
        optimizer.add_group(group)
    assert optimizer.parameters == (X,)
    assert len(optimizer.groups) == 1


def test_the_state_of_groups_resumes():
    def build():
        return Adam(
            [{"parameters": [leaf(3), leaf(2)], "lr": 0.1}, {"parameters": leaf(4)}], decay=0.5
        )

    first, second = build(), build()
    train(first, 3)
    first.decay_lr()
    first.groups[1]["beta1"] = 0.5
    state = first.state_dict()
    assert state["__metadata__"]["groups"] == [2, 1]
    assert {"groups.0.lr", "groups.1.lr", "2.mean"} < set(state)
    for x, y in zip(first.parameters, second.parameters, strict=True):
        y.data[...] = x.data
    second.load_state_dict(state)
    train(first, 3, 1)
    train(second, 3, 1)
    assert_equal(values(first), values(second))
    assert [dict(group) for group in first.groups] == [dict(group) for group in second.groups]


def test_a_state_of_other_groups_does_not_fit():
    state = SGD([{"parameters": [leaf(2), leaf(2)]}, {"parameters": [leaf(2)]}]).state_dict()
    other = SGD([{"parameters": [leaf(2)]}, {"parameters": [leaf(2), leaf(2)]}])
    message = r"expected groups of \[1, 2\] parameters, got \[2, 1\]"
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match=r"unexpected: groups\.1\.lr"):
        SGD([leaf(2), leaf(2), leaf(2)]).load_state_dict(state)


def test_options_of_a_custom_optimizer():
    class Rule(Optimizer):
        strength: float = option(check_number, minimum=0, kw_only=False)
        late: float = option(check_number, minimum=0, default=1.0)

        def update(self, parameter, gradient, state, options):
            parameter -= options["lr"] * options["strength"] * options["late"] * gradient

    x, y = zeros(1, requires_grad=True), zeros(1, requires_grad=True)
    rule = Rule([{"parameters": x, "strength": 2.0}, {"parameters": y}], 1.0, strength=3.0)
    rule.late = 0.5
    x.grad = y.grad = ones(1)
    rule.step()
    assert (x.item(), y.item()) == (-1.0, -1.5)
    with pytest.raises(TypeError, match="Rule: got an unexpected keyword argument 'update'"):
        Rule([x], 1.0, 1.0, update=1)
    with pytest.raises(ValueError, match=r"strength: .* got -1"):
        Rule([x], 1.0, -1.0)


def test_a_custom_constructor():
    class Scaled(SGD):
        def __init__(self, parameters, scale):
            super().__init__(parameters, lr=0.1 * scale, momentum=0.5)

    optimizer = Scaled([X], 2.0)
    assert (optimizer.lr, optimizer.momentum) == (0.2, 0.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGD([X], 0.1, 0.9), r"SGD takes 2 positional .* \(parameters, lr\): .*decay=0.9"),
        (lambda: SGD([X], 0.1, lr=0.2), "SGD: multiple values for argument 'lr'"),
        (lambda: SGD(lr=0.2), "SGD: missing a required argument: 'parameters'"),
        (lambda: Adam([X], moment=0.5), "Adam: got an unexpected keyword argument 'moment'"),
        (lambda: Adam([X], betas=0.5), "Adam has no option 'betas'; here give beta1 and beta2"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_the_signature_is_that_of_the_options():
    assert str(inspect.signature(SGD)) == (
        "(parameters, lr=0.01, *, decay=0.0, momentum=0.0, nesterov=False, weight_decay=0.0)"
    )


# Small parameters together


def one_by_one(kind):
    """Return the optimizer with an `update` of its own, which gets its parameters one by one."""

    class Alone(kind):
        def update(self, parameter, gradient, state, options):
            super().update(parameter, gradient, state, options)

    return Alone


def sizes(device="cpu"):
    shapes = [(3, 2), (), (0, 2), (5,), (20000,), (2, 1, 3), (7,)]
    return [leaf(*shape, seed=i, device=device) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("choice", ["auto", "reference"])
def test_together_is_as_one_by_one(kind, options, choice):
    together, alone = kind(sizes(), **options), one_by_one(kind)(sizes(), **options)
    with use_kernels(choice):
        for seed, without in enumerate([(), (1, 3), (), (), (0, 1, 2, 3, 5), ()]):
            for optimizer in (together, alone):
                train(optimizer, 2, seed, without)
                assert all(x.numpy().flags.owndata for x in optimizer.parameters)
    assert_equal(values(together), values(alone))
    first, second = together.state_dict(), alone.state_dict()
    assert list(first) == list(second)
    assert_equal(*([s[k] for k in s if k != "__metadata__"] for s in (first, second)))


def test_together_in_every_layout_and_dtype():
    def parameters():
        turned = Tensor(np.ones((3, 4), np.float32).T, requires_grad=True)
        half = Tensor(np.ones(6, np.float16), requires_grad=True)
        return [turned, leaf(2), half, leaf(3, dtype="float64"), leaf(5, dtype="float64")]

    together, alone = Adam(parameters(), lr=0.1), one_by_one(Adam)(parameters(), lr=0.1)
    for optimizer in (together, alone):
        train(optimizer, 4)
        optimizer.parameters[1].set_dtype("float64")
        train(optimizer, 4, 1)
    assert_equal(values(together), values(alone))


def test_a_copied_optimizer_goes_its_own_way():
    original = Adam([leaf(3), leaf(4)], lr=0.1)
    train(original, 2)
    copied = copy.deepcopy(original)
    other = copy.deepcopy(original)
    train(copied, 3, 1)
    train(original, 3, 2)
    train(other, 3, 1)
    assert_equal(values(copied), values(other))
    assert not np.array_equal(values(copied)[0], values(original)[0])
    train(original, 1, 3)
    first = original.state_dict()["0.mean"]
    assert not np.array_equal(first, copied.state_dict()["0.mean"])


def test_a_step_of_several_marks_each_as_written():
    x, y = leaf(3), leaf(4)
    optimizer = Adam([x, y])
    for parameter in (x, y):
        graph = (parameter * parameter).sum()
        x.grad, y.grad = ones(3), ones(4)
        optimizer.step()
        with pytest.raises(RuntimeError, match="changed in place"):
            graph.backward()


def test_a_rule_that_overrides_another_gets_its_parameters_one_by_one():
    shapes = []

    class Watched(Adam):
        def update(self, parameter, gradient, state, options):
            shapes.append(parameter.shape)
            super().update(parameter, gradient, state, options)

    train(Watched([leaf(3), leaf(2, 2)]), 1)
    assert shapes == [(3,), (2, 2)]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_small_parameters_are_updated_by_one_call(kind, options, monkeypatch):
    sizes, function = [], kind.rule._translation.numpy_function

    def watched(parameter, *arguments):
        sizes.append(parameter.size)
        function(parameter, *arguments)

    monkeypatch.setattr(kind.rule._translation, "numpy_function", watched)
    with use_kernels("reference"):
        train(kind([leaf(3), leaf(20000), leaf(2, 2)], **options), 1)
    assert 7 in sizes
    assert sum(sizes) == 7 + 20000
    assert len(sizes) <= 3  # with those before the first line of the cache


def displaced(*shapes, dtype="float32"):
    """Return parameters that begin one element after those of NumPy."""
    found = [leaf(*shape, dtype=dtype) for shape in shapes]
    for x in found:
        x.data = np.concatenate([np.zeros(1, dtype), x.data.reshape(-1)])[1:].reshape(x.shape)
    return found


@pytest.mark.parametrize(("kind", "options"), [*KINDS, (Adam, {"amsgrad": True}), (SGD, {})])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_blocks_of_numpy_have_the_bits_of_the_rule(kind, options, dtype):
    class Written(kind):
        def update(self, parameter, gradient, state, options):
            arrays = parameter, gradient, *map(state.get, self.rule.state)
            self.rule.function(*arrays, *self._values(options, state.step))

    # the second large one is smaller than the first, and has larger blocks
    shapes = [(3,), (), (0,), (201, 333), (2, 5), (256, 256), (170, 100)]
    optimizers = [k(displaced(*shapes, dtype=dtype), lr=0.1, **options) for k in (kind, Written)]
    with use_kernels("reference"):
        for optimizer in optimizers:
            train(optimizer, 2, without=(1,))
            train(optimizer, 2, seed=1)
    assert_equal(*map(values, optimizers))


def test_other_kernels_go_on_with_the_same_state():
    mixed, alone = (Adam(displaced((300, 100), (3,), (2, 2)), lr=0.1) for _ in range(2))
    for seed, choice in enumerate(["reference", "auto", "reference", "auto"]):
        with use_kernels(choice):
            train(mixed, 2, seed)
        with use_kernels("reference"):
            train(alone, 2, seed)
    for found, wanted in zip(values(mixed), values(alone), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


# The compiled loop over all parameters


@pytest.fixture
def compiled():
    pytest.importorskip("nn_kernels", reason="could not import 'nn_kernels', which compiles")


@pytest.mark.parametrize(("kind", "options"), [*KINDS, (Adam, {"amsgrad": True}), (SGD, {})])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_compiled_loop_computes_what_each_update_does(kind, options, dtype, compiled):
    def leaves():
        return [leaf(*shape, dtype=dtype) for shape in ((3,), (), (0,), (200, 130), (2, 5))]

    together, alone = (
        kind(leaves(), lr=0.1, **options),
        one_by_one(kind)(leaves(), lr=0.1, **options),
    )
    for optimizer in (together, alone):
        train(optimizer, 3, without=(1,))
        train(optimizer, 3, seed=1)
    assert [state.step for state in together.groups[0]._states] == [6, 3, 6, 6, 6]
    assert_equal(values(together), values(alone))
    first, second = together.state_dict(), alone.state_dict()
    for key in first:
        if key != "__metadata__":
            assert_equal([first[key]], [second[key]])


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_all_parameters_are_updated_by_one_compiled_call(kind, options, compiled, monkeypatch):
    rows, find = [], kind.rule.loop_for_several

    def watched(dtype, state):
        loop = find(dtype, state)
        return lambda arguments: (rows.append(len(arguments[0])), loop(arguments))[1]

    monkeypatch.setattr(kind.rule, "loop_for_several", watched)
    train(kind([leaf(3), leaf(20000), leaf(2, 2)], **options), 1)
    assert rows == [3]


@pytest.mark.parametrize(
    "sizes", [[], [0], [1, 0, 5], [20000], [3, 8192, 8192, 4000, 4000, 4000], [10, 30000, 10] * 3]
)
def test_parts_of_a_compiled_step_hold_each_element_once(sizes):
    slices, firsts = _divide(sizes)
    assert firsts[0] == 0
    assert firsts[-1] == len(slices)
    assert (np.diff(firsts) > 0).all() or not len(slices)
    found = [(number, i) for number, start, stop in slices for i in range(start, stop)]
    assert found == [(number, i) for number, size in enumerate(sizes) for i in range(size)]
    for first, last in itertools.pairwise(firsts):
        assert np.diff(slices[first:last, 1:]).sum() <= 8192


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_gradients_of_any_layout_and_dtype_are_read(kernels):
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    fixed = base.copy()
    fixed.flags.writeable = False
    gradients = [base, np.asfortranarray(base), base[::-1], base.astype(np.float64), fixed]
    gradients += [np.broadcast_to(np.float32(2), (3, 4))]
    parameters = [zeros(3, 4, requires_grad=True) for _ in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = zeros(3, 4)
        parameter.grad.data = gradient
    with use_kernels(kernels):
        SGD(parameters, lr=0.5).step()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        np.testing.assert_array_equal(parameter.numpy(), np.float32(-0.5) * gradient)


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("shapes", [[(60, 60)], [(3,), (2, 2)]])
def test_a_step_after_loading_can_be_undone(kernels, shapes):
    """The step puts loaded arrays where it updates them; what undoes it finds them there."""
    with use_kernels(kernels):
        optimizer = Adam([leaf(*shape) for shape in shapes])
        train(optimizer, 2)
        optimizer.load_state_dict(optimizer.state_dict())
        before, kept = optimizer.state_dict(), values(optimizer)
        undo = optimizer._snapshot()
        train(optimizer, 1, seed=3)
        undo()
        assert_equal(values(optimizer), kept)
        after = optimizer.state_dict()
        keys = [key for key in after if key != "__metadata__"]
        assert_equal([after[key] for key in keys], [before[key] for key in keys])
        train(optimizer, 1)  # which still works


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_a_gradient_of_another_shape_is_refused_before_any_update(kernels):
    parameters = [ones(3, requires_grad=True), ones(4, requires_grad=True)]
    optimizer = Adam(parameters)
    message = r"parameters\[1\]: expected shape \(4,\), got a gradient"
    with use_kernels(kernels):
        train(optimizer, 1)
        before = values(optimizer)
        parameters[1].grad.data = np.ones(1, np.float32)
        with pytest.raises(ValueError, match=message):
            optimizer.step()
    assert_equal(values(optimizer), before)
    assert optimizer.state_dict()["0.step"] == 1


def test_arrays_are_looked_up_anew_when_they_are_replaced(compiled):
    def run(change):
        parameters = [leaf(3), leaf(20, 30)]
        optimizer = Adam(parameters, lr=0.1)
        train(optimizer, 2)
        optimizer = change(optimizer, parameters)
        train(optimizer, 2, seed=1)
        return values(optimizer)

    def replace(optimizer, parameters):
        old = parameters[0].data
        parameters[0].data = old.copy()
        old[...] = np.nan
        return optimizer

    def other_kernels(optimizer, parameters):
        with use_kernels("reference"):  # on which the state lies in one buffer
            train(optimizer, 1, seed=2)
        return optimizer

    def on_one_kind(optimizer, parameters):
        train(optimizer, 1, seed=2)
        return optimizer

    def load_frozen(optimizer, parameters):
        state = optimizer.state_dict()
        other = Adam(parameters, lr=0.1)
        other.load_state_dict(state)
        for kept in other.groups[0]._states:
            for array in kept.values():
                array.flags.writeable = False
        return other

    expected = run(lambda optimizer, parameters: optimizer)
    for change in (replace, lambda o, p: copy.deepcopy(o), load_frozen):
        assert_equal(run(change), expected)
    for a, b in zip(run(other_kernels), run(on_one_kind), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("first", [0, 1, 3, 15])
def test_parameters_may_begin_anywhere_in_a_line_of_the_cache(first, dtype, compiled):
    def leaves():
        memory = np.random.default_rng(0).standard_normal(5000).astype(dtype)
        sizes = (1, 7, 40, 4000)
        return [Tensor(memory[first : first + n].copy(), requires_grad=True) for n in sizes], memory

    (aligned, _), (given, memory) = leaves(), leaves()
    for parameter, size in zip(given, (1, 7, 40, 4000), strict=True):
        place = np.empty(size + 20, dtype)[first : first + size]
        place[...] = memory[first : first + size]
        parameter.data = place
    optimizers = Adam(aligned, lr=0.1, amsgrad=True), Adam(given, lr=0.1, amsgrad=True)
    for optimizer in optimizers:
        train(optimizer, 3)
    assert_equal(*map(values, optimizers))
    assert_equal(
        *([s for k, s in o.state_dict().items() if k != "__metadata__"] for o in optimizers)
    )
    large = optimizers[1].groups[0]._states[-1]
    places = [a.__array_interface__["data"][0] % 64 for a in (large.array, *large.values())]
    assert len(set(places)) == 1  # or vectors would cross lines
