"""Early stopping against made-up curves, and the best weights whatever ends the run."""

import math
import os
import signal

import numpy as np
import pytest
from nn_train import Callback, EarlyStopping, NonFiniteError, Stop, Trainer
from train_parts import Linear, Momentum, batches, squared_error

NAN = math.nan

# curve, options, epochs that are run, the best epoch
CURVES = [
    ([3, 2, 1, 2, 3, 4], {"patience": 2}, 5, 3),
    ([3, 2, 1, 2, 3, 4], {"patience": 3}, 6, 3),
    ([3, 2, 1, 2, 3, 4], {"patience": 9}, 6, 3),
    ([3, 2, 1, 2, 0, 4], {"patience": 2}, 6, 5),
    ([1, 1, 1, 1, 1, 1], {"patience": 3}, 4, 1),  # ties are not improvements
    ([1, 2, 1, 0, 1, 1], {"patience": 1}, 2, 1),
    ([1, 2, 1, 0, 1, 1], {"patience": 0}, 2, 1),
    ([5, 4.9, 4.8, 4.7, 4.6, 4.5], {"patience": 3, "min_delta": 0.25}, 6, 4),
    ([5, 4.9, 4.8, 4.7, 4.6, 4.5], {"patience": 2, "min_delta": 0.5}, 3, 1),
    ([4, 3.5, 3, 2.5, 2, 1.5], {"patience": 1, "min_delta": 0.5}, 2, 1),  # equal is not more
    ([2, NAN, NAN, 1, 2, 2], {"patience": 3}, 6, 4),
    ([2, NAN, NAN, NAN, 1, 1], {"patience": 3}, 4, 1),
    ([NAN, NAN, NAN, 1, 1, 1], {"patience": 3}, 3, None),
    ([NAN, 2, 3, 1, 1, 1], {"patience": 2}, 6, 4),
    ([math.inf, 2, 3, 3, 1, 1], {"patience": 2}, 4, 2),
    ([1, 2, 3, 2, 1, 0], {"patience": 2, "mode": "max"}, 5, 3),
    ([1, 1, 2, 2, 2, 3], {"patience": 2, "mode": "max"}, 5, 3),
    ([1, NAN, 0, 3, 2, NAN], {"patience": 2, "mode": "max"}, 3, 1),
    ([0.5, 0.6, 0.65, 0.9, 0.9, 1], {"patience": 2, "mode": "max", "min_delta": 0.1}, 6, 4),
]


class Curve:
    """A metric that gives the next number of a curve after each epoch."""

    def __init__(self, curve):
        self.curve = curve
        self.epoch = 0

    def reset(self):
        pass

    def update(self, prediction, target):
        pass

    def result(self):
        self.epoch += 1
        return self.curve[self.epoch - 1]


class Weights(Callback):
    """Keeps the weights after each epoch, and may end the run in its own ways."""

    def __init__(self, end=None):
        self.end, self.seen = end, []

    def on_epoch_end(self, trainer):
        self.seen.append(trainer.model.w.numpy().copy())
        if self.end == "stop" and trainer.epoch == 4:
            return Stop("enough")
        return None

    def on_step_end(self, trainer):
        if len(self.seen) < 4:
            return
        if self.end == "error":
            raise OSError("a full disk")
        if self.end == "not finite":
            trainer.model.w.data[0] = NAN
        if self.end in ("interrupt", "two interrupts"):
            for _ in range(1 + (self.end == "two interrupts")):
                os.kill(os.getpid(), signal.SIGINT)


def run(curve, options, end=None, epochs=None):
    model = Linear()
    trainer = Trainer(model, squared_error, Momentum([model.w]), metrics={"value": Curve(curve)})
    options = {"mode": "min"} | options
    stopping, weights = EarlyStopping("value", **options), Weights(end)
    try:
        trainer.fit(
            batches(),
            epochs=epochs or len(curve),
            callbacks=[stopping, weights],
            progress=False,
        )
    except (OSError, KeyboardInterrupt, NonFiniteError):
        assert end in ("error", "two interrupts", "not finite")
    return trainer, stopping, weights.seen


@pytest.mark.parametrize(("curve", "options", "epochs", "best"), CURVES)
def test_curves(curve, options, epochs, best):
    trainer, stopping, weights = run(curve, options)
    assert (len(trainer.history), stopping.best_epoch) == (epochs, best)
    expected = weights[-1] if best is None else weights[best - 1]
    np.testing.assert_array_equal(trainer.model.w.numpy(), expected)
    stopped = stopping.wait >= max(stopping.patience, 1)
    assert trainer.stop_reason.startswith("value has not improved" if stopped else "finished")


@pytest.mark.parametrize(
    "end", [None, "stop", "error", "not finite", "interrupt", "two interrupts"]
)
def test_best_weights_are_restored_whatever_ends_the_run(end, capsys):
    trainer, stopping, weights = run([3, 1, 2, 2, 2, 2], {"patience": 9}, end)
    assert stopping.best_epoch == 2
    np.testing.assert_array_equal(trainer.model.w.numpy(), weights[1])


def test_the_last_weights_stay_without_restore():
    trainer, _, weights = run([3, 1, 2, 2], {"patience": 2, "restore": False})
    np.testing.assert_array_equal(trainer.model.w.numpy(), weights[-1])


def test_a_second_run_begins_anew():
    trainer, stopping, _ = run([3, 2, 1, 0, 5, 6], {"patience": 1})
    trainer.metrics = {"value": Curve([9, 8, 9, 9])}
    trainer.fit(batches(), epochs=4, callbacks=[stopping], progress=False)
    assert (stopping.best, stopping.best_epoch) == (8, 2)


def test_an_unknown_name_is_refused_before_the_first_step():
    model = Linear()
    trainer = Trainer(model, squared_error, Momentum([model.w]))
    for name, message in [
        ("val_los", "'val_los' is not recorded; did you mean 'val_loss'"),
        ("val_loss", "without validation="),
    ]:
        with pytest.raises(ValueError, match=message):
            trainer.fit(
                batches(),
                epochs=1,
                validation=batches() if name == "val_los" else None,
                callbacks=[EarlyStopping(name)],
                progress=False,
            )
    assert model.calls == 0


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("val_loss", "min"), ("val_accuracy", "max"), ("r2", "max"), ("val_mae", "min")],
)
def test_the_mode_follows_from_the_name(monitor, mode):
    assert f"mode='{mode}'" in repr(EarlyStopping(monitor))


def test_a_name_that_does_not_tell_needs_a_mode():
    with pytest.raises(ValueError, match="does not tell whether less is better"):
        run([1, 2], {"mode": "auto"})


def test_an_object_without_hooks_is_refused():
    model = Linear()
    trainer = Trainer(model, squared_error, Momentum([model.w]))
    with pytest.raises(TypeError, match=r"callbacks\[0\]: int has none of the hooks"):
        trainer.fit(batches(), epochs=1, callbacks=[3], progress=False)


def test_a_hook_returns_none_or_stop():
    class Wrong(Callback):
        def on_epoch_begin(self, trainer):
            return True

    model = Linear()
    trainer = Trainer(model, squared_error, Momentum([model.w]))
    with pytest.raises(TypeError, match=r"on_epoch_begin: expected None or Stop"):
        trainer.fit(batches(), epochs=1, callbacks=[Wrong()], progress=False)
