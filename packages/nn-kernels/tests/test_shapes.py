"""Arrays of wrong shapes are left to the references, which raise: no kernel reads beyond them.

`CALLS` has a valid call of each kernel, or several. Each axis of each array argument in turn gets
another length, and the kernel has to return NotImplemented.
"""

from types import SimpleNamespace

import nn_kernels
import numpy as np
import pytest
from nn_kernels import average_pooling, convolution, pooling, softmax
from nn_kernels._threads import POOLED
from nn_kernels._vectors import FUSED

FLAT = "flat"  # a vector of the same elements will do
SAME = (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), "auto"
DIRECT = *SAME[:4], "direct"
PAIRS = (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), "auto"
SPANS = np.array([[0, 3, 3], [3, 6, 2]])  # of two steps of three sequences, one of which ends


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def ids(*shape):
    return zeros(*shape, dtype=np.int64)


def images(channels=16):
    return zeros(8, channels, 16, 16)


def lstm_forward(multiply, dtype=np.float32, hidden=8):
    product = None if multiply else zeros(3, 16, dtype=dtype)
    read = product, zeros(4, 16, dtype=dtype), zeros(16, dtype=dtype)
    written = zeros(8, 4, dtype=dtype), zeros(5, 4, dtype=dtype), zeros(hidden, 4, dtype=dtype)
    return zeros(5, 16, dtype=dtype), *read, *written, SPANS.copy(), 0, 2 if multiply else 1


def lstm_backward(multiply, dtype=np.float32):
    shapes = (5, 16), (3, 4), (3, 4), (5, 4), (16, 4), (5, 16), (8, 4), (5, 4)
    return *(zeros(*s, dtype=dtype) for s in shapes), SPANS.copy(), 0, 2, multiply


ATTENTION = SimpleNamespace(scale=0.5, causal=False, dropout=0.0, needs_backward=True)


def attention(*masks):
    mask = masks[0] if masks else True
    return zeros(2, 3, 5, 8), zeros(2, 3, 7, 8), zeros(2, 3, 7, 4), mask, ATTENTION


def attention_gradient():
    weights = zeros(2, 3, 7, 5).swapaxes(-1, -2)
    return zeros(2, 3, 5, 4), *attention()[:4], [weights], ATTENTION


def attend_token(rotated=False, masked=False, new=True, counted=False):
    angles = zeros(1, 2) if rotated else None
    projections = (zeros(6, 8), zeros(8), zeros(6, 6), zeros(6)) if new else (None,) * 4
    return (
        zeros(2, 6), zeros(6), zeros(6), 1e-5, True, zeros(6, 8), zeros(8), *projections,
        zeros(6, 6), zeros(6), angles, angles, zeros(2, 2, 5, 4), zeros(2, 2, 5, 3),
        zeros(2, 5, dtype=bool) if masked else zeros(2, dtype=np.int64) if counted else None,
        np.array([4]) if counted else 4,
    )  # fmt: skip


def gru_forward(multiply, dtype=np.float32):
    product = None if multiply else zeros(3, 12, dtype=dtype)
    shapes = (4, 12), (16,), (5, 4), (8, 4)
    rest = [zeros(*s, dtype=dtype) for s in shapes]
    return zeros(5, 12, dtype=dtype), product, *rest, SPANS.copy(), 0, 2 if multiply else 1


def gru_backward(multiply, dtype=np.float32):
    shapes = (5, 16), (3, 4), (5, 4), (12, 4), (5, 12), (5, 4), (8, 4)
    return *(zeros(*s, dtype=dtype) for s in shapes), SPANS.copy(), 0, 2, multiply


MASKED = {2: {3}, 3: {0, 1, 2, 3}}  # an axis of a mask may have one element

