"""Steps and runs against the loop written by hand."""

import os
import signal

import numpy as np
import pytest
from nn_tensor import Tensor, no_grad
from nn_train import Callback, Forward, NonFiniteError, Stop, Trainer
from train_parts import Halving, Linear, Momentum, batches, squared_error


def make(accumulate=1, metrics=None, loss=squared_error, noise=0.0, **options):
    model = Linear(noise=noise)
    optimizer = Momentum([model.w])
    return Trainer(model, loss, optimizer, accumulate=accumulate, metrics=metrics, **options)


def absolute_error(prediction, target):
    return float(np.abs(prediction.numpy() - target.numpy()).mean())


def by_hand(epochs, data, noise):
    model = Linear(noise=noise)
    optimizer = Momentum([model.w])
    losses, validation = [], []
    for _ in range(epochs):
        model.train()
        total = count = 0.0
        for x, y in data:
            model.zero_grad()
            loss = squared_error(model(x), y)
            loss.backward()
            optimizer.step()
            total += float(loss.data) * len(y)
            count += len(y)
        losses.append(total / count)
        model.eval()
        with no_grad():
            sums = [float(squared_error(model(x), y).data) * len(y) for x, y in data]
        validation.append(sum(sums) / count)
    return model.w.numpy(), losses, validation


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_fit_equals_the_loop_by_hand(noise):
    data = batches()
    weights, losses, validation = by_hand(5, data, noise)
    trainer = make(noise=noise)
    history = trainer.fit(data, epochs=5, validation=data, progress=False)
    assert history["loss"] == losses
    assert history["val_loss"] == validation
    np.testing.assert_array_equal(trainer.model.w.numpy(), weights)
    assert history.names == ["epoch", "loss", "val_loss", "lr"]
    assert trainer.steps == 20


def test_steps_in_a_custom_loop_equal_fit():
    data, fitted, stepped = batches(), make(noise=0.1), make(noise=0.1)
    fitted.fit(data, epochs=3, progress=False)
    for _ in range(3):
        for batch in data:
            result = stepped.step(batch)
            assert result.stepped
    np.testing.assert_array_equal(fitted.model.w.numpy(), stepped.model.w.numpy())


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (5, 1, 4, 2)])
@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_accumulation_equals_the_larger_batch(sizes, accumulate):
    small = batches(sizes)
    groups = [small[i : i + accumulate] for i in range(0, len(small), accumulate)]
    large = [
        tuple(Tensor(np.concatenate([b[i].numpy() for b in group])) for i in range(2))
        for group in groups
    ]
    one, many = make(), make(accumulate)
    first = one.fit(large, epochs=4, progress=False)
    second = many.fit(small, epochs=4, progress=False)
    np.testing.assert_allclose(many.model.w.numpy(), one.model.w.numpy(), rtol=1e-12)
    np.testing.assert_allclose(second["loss"], np.array(second["loss"]))
    assert one.steps == many.steps == 4 * len(groups)
    if accumulate == 4:  # one step an epoch: the losses are of the same weights
        np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-12)


class IgnoringLoss:
    """A loss that counts only some of the items, as one of tokens does."""

    def __init__(self, reduction="mean"):
        self.reduction = reduction

    def sum_and_weight(self, prediction, target):
        counted = ~np.isnan(target.numpy())
        known = Tensor(np.where(counted, target.numpy(), 0.0))
        errors = (prediction - known) ** 2 * Tensor(counted.astype(float))
        return errors.sum(), float(counted.sum())

    def __call__(self, prediction, target):
        raise AssertionError("sum_and_weight is preferred")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_ignored_items_do_not_count(reduction):
    small = batches((4, 4, 4))
    small[0][1].data[:3] = np.nan
    small[1][1].data[:] = np.nan  # nothing counts
    large = [tuple(Tensor(np.concatenate([b[i].numpy() for b in small])) for i in range(2))]
    one, many = make(loss=IgnoringLoss(reduction)), make(3, loss=IgnoringLoss(reduction))
    first = one.fit(large, epochs=3, progress=False)
    second = many.fit(small, epochs=3, progress=False)
    np.testing.assert_allclose(many.model.w.numpy(), one.model.w.numpy(), rtol=1e-12)
    np.testing.assert_allclose(second["loss"], first["loss"], rtol=1e-12)


class MeanError:
    """A metric with a state of its own."""

    def reset(self):
        self.total, self.count = 0.0, 0

    def update(self, prediction, target):
        self.total += float(np.abs(prediction.numpy() - target.numpy()).sum())
        self.count += target.size

    def result(self):
        return self.total / self.count


