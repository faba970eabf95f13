"""Training with all packages: against the loop by hand, and resumed against never stopped."""

import os
import signal

import numpy as np
import pytest
from nn_data import Loader
from nn_io import load_checkpoint
from nn_layers import BatchNorm1D, Dense, Dropout, ReLU, Sequential
from nn_losses import Accuracy, MSELoss, SoftmaxCrossEntropyLoss
from nn_optim import SGD, Adam, AdamW, CosineSchedule, ReduceOnPlateau, clip_gradients_by_norm
from nn_tensor import Tensor, no_grad
from nn_train import Checkpoint, EarlyStopping, NonFiniteError, Trainer

rng = np.random.default_rng(0)
X = rng.normal(size=(100, 6)).astype(np.float32)
Y = rng.integers(0, 3, 100)


@pytest.fixture(autouse=True)
def default_interrupt():
    """Handle Ctrl-C as Python does, also where the process was started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def net(drop=0.3):
    draw = np.random.default_rng(1)
    return Sequential(
        Dense(6, 16, rng=draw),
        BatchNorm1D(16),
        ReLU(),
        Dropout(drop, rng=2),
        Dense(16, 3, rng=draw),
    )


def loader(workers=0):
    return Loader((X, Y), 16, shuffle=True, seed=3, convert=Tensor, workers=workers)


def test_fit_equals_the_loop_by_hand_bit_for_bit():
    loss_fn, accuracy = SoftmaxCrossEntropyLoss(), Accuracy()
    model, data = net(), loader()
    optimizer = Adam(model.parameters, lr=0.01)
    schedule = CosineSchedule(optimizer, 4 * len(data))
    losses, validation, scores = [], [], []
    for _ in range(4):
        total, count = 0.0, 0
        model.train()
        for x, y in data:
            loss = loss_fn(model(x), y)
            model.zero_grad()
            loss.backward()
            clip_gradients_by_norm(optimizer.parameters, 0.5)
            optimizer.step()
            schedule.step()
            total, count = total + loss.item() * len(y), count + len(y)
        losses.append(total / count)
        model.eval()
        with no_grad():
            scored = [(model(Tensor(X[i : i + 32])), Y[i : i + 32]) for i in range(0, 100, 32)]
        validation.append(sum(loss_fn(p, y).item() * len(y) for p, y in scored) / 100)
        scores.append(sum(accuracy(p, y) * len(y) for p, y in scored) / 100)

    fitted = net()
    optimizer = Adam(fitted.parameters, lr=0.01)
    trainer = Trainer(
        fitted,
        loss_fn,
        optimizer,
        metrics={"accuracy": accuracy},
        schedule=CosineSchedule(optimizer, 28),
        clip_norm=0.5,
    )
    history = trainer.fit(loader(workers=2), epochs=4, validation=(X, Y), progress=False)
    assert history["loss"] == losses
    assert history["val_loss"] == validation
    np.testing.assert_allclose(history["val_accuracy"], scores, rtol=1e-14)
    for name, array in model.state_dict().items():
        if name != "__metadata__":
            np.testing.assert_array_equal(fitted.state_dict()[name], array)


def test_early_stopping_goes_on_after_a_resume(tmp_path):
    def fit(epochs, folder):
        model = net(0.0)
        trainer = Trainer(model, SoftmaxCrossEntropyLoss(), SGD(model.parameters, lr=0.5))
        stopping = EarlyStopping("val_loss", patience=2)
        history = trainer.fit(
            loader(),
            epochs=epochs,
            validation=(X[::-1].copy(), Y),
            callbacks=[stopping, Checkpoint(folder, keep=1)],
            resume=folder,
            progress=False,
        )
        return history, model.state_dict()["0.weights"], stopping

    whole, weights, stopping = fit(40, tmp_path / "whole")
    assert len(whole) < 40
    for epochs in range(1, len(whole) + 3):
        history, again, resumed = fit(epochs, tmp_path / "parts")
    assert history == whole
    assert (resumed.best, resumed.best_epoch) == (stopping.best, stopping.best_epoch)
    np.testing.assert_array_equal(again, weights)
    assert len(os.listdir(tmp_path / "parts")) == 1


def small(folder, model=None, optimizer=Adam, callbacks=(), data=None, **options):
    model = model or net()
    trainer = Trainer(model, SoftmaxCrossEntropyLoss(), optimizer(model.parameters), **options)
    return trainer.fit, {
        "data": data or loader(),
        "epochs": 1,
        "callbacks": [Checkpoint(folder), *callbacks],
        "progress": False,
        "resume": folder,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": Sequential(Dense(6, 3, rng=0))}, "weights"),
        ({"optimizer": AdamW}, "AdamW"),
        ({"accumulate": 2}, "accumulate was 1, is 2"),
        ({"metrics": {"accuracy": Accuracy()}}, r"metrics was \[\], is \['accuracy'\]"),
        ({"data": Loader((X[:50], Y[:50]), 16, shuffle=True, seed=3)}, "other data"),
        ({"data": Loader((X, Y), 16, shuffle=True, seed=4)}, "its seed is 3"),
        ({"callbacks": [EarlyStopping("loss")]}, "holds nothing for parts..EarlyStopping"),
    ],
)
def test_what_differs_is_said(change, message, tmp_path):
    fit, given = small(tmp_path)
    fit(**given)
    model = change.get("model") or net()
    before = {k: np.array(v) for k, v in model.state_dict().items() if k != "__metadata__"}
    fit, given = small(tmp_path, **{**change, "model": model})
    with pytest.raises(ValueError, match=message):
        fit(**given)
    for key, value in before.items():
        np.testing.assert_array_equal(model.state_dict()[key], value)


def test_a_folder_of_another_run_is_refused(tmp_path):
    fit, given = small(tmp_path)
    fit(**given)
    fit, given = small(tmp_path)
    with pytest.raises(ValueError, match=r"step-00000007.safetensors of another run: continue it"):
        fit(**{**given, "resume": None})


def test_files_that_are_kept(tmp_path):
    model = net()
    trainer = Trainer(model, SoftmaxCrossEntropyLoss(), Adam(model.parameters, lr=0.05))
    trainer.fit(
        loader(),
        epochs=7,
        validation=(X, Y),
        callbacks=[Checkpoint(tmp_path, every=2, keep=3, best="val_loss")],
        progress=False,
    )
    assert sorted(os.listdir(tmp_path)) == [
        "best.safetensors",
        "step-00000028.safetensors",
        "step-00000042.safetensors",
        "step-00000049.safetensors",
    ]
    best = net()
    found = load_checkpoint(tmp_path / "best.safetensors", model=best)
    losses = trainer.history["val_loss"]
    assert found.step == 7 * (1 + losses.index(min(losses)))
    best_trainer = Trainer(best, SoftmaxCrossEntropyLoss(), SGD(best.parameters))
    assert best_trainer.evaluate((X, Y))["loss"] == min(losses)


def test_the_layer_and_the_samples_of_a_loss_that_is_not_finite_are_named():
    model = Sequential(Dense(6, 4, rng=0), ReLU(), Dense(4, 3, rng=0))
    trainer = Trainer(model, SoftmaxCrossEntropyLoss(), SGD(model.parameters, lr=1e-3))
    x = X.copy()
    x[40:] *= 1e37  # finite, but not its products
    model.parameters[0].data[...] *= 100
    data = Loader((x, Y), 16, convert=Tensor)
    message = r"in step 3 \(batch 3 of epoch 1"
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=message) as caught:
        trainer.fit(data, epochs=1, progress=False)
    assert caught.value.where == "the output of 0 (Dense)"
    np.testing.assert_array_equal(caught.value.indices, np.arange(32, 48))
    assert all("forward" not in vars(module) for module in model.modules)


def test_a_schedule_that_follows_the_validation():
    model = net()
    optimizer = SGD(model.parameters, lr=0.1)
    schedule = ReduceOnPlateau(optimizer, gamma=0.5, patience=0)
    trainer = Trainer(model, MSELoss(), optimizer, schedule=schedule, schedule_monitor="val_loss")
    targets = rng.normal(size=(100, 3)).astype(np.float32)
    history = trainer.fit((X, targets), epochs=12, validation=(X, targets), progress=False)
    assert schedule.best == min(history["val_loss"])
    assert history["lr"][0] == 0.1


def test_class_weights_equal_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = np.array([0.5, 4.0, 1.0])
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)
    model = Sequential(
        Dense(6, 8, rng=1, dtype="float64"), ReLU(), Dense(8, 3, rng=2, dtype="float64")
    )
    other = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    ).double()
    with torch.no_grad():
        for theirs, ours in zip(other.parameters(), model.parameters, strict=True):
            theirs.copy_(
                torch.tensor(ours.numpy().T if ours.ndim == 2 else ours.numpy().reshape(-1))
            )
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(weight))
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    trainer = Trainer(
        model,
        SoftmaxCrossEntropyLoss(),
        SGD(model.parameters, lr=0.1),
        class_weight=dict(enumerate(weight.tolist())),
    )
    for start in range(0, 50, 12):
        part = slice(start, start + 12)
        expected = criterion(other(torch.tensor(x[part])), torch.tensor(y[part]))
        optimizer.zero_grad()
        expected.backward()
        optimizer.step()
        result = trainer.step((Tensor(x[part]), y[part]))
        assert result.loss == pytest.approx(expected.item(), rel=1e-12)
        assert result.weight == pytest.approx(weight[y[part]].sum())
    for theirs, ours in zip(other.parameters(), model.parameters, strict=True):
        theirs = theirs.detach().numpy()
        np.testing.assert_allclose(
            ours.numpy(), theirs.T if ours.ndim == 2 else theirs.reshape(ours.shape), rtol=1e-10
        )


@pytest.mark.parametrize("accumulate", [1, 3])
def test_sample_weights_count_as_copies(accumulate):
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 3, 40)
    counts = rng.integers(0, 4, 40)
    y[::7] = -1

    def trained(sample_weight):
        model = Sequential(
            Dense(6, 8, rng=1, dtype="float64"), ReLU(), Dense(8, 3, rng=2, dtype="float64")
        )
        trainer = Trainer(
            model,
            SoftmaxCrossEntropyLoss(ignore_index=-1),
            SGD(model.parameters, lr=0.1),
            accumulate=accumulate,
            sample_weight=sample_weight,
        )
        parts = [slice(start, start + 9) for start in range(0, 40, 9)]
        if sample_weight:
            data = [(Tensor(x[p]), y[p], counts[p]) for p in parts]
        else:
            data = [(Tensor(x[p].repeat(counts[p], axis=0)), y[p].repeat(counts[p])) for p in parts]
        history = trainer.fit(data, epochs=2, validation=data, progress=False)
        return [p.numpy() for p in model.parameters], history[-1]

    (weighted, first), (repeated, second) = trained(True), trained(False)
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    assert first == pytest.approx(second, rel=1e-12)


def test_a_run_with_other_weights_is_not_resumed(tmp_path):
    options = {"epochs": 1, "resume": tmp_path, "callbacks": [Checkpoint(tmp_path)]}
    for class_weight in ({0: 2.0}, {0: 3.0}):
        model = net()
        trainer = Trainer(
            model, SoftmaxCrossEntropyLoss(), SGD(model.parameters), class_weight=class_weight
        )
        if class_weight == {0: 3.0}:
            with pytest.raises(ValueError, match=r"class_weight was \[2.0\], is \[3.0\]"):
                trainer.fit(loader(), progress=False, **options)
        else:
            trainer.fit(loader(), progress=False, **options)
