"""What a function reads of Python is watched: a program serves as long as it is the same."""

import collections
import contextlib
import cProfile
import dataclasses
import gc
import operator
import sys
import threading
import types
import weakref

import nn_project
import numpy as np
import pytest
from jit_parts import assert_same, inputs, replays
from nn_jit import jit
from nn_tensor import Tensor, exp, no_grad, relu, softmax, tanh
from nn_tensor.extend import external

FACTOR = 2.0
SETTINGS = {"factor": 2.0}
CONFIG = types.SimpleNamespace(inner=types.SimpleNamespace(factor=2.0))


class Box:
    """An object with any attributes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def apply(self, x):
        return x * self.factor

    def apply_by_another_name(this, x):
        return x * this.factor

    def apply_inner(self, x):
        config = self.config
        return x * config.inner.factor

    def apply_first(self, x):
        return x * self.factors[0]

    def apply_or_twice(self, x):
        return x * 2 if self.factor is None else x * self.factor

    def apply_by_getattr(self, x):
        return x * getattr(self, "factor")  # noqa: B009 - what is tested


class Slots:
    __slots__ = ("factor",)

    def apply(self, x):
        return x * self.factor


@dataclasses.dataclass
class Data:
    factor: float = 2.0

    @property
    def product(self):
        return self.factor * 10


class ClassAttribute:
    factor = 2.0

    def apply(self, x):
        return x * self.factor


class Registry:
    """Objects by name, which no caller names."""

    def __init__(self, *items):
        self._items = dict(zip("abc", items, strict=False))

    def __getitem__(self, name):
        return self._items[name]

    def __iter__(self):
        yield from self._items.values()

    @property
    def first(self):
        return self._items["a"]


class Lacking:
    """Attributes that do not exist have a value all the same."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 2.0


def helper(x):
    return x * FACTOR


def helper_of_rest(x, *items, **options):
    for item in (*items, *options.values()):
        x = x * item.factor
    return x


def set_factor(value):
    global FACTOR
    FACTOR = value


def slots():
    box = Slots()
    box.factor = 2.0
    return box


def changes():
    """Yield what a function reads: a name, the function, and how to change it."""
    box = Box(factor=2.0)
    yield "attribute", box.apply, lambda v: setattr(box, "factor", v)
    other = Box(factor=2.0)
    yield "this", other.apply_by_another_name, lambda v: setattr(other, "factor", v)
    none = Box(factor=None)
    yield "None", none.apply_or_twice, lambda v: setattr(none, "factor", v)
    named = Box(factor=2.0)
    yield "getattr", named.apply_by_getattr, lambda v: setattr(named, "factor", v)
    numbers = Box(factors=(2.0, 1.0))
    yield "tuple", numbers.apply_first, lambda v: setattr(numbers, "factors", (v, 1.0))
    listed = Box(factors=[2.0])
    yield "list", listed.apply_first, lambda v: listed.factors.__setitem__(0, v)
    deep = Box(config=Box(inner=Box(factor=2.0)))
    yield "chain", deep.apply_inner, lambda v: setattr(deep.config.inner, "factor", v)
    replaced = Box(config=Box(inner=Box(factor=2.0)))

    def replace(value):
        replaced.config = Box(inner=Box(factor=value))

    yield "object", replaced.apply_inner, replace
    closure = Box(factor=2.0)
    yield "closure", lambda x: x * closure.factor, lambda v: setattr(closure, "factor", v)
    data = Data()
    yield "property", lambda x: x * data.product / 10, lambda v: setattr(data, "factor", v)
    slot = slots()
    yield "slots", slot.apply, lambda v: setattr(slot, "factor", v)
    of_class = ClassAttribute()
    yield "own", of_class.apply, lambda v: setattr(of_class, "factor", v)
    cls = type("Sub", (ClassAttribute,), {"factor": 2.0})
    yield "class", cls().apply, lambda v: setattr(cls, "factor", v)
    yield "class by name", lambda x: x * cls.factor, lambda v: setattr(cls, "factor", v)
    boxes = [Box(factor=2.0), Box(factor=1.0)]

    def all_of(x):
        for item in boxes:
            x = item.apply(x)
        return x

    nested = {"a": (Box(factor=2.0), 1)}

    def by_item(x):
        for item, _ in nested.values():
            x = x * item.factor
        return x

    yield "attributes of items", by_item, lambda v: setattr(nested["a"][0], "factor", v)
    yield "objects in a list", all_of, lambda v: setattr(boxes[0], "factor", v)

    def change_object(value):
        boxes[0] = Box(factor=value)

    yield "object in a list", all_of, change_object
    yield "list that grows", all_of, lambda v: boxes.append(Box(factor=v / boxes[0].factor))
    yield "helper", lambda x: helper(x), set_factor
    yield "generator", lambda x: sum(y * FACTOR for y in (x,)), set_factor
    yield "comprehension", lambda x: [y * FACTOR for y in (x, x)][1], set_factor
    yield "dict", lambda x: x * SETTINGS["factor"], lambda v: SETTINGS.update(factor=v)
    table = {"inner": [({"factor": 2.0},)]}

    def change_nested(value):
        table["inner"][0][0]["factor"] = value

    yield "nested", lambda x: x * table["inner"][0][0]["factor"], change_nested
    yield (
        "namespace",
        lambda x: x * CONFIG.inner.factor,
        lambda v: setattr(CONFIG.inner, "factor", v),
    )
    free = 2.0

    def of_closure(x):
        return x * free

    def set_free(value):
        nonlocal free
        free = value

    yield "helper's closure", lambda x: of_closure(x), set_free
    yield "closure in a generator", lambda x: sum(y * free for y in (x,)), set_free
    yield "decorated", no_grad()(lambda x: x * free), set_free
    yield from changes_elsewhere()
    yield from changes_of_what_lacks()


