"""The estimators for scikit-learn: its own checks, and what its users do with an estimator."""

import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from nn_layers import Dense, Dropout, ReLU, Sequential
from nn_losses import Accuracy, HuberLoss, SoftmaxCrossEntropyLoss
from nn_optim import SGD, Adam, AdamW, CosineSchedule, StepSchedule
from nn_tensor import Tensor
from nn_train import Callback, Stop, Trainer

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from nn_train.sklearn import NetClassifier, NetRegressor
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
FAST = {"epochs": 30, "batch_size": 32, "lr": 0.01, "random_state": 0}


CHECKS = parametrize_with_checks([NetClassifier(), NetRegressor()])


# Some versions of scikit-learn give a generator, which pytest no longer takes.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def net(n_features, n_outputs, rng, width=16):
    first, last = Dense(n_features, width, rng=rng), Dense(width, n_outputs, rng=rng)
    return Sequential(first, ReLU(), Dropout(0.1, rng=rng), last)


def weights_of(estimator):
    return b"".join(p.numpy().tobytes() for p in estimator.model_.parameters)


def test_fit_equals_the_trainer_bit_for_bit():
    estimator = NetClassifier(net, optimizer=AdamW, **FAST).fit(X, Y)
    random = np.random.RandomState(0)
    largest = np.iinfo(np.int32).max
    model = net(4, 3, np.random.default_rng(random.randint(largest)))
    model.set_dtype(np.float64)
    trainer = Trainer(model, SoftmaxCrossEntropyLoss(), AdamW(model.parameters, lr=0.01))
    history = trainer.fit((X, Y), epochs=30, seed=random.randint(largest), progress=False)
    assert history == estimator.history_
    assert b"".join(p.numpy().tobytes() for p in model.parameters) == weights_of(estimator)
    logits = trainer.predict(X)
    assert (estimator.predict(X) == logits.argmax(axis=1)).all()
    probabilities = estimator.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(probabilities), estimator.predict_log_proba(X), atol=1e-12)


def test_classes_keep_their_labels():
    estimator = NetClassifier(**FAST).fit(X, NAMES)
    assert estimator.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert estimator.score(X, NAMES) > 0.95
    assert set(estimator.predict(X)) == set(NAMES)
    assert estimator.n_iter_ == len(estimator.history_) == 30


def test_a_search_over_a_pipeline():
    steps = make_pipeline(StandardScaler(), NetClassifier(**FAST))
    grid = {
        "netclassifier__lr": [1e-6, 0.01],
        "netclassifier__model": [None, partial(net, width=8)],
    }
    search = GridSearchCV(steps, grid, cv=3).fit(X, NAMES)
    assert search.best_params_["netclassifier__lr"] == 0.01
    assert search.best_score_ > 0.9
    assert search.best_estimator_[-1].classes_.tolist() == sorted(set(NAMES))


def test_a_search_in_several_processes():
    search = GridSearchCV(NetClassifier(net, **FAST), {"lr": [0.01, 0.02]}, cv=2, n_jobs=2)
    alone = GridSearchCV(NetClassifier(net, **FAST), {"lr": [0.01, 0.02]}, cv=2)
    both = [s.fit(X, Y).cv_results_["mean_test_score"] for s in (search, alone)]
    assert both[0].tolist() == both[1].tolist()


def test_cross_validation_is_that_of_other_estimators():
    scores = cross_val_score(make_pipeline(StandardScaler(), NetClassifier(**FAST)), X, Y, cv=5)
    linear = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, Y, cv=5)
    assert scores.mean() > linear.mean() - 0.04


def test_get_params_and_clone():
    estimator = NetClassifier(net, lr=0.5, class_weight={0: 2.0})
    assert estimator.get_params()["lr"] == 0.5
    copied = clone(estimator.set_params(epochs=3))
    assert copied.get_params() == estimator.get_params()
    assert NetRegressor(net, lr=0.5).get_params().keys() == copied.get_params().keys() - {
        "class_weight"
    }
    with pytest.raises(ValueError, match="Invalid parameter 'max_iter'"):
        estimator.set_params(max_iter=5)
    with pytest.raises(TypeError, match="give hidden_layer_sizes="):
        NetClassifier(net, (10,))


