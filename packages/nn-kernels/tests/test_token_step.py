"""The sublayers of a transformer for one token equal NumPy in float64 over random shapes."""

import math
import os

import nn_kernels
import numpy as np
import pytest
from nn_kernels.jobs import job_of
from nn_kernels.token_step import attend_token, feed_forward_token

SHAPES = int(os.environ.get("NN_KERNELS_SHAPES", "40"))  # 2,000 on demand
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def normalize(x, weights, bias, epsilon):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weights
    return x if bias is None else x + bias


def project(x, weights, bias):
    return x @ weights if bias is None else x @ weights + bias


def rotate(x, cosines, sines):
    if cosines is None:
        return x
    even, odd, out = x[..., 0::2], x[..., 1::2], np.empty_like(x)
    cosines, sines = cosines[:, None], sines[:, None]
    out[..., 0::2], out[..., 1::2] = (
        even * cosines - odd * sines,
        even * sines + odd * cosines,
    )
    return out


def attention(
    x, norm, norm_bias, epsilon, first, wq, bq, wk, bk, wv, bv, wo, bo, cos, sin, keys, values,
    mask, stop,
):  # fmt: skip
    """Write the new key and value, and return the output."""
    (rows, _), (_, heads, _, d) = x.shape, keys.shape
    given = normalize(x, norm, norm_bias, epsilon) if first else x
    queries = rotate(project(given, wq, bq).reshape(rows, -1, d), cos, sin)
    if wk is not None:
        keys[:, :, stop - 1] = rotate(project(given, wk, bk).reshape(rows, heads, d), cos, sin)
        values[:, :, stop - 1] = project(given, wv, bv).reshape(rows, heads, -1)
    queries = queries.reshape(rows, heads, -1, d)
    scores = queries @ keys[:, :, :stop].swapaxes(-1, -2) / math.sqrt(d)
    if mask is not None:
        allowed = mask[:, :stop] if mask.ndim == 2 else np.arange(stop) >= mask[:, None]
        scores = np.where(allowed[:, None, None], scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = e / e.sum(-1, keepdims=True) @ values[:, :, :stop]
    out = x + project(mixed.reshape(rows, -1), wo, bo)
    return out if first else normalize(out, norm, norm_bias, epsilon)


def feed_forward(x, norm, norm_bias, epsilon, first, w1, b1, w2, b2, activation):
    given = normalize(x, norm, norm_bias, epsilon) if first else x
    inner = project(given, w1, b1)
    gate = inner > 0
    if activation == "gelu":
        gate = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(inner / math.sqrt(2)))
    out = x + project(inner * gate, w2, b2)
    return out if first else normalize(out, norm, norm_bias, epsilon)


def draw(seed):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return (rng.standard_normal(shape) / math.sqrt(shape[0])).astype(np.float32)

    def bias(size):
        return None if seed % 3 == 0 else normal(size)

    return rng, normal, bias


def attention_arguments(seed):
    rng, normal, bias = draw(seed)
    rows, heads, group, half, e = (int(n) for n in rng.integers(1, (10, 4, 4, 20, 40)))
    d, positions, size = 2 * half, int(rng.integers(1, 90)), int(rng.integers(1, 200))
    stop, new = int(rng.integers(1, positions + 1)), seed % 4 != 1
    batch = rows if new or seed % 8 == 1 else 1
    # a part of a longer buffer; what follows must not be read
    keys, values = (np.full((batch, heads, positions + 5, n), np.nan, "f") for n in (d, e))
    keys[:, :, :stop] = rng.standard_normal((batch, heads, stop, d))
    values[:, :, :stop] = rng.standard_normal((batch, heads, stop, e))
    if seed % 7 == 3:
        keys = np.ascontiguousarray(keys.swapaxes(1, 2)).swapaxes(1, 2)
    angles = (None, None)
    if new and seed % 5 == 2:
        of_rows = rng.random((rows if seed % 2 else 1, half)) * 7
        table = np.concatenate([np.cos(of_rows), np.sin(of_rows)], axis=1).astype("f")
        angles = table[:, :half], table[:, half:]
    mask = None
    if seed % 2:
        mask = rng.random((1 if seed % 3 else rows, stop + 2)) < 0.6
        mask[:, 0] = True
    q, k, v = heads * group * d, heads * d, heads * e
    return [
        normal(rows, size), 1 + normal(size), bias(size), 1e-5, seed % 2 == 0,
        normal(size, q), bias(q), *((normal(size, k), bias(k)) if new else (None, None)),
        *((normal(size, v), bias(v)) if new else (None, None)),
        normal(heads * group * e, size), bias(size), *angles,
        keys[:, :, :positions], values[:, :, :positions], mask, stop,
    ]  # fmt: skip


