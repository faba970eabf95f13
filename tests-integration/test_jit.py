"""Programs of several packages under `jit`: equal to plain runs, bit for bit."""

import threading
import tracemalloc

import nn_layers
import nn_losses
import nn_optim
import nn_recurrent
import nn_transformer
import numpy as np
import pytest
from nn_jit import JitError, jit
from nn_layers import (
    BatchNorm1D,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Sequential,
)
from nn_losses import BCEWithLogitsLoss, MSELoss, SoftmaxCrossEntropyLoss
from nn_optim import (
    SGD,
    Adam,
    AdamW,
    CosineSchedule,
    LossScaler,
    ReduceOnPlateau,
    clip_gradients_by_norm,
    clip_gradients_by_value,
)
from nn_tensor import Tensor, autocast, no_grad, use_kernels


def mlp(*further):
    return Sequential(
        Dense(12, 16, rng=0), ReLU(), *further, Dense(16, 8, rng=1), ReLU(), Dense(8, 4, rng=2)
    )


def batches(count, shape=(8, 12), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (
            Tensor(rng.standard_normal(shape).astype(np.float32)),
            Tensor(rng.integers(0, classes, shape[0])),
        )
        for _ in range(count)
    ]


def training(model, loss_fn=None, make=lambda p: Adam(p, lr=0.01), between=None):
    loss_fn, optimizer = loss_fn or SoftmaxCrossEntropyLoss(), make(model.parameters)

    def step(x, y):
        loss = loss_fn(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        result = between(model, optimizer) if between else None
        optimizer.step()
        return loss, result

    return step, model, optimizer


def assert_equal(plain, fast, data):
    """Compare the losses of all steps, and models and optimizers at the end."""
    step, model, optimizer = plain
    other, other_model, other_optimizer = fast
    other = jit(other)
    for n, (x, y) in enumerate(data):
        (loss, a), (other_loss, b) = step(x, y), other(x, y)
        np.testing.assert_array_equal(loss.numpy(), other_loss.numpy(), err_msg=f"step {n}")
        assert type(a) is type(b)
        assert a == b
    for state, other_state in (
        (model.state_dict(), other_model.state_dict()),
        (optimizer.state_dict(), other_optimizer.state_dict()),
    ):
        for key, value in state.items():
            np.testing.assert_array_equal(value, other_state[key], err_msg=key)
    for p, q in zip(model.parameters, other_model.parameters, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())
    assert sum(program.replays for program in other.explain().programs) == len(data) - 3
    return other


def test_a_thousand_steps_of_adam_are_equal():
    def make():
        return training(mlp())

    plain, fast = make(), make()
    data = batches(50)
    other = assert_equal(plain, fast, data)
    for n in range(950):
        if n == 400:
            plain[2].lr = fast[2].lr = 0.003
        x, y = data[n % 50]
        assert plain[0](x, y)[0].item() == other(x, y)[0].item()
    for p, q in zip(plain[1].parameters, fast[1].parameters, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    assert len(other.explain().programs) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1),
        lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: AdamW(p, lr=0.01, amsgrad=True),
        lambda p: nn_optim.RMSprop(p, lr=0.01),
        lambda p: nn_optim.Lion(p, lr=0.01),
        lambda p: Adam([{"parameters": p[:2], "lr": 0.1}, {"parameters": p[2:]}]),
    ],
)
def test_optimizers(make):
    assert_equal(*(training(mlp(), make=make) for _ in range(2)), batches(12))


@pytest.mark.parametrize(
    "between",
    [
        lambda m, o: clip_gradients_by_norm(m.parameters, 0.1),
        lambda m, o: clip_gradients_by_value(m.parameters, 0.01),
        lambda m, o: o.decay_lr(),
    ],
)
def test_what_comes_between(between):
    def make():
        return training(mlp(), make=lambda p: Adam(p, lr=0.01, decay=0.1), between=between)

    assert_equal(make(), make(), batches(12))


def test_schedules():
    def make():
        model = mlp()
        optimizer = Adam(model.parameters, lr=0.01)
        schedule = CosineSchedule(optimizer, 10)
        plateau = ReduceOnPlateau(optimizer, patience=1, gamma=0.5)
        loss_fn = SoftmaxCrossEntropyLoss()

        def step(x, y):
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            plateau.step(loss)
            return loss, None

        return step, model, optimizer

    assert_equal(make(), make(), batches(15))