def changes_elsewhere():
    """Yield changes of what one code reaches and another one names."""
    registry = Registry(Box(factor=2.0))

    def change(value):
        registry["a"].factor = value

    def get():
        return registry

    one = [registry["a"]]
    kept = nn_project.Base()

    def by_loop(x):
        for item in get():
            x = x * item.factor
        return x

    yield "result of a helper", lambda x: x * get()["a"].factor, change
    yield "result of a property", lambda x: x * registry.first.factor, change
    yield "iteration", by_loop, change
    yield "item in a generator", lambda x: x * sum(item.factor for item in one), change
    yield "item in a comprehension", lambda x: x * [item.factor for item in one].pop(), change
    yield "attrgetter", lambda x: x * next(map(operator.attrgetter("factor"), one)), change
    yield "rest", lambda x: helper_of_rest(x, *get()), change
    yield "rest by name", lambda x: helper_of_rest(x, y=get()["a"]), change
    yield "vars", lambda x: x * vars(registry.first)["factor"], change
    yield "name of the framework", nn_project.apply, lambda v: setattr(nn_project, "FACTOR", v)
    yield (
        "class of such a module",
        lambda x: x * kept.factor,
        lambda v: setattr(nn_project.Base, "factor", v),
    )

    def by_import(x):
        import nn_project as module

        return x * module.FACTOR

    def by_import_from(x):
        from nn_project import FACTOR

        return x * FACTOR

    yield "import", by_import, lambda v: setattr(nn_project, "FACTOR", v)
    yield "import of a name", by_import_from, lambda v: setattr(nn_project, "FACTOR", v)
    numbers, last = {2.0}, collections.deque([1.0, 2.0])
    yield "set", lambda x: x * max(numbers), numbers.add
    yield "deque", lambda x: x * last[-1], last.append
    state, counts = {"step": 0, "factor": 2.0}, [0, 2.0]

    def counting(x):
        state["step"] += 1
        return x * state["factor"]

    def counting_in_a_list(x):
        counts[0] += 1
        return x * counts[1]

    yield "beside a count", counting, lambda v: state.update(factor=v)
    yield "beside a count in a list", counting_in_a_list, lambda v: counts.__setitem__(1, v)

    def matching(x):
        match registry.first:
            case Box(factor=value):
                return x * value

    yield "match", matching, change