# The kernel, its arguments, and for the number of an argument the axes that may have any length.
CALLS = [
    ("add", lambda: (zeros(4, 5), zeros(4, 5), zeros(4, 5)), {}),
    (
        "attend_few_queries",
        lambda: (zeros(2, 3, 2, 8), zeros(2, 3, 7, 8), zeros(2, 3, 7, 4), True, 0.5),
        {0: {2}, 2: {3}},
    ),
    (
        "attend_few_queries",
        lambda: (
            *(zeros(2, 3, n, 8) for n in (2, 7, 7)),
            zeros(2, 1, 2, 7, dtype=bool),
            0.5,
        ),
        {2: {3}, 3: {0, 1, 2, 3}},
    ),
    ("attend_token", attend_token, {}),
    ("attend_token", lambda: attend_token(new=False), {15: {0}, 16: {0}}),
    ("attend_token", lambda: attend_token(counted=True), {}),
    (
        "attend_token",
        lambda: attend_token(rotated=True, masked=True),
        {13: {0}, 14: {0}, 17: {0, 1}},
    ),
    (
        "feed_forward_token",
        lambda: (
            zeros(2, 6),
            zeros(6),
            zeros(6),
            1e-5,
            True,
            zeros(6, 10),
            zeros(10),
            zeros(10, 6),
            zeros(6),
            "gelu",
        ),
        {0: {0}},
    ),
    ("apply_dropout", lambda: (images(), 0.5, (1, 2)), {0: {0, 1, 2, 3, FLAT}}),
    *(
        row
        for row in (
            ("attention", attention, {0: {2}, 2: {3}}),
            ("attention", lambda: attention(zeros(2, 3, 5, 7, dtype=bool)), MASKED),
            ("attention", lambda: attention(zeros(2, 3, 5, 7)), MASKED),
            ("attention_gradient", attention_gradient, {}),
        )
        if FUSED
    ),
    ("avg_pool2d", lambda: (images(), SAME), {0: {0, 1, 2, 3}}),
    ("avg_pool2d_gradient", lambda: (images(), images(), SAME), {}),
    ("avg_pool2d_gradient", lambda: (zeros(8, 16, 8, 8), zeros(8, 16, 17, 16), PAIRS), {1: {2, 3}}),
    ("batch_norm", lambda: (zeros(8, 16, 256), zeros(16), zeros(16), 1e-5), {0: {0, 2}}),
    (
        "batch_norm_gradient",
        lambda: (zeros(8, 16, 256), zeros(8, 16, 256), zeros(16), zeros(16), zeros(16)),
        {},
    ),
    *(
        row
        for windows in (SAME, DIRECT)
        for row in (
            (
                "conv2d",
                lambda windows=windows: (images(), zeros(16, 16, 3, 3), zeros(16), windows, 1),
                {0: {0, 2, 3}},
            ),
            (
                "conv2d_relu",
                lambda windows=windows: (images(), zeros(16, 16, 3, 3), zeros(16), windows, 1),
                {0: {0, 2, 3}},
            ),
            (
                "conv2d_max_pool2d_relu",
                lambda windows=windows: (
                    images(),
                    zeros(16, 16, 3, 3),
                    zeros(16),
                    windows,
                    1,
                    PAIRS,
                ),
                {0: {0, 2, 3}},
            ),
            (
                "conv2d_input_gradient",
                lambda windows=windows: (images(), zeros(16, 16, 3, 3), (16, 16), windows, 1),
                {0: {0}, 1: {1}},
            ),
            (
                "conv2d_weight_gradient",
                lambda windows=windows: (images(), images(), windows, 1),
                {0: {1}, 1: {1}},
            ),
        )
    ),
    ("conv2d", lambda: (images(), zeros(32, 4, 3, 3), 0.0, DIRECT, 4), {0: {0, 2, 3}, 1: {0}}),
    ("conv2d_bias_gradient", lambda: (images(),), {0: {0, 1, 2, 3}}),
    ("conv2d_weight_gradient", lambda: (images(), images(), SAME, 16), {0: {1}, 1: {1}}),
    ("cross_entropy", lambda: (zeros(64, 512), ids(64), zeros(64, 1), 0.1), {0: {1}, 2: {FLAT}}),
    ("cross_entropy", lambda: (zeros(64, 512), ids(64), None, 0.0), {0: {1}}),
    (
        "cross_entropy_gradient",
        lambda: (zeros(64), zeros(64, 512), zeros(64, 1), ids(64), 0.1),
        {1: {1}, 2: {FLAT}},
    ),
    *(
        row
        for dtype, size in ((np.float32, 100), (np.float32, 40_000), (np.float64, 100))
        for row in (
            (
                "gelu",
                lambda a=(size, dtype): [*(zeros(a[0], dtype=a[1]) for _ in range(2)), []],
                {},
            ),
            (
                "gelu_gradient",
                lambda a=(size, dtype): [zeros(a[0], dtype=a[1]) for _ in range(4)],
                {2: {0, FLAT}},
            ),
        )
    ),
    *(
        row
        for multiply, dtype in ((True, np.float32), (True, np.float64), (False, np.float32))
        for unused in (set() if multiply else {0, 1, FLAT},)  # without the product
        for row in (
            (
                "gru_backward_steps",
                lambda a=(multiply, dtype): gru_backward(*a),
                {3: unused, 7: {0}},
            ),
            (
                "gru_forward_steps",
                lambda a=(multiply, dtype): gru_forward(*a),
                {2: unused, 6: {0}},
            ),
            (
                "lstm_backward_steps",
                lambda a=(multiply, dtype): lstm_backward(*a),
                {4: unused, 8: {0}},
            ),
            (
                "lstm_forward_steps",
                lambda a=(multiply, dtype): lstm_forward(*a),
                {2: unused, 7: {0}},
            ),
        )
    ),
    ("lstm_forward_steps", lambda: lstm_forward(False, hidden=3), {2: {0, 1, FLAT}, 7: {0}}),
    *(
        row
        for row in (
            ("linear", lambda: (zeros(64, 128), zeros(128, 64), zeros(64)), {0: {0}}),
            ("matmul", lambda: (zeros(64, 128), zeros(128, 64)), {0: {0}, 1: {1}}),
        )
        if POOLED and FUSED
    ),
    (
        "gru_before_backward_steps",
        lambda: (*gru_backward(True)[:5], zeros(8, 4), 1.0, None, SPANS.copy()),
        {8: {0}},
    ),
    (
        "gru_before_forward_steps",
        lambda: (
            *(zeros(*s) for s in ((5, 12), (4, 12), (16,), (5, 4), (8, 4))),
            1.0,
            SPANS.copy(),
        ),
        {6: {0}},
    ),
    ("layer_norm", lambda: (zeros(64, 512), 1e-5, True), {0: {0, 1}}),
    ("max_pool2d", lambda: (images(), SAME), {0: {0, 1, 2, 3}}),
    *(
        (
            "max_pool2d_gradient",
            lambda dtype=dtype: (
                images().astype(dtype),
                images().astype(np.uint8),
                images().astype(dtype),
                SAME,
            ),
            {},
        )
        for dtype in (np.float32, np.float64)
    ),
    ("relu", lambda: (zeros(512, 512),), {0: {0, 1, FLAT}}),
    (
        "rnn_backward_steps",
        lambda: (
            *(zeros(*s) for s in ((5, 4), (3, 4), (5, 4), (4, 4), (8, 4))),
            1.0,
            None,
            SPANS.copy(),
            "tanh",
        ),
        {7: {0}},
    ),
    (
        "rnn_forward_steps",
        lambda: (zeros(8, 4), zeros(4, 4), 1.0, SPANS.copy(), 3, "relu"),
        {0: {0}, 3: {0}},
    ),
    ("scale_channels", lambda: (zeros(8, 16, 256), zeros(16), zeros(16)), {0: {0, 2}}),
    ("scale_channels_gradient", lambda: (zeros(8, 16, 256), zeros(8, 16, 256), zeros(16)), {}),
    *(
        row
        for shape in ((8, 16), (640, 512))  # in one part, or several
        for row in (
            (
                "layer_norm_gradient",
                lambda s=shape: (zeros(*s), zeros(*s), zeros(s[0], 1), True),
                {2: {FLAT}},
            ),
            ("scale_rows_gradient", lambda s=shape: (zeros(*s), zeros(*s), zeros(s[1])), {}),
            (
                "scaled_layer_norm",
                lambda s=shape: (zeros(*s), zeros(s[1]), zeros(s[1]), 1e-5, True),
                {0: {0}},
            ),
            (
                "scaled_layer_norm",
                lambda s=shape: (zeros(*s), zeros(s[1]), None, 1e-5, False),
                {0: {0}},
            ),
            (
                "scaled_layer_norm_gradient",
                lambda s=shape: (zeros(*s), zeros(*s), zeros(s[0], 1), zeros(s[1]), True),
                {2: {FLAT}},
            ),
        )
    ),
    *(
        (
            "segment_sum",
            lambda dtype=dtype: (zeros(300, 100, dtype=dtype), ids(300), 4),
            {0: {1}},
        )
        for dtype in (np.float32, np.float64)
    ),
    ("select_positive", lambda: (zeros(512, 512), zeros(512, 512)), {}),
    ("softmax", lambda: (zeros(64, 512), -1), {0: {0, 1, FLAT}}),
    ("softmax_gradient", lambda: (zeros(64, 512), zeros(64, 512), -1), {}),
    ("take_rows", lambda: (zeros(100, 512), ids(64, 2)), {0: {0, 1}, 1: {0, 1, FLAT}}),
]
each_call = pytest.mark.parametrize(
    ("name", "draw", "free"), CALLS, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(CALLS)]
)