def test_metrics_are_weighted_and_counted_apart():
    data = batches((4, 1))
    mean = MeanError()
    trainer = make(metrics={"mae": mean, "called": absolute_error})
    history = trainer.fit(data, epochs=2, validation=data[:1], progress=False)
    np.testing.assert_allclose(history["mae"], history["called"])
    np.testing.assert_allclose(history["val_mae"], history["val_called"])
    assert not hasattr(mean, "total")
    x, y = (np.concatenate([b[i].numpy() for b in data]) for i in range(2))
    expected = np.abs(x @ trainer.model.w.numpy() - y).mean()
    np.testing.assert_allclose(trainer.evaluate(data)["mae"], expected)


def test_predict_of_arrays_and_of_batches():
    trainer, data = make(), batches()
    x = np.concatenate([x.numpy() for x, _ in data])
    expected = x @ trainer.model.w.numpy()
    np.testing.assert_allclose(trainer.predict(x, batch_size=5), expected)
    np.testing.assert_allclose(trainer.predict([x for x, _ in data]), expected)
    with pytest.raises(ValueError, match="data: has no inputs"):
        trainer.predict([])


def test_the_mode_of_the_model_is_restored():
    trainer, data = make(), batches()
    for mode in (True, False):
        trainer.model.training = mode
        trainer.fit(data, epochs=1, validation=data, progress=False)
        trainer.evaluate(data)
        trainer.step(data[0])
        assert trainer.model.training is mode


def test_forward_loss_may_be_overridden():
    class Named(Trainer):
        def forward_loss(self, batch):
            return self.loss(self.model(batch["x"]), batch["y"]), len(batch["y"])

    data = batches()
    model = Linear()
    trainer = Named(model, squared_error, Momentum([model.w]))
    named = [{"x": x, "y": y} for x, y in data]
    other = make()
    assert trainer.fit(named, epochs=2, progress=False) == other.fit(data, epochs=2, progress=False)
    trainer.metrics = {"mae": absolute_error}
    with pytest.raises(ValueError, match="forward_loss returned no prediction"):
        trainer.evaluate(named)
    assert Forward(None, 1).prediction is None


@pytest.mark.parametrize(("every", "calls"), [("step", 12), ("epoch", 3)])
def test_schedules(every, calls):
    trainer, data = make(), batches()
    schedule = trainer.schedule = Halving(trainer.optimizer)
    trainer.schedule_every = every
    history = trainer.fit(data, epochs=3, progress=False)
    assert schedule.seen == [()] * calls
    assert history["lr"] == [0.05 * 0.5**n for n in ([0, 1, 2] if every == "epoch" else [4, 8, 12])]


def test_a_schedule_follows_a_number():
    class Plateau(Halving):
        def step(self, value):
            super().step(value)

    model = Linear()
    optimizer = Momentum([model.w])
    with pytest.raises(ValueError, match="schedule_monitor"):
        Trainer(model, squared_error, optimizer, schedule=Plateau(optimizer))
    schedule = Plateau(optimizer)
    trainer = Trainer(
        model, squared_error, optimizer, schedule=schedule, schedule_monitor="val_loss"
    )
    with pytest.raises(ValueError, match="'val_loss' is not recorded"):
        trainer.fit(batches(), epochs=1, progress=False)
    history = trainer.fit(batches(), epochs=3, validation=batches(), progress=False)
    assert [value for (value,) in schedule.seen] == history["val_loss"]


def test_a_loss_that_is_not_finite_stops_before_anything_changes():
    data = batches()
    data[2][0].data[1, 0] = np.nan
    trainer = make()
    before = []

    class Watch(Callback):
        def on_step_end(self, trainer):
            before.append(trainer.model.w.numpy().copy())

        def on_fit_end(self, trainer, reason):
            before.append(reason)

    with pytest.raises(NonFiniteError, match=r"in step 3 \(batch 3 of epoch 1\).*the batch itself"):
        trainer.fit(data, epochs=2, callbacks=[Watch()], progress=False)
    *weights, reason = before
    assert reason == trainer.stop_reason == "error"
    assert len(weights) == 2
    np.testing.assert_array_equal(trainer.model.w.numpy(), weights[-1])


def test_a_parameter_that_is_not_finite_is_named():
    trainer = make()
    trainer.model.w.data[0] = np.inf
    with pytest.raises(NonFiniteError, match="parameter w, before the step") as caught:
        trainer.step(batches()[0])
    assert (caught.value.step, caught.value.indices) == (1, None)