def changes_of_what_lacks():
    """Yield changes of attributes that did not exist."""
    for name in ("getattr", "hasattr", "except", "suppress", "names in a tuple", "class", "lacks"):
        box = (Lacking if name == "lacks" else type("Empty", (Box,), {}))()

        def by_error(x, box=box):
            try:
                return x * box.factor
            except AttributeError:
                return x * 2

        def by_suppress(x, box=box):
            factor = 2.0
            with contextlib.suppress(AttributeError):
                factor = box.factor
            return x * factor

        def by_names(x, box=box):
            for attribute in ("factor", "other"):
                x = x * getattr(box, attribute, 2.0 if attribute == "factor" else 1.0)
            return x

        function = {
            "hasattr": lambda x, box=box: x * (box.factor if hasattr(box, "factor") else 2.0),
            "except": by_error,
            "suppress": by_suppress,
            "names in a tuple": by_names,
            "lacks": lambda x, box=box: x * box.factor,
        }.get(name, lambda x, box=box: x * getattr(box, "factor", 2.0))
        changed = type(box) if name == "class" else box
        yield f"lacking: {name}", function, lambda v, x=changed: setattr(x, "factor", v)
    cls = type("Sub", (ClassAttribute,), {})
    yield "class between", cls().apply, lambda v: setattr(cls, "factor", v)


NAMES = [name for name, _, _ in changes()]


@pytest.mark.parametrize("name", NAMES)
def test_a_change_is_seen(name):
    function, change = next((f, c) for n, f, c in changes() if n == name)
    set_factor(2.0)
    SETTINGS["factor"] = CONFIG.inner.factor = 2.0
    nn_project.FACTOR = nn_project.Base.factor = 2.0
    fast = jit(function)
    for n, x in enumerate(inputs(12)):
        if n == 6:
            change(10.0)
        expected = function(x).numpy()
        np.testing.assert_array_equal(fast(x).numpy(), expected)
        np.testing.assert_allclose(expected, x.numpy() * (2 if n < 6 else 10), rtol=1e-6)
    assert len(fast.explain().programs) == 2
    assert replays(fast) == 7  # 12 calls: one as written, 2 programs recorded and compared
    assert fast.explain().changes


@pytest.mark.parametrize(
    ("before", "after", "programs"),
    [
        (0.0, -0.0, 2),
        (1, 1.0, 2),
        (1, True, 2),
        (2.0, float("2"), 1),
        (float("nan"), float("nan"), 1),
        ((1, (2.0, None)), (1, (2.0, None)), 1),
        ((1, (0.0, None)), (1, (-0.0, None)), 2),
        (np.float32(0), np.float32(-0.0), 2),
        ("a", "".join(["a"]), 1),
    ],
)
def test_values_are_compared_by_type_and_by_all_their_bits(before, after, programs):
    box = Box(factor=before)
    f = jit(lambda x: x * box.factor if isinstance(box.factor, (int, float, np.generic)) else x * 1)
    for n, x in enumerate([Tensor([1, 2])] * 12):
        box.factor = before if n < 6 else after
        found = f(x).numpy()
        expected = x.numpy() * (box.factor if not isinstance(box.factor, (tuple, str)) else 1)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
        np.testing.assert_array_equal(found, expected)
        if not isinstance(box.factor, np.generic):
            assert found.dtype.kind == expected.dtype.kind
    assert len(f.explain().programs) == programs


@pytest.mark.parametrize("place", ["variable", "attribute", "list", "dict"])
def test_another_tensor_or_function_is_seen(place):
    weight, function = Tensor([2.0, 3.0, 4.0], requires_grad=True), relu
    box = Box(weight=weight, function=relu)
    items, table = [weight, relu], {"weight": weight, "function": relu}
    functions = {
        "variable": lambda x: function(x * weight),
        "attribute": lambda x: box.function(x * box.weight),
        "list": lambda x: items[1](x * items[0]),
        "dict": lambda x: table["function"](x * table["weight"]),
    }
    plain = no_grad()(functions[place])
    fast = jit(plain)
    for n, x in enumerate(inputs(12)):
        if n == 6:
            weight, function = Tensor([5.0, 6.0, 7.0], requires_grad=True), tanh
            box.weight, box.function = items[:] = weight, function
            table.update(weight=weight, function=function)
        np.testing.assert_array_equal(fast(x).numpy(), plain(x).numpy())
    assert len(fast.explain().programs) == 2