def as_float64(arguments):
    return [np.array(x, float) if getattr(x, "dtype", 0) == "f" else x for x in arguments]


@pytest.mark.parametrize("seed", range(SHAPES))
def test_attention_equals_numpy(seed):
    arguments = attention_arguments(seed)
    wide = as_float64(arguments)
    expected, result = attention(*wide), attend_token(*arguments)
    np.testing.assert_allclose(result, expected, **CLOSE)
    for given, wanted in zip(arguments[15:17], wide[15:17], strict=True):  # keys and values
        np.testing.assert_allclose(given, wanted, **CLOSE)


@pytest.mark.parametrize("seed", range(SHAPES))
def test_feed_forward_equals_numpy(seed):
    rng, normal, bias = draw(seed)
    rows, size, inner = (int(n) for n in rng.integers(1, (10, 200, 400)))
    arguments = [
        normal(rows, size), 1 + normal(size), bias(size), 1e-5, seed % 2 == 0,
        normal(size, inner), bias(inner), normal(inner, size), bias(size),
        ("relu", "gelu")[seed % 4 // 2],
    ]  # fmt: skip
    expected, result = feed_forward(*as_float64(arguments)), feed_forward_token(*arguments)
    np.testing.assert_allclose(result, expected, **CLOSE)


def test_a_row_has_the_same_result_in_a_batch_as_alone():
    arguments = attention_arguments(6)
    x, keys, values = arguments[0], arguments[15], arguments[16]
    assert len(x) > 1
    alone = []
    for b in range(len(x)):
        row = list(arguments)
        row[0], row[15], row[16] = x[b : b + 1], keys[b : b + 1].copy(), values[b : b + 1].copy()
        alone.append(attend_token(*row)[0])
    np.testing.assert_array_equal(attend_token(*arguments), alone)


@pytest.mark.parametrize("seed", range(8))
def test_padding_as_counts_and_the_number_of_positions_in_an_array(seed):
    arguments = attention_arguments(seed)
    rows, stop = len(arguments[0]), arguments[18]
    arguments[17] = np.random.default_rng(seed).integers(0, stop, rows)
    wide = as_float64(arguments)
    copies = [x.copy() if isinstance(x, np.ndarray) else x for x in arguments]
    copies[17] = np.arange(stop) >= arguments[17][:, None]
    expected = attend_token(*copies)
    np.testing.assert_allclose(attention(*wide), expected, **CLOSE)
    for number in (stop, np.array([stop])):
        arguments[18] = number
        np.testing.assert_array_equal(attend_token(*arguments), expected)
        np.testing.assert_array_equal(arguments[15], copies[15])


def large_arguments(rows, seed=0):
    """Return arguments of both sublayers whose parts are several heads, or units, and rests."""
    _, normal, _ = draw(seed)
    size, heads, d, inner = 208, 13, 16, 333
    vectors = [1 + normal(size), normal(size), 1e-5, False]
    projections = [normal(*shape) for _ in range(4) for shape in ((size, size), (size,))]
    keys, values = (normal(rows, heads, 20, d) for _ in range(2))
    attention = [normal(rows, size), *vectors, *projections, None, None, keys, values, None, 11]
    network = [normal(size, inner), normal(inner), normal(inner, size), normal(size), "gelu"]
    return attention, [normal(rows, size), *vectors, *network]


@pytest.mark.parametrize("rows", [1, 3, 8, 9])
def test_results_do_not_depend_on_the_number_of_threads(rows):
    of_attention, of_network = large_arguments(rows)
    before, found = nn_kernels.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            nn_kernels.set_num_threads(threads)
            for _ in range(20):
                results = attend_token(*of_attention), feed_forward_token(*of_network)
                found.append(b"".join(x.tobytes() for x in (*results, *of_attention[15:17])))
    finally:
        nn_kernels.set_num_threads(before)
    assert len(set(found)) == 1
    np.testing.assert_allclose(results[0], attention(*as_float64(of_attention)), **CLOSE)
    np.testing.assert_allclose(results[1], feed_forward(*as_float64(of_network)), **CLOSE)


def test_callers_in_several_threads_get_their_own_results(assert_same_for_several_callers):
    calls = [large_arguments(1, seed)[1] for seed in range(4)]
    assert_same_for_several_callers(feed_forward_token, calls, 200)


@pytest.mark.parametrize("rows", [1, 3])
def test_jobs_that_are_run_again_read_the_number_of_positions(rows):
    arguments, of_network = large_arguments(rows)
    x, keys, values = arguments[0], arguments[15], arguments[16]
    job = job_of(
        lambda: [feed_forward_token(*of_network)],
        [of_network[0], *(a for a in of_network[1:] if isinstance(a, np.ndarray))],
        [feed_forward_token(*of_network)],
    )
    assert job is not None
    stop = arguments[18] = np.array([11])
    inputs = [a for a in arguments if isinstance(a, np.ndarray)]
    job = job_of(lambda: [attend_token(*arguments)], inputs, [attend_token(*arguments)])
    found = np.empty_like(x)
    for count in (12, 20, 3):
        stop[0] = count
        job(*(inputs[n] for n in job.inputs), found)
        written = keys.copy(), values.copy()
        keys[:, :, count - 1] = values[:, :, count - 1] = 0
        np.testing.assert_array_equal(attend_token(*arguments), found)
        np.testing.assert_array_equal((keys, values), written)
    arguments[18] = 11  # a number, which may be another one the next time
    assert job_of(lambda: [attend_token(*arguments)], inputs[:-1], [found]) is None


def test_jobs_that_are_run_again_stay_within_their_arrays():
    arguments, _ = large_arguments(1)
    stop = arguments[18] = np.array([11])
    buffers = np.zeros((2, 1, 13, 22, 16), np.float32)
    arguments[15:17] = buffers[:, :, :, 1:-1]
    inputs = [a for a in arguments if isinstance(a, np.ndarray)]
    job = job_of(lambda: [attend_token(*arguments)], inputs, [attend_token(*arguments)])
    for stop[0] in (0, -5, 21, 1 << 40):
        job(*(inputs[n] for n in job.inputs), np.empty_like(arguments[0]))
        assert not buffers[:, :, :, [0, -1]].any()
    stop[0] = 11
    arguments[17] = np.ones((1, 19), bool)  # too short for the last position
    assert attend_token(*arguments) is NotImplemented
    arguments[17] = np.ones((1, 20), bool)
    assert attend_token(*arguments) is not NotImplemented


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_go_through(special):
    _, normal, _ = draw(1)
    x = normal(2, 20)
    x[0, 3] = special
    parameters = [np.ones(20, "f"), None, 1e-5, True, normal(20, 30), None, normal(30, 20), None]
    for activation in ("relu", "gelu"):
        result = feed_forward_token(x, *parameters, activation)
        assert np.isnan(result[0]).all()
        assert np.isfinite(result[1]).all()
    arguments = attention_arguments(6)
    arguments[0][0, 0] = special
    result = attend_token(*arguments)
    assert np.isnan(result[0]).all()
    assert np.isfinite(result[1:]).all()


def test_others_are_left_to_the_reference():
    arguments = attention_arguments(2)
    before = arguments[15].copy()

    def changed(place, value):
        return attend_token(*arguments[:place], value, *arguments[place + 1 :])

    x, wq, wk, wv, wo = (arguments[n] for n in (0, 5, 7, 9, 11))
    assert attend_token(*as_float64(arguments)) is NotImplemented
    for place, value in (
        (0, x[None]), (0, x[:, :-1]), (0, x.repeat(2, axis=0)), (1, np.ones(3, "f")),
        (2, np.ones(len(wq) + 1, "f")), (5, wq[:, :-1]), (5, np.asfortranarray(wq)),
        (6, np.ones(3, "f")), (7, wk[:, :-1]), (9, wv[:-1]), (11, wo[:-1]),
        (13, np.ones((9, 1), "f")), (15, arguments[15][..., ::-1]), (16, arguments[16][:, :, :-1]),
        (17, np.ones((1, arguments[18] - 1), bool)), (18, 0), (18, arguments[15].shape[2] + 1),
        (17, np.zeros(len(x) + 1, int)), (17, np.zeros(len(x), np.int32)), (18, np.array([0])),
        (18, np.array([1, 1])), (18, np.array([1.0])),
    ):  # fmt: skip
        if place == 13:
            assert attend_token(*arguments[:13], value, value, *arguments[15:]) is NotImplemented
        else:
            assert changed(place, value) is NotImplemented, place
    np.testing.assert_array_equal(arguments[15], before)
    x, ones, w1, w2 = (np.ones(shape, "f") for shape in ((2, 4), 4, (4, 6), (6, 4)))
    rest = None, 1e-5, True
    assert feed_forward_token(x, ones, *rest, w1, None, w2, None, "tanh") is NotImplemented
    assert feed_forward_token(x, ones, *rest, w1, ones, w2, None, "relu") is NotImplemented
    assert feed_forward_token(x, ones, *rest, w1, None, w1, None, "relu") is NotImplemented
    assert feed_forward_token(x[:, :3], ones, *rest, w1, None, w2, None, "relu") is NotImplemented