def test_random_state():
    one, same, other = (
        weights_of(NetClassifier(net, **FAST | {"random_state": seed}).fit(X, Y))
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_pickled_estimator_predicts_and_goes_on_as_before():
    estimator = NetClassifier(net, warm_start=True, **FAST).fit(X, NAMES)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert loaded.predict_proba(X).tobytes() == estimator.predict_proba(X).tobytes()
    assert weights_of(loaded.fit(X, NAMES)) == weights_of(estimator.fit(X, NAMES))
    assert loaded.history_["epoch"] == list(range(1, 61))
    assert len(pickle.dumps(estimator)) < 20_000


def test_warm_start_goes_on():
    estimator = NetClassifier(warm_start=True, **FAST).fit(X, Y)
    before, model = estimator.history_[-1]["loss"], estimator.model_
    estimator.set_params(lr=0.001).fit(X, Y)
    assert estimator.model_ is model
    assert estimator.history_[-1]["loss"] < before
    assert estimator.history_[30, "lr"] == 0.001
    with pytest.raises(ValueError, match=r"y: the classes \[7\] are not among \[0 1 2\]"):
        estimator.fit(X, np.where(Y == 1, 7, Y))
    assert estimator.set_params(warm_start=False).fit(X, Y).n_iter_ == 30
    assert estimator.model_ is not model


def test_partial_fit_trains_for_one_epoch():
    estimator = NetClassifier(net, **FAST)
    with pytest.raises(ValueError, match="classes: the first call of partial_fit needs all"):
        estimator.partial_fit(X, Y)
    for rows in (slice(0, 100), slice(50, 150), slice(100, 150)):
        estimator.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    assert estimator.history_["epoch"] == [1, 2, 3]
    assert estimator.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match=r"classes: \[0 1\] differ from before"):
        estimator.partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"y: the classes \[5\] are not among"):
        estimator.partial_fit(X, Y + 3 * (Y == 2))
    with pytest.raises(ValueError, match="early_stopping: needs all data"):
        estimator.set_params(early_stopping=True).partial_fit(X, Y)
    with pytest.raises(ValueError, match="'balanced' needs all data"):
        estimator.set_params(early_stopping=False, class_weight="balanced").partial_fit(X, Y)


def test_early_stopping_holds_out_and_restores():
    options = FAST | {"epochs": 500, "lr": 0.05}
    estimator = NetClassifier(early_stopping=True, validation_fraction=0.2, patience=5, **options)
    estimator.set_params(metrics={"accuracy": Accuracy()}).fit(X, NAMES)
    losses = estimator.history_["val_loss"]
    assert len(losses) < 500
    assert np.argmin(losses) == len(losses) - 6
    assert "val_accuracy" in estimator.history_.names


def test_weights_of_classes_are_weights_of_samples():
    keep = np.r_[0:50, 50:60, 100:150]
    x, y = X[keep], NAMES[keep]
    options = FAST | {"batch_size": 200}
    weight = compute_sample_weight("balanced", y)
    a = NetClassifier(class_weight="balanced", **options).fit(x, y)
    b = NetClassifier(**options).fit(x, y, sample_weight=weight)
    c = NetClassifier(class_weight=dict(zip(y, weight, strict=True)), **options).fit(x, y)
    assert weights_of(a) == weights_of(b) == weights_of(c)
    assert weights_of(a) != weights_of(NetClassifier(**options).fit(x, y))
    both = NetClassifier(class_weight="balanced", **options).fit(x, y, sample_weight=1 / weight)
    plain = NetClassifier(**options).fit(x, y)
    np.testing.assert_allclose(both.predict_proba(X), plain.predict_proba(X), rtol=1e-9)


