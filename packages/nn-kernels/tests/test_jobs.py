"""Kernels that consist of one job: it is found, and run again for other arrays."""

import gc
import weakref
from types import SimpleNamespace

import nn_kernels
import numpy as np
import pytest
from nn_kernels import attention, layer_norm, matmul
from nn_kernels._threads import BoundJob
from nn_kernels.activations import relu, select_positive
from nn_kernels.embedding import segment_sum, take_rows
from nn_kernels.gelu import gelu, gelu_gradient
from nn_kernels.jobs import job_of
from nn_kernels.softmax import cross_entropy, cross_entropy_gradient, softmax, softmax_gradient

OPTIONS = SimpleNamespace(scale=0.5, causal=True, dropout=0.0, needs_backward=True)


def filled(function, shape):
    """Return a function that gives an array which another one fills."""

    def call(*arrays):
        out = np.empty(shape, np.float32)
        assert function(*arrays, out) is None
        return [out]

    return call


def attend(query, key, value):
    result, saved = attention.attention(query, key, value, True, OPTIONS)
    return [result, *saved]


def attend_backward(g, query, key, value, weights):
    return attention.attention_gradient(g, query, key, value, True, [weights], OPTIONS)


def heads(rng):
    return rng.standard_normal((6, 20, 2, 8)).astype(np.float32).transpose(0, 2, 1, 3)


def floats(*shape):
    return lambda rng: rng.standard_normal(shape).astype(np.float32)


def classes(rng):
    return rng.integers(0, 20, 300)


ROWS, VECTOR, COLUMN = floats(300, 16), floats(16), floats(300, 1)
CASES = {
    "gelu": (filled(lambda x, out: gelu(x, out, []), 5000), floats(5000)),
    "gelu_gradient": (
        filled(lambda g, x, out: gelu_gradient(g, x, None, out), 5000),
        floats(5000),
        floats(5000),
    ),
    "scaled_layer_norm": (
        lambda *a: layer_norm.scaled_layer_norm(*a, 1e-5, True), ROWS, VECTOR, VECTOR
    ),
    "scaled_layer_norm without bias": (
        lambda x, w: layer_norm.scaled_layer_norm(x, w, None, 1e-5, True), ROWS, VECTOR
    ),
    "scaled_layer_norm_gradient, of which the bias is not wanted": (
        lambda *a: layer_norm.scaled_layer_norm_gradient(*a, True)[:2], ROWS, ROWS, COLUMN, VECTOR
    ),
    "layer_norm": (lambda x: layer_norm.layer_norm(x, 1e-5, False), ROWS),
    "layer_norm_gradient": (
        lambda *a: [layer_norm.layer_norm_gradient(*a, True)], ROWS, ROWS, COLUMN
    ),
    "matmul": (lambda x, y: [matmul.matmul(x, y)], floats(1100, 16), floats(16, 64)),
    "matmul of a transposed matrix": (
        lambda x, y: [matmul.matmul(x, y.T)], floats(1100, 64), floats(16, 64)
    ),
    "matmul in two halves": (
        lambda x, y: [matmul.matmul(x, y)], floats(16, 2000), floats(2000, 32)
    ),
    "linear in two halves": (
        lambda *a: [matmul.linear(*a)], floats(16, 2000), floats(2000, 32), floats(32)
    ),
    "linear": (
        lambda *a: [matmul.linear(*a)], floats(1100, 16), floats(16, 64), floats(64)
    ),
    "softmax": (lambda x: [softmax(x, 1)], floats(300, 20)),
    "softmax_gradient": (
        lambda g, y: [softmax_gradient(g, y, 1)], floats(300, 20), floats(300, 20)
    ),
    "cross_entropy": (lambda *a: cross_entropy(*a, None, 0.1), floats(300, 20), classes),
    "cross_entropy of few rows, scaled": (
        lambda *a: cross_entropy(*a, 0.0),
        floats(3, 20), lambda rng: rng.integers(0, 20, 3), floats(3),
    ),
    "cross_entropy_gradient": (
        lambda *a: [cross_entropy_gradient(*a, 0.1)],
        floats(300), ROWS, lambda rng: 1 + rng.random((300, 1), np.float32),
        lambda rng: rng.integers(0, 16, 300),
    ),
    "take_rows": (
        lambda weights, tokens: [take_rows(weights, tokens)], floats(20, 100), classes
    ),
    "segment_sum": (lambda rows, tokens: [segment_sum(rows, tokens, 20)], ROWS, classes),
    "relu": (lambda x: [relu(x)], floats(1 << 18)),
    "select_positive": (
        lambda x, y: [select_positive(x, y)], floats(1 << 18), floats(1 << 18)
    ),
    "attention": (attend, heads, heads, heads),
    "attention_gradient": (
        attend_backward, heads, heads, heads, heads,
        lambda rng: rng.random((6, 2, 20, 20)).astype(np.float32).swapaxes(-1, -2),
    ),
}  # fmt: skip