def test_every_kernel_has_a_call():
    assert {name for name, *_ in CALLS} == set(nn_kernels._MODULES)


def variants(array, free):
    """Yield the array with one axis of another length, and as a vector."""
    for axis, length in enumerate(array.shape):
        for other in {0, 1, length - 1, length + 1, 2 * length} - {length}:
            if axis not in free:
                yield np.take(array, np.arange(other) % max(length, 1), axis)
    if array.ndim > 1 and FLAT not in free:
        yield array.reshape(-1).copy()


@each_call
def test_an_array_of_another_shape_is_left_to_the_reference(name, draw, free):
    kernel = nn_kernels.find(name)
    assert kernel(*draw()) is not NotImplemented
    for number, argument in enumerate(draw()):
        if not isinstance(argument, np.ndarray):
            continue
        for wrong in variants(argument, free.get(number, ())):
            arguments = list(draw())
            arguments[number] = wrong
            assert kernel(*arguments) is NotImplemented, (number, wrong.shape)


def test_a_token_without_heads_or_for_read_only_keys():
    arguments = list(attend_token())
    arguments[5], arguments[6], arguments[11] = zeros(6, 0), zeros(0), zeros(0, 6)
    assert nn_kernels.find("attend_token")(*arguments) is NotImplemented
    for new in (True, False):
        arguments = list(attend_token(new=new))
        arguments[15] = np.broadcast_to(zeros(2, 5, 4), (2, 2, 5, 4))
        assert nn_kernels.find("attend_token")(*arguments) is NotImplemented