def test_sample_weights_go_through_a_pipeline():
    steps = make_pipeline(StandardScaler(), NetClassifier(**FAST))
    weight = (Y != 1).astype(float)
    steps.fit(X, Y, netclassifier__sample_weight=weight)
    assert (steps.predict(X) == 1).mean() < 0.05
    for wrong in (-weight, 0 * weight):
        with pytest.raises(ValueError, match=r"[Ss]ample.weight"):
            NetClassifier(**FAST).fit(X, Y, sample_weight=wrong)


def test_data_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    estimator = NetClassifier(**FAST).fit(frame, pandas.Series(NAMES, dtype="category"))
    assert estimator.feature_names_in_.tolist() == list("abcd")
    assert estimator.score(frame, NAMES) > 0.95
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(frame[list("dcba")])


def test_the_dtype_is_that_of_the_inputs():
    for dtype in (np.float32, np.float64):
        estimator = NetRegressor(net, **FAST).fit(X[:, :3].astype(dtype), X[:, 3])
        assert {p.dtype for p in estimator.model_.parameters} == {np.dtype(dtype)}
        assert estimator.predict(X[:, :3]).dtype == dtype


def test_regression_of_one_and_of_several_outputs():
    x, y = load_diabetes(return_X_y=True)
    x, y = StandardScaler().fit_transform(x), (y - y.mean()) / y.std()
    one = NetRegressor(loss=HuberLoss(), early_stopping=True, **FAST).fit(x, y)
    assert one.predict(x).shape == y.shape
    assert one.score(x, y) > 0.5
    two = NetRegressor(**FAST).fit(x, np.stack([y, -y], axis=1))
    assert two.predict(x).shape == (442, 2)
    assert two.score(x, np.stack([y, -y], axis=1)) > 0.5
    assert NetRegressor(hidden_layer_sizes=(), **FAST).fit(x, y).model_.parameters[0].shape == (
        10,
        1,
    )
    again = NetRegressor(hidden_layer_sizes=5, **FAST)
    for _ in range(2):
        again.partial_fit(x, y, sample_weight=np.ones(442))
    assert again.n_iter_ == 2


def test_optimizers_schedules_and_callbacks():
    seen = []

    class Record(Callback):
        def on_fit_begin(self, trainer):
            seen.append(trainer)

        def on_epoch_end(self, trainer):
            return Stop("enough") if trainer.epoch == 20 else None

    estimator = NetClassifier(
        optimizer=partial(SGD, momentum=0.9),
        schedule=CosineSchedule,
        clip_norm=1.0,
        callbacks=[Record()],
        **FAST,
    ).fit(X, Y)
    assert type(estimator.optimizer_) is SGD
    assert estimator.n_iter_ == 20
    lr = estimator.history_["lr"]
    assert lr == sorted(lr, reverse=True)
    assert lr[0] <= 0.01 > lr[-1]
    assert seen[0].clip_norm == 1.0
    assert estimator.score(X, Y) > 0.9


def test_parts_instead_of_factories_are_refused():
    model = net(4, 3, 0)
    with pytest.raises(
        TypeError, match=r"model: expected a function \(n_features, n_outputs, rng\)"
    ):
        NetClassifier(model, **FAST).fit(X, Y)
    with pytest.raises(TypeError, match="optimizer: expected a class or a function"):
        NetClassifier(optimizer=Adam(model.parameters), **FAST).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected an integer >= 1"),
        ({"batch_size": 0}, "batch_size: expected an integer >= 1"),
        ({"lr": -1.0}, "lr: expected a finite number >= 0"),
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes: expected an integer >= 1"),
        ({"early_stopping": True, "validation_fraction": 1.5}, "validation_fraction"),
        ({"device": "tpu"}, "'tpu'"),
    ],
)
def test_wrong_options_are_refused_by_fit(options, message):
    estimator = NetClassifier(**options)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "model_")


