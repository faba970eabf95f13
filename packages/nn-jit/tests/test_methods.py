"""Methods under `jit`, their copies, and pickling."""

import copy
import functools
import gc
import pickle
import weakref

import numpy as np
import pytest
from jit_parts import inputs, replays
from nn_jit import JitFunction, jit
from nn_tensor import Tensor


@jit
def double(x):
    return x * 2


class Scaled:
    """At the top of a module, as pickle needs it."""

    def __init__(self, factor):
        self.weight = Tensor([factor])

    @jit
    def apply(self, x):
        return x * self.weight

    twice, thrice = (
        jit(lambda self, x: self.weight * x * 2),
        jit(lambda self, x: self.weight * x * 3),
    )


class Further(Scaled):
    @jit
    def apply(self, x):
        return Scaled.apply.__wrapped__(self, x) + 1


def test_instances_do_not_share_programs():
    class Layer:
        def __init__(self, factor):
            self.weight = Tensor([factor])

        @jit
        def apply(self, x):
            return x * self.weight

    one, two = Layer(2.0), Layer(3.0)
    for x in inputs():
        np.testing.assert_array_equal(one.apply(x).numpy(), x.numpy() * 2)
        np.testing.assert_array_equal(two.apply(x).numpy(), x.numpy() * 3)
    other = copy.deepcopy(one)
    other.weight.data = np.full(1, 5, np.float32)
    for x in inputs():
        np.testing.assert_array_equal(one.apply(x).numpy(), x.numpy() * 2)
        np.testing.assert_array_equal(other.apply(x).numpy(), x.numpy() * 5)


def test_a_method_of_a_class_with_slots_is_refused():
    class Slots:
        __slots__ = ()

        @jit
        def apply(self, x):
            return x * 2

    with pytest.raises(TypeError, match="without __slots__"):
        Slots().apply(inputs()[0])


def test_methods_of_one_class_do_not_share_programs():
    one = Further(2.0)
    for x in inputs():
        np.testing.assert_array_equal(one.twice(x).numpy(), x.numpy() * 4)
        np.testing.assert_array_equal(one.thrice(x).numpy(), x.numpy() * 6)
        np.testing.assert_array_equal(one.apply(x).numpy(), x.numpy() * 2 + 1)
        np.testing.assert_array_equal(super(Further, one).apply(x).numpy(), x.numpy() * 2)
    assert one.apply is one.apply
    assert [replays(f) for f in (one.twice, one.thrice, one.apply)] == [3, 3, 3]


def by_pickle(x):
    return pickle.loads(pickle.dumps(x))


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, by_pickle])
def test_a_copy_of_an_instance_computes_with_itself(make):
    one = Scaled(2.0)
    for x in inputs():
        one.apply(x)
    other = make(one)
    other.weight = Tensor([5.0])
    for x in inputs():
        np.testing.assert_array_equal(other.apply(x).numpy(), x.numpy() * 5)
        np.testing.assert_array_equal(one.apply(x).numpy(), x.numpy() * 2)
    assert other.apply is not one.apply
    assert replays(one.apply) == 9  # the programs of the first stay
    assert replays(other.apply) == 3


def test_pickling():
    assert by_pickle(double) is double
    assert copy.deepcopy(double) is double
    assert by_pickle(Scaled.apply) is Scaled.apply
    one = Scaled(2.0)
    x = inputs()[0]
    for method in (one.apply, one.twice):
        method(x)
        for other in (by_pickle(method), copy.deepcopy(method)):
            assert isinstance(other, JitFunction)
            np.testing.assert_array_equal(other(x).numpy(), method(x).numpy())
    alone = jit(functools.partial(np.multiply, 2.0), fuse=False)
    other = by_pickle(alone)
    assert other is not alone
    assert other(3.0) == 6.0


def test_an_instance_is_collected_with_its_programs():
    one = Scaled(2.0)
    for x in inputs():
        one.apply(x)
    reference = weakref.ref(one)
    del one
    gc.collect()
    assert reference() is None
