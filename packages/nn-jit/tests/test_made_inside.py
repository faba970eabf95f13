"""Tensors that a function makes itself, and those that only an external or an alias reaches."""

import nn_tensor
import numpy as np
import pytest
from jit_parts import assert_same, inputs, replays
from nn_jit import JitError, jit
from nn_tensor import Tensor, no_grad
from nn_tensor.extend import external, op


def parameter(*values):
    return Tensor(np.array(values, np.float32), requires_grad=True)


def compare(make, calls=8):
    """Compare results and Tensors of two programs; `make` returns a function and Tensors."""
    (plain, expected), (fast, found) = make(), make()
    fast = jit(fast)
    for x in inputs(calls):
        a, b = plain(x.copy()), fast(x.copy())
        assert_same(b, a)
        for s, t in zip(expected, found, strict=True):
            assert_same(t, s)
            assert_same(t.grad, s.grad)
    assert replays(fast) == calls - 3
    return fast


@pytest.mark.parametrize("kind", ["detached", "constructed", "computed"])
def test_gradients_of_a_leaf_made_inside(kind):
    def f(x):
        leaf = {"detached": x, "constructed": Tensor(x), "computed": x * 2}[kind].detach()
        leaf.requires_grad = True
        (leaf * leaf * leaf).sum().backward()
        assert leaf.has_grad
        return leaf.grad * 2

    compare(lambda: (f, []))


def test_a_leaf_that_is_returned_keeps_what_it_is():
    def f(x):
        leaf = (x * 2).detach()
        leaf.requires_grad = True
        (leaf * x).sum().backward()
        return leaf

    fast = jit(f)
    for x in inputs():
        found, expected = fast(x), f(x)
        assert found.requires_grad
        assert_same(found, expected)
        assert_same(found.grad, expected.grad)
    assert replays(fast) == 3


def test_a_change_in_place_that_is_part_of_a_graph():
    def make():
        w = parameter(1, 2, 3)

        def f(x):
            w.zero_grad()
            y = x * 2
            y += w
            (y * y).sum().backward()
            return w.grad

        return f, [w]

    compare(make)


def test_new_data_of_a_tensor_made_inside():
    def f(x):
        y = x.detach()
        y.data = x * 2
        return y + 1

    compare(lambda: (f, []))


def test_new_data_of_a_parameter_inside():
    def make():
        w = parameter(1, 2, 3)

        def f(x):
            w.zero_grad()
            (w * w * x).sum().backward()
            with no_grad():
                w.data = w - w.grad * 0.1

        return f, [w]

    compare(make)


def test_a_tensor_that_grows_in_the_function():
    def make():
        kept = Tensor(np.ones(1, np.float32))

        def f(x):
            result = kept * 2 + x[:1]
            kept.data = nn_tensor.concatenate([kept, kept + 1])
            return result

        return f

    plain, fast = make(), jit(make())
    for x in inputs(6):
        assert_same(fast(x), plain(x))
    assert replays(fast) == 0


@pytest.mark.parametrize("argument", [False, True])
def test_an_external_that_replaces_an_array(argument):
    def replace(tensors):
        tensors[0].data = tensors[0].data + 1

    def make():
        kept = Tensor(np.ones(3, np.float32))

        def f(x):
            changed = x if argument else kept

            before = changed * x
            external(replace, [changed])
            return before + changed

        return f, [kept]

    compare(make)


@pytest.mark.parametrize("where", [list, lambda x: {"x": (x,)}])
def test_an_external_that_writes_into_tensors_of_a_list_writes_once(where):
    def write(structure):
        (tensor,) = structure["x"] if isinstance(structure, dict) else structure
        tensor.data[...] += 1

    def make():
        kept = Tensor(np.ones(3, np.float32))

        def f(x):
            external(write, where([kept]) if where is list else where(kept))
            return x * 2

        return f, [kept]

    compare(make)


def test_an_external_gets_intermediate_results_in_structures():
    def stacked(parts):
        return np.stack([x.numpy() for x in parts["all"]])

    compare(lambda: (lambda x: Tensor(external(stacked, {"all": [x * 2, x + 1]})) * 3, []))


def test_whether_there_is_a_gradient_is_seen():
    w = parameter(1, 2, 3)

    def f(x):
        return x * 2 if w.has_grad else x * 3

    fast = jit(f)
    for n, x in enumerate(inputs(12)):
        if n == 6:
            w.grad = Tensor([1.0, 1.0, 1.0])
        assert_same(fast(x), f(x))
    assert len(fast.explain().programs) == 2