@pytest.mark.parametrize(
    "further",
    [
        lambda: (BatchNorm1D(16),),
        lambda: (Dropout(0.5, rng=3),),
        lambda: (LayerNorm(16), Dropout(0.2, rng=3), BatchNorm1D(16)),
    ],
)
def test_layers_with_state(further):
    assert_equal(*(training(mlp(*further())) for _ in range(2)), batches(12))


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (lambda: SoftmaxCrossEntropyLoss(ignore_index=1), None),
        (lambda: SoftmaxCrossEntropyLoss(ignore_index=-1), None),
        (lambda: SoftmaxCrossEntropyLoss(weight=[1, 2, 3, 4.0]), None),
        (lambda: SoftmaxCrossEntropyLoss("sum", weight=[1, 2, 3, 4.0], ignore_index=2), None),
        (lambda: SoftmaxCrossEntropyLoss(label_smoothing=0.1), None),
        (
            lambda: SoftmaxCrossEntropyLoss(
                label_smoothing=0.1, weight=[1, 2, 3, 4.0], ignore_index=0
            ),
            None,
        ),
        (lambda: nn_losses.NLLLoss(ignore_index=1), None),
        (lambda: nn_losses.CrossEntropy(), "one-hot"),
        (lambda: MSELoss(), "one-hot"),
        (lambda: nn_losses.L1Loss("sum"), "one-hot"),
        (lambda: nn_losses.HuberLoss(delta=0.3), "one-hot"),
        (lambda: BCEWithLogitsLoss(pos_weight=[1, 2, 3, 4.0]), "one-hot"),
        (lambda: nn_losses.KLDivLoss("batchmean"), "one-hot"),
    ],
)
def test_losses(loss, target):
    data = batches(10)
    if target:
        data = [(x, Tensor(np.eye(4, dtype=np.float32)[y.numpy()])) for x, y in data]
    assert_equal(*(training(mlp(), loss()) for _ in range(2)), data)


def test_probabilities():
    def make():
        model = Sequential(mlp(), nn_layers.Sigmoid())
        return training(model, nn_losses.BCELoss())

    data = [(x, Tensor(np.eye(4, dtype=np.float32)[y.numpy()])) for x, y in batches(8)]
    assert_equal(make(), make(), data)


def test_a_class_out_of_range_raises_in_a_replay():
    step, model, _ = training(mlp())
    fast, (good, bad) = jit(step), batches(2)
    for _ in range(5):
        fast(*good)
    before = {k: np.array(v) for k, v in model.state_dict().items() if k != "__metadata__"}
    wrong = bad[1].numpy().copy()
    wrong[3] = 12
    with pytest.raises(IndexError, match="class 12 does not exist, expected 0 to 3"):
        fast(bad[0], Tensor(wrong))
    for key, value in before.items():
        np.testing.assert_array_equal(value, model.state_dict()[key])
    fast(*good)


def test_the_loss_of_classes_is_replayed_as_jobs_of_kernels():
    pytest.importorskip("numba")
    step, *_ = training(mlp())
    fast = jit(step)
    for x, y in batches(5):
        fast(x, y)
    (program,) = fast.explain().programs
    assert "cross_entropy" not in program.source
    # neither in the operation itself, whose classes nothing has checked before
    loss = jit(nn_losses._cross_entropy.cross_entropy_with_indices)
    scores, classes = Tensor(np.eye(4, dtype=np.float32)), Tensor([0, 1, 2, 3])
    expected = loss(scores, classes).numpy()
    for _ in range(3):
        np.testing.assert_array_equal(loss(scores, classes).numpy(), expected)
    for wrong in (4, -1):
        with pytest.raises(IndexError, match="out of range"):
            loss(scores, Tensor([0, 1, 2, wrong]))
    np.testing.assert_array_equal(loss(scores, classes).numpy(), expected)