def test_verbose_prints_a_line_for_each_epoch(capsys):
    NetClassifier(verbose=True, epochs=2).fit(X, Y)
    assert capsys.readouterr().out.count("epoch ") == 2
    NetClassifier(epochs=2).fit(X, Y)
    assert capsys.readouterr().out == ""


def test_only_this_module_needs_scikit_learn():
    program = "import sys, nn_train, nn_train._weights; print('sklearn' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout == "False\n"
    program = "import sys; sys.modules['sklearn'] = None; import nn_train.sklearn"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "nn_train.sklearn needs scikit-learn: pip install 'nn-train[sklearn]'" in out.stderr


def test_the_model_predicts_without_scikit_learn():
    estimator = NetClassifier(net, **FAST).fit(X, Y)
    estimator.model_.eval()
    with estimator.model_.no_grad():
        logits = estimator.model_(Tensor(X)).numpy()
    assert (logits.argmax(axis=1) == estimator.predict(X)).all()


def test_a_rate_that_a_schedule_has_reached_can_be_set():
    halve = partial(StepSchedule, step_size=2, gamma=0.5)
    estimator = NetClassifier(
        lr=0.1, schedule=lambda optimizer, steps: halve(optimizer), warm_start=True, epochs=2,
        hidden_layer_sizes=4, batch_size=len(X) // 2, random_state=0,
    ).fit(X, Y)  # fmt: skip
    assert estimator.optimizer_.lr == 0.025
    estimator.set_params(lr=0.025).fit(X, Y)
    assert estimator.history_["lr"][2:] == [0.0125, 0.00625]


@pytest.mark.parametrize("rate", [lambda lr: 10 * lr, lambda lr: 0.5], ids=["10 lr", "0.5"])
@pytest.mark.parametrize("lr", [0.0, 0.001])
def test_groups_have_the_rates_of_a_new_optimizer(rate, lr):
    def optimizer(parameters, lr):
        return SGD(
            [
                {"parameters": parameters[:2], "lr": lr},
                {"parameters": parameters[2:], "lr": rate(lr)},
            ]
        )

    estimator = NetClassifier(
        optimizer=optimizer, lr=lr, epochs=2, hidden_layer_sizes=4, random_state=0
    ).fit(X, Y)
    estimator.set_params(lr=0.002).partial_fit(X, Y)
    assert [group["lr"] for group in estimator.optimizer_.groups] == [0.002, rate(0.002)]


def test_the_rate_of_an_optimizer_without_groups():
    class Plain:
        def __init__(self, parameters, lr):
            self.parameters, self.lr = parameters, lr

        def step(self):
            for parameter in self.parameters:
                parameter.data = parameter.data - self.lr * parameter.grad.data

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    estimator = NetClassifier(optimizer=Plain, hidden_layer_sizes=4, **{**FAST, "lr": 0.1}).fit(
        X, Y
    )
    before = estimator.predict_proba(X)
    estimator.set_params(lr=0.0).partial_fit(X, Y)
    assert estimator.optimizer_.lr == 0
    np.testing.assert_array_equal(estimator.predict_proba(X), before)


@pytest.mark.parametrize("seed", range(3))
def test_samples_without_weight_are_refused_after_the_split(seed):
    estimator = NetClassifier(early_stopping=True, hidden_layer_sizes=4, **FAST)
    weight = np.eye(len(X))[seed]
    with pytest.raises(ValueError, match=r"sample_weight of the (training|validation) samples"):
        estimator.fit(X, Y, sample_weight=weight)


def test_a_fit_that_fails_keeps_the_estimator():
    estimator = NetClassifier(hidden_layer_sizes=4, **FAST).fit(X, Y)
    before = estimator.predict(X)
    with pytest.raises(TypeError, match="optimizer"):
        estimator.set_params(optimizer=3).fit(X[:, :2], np.where(Y > 0, "cat", "dog"))
    np.testing.assert_array_equal(estimator.predict(X), before)