def test_two_leaves_with_one_array_are_told_from_one_leaf():
    def f(x, y):
        x.zero_grad()
        y.zero_grad()
        (x * x * y).sum().backward()
        return x.grad, y.grad

    values = np.array([1, 2, 3], np.float32)
    x, y = (Tensor(values, requires_grad=True) for _ in range(2))
    fast = jit(f)
    for pair in [(x, x)] * 5 + [(x, y)] * 5:
        assert_same(fast(*pair), f(*pair))
    assert fast.explain().signatures == 2


def test_a_subclass_of_tensor_is_another_signature():
    class Special(Tensor):
        pass

    def f(x):
        return x * 2 if type(x) is Tensor else x * 3

    fast = jit(f)
    for kind in [Tensor] * 5 + [Special] * 5:
        assert_same(fast(kind([1.0, 2.0])), f(kind([1.0, 2.0])))
    assert fast.explain().signatures == 2


@op
def unique(xp, x, /):
    """Return the different numbers: the shape depends on floating values."""
    return xp.unique(x)


@op
def ones_like(xp, x, /):
    """Return what the name does not say."""
    return xp.array(sorted(x))


@pytest.mark.parametrize("fuse", [False, True])
def test_an_operation_of_a_user_whose_shape_depends_on_values(fuse):
    fast = jit(lambda x: (unique(x) * 2 + 1) * 3, fuse=fuse)
    for values in ([1, 2, 3], [4, 5, 6], [2, 3, 4], [7, 8, 9]):
        x = Tensor(np.array(values, np.float32))
        assert_same(fast(x), (x * 2 + 1) * 3)
    with pytest.raises(JitError, match=r"unique gave float32 \(1,\), and float32 \(3,\)"):
        fast(Tensor(np.ones(3, np.float32)))


def test_an_operation_of_a_user_is_not_known_by_its_name():
    compare(lambda: (lambda x: ones_like(x) * 2, []))


def test_another_order_in_memory_is_seen():
    kept = Tensor(np.zeros((8, 8), np.float32)[::2, ::2])
    fast = jit(lambda x: ((kept * 2 + x).sum(), (kept * 2).sum()))
    for n, x in enumerate(inputs(12, (1,))):
        values = np.random.default_rng(n).standard_normal((8, 8)).astype(np.float32)
        kept.data = values[::2, ::2] if n < 6 else np.asfortranarray(values[:4, :4])
        assert_same(fast(x), ((kept * 2 + x).sum(), (kept * 2).sum()))
    assert len(fast.explain().programs) == 2


def test_a_product_that_is_zero_when_it_is_recorded():
    """NumPy's matmul and dot add up in another order where BLAS does not take the strides."""
    kept = Tensor(np.zeros((300, 800), np.float32))
    fast = jit(lambda x: x @ kept[:, ::2])
    for n, x in enumerate(inputs(8, (1, 300))):
        if n > 3:
            kept.data[...] = np.random.default_rng(n).standard_normal(kept.shape)
        assert_same(fast(x), x @ kept[:, ::2])
    assert replays(fast) == 5


def test_a_result_of_another_length_is_found_out():
    calls = []

    def f(x):
        calls.append(None)
        return [x * 1] * len(calls)

    fast = jit(f)
    fast(inputs()[0])
    fast(inputs()[0])
    with pytest.raises(JitError, match=r"first replay differed.*result\[2\]"):
        fast(inputs()[0])


def test_the_order_of_a_dict_is_seen():
    factors = {"a": 2.0, "b": 3.0}

    def f(x):
        for name, factor in factors.items():
            x = x * factor + (1.0 if name == "a" else 2.0)
        return x

    fast = jit(f)
    for n, x in enumerate(inputs(12)):
        if n == 6:
            factors["a"] = factors.pop("a")
        assert_same(fast(x), f(x))
    assert len(fast.explain().programs) == 2


def test_an_equal_number_in_a_list_is_not_a_change():
    factors = [2.0, 3.0]
    fast = jit(lambda x: x * factors[0])
    for n, x in enumerate(inputs(12)):
        factors[0] = float("2") if n < 6 else float("5")
        assert_same(fast(x), x * factors[0])
    assert len(fast.explain().programs) == 2
    assert "the item 'factors[0]', 2.0 when it was recorded" in str(fast.explain())