def test_a_callback_stops_within_an_epoch():
    class Third(Callback):
        def on_step_end(self, trainer):
            return Stop("three are enough") if trainer.steps == 3 else None

    trainer = make()
    history = trainer.fit(batches(), epochs=2, callbacks=[Third()], progress=False)
    assert (trainer.steps, trainer.batches_done, len(history)) == (3, 3, 0)
    assert trainer.stop_reason == "three are enough"


class Interrupting(Callback):
    def __init__(self, at, times):
        self.at, self.times, self.reasons = at, times, []

    def on_step_end(self, trainer):
        if trainer.steps == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)

    def on_fit_end(self, trainer, reason):
        self.reasons.append(reason)


def test_ctrl_c_ends_after_the_step_and_returns_the_history(capsys):
    trainer, callback = make(), Interrupting(6, 1)
    history = trainer.fit(batches(), epochs=9, callbacks=[callback], progress=False)
    assert (trainer.steps, len(history), callback.reasons) == (6, 1, ["interrupted"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "Ctrl-C again" in capsys.readouterr().err


def test_a_second_ctrl_c_stops_at_once(capsys):
    trainer, callback = make(), Interrupting(6, 2)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(batches(), epochs=9, callbacks=[callback], progress=False)
    assert (trainer.steps, callback.reasons) == (6, ["error"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_waits_for_the_group_of_accumulated_batches():
    class Early(Linear):
        def __call__(self, x):
            if self.calls == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__call__(x)

    model = Early()
    trainer = Trainer(model, squared_error, Momentum([model.w]), accumulate=3)
    trainer.fit(batches(), epochs=9, progress=False)
    assert (trainer.steps, trainer.batches_done) == (1, 3)


def test_one_line_an_epoch_where_there_is_no_terminal(capsys):
    make().fit(batches(), epochs=3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("epoch 2/3  loss ")


def test_a_bar_within_the_epoch(capsys):
    pytest.importorskip("tqdm")
    make().fit(batches(), epochs=2, progress=True)
    assert "epoch 1/2: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": 3}, TypeError, "model: expected an object with .*training"),
        ({"optimizer": 3}, TypeError, "optimizer: expected an object with parameters, step"),
        ({"loss": 3}, TypeError, "loss: expected a function"),
        ({"schedule": 3}, TypeError, "schedule: expected an object with step"),
        ({"metrics": {"loss": absolute_error}}, ValueError, "metrics: the name 'loss' is taken"),
        ({"metrics": {"val_x": absolute_error}}, ValueError, "metrics: the name 'val_x' is taken"),
        ({"metrics": {"x": 3}}, TypeError, r"metrics\['x'\]: expected update"),
        ({"metrics": [absolute_error]}, TypeError, "metrics: expected a dict"),
        ({"accumulate": 0}, ValueError, "accumulate: expected an integer >= 1"),
        ({"clip_norm": 0}, ValueError, "clip_norm: expected a finite number > 0"),
        ({"schedule_every": "batch"}, ValueError, "schedule_every: "),
        ({"loss": IgnoringLoss("none")}, ValueError, "reduction='none' gives no scalar"),
    ],
)
def test_wrong_arguments(change, error, message):
    model = Linear()
    given = {"model": model, "loss": squared_error, "optimizer": Momentum([model.w])} | change
    with pytest.raises(error, match=message):
        Trainer(**given)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (iter(batches()), TypeError, "an iterator has one epoch only"),
        (np.zeros((3, 2)), TypeError, "expected a tuple of arrays"),
        ([], ValueError, "data: has no batches"),
        ([3], TypeError, "batch: expected a tuple"),
    ],
)
def test_wrong_data(data, error, message):
    with pytest.raises(error, match=message):
        make().fit(data, epochs=1, progress=False)


def test_a_run_on_a_device_equals_the_run_on_the_host(device):
    weights = []
    for place in ("cpu", device):
        model = Linear()
        model.w = Tensor(model.w.numpy(), device=place, requires_grad=True)
        optimizer = Momentum([model.w])
        optimizer.velocity = [model.w.xp.zeros(model.w.shape)]
        data = [(x.to(place), y.to(place)) for x, y in batches()]
        history = Trainer(model, squared_error, optimizer).fit(data, epochs=2, progress=False)
        assert len(history) == 2
        weights.append(model.w.numpy())
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-12)