def test_classes_that_are_kept_in_a_tensor_may_get_another_order_in_memory():
    classes = Tensor([0, 1, 2, 3])
    loss = jit(lambda scores: SoftmaxCrossEntropyLoss()(scores, classes))
    scores = Tensor(np.eye(4, dtype=np.float32))
    expected = [loss(scores).numpy() for _ in range(4)]
    classes.data = np.repeat(classes.numpy(), 2)[::2]
    for _ in range(4):
        np.testing.assert_array_equal(loss(scores).numpy(), expected[0])


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_convolutional_network(kernels):
    def make():
        return training(
            Sequential(
                Conv2D(1, 4, 3, padding=1, rng=0), BatchNorm2D(4), ReLU(), MaxPool2D(2),
                Flatten(), Dense(4 * 4 * 4, 4, rng=1),
            )
        )  # fmt: skip

    with use_kernels(kernels):
        assert_equal(make(), make(), batches(8, (6, 1, 8, 8)))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_language_model(dropout):
    def make():
        model = nn_transformer.LanguageModel(
            20, 16, num_heads=2, num_layers=2, max_seq_len=12, dropout=dropout, rng=0
        )
        optimizer, loss_fn = AdamW(model.parameters, lr=0.01), SoftmaxCrossEntropyLoss()

        def step(tokens, targets):
            loss = loss_fn(model(tokens), targets)
            optimizer.zero_grad()
            loss.backward()
            clip_gradients_by_norm(model.parameters, 1.0)
            optimizer.step()
            return loss, None

        return step, model, optimizer

    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 20, (3, 11)) for _ in range(8)]
    data = [(Tensor(t[:, :-1]), Tensor(t[:, 1:])) for t in tokens]
    fast = assert_equal(make(), make(), data)
    with pytest.raises(IndexError, match="99 is out of range for vocab_size=20"):
        fast(Tensor(np.full((3, 10), 99)), data[0][1])


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_recurrent_network(cell):
    def make():
        body = getattr(nn_recurrent, cell)(12, 8, rng=0)
        head = Dense(8, 4, rng=1)
        model = Sequential(head)
        optimizer, loss_fn = Adam([*body.parameters, *head.parameters], lr=0.01), MSELoss()

        def step(x, y):
            out = body(x)
            out = out[0] if isinstance(out, tuple) else out
            loss = loss_fn(head(out), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss, None

        return step, model, optimizer

    rng = np.random.default_rng(0)
    data = [
        tuple(Tensor(rng.random((2, 5, n), dtype=np.float32)) for n in (12, 4)) for _ in range(7)
    ]
    assert_equal(make(), make(), data)


def test_mixed_precision_with_a_loss_scaler():
    def make():
        model = mlp()
        optimizer, loss_fn = SGD(model.parameters, lr=0.1), SoftmaxCrossEntropyLoss()
        scaler = LossScaler(init_scale=1024.0, growth_interval=3)

        def step(x, y):
            with autocast("float16"):
                loss = loss_fn(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            stepped = scaler.step(optimizer, clip_norm=1.0)
            return loss, stepped

        return step, model, optimizer

    assert_equal(make(), make(), batches(12))


def test_evaluation_and_training_alternate():
    def make():
        model = mlp(BatchNorm1D(16), Dropout(0.3, rng=5))
        step, _, optimizer = training(model)
        return step, no_grad()(lambda x: model(x)), model, optimizer

    plain, fast = make(), make()
    fast_step, fast_predict = jit(fast[0]), jit(fast[1])
    for n, (x, y) in enumerate(batches(24)):
        for model in (plain[2], fast[2]):
            model.train(n % 4 < 2)
        if n % 4 < 2:
            assert plain[0](x, y)[0].item() == fast_step(x, y)[0].item()
        a, b = plain[1](x), fast_predict(x)
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert len(fast_predict.explain().programs) == 2


def test_loading_freezing_and_other_dtypes_are_seen():
    plain, fast = training(mlp()), training(mlp())
    other = jit(fast[0])
    saved = plain[1].state_dict()
    for n, (x, y) in enumerate(batches(30)):
        for _, model, _ in (plain, fast):
            if n == 6:
                model.load_state_dict(saved)
            if n == 12:
                model.modules[1].freeze()
            if n == 18:
                model.modules[1].unfreeze()
            if n == 24:
                model.set_dtype("float64")
        assert plain[0](x, y)[0].item() == other(x, y)[0].item(), n
    for p, q in zip(plain[1].parameters, fast[1].parameters, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_another_probability_of_dropout_is_seen():
    dropouts = [Dropout(0.5, rng=3) for _ in range(2)]
    plain, fast = (training(mlp(dropout)) for dropout in dropouts)
    other = jit(fast[0])
    for n, (x, y) in enumerate(batches(12)):
        for dropout in dropouts:
            dropout.p = 0.5 if n < 6 else 0.1
        assert plain[0](x, y)[0].item() == other(x, y)[0].item()
    assert "the attribute 'p'" in str(other.explain())


def test_setting_the_learning_rate_inside_is_refused():
    step, _, optimizer = training(mlp())

    def scheduled(x, y):
        optimizer.lr = 0.5
        return step(x, y)

    fast, data = jit(scheduled), batches(2)
    fast(*data[0])
    with pytest.raises(JitError, match="option 'lr' of an optimizer was set"):
        fast(*data[1])


def test_a_step_that_skips_on_a_value_is_refused():
    scaler = LossScaler()
    model = mlp()
    optimizer = SGD(model.parameters, lr=0.1)

    @jit
    def step(x, y):
        scaler.scale(SoftmaxCrossEntropyLoss()(model(x), y)).backward()
        if scaler.step(optimizer):
            optimizer.decay_lr()

    data = batches(2)
    step(*data[0])
    with pytest.raises(JitError, match="read"):
        step(*data[1])


def test_a_cache_is_refused():
    model = nn_transformer.LanguageModel(20, 16, num_heads=2, num_layers=1, max_seq_len=12, rng=0)
    cache = model.new_cache()
    fast = jit(no_grad()(lambda t: model(t, cache=cache)))
    fast(Tensor([[1]]))
    with pytest.raises(JitError, match="neither an argument nor the result of an operation"):
        fast(Tensor([[1]]))


def test_a_replay_holds_no_more_memory_than_the_function_as_written():
    def make():
        rng = np.random.default_rng(0)
        model = Sequential(Dense(64, 256, rng=rng), LayerNorm(256), ReLU(), Dense(256, 4, rng=rng))
        return training(model, make=lambda p: SGD(p, lr=0.1))[0]

    peaks = []
    x, y = batches(1, (512, 64))[0]
    for step in (make(), jit(make())):
        for _ in range(5):
            step(x, y)
        tracemalloc.start()
        step(x, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] <= peaks[0]


def test_a_training_step_on_a_device(device):
    def make():
        model = mlp(BatchNorm1D(16), Dropout(0.3, rng=5))
        model.set_device(device)
        return training(model, between=lambda m, o: clip_gradients_by_norm(m.parameters, 0.1))

    data = [(x.to(device), y.to(device)) for x, y in batches(8)]
    assert_equal(make(), make(), data)


def test_two_threads_train_with_one_step():
    step = training(mlp())[0]
    fast, data, errors = jit(step), batches(10), []

    def run():
        try:
            for x, y in data * 5:
                loss, _ = fast(x, y)
                assert np.isfinite(loss.item())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_changes_of_a_model_are_seen():
    def make():
        return Sequential(Dense(12, 12, rng=0), ReLU(), Dense(12, 12, rng=1))

    model, others = make(), iter(make() for _ in range(2))
    plain = no_grad()(lambda x: model(x))
    fast = jit(plain)

    def replace_layer():
        model.layers[0] = next(others)[2]

    def replace_weights():
        model[2].weights = Tensor(np.eye(12, dtype=np.float32), requires_grad=True)

    def add_layer():
        model.layers.append(Dense(12, 3, rng=5))

    def remove_bias():
        model[2].bias = None

    for change in (replace_layer, replace_weights, add_layer, remove_bias):
        for x, _ in batches(5):
            np.testing.assert_array_equal(fast(x).numpy(), plain(x).numpy())
        change()
    for x, _ in batches(5):
        np.testing.assert_array_equal(fast(x).numpy(), plain(x).numpy())
    assert len(fast.explain().programs) == 5


def test_a_parameter_that_an_optimizer_holds_is_told_from_another():
    def make():
        w, v = (Tensor(np.full(4, n, np.float32), requires_grad=True) for n in (2, 3))
        optimizer = SGD([w], lr=0.1)

        def step(x, p):
            w.zero_grad()
            p.zero_grad()
            (x * p * p).sum().backward()
            if w.has_grad:
                optimizer.step()
            return p.grad

        return step, w, v

    (plain, w, v), (fast, other_w, other_v) = make(), make()
    fast = jit(fast)
    for a, b in [(w, other_w), (v, other_v), (w, other_w)]:
        for x, _ in batches(6, (4,)):
            np.testing.assert_array_equal(fast(x, b).numpy(), plain(x, a).numpy())
            np.testing.assert_array_equal(other_w.numpy(), w.numpy())
    assert len(fast.explain().programs) == 2


@pytest.mark.parametrize("shape", [(1, 1, 2, 1), (3, 1, 2, 4), (1, 5, 1, 4), (2, 5, 3, 4)])
def test_attention_whose_heads_stand_beside_each_other(shape):
    """Its results have the axes of the queries in another order in memory, some of them of 1."""
    rng = np.random.default_rng(0)
    heads = [
        Tensor(rng.standard_normal(shape), dtype=np.float32, requires_grad=True) for _ in range(3)
    ]

    def attend(x):
        for head in heads:
            head.grad = None
        operands = [(head * x).swapaxes(1, 2) for head in heads]
        result = nn_transformer.scaled_dot_product_attention(*operands)
        (result * result).sum().backward()
        return result.detach(), *(head.grad for head in heads)

    fast = jit(attend)
    for _ in range(4):
        x = Tensor(rng.standard_normal(shape), dtype=np.float32)
        for found, wanted in zip(fast(x), attend(x), strict=True):
            assert found.shape == wanted.shape
            assert found.numpy().tobytes() == wanted.numpy().tobytes()