def same(found, wanted):
    return all(a.tobytes() == b.tobytes() for a, b in zip(found, wanted, strict=True))


@pytest.fixture(scope="module", autouse=True)
def little_garbage():
    """Leave what there is already, with all tests, out of the collections of garbage."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=[1, 2])
def threads(request):
    before = nn_kernels.get_num_threads()
    nn_kernels.set_num_threads(request.param)
    yield request.param
    nn_kernels.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("name", CASES)
def test_the_job_of_a_kernel_for_other_arrays(name):
    function, *makers = CASES[name]
    rng = np.random.default_rng(0)
    first = [make(rng) for make in makers]
    results = [*function(*first)]
    if any(x is NotImplemented for x in results):
        pytest.skip("this processor leaves it to the reference")
    job = job_of(lambda: [*function(*first)], first, results)
    assert job is not None
    second = [make(rng) for make in makers]
    wanted = [*function(*second)]
    assert not same(results, wanted)
    read = [second[n] for n in job.inputs]
    found = [np.full_like(x, np.nan) for x in wanted]
    job(*read, *found)
    assert same(found, wanted)
    # bound to some arrays, and to all of them
    for fixed in (len(read), 0, len(read) + len(found)):
        found = [np.full_like(x, np.nan) for x in wanted]
        arrays = [*read, *found]
        run = job.bind(*(x if n < fixed else None for n, x in enumerate(arrays)))
        matmul._plan.cache_clear()
        matmul._offsets.cache_clear()
        gc.collect()
        for _ in range(2):
            run(*arrays[fixed:])
            assert same(found, wanted)


def test_arrays_of_another_layout_are_refused():
    x = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)
    job = job_of(lambda: [softmax(x, 1)], [x], [softmax(x, 1)])
    out = np.zeros_like(x)
    wrong = [x[:299], x.astype(np.float64), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]]
    for other in wrong:
        for arrays in ((other, out), (x, other)):
            with pytest.raises(ValueError, match=r"expected shape, dtype and strides"):
                job(*arrays)
            with pytest.raises(ValueError, match=r"expected shape, dtype and strides"):
                job.bind(None, None)(*arrays)
    assert not out.any()
    column = np.random.default_rng(0).standard_normal((5000, 1)).astype(np.float32)
    job = job_of(lambda: [softmax(column, 1)], [column], [softmax(column, 1)])
    job(np.ones((1, 5000), np.float32).T, np.empty_like(column))  # an axis of 1 has no stride


def test_what_is_not_just_a_job():
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((300, 20), (20, 300)))

    def found(function, *inputs):
        return job_of(function, inputs, function())

    assert found(lambda: [softmax(x, 1)], x) is not None
    assert found(lambda: [softmax(w.T, 1)], w) is None  # of a copy in another order
    assert found(lambda: [softmax(x, 1) + 1], x) is None  # something after it
    assert found(lambda: [softmax(x, 1), x + 1], x) is None
    assert found(lambda: [softmax(softmax(x, 1), 1)], x) is None  # two jobs
    assert found(lambda: [np.exp(x)], x) is None  # none
    assert found(lambda: [softmax(x[::-1], 1)], x[::-1]) is None

    def in_place():
        y = softmax(x, 1)
        y *= 2
        return [y]

    assert found(in_place, x) is None


def test_a_copy_whose_values_make_no_difference():
    """A job would read what was in it when it was looked at."""
    x, w = np.ones((1100, 16), np.float32), np.ones((16, 64), np.float32)
    bias = np.zeros(128, np.float32)[::2]
    negative = np.full((512, 1024), -1, np.float32)[:, ::2]
    for function, inputs in (
        (lambda: [matmul.linear(x, w, bias)], (x, w, bias)),
        (lambda: [relu(negative)], (negative,)),
    ):
        results = function()
        if results[0] is NotImplemented:
            pytest.skip("this processor leaves it to the reference")
        assert job_of(function, inputs, results) is None


def test_arrays_in_one_piece_of_memory():
    whole = np.random.default_rng(0).standard_normal((1200, 100)).astype(np.float32)
    x, w = whole[:1100, :16], whole[1:17, 20:84]  # between the elements of the first
    y = x.copy()
    for function, inputs, given in (
        (lambda a, b: [matmul.matmul(a, b)], (x, w), whole[2:1102, 3:19]),
        (lambda a, b: [softmax_gradient(a, b, 1)], (y, y.view()), y + 1),
    ):
        results = function(*inputs)
        if results[0] is NotImplemented:
            pytest.skip("this processor leaves it to the reference")
        job = job_of(lambda f=function, a=inputs: f(*a), inputs, results)
        assert job.inputs == [0, 1]
        second = (given, w) if given.base is whole else (given, y)
        job(*second, found := np.empty_like(results[0]))
        assert same([found], function(*second))
    # of two arrays that both hold what a job reads, any may be meant
    assert job_of(lambda: [softmax(y[:8], 1)], (y, y.view()), [softmax(y[:8], 1)]) is None


def test_an_index_out_of_range():
    x, indices = (
        np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32),
        np.zeros(30, int),
    )

    def function():
        found = cross_entropy(x, indices, None, 0.0)
        return [np.zeros(30)] if found is NotImplemented else [*found]

    job = job_of(function, [x, indices], function())
    run = job.bind(None, None, *(np.empty_like(out) for out in function()))
    for wrong in (-1, 20, 1 << 40, -(1 << 40)):
        with pytest.raises(IndexError, match=r"^cross_entropy: an index is out of range$"):
            run(x, np.r_[indices[1:], wrong])
        run(x, indices)  # the same job goes on
    indices[3] = 20
    assert job_of(function, [x, indices], function()) is None  # the reference raises


def test_an_index_out_of_range_in_several_jobs():
    x, indices = np.ones((30, 20), np.float32), np.zeros(30, int)
    job = job_of(
        lambda: [*cross_entropy(x, indices, None, 0.0)],
        [x, indices],
        [*cross_entropy(x, indices, None, 0.0)],
    )
    job._run = job._run._replace(job=(job._run.job,), parts=(job._run.parts,))
    out = [np.empty_like(a) for a in cross_entropy(x, indices, None, 0.0)]
    job(x, indices, *out)
    with pytest.raises(IndexError, match=r"^cross_entropy: an index is out of range$"):
        job(x, indices + 20, *out)


def test_an_index_out_of_range_before_an_interrupt(monkeypatch):
    x, indices = np.ones((30, 20), np.float32), np.zeros(30, int)
    results = cross_entropy(x, indices, None, 0.0)
    job = job_of(lambda: [*cross_entropy(x, indices, None, 0.0)], [x, indices], [*results])

    class Interrupted(BoundJob):
        def __call__(self, parts, work):
            super().__call__(parts, work)
            if indices[0]:
                raise KeyboardInterrupt

    monkeypatch.setattr("nn_kernels.jobs.BoundJob", Interrupted)
    run = job.bind(x, None, *results)
    indices[0] = 20
    with pytest.raises(KeyboardInterrupt):
        run(indices)
    indices[0] = 0
    run(indices)  # whose indices exist


def test_a_job_keeps_no_array_that_it_was_found_with():
    def bound():
        x = np.ones((300, 20), np.float32)
        job = job_of(lambda: [softmax(x, 1)], [x], [softmax(x, 1)])
        return job.bind(None, None), weakref.ref(x)

    run, found_with = bound()
    run(np.ones((300, 20), np.float32), np.empty((300, 20), np.float32))
    gc.collect()
    assert found_with() is None