def test_tokens_of_several_axes():
    assert nn_kernels.find("segment_sum")(zeros(4, 3), ids(2, 2), 4) is NotImplemented


@pytest.mark.parametrize("windows", [SAME, DIRECT])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 4), (9, 9)])
def test_weights_of_another_size_than_the_windows(windows, kernel):
    w = zeros(16, 16, *kernel)
    assert convolution.conv2d(images(), w, 0.0, windows, 1) is NotImplemented
    gradient = convolution.conv2d_input_gradient(images(), w, (16, 16), windows, 1)
    assert gradient is NotImplemented


def test_outputs_that_cannot_be_divided_among_the_groups():
    windows = SAME
    assert convolution.conv2d(images(), zeros(3, 8, 3, 3), 0.0, windows, 2) is NotImplemented
    w = zeros(3, 8, 3, 3)
    gradient = convolution.conv2d_input_gradient(images(3), w, (16, 16), windows, 2)
    assert gradient is NotImplemented
    for x, g in ((images(), images(3)), (images(3), images())):
        assert convolution.conv2d_weight_gradient(x, g, windows, 2) is NotImplemented


@pytest.mark.parametrize("size", [(4, 16), (16, 14), (500, 500), (16, 18)])
@pytest.mark.parametrize("windows", [SAME, DIRECT, (SAME[0], (2, 2), *SAME[2:])])
def test_images_of_another_size_than_the_gradient_belongs_to(windows, size):
    w, stride = zeros(16, 16, 3, 3), windows[1][0]
    g = zeros(8, 16, 16 // stride, 16 // stride)
    assert convolution.conv2d_input_gradient(g, w, size, windows, 1) is NotImplemented
    assert convolution.conv2d_weight_gradient(zeros(8, 16, *size), g, windows, 1) is NotImplemented


def test_images_smaller_than_the_windows():
    windows, x = ((5, 5), (1, 1), (1, 1, 1, 1), (1, 1), "auto"), zeros(2, 3, 2, 9)
    assert convolution.conv2d(x, zeros(4, 3, 5, 5), 0.0, windows, 1) is NotImplemented
    assert (
        pooling.max_pool2d(x, windows) is average_pooling.avg_pool2d(x, windows) is NotImplemented
    )


@pytest.mark.parametrize("wrong", [-1, 512, 10**6, -(10**6)])
def test_a_class_that_is_no_column(wrong):
    logits, classes = zeros(64, 512), ids(64)
    classes[63] = wrong
    assert softmax.cross_entropy(logits, classes, None, 0.1) is NotImplemented
    arguments = zeros(64), logits, zeros(64, 1) + 1, classes, 0.1
    assert softmax.cross_entropy_gradient(*arguments) is NotImplemented
    # the class of a row that is ignored may be anything
    scale = zeros(64) + 1
    scale[63] = 0
    losses, exponentials, _ = softmax.cross_entropy(logits, classes, scale, 0.1)
    assert losses[63] == 0
    assert not exponentials[63].any()


@pytest.mark.parametrize("classes", [np.zeros(64), np.zeros(64, bool)])
def test_classes_that_are_no_integers(classes):
    logits = zeros(64, 512)
    assert softmax.cross_entropy(logits, classes, None, 0.0) is NotImplemented
    arguments = zeros(64), logits, zeros(64, 1) + 1, classes, 0.0
    assert softmax.cross_entropy_gradient(*arguments) is NotImplemented


@pytest.mark.parametrize(
    ("name", "draw", "written"),
    [
        ("gelu", lambda: [zeros(100), zeros(100), []], (1,)),
        ("gelu_gradient", lambda: [zeros(100) for _ in range(4)], (3,)),
        ("avg_pool2d_gradient", lambda: (images(), images(), SAME), (1,)),
        (
            "max_pool2d_gradient",
            lambda: (images(), images().astype(np.uint8), images(), SAME),
            (2,),
        ),
    ],
)
def test_nothing_is_written_to_a_read_only_array(name, draw, written):
    for number in written:
        arguments = draw()
        arguments[number].flags.writeable = False
        assert nn_kernels.find(name)(*arguments) is NotImplemented


@pytest.mark.parametrize("name", [name for name in nn_kernels._MODULES if "steps" in name])
def test_steps_that_end_beyond_the_states(name):
    draw = next(draw for other, draw, _ in CALLS if other == name)
    arguments = list(draw())
    spans = next(a for a in arguments if isinstance(a, np.ndarray) and a.dtype == np.int64)
    spans[1, 2] = 3
    assert nn_kernels.find(name)(*arguments) is NotImplemented
    if "before" not in name and "rnn" not in name:
        spans[1, 2] = 2
        for wrong in ((0, 3), (-1, 2), (2, 1)):
            place = 1 + next(i for i, a in enumerate(arguments) if a is spans)
            arguments[place : place + 2] = wrong
            assert nn_kernels.find(name)(*arguments) is NotImplemented


def test_steps_in_integers_of_another_size():
    arguments = [np.ones_like(a) if getattr(a, "size", 0) else a for a in lstm_forward(True)]
    results = []
    for dtype in (np.int64, np.int32):
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        given[7] = SPANS.astype(dtype)
        nn_kernels.find("lstm_forward_steps")(*given)
        results.append(given[6])
    np.testing.assert_array_equal(*results)
    assert (results[0][3:] != 1).all()