def test_what_an_external_reads_is_not_watched():
    values, box = [1.0], Box(factor=1.0)
    f = jit(lambda x: x * external(lambda: np.float32(values[0] * box.factor)) + 1)
    for n, x in enumerate(inputs(12)):
        values[0], box.factor = n, n + 1.0
        expected = x.numpy() * np.float32(n * (n + 1.0)) + 1
        np.testing.assert_array_equal(f(x).numpy(), expected)
    assert len(f.explain().programs) == 1


def test_another_function_with_the_same_code_is_not_watched():
    def make(factor):
        def set_factor(value):
            nonlocal factor
            factor = value

        return lambda x: x * factor, set_factor

    (one, set_one), (_, set_two) = make(2.0), make(3.0)
    f = jit(lambda x: one(x))
    for n, x in enumerate(inputs(12)):
        set_two(float(n))
        assert_same(f(x), one(x))
    assert len(f.explain().programs) == 1
    set_one(5.0)
    assert_same(f(x), one(x))
    assert len(f.explain().programs) == 2


def test_data_in_a_long_list_is_not_watched():
    box = Box(rows=[Box(factor=2.0)] * 10_000)
    f = jit(lambda x: x * box.rows[0].factor)
    for x in inputs():
        f(x)
    box.rows.append(None)
    f(inputs()[0])
    assert len(f.explain().programs) == 1


def test_objects_that_the_function_makes_are_not_kept():
    made = []

    class Batch:
        def __init__(self, x):
            self.x, self.inner, self.items = (
                x,
                Box(factor=exp(x)),
                [Box(factor=exp(x)), {"x": exp(x)}],
            )

        def total(self):
            return self.x + self.inner.factor + self.items[0].factor + self.items[1]["x"]

    def f(x):
        batch = Batch(x * 2)

        def scaled(y):
            return y * batch.total()

        made.append(weakref.ref(batch))
        made.append(weakref.ref(batch.inner))
        made.append(weakref.ref(batch.items[0]))
        return scaled(x)

    fast = jit(f)
    for x in inputs():
        fast(x)
    gc.collect()
    assert len(made) == 9  # of the calls that run as written, recorded, or compared
    assert all(reference() is None for reference in made)
    assert replays(fast) == 3


def test_what_changes_in_code_that_is_not_called_is_not_watched():
    box = Box(factor=2.0, count=0)
    f = jit(lambda x: x * box.factor)
    for n, x in enumerate(inputs(12)):
        box.count = n
        f(x)
    assert len(f.explain().programs) == 1


def test_each_thread_has_its_own_values():
    local, found = threading.local(), []
    f = jit(lambda x: x * local.factor)
    x = Tensor([1.0])

    def run(factor):
        local.factor = factor
        found.extend(f(x).item() for _ in range(4))

    for factor in (2.0, 9.0):
        thread = threading.Thread(target=run, args=(factor,))
        thread.start()
        thread.join()
    assert found == [2.0] * 4 + [9.0] * 4


def test_a_function_is_recorded_under_a_profiler():
    fast = jit(lambda x: helper(x))
    profile = cProfile.Profile()
    profile.enable()
    for x in inputs():
        assert_same(fast(x), helper(x))
    active = sys.getprofile()
    profile.disable()
    assert replays(fast) == 3
    assert active is profile or sys.version_info >= (3, 12)  # which has it elsewhere
    assert any(entry.code is helper.__code__ for entry in profile.getstats())


def test_a_long_chain_of_objects_is_followed():
    chain = Box(factor=1.0, next=None)
    for _ in range(1500):
        chain = Box(factor=1.0, next=chain)
    fast = jit(lambda x: x * chain.next.factor)
    for x in inputs():
        assert_same(fast(x), x * 1.0)
    chain.next.factor = 3.0
    assert_same(fast(x), x * 3.0)


def test_only_what_the_function_reads_is_watched():
    """And not what nn-tensor and nn-kernels read, when they look at what was computed."""
    pytest.importorskip("numba")
    factor = Tensor(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64))

    def step(x):
        return softmax(x * factor)

    fast = jit(step)
    for _ in range(3):
        fast(Tensor(np.ones((64, 64), np.float32)))
    (program,) = next(iter(fast._programs.values()))
    assert sorted(read.name for read in program.guards.reads.values()) == ["factor", "softmax"]
