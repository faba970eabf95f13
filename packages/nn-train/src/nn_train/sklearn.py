"""Estimators for scikit-learn: `NetClassifier` and `NetRegressor`.

They are the same to pipelines, searches and cross-validation as scikit-learn's own. This module
needs the extra ``sklearn``, and nothing else imports it.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from nn_tensor.extend import (
    check_bool,
    check_integer,
    check_number,
    check_probability,
    describe,
    keyword_only,
)

from nn_train._history import History
from nn_train._optional import require
from nn_train._trainer import Trainer
from nn_train.callbacks import EarlyStopping

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ModuleNotFoundError(
        "nn_train.sklearn needs scikit-learn: pip install 'nn-train[sklearn]'", name="sklearn"
    ) from None

__all__ = ["NetClassifier", "NetRegressor"]

_EXTRA = "sklearn"
_SEEDS = np.iinfo(np.int32).max


class _Net(BaseEstimator):  # type: ignore[misc]
    """What both estimators share. The arguments are stored as they are, and checked by `fit`."""

    model_: Any
    optimizer_: Any
    history_: History
    n_features_in_: int
    _random: Any

    @keyword_only
    def __init__(
        self,
        model: Callable[[int, int, np.random.Generator], Any] | None = None,
        *,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        loss: Any = None,
        optimizer: Callable[..., Any] | None = None,
        lr: float = 0.001,
        epochs: int = 200,
        batch_size: int = 200,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        clip_norm: float | None = None,
        schedule: Callable[[Any, int], Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        callbacks: Iterable[Any] = (),
        warm_start: bool = False,
        device: str = "cpu",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.hidden_layer_sizes = hidden_layer_sizes
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.min_delta = min_delta
        self.clip_norm = clip_norm
        self.schedule = schedule
        self.metrics = metrics
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # What the subclasses say

    @abstractmethod
    def _default_loss(self) -> Any:
        """Return the loss for ``loss=None``."""

    @abstractmethod
    def _read(self, X: Any, y: Any, new: bool, classes: Any) -> tuple[Any, Any, Any]:
        """Return inputs, targets of the network, and weights by class or None."""

    @abstractmethod
    def _outputs(self, target: Any) -> int:
        """Return the number of outputs of the network."""

    def _stratify(self, target: Any) -> Any:
        """Return what the validation set has the same distribution of, or None."""
        return None

    # Training

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, a new one unless ``warm_start=True``.

        Args:
            X: inputs of shape ``(samples, features)``, an array or a data frame.
            y: targets, one for each row.
            sample_weight: a weight for each row; one of weight k counts as k copies.
        """
        new = not (check_bool("warm_start", self.warm_start) and hasattr(self, "model_"))
        return self._train(X, y, sample_weight, new=new)

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        new: bool,
        classes: Any = None,
        once: bool = False,
    ) -> Self:
        self._check()
        X, target, weight = self._read(X, y, new, classes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
            _check_weights(sample_weight)
            weight = sample_weight if weight is None else weight * sample_weight
        random = check_random_state(self.random_state) if new else self._random
        draw = np.random.default_rng(random.randint(_SEEDS))
        model = self._make_model(X, target, draw) if new else self.model_
        optimizer = self._make_optimizer(model) if new else self.optimizer_
        if not new and hasattr(optimizer, "lr"):
            optimizer.lr = self.lr  # it may have been set, or changed by a schedule
        data = [X, target] if weight is None else [X, target, weight]
        validation = None
        callbacks = [copy.deepcopy(callback) for callback in self.callbacks]
        if self.early_stopping and not once:
            fraction, seed = self.validation_fraction, random.randint(_SEEDS)
            parts = train_test_split(
                *data, test_size=fraction, random_state=seed, stratify=self._stratify(target)
            )
            data, validation = parts[::2], tuple(parts[1::2])
            stopping = EarlyStopping(
                "val_loss", patience=self.patience, min_delta=self.min_delta, restore=True
            )
            callbacks.append(stopping)
        schedule = None
        if self.schedule is not None and not once:
            steps = self.epochs * math.ceil(len(data[0]) / self.batch_size)
            schedule = self.schedule(optimizer, steps)
        trainer = self._trainer(
            model, optimizer, sample_weight=weight is not None, schedule=schedule
        )
        history = trainer.fit(
            tuple(data),
            epochs=1 if once else self.epochs,
            validation=validation,
            callbacks=callbacks,
            batch_size=self.batch_size,
            shuffle=self.shuffle,
            seed=random.randint(_SEEDS),
            progress=None if self.verbose else False,
        )
        model.zero_grad()
        earlier = History() if new else self.history_
        self.model_, self.optimizer_, self._random = model, optimizer, random
        done = len(earlier)
        self.history_ = History(
            [*earlier, *({**row, "epoch": row["epoch"] + done} for row in history)]
        )
        return self

    def _check(self) -> None:
        check_integer("epochs", self.epochs, minimum=1)
        check_integer("batch_size", self.batch_size, minimum=1)
        check_number("lr", self.lr, minimum=0)
        check_bool("early_stopping", self.early_stopping)
        check_bool("shuffle", self.shuffle)
        for size in _sizes(self.hidden_layer_sizes):
            check_integer("hidden_layer_sizes", size, minimum=1)
        if self.early_stopping:
            check_probability("validation_fraction", self.validation_fraction)

    def _make_model(self, X: Any, target: Any, draw: np.random.Generator) -> Any:
        features, outputs = X.shape[1], self._outputs(target)
        make = self.model
        if make is None:
            model = _perceptron(features, _sizes(self.hidden_layer_sizes), outputs, draw)
        elif not callable(make) or (not isinstance(make, type) and hasattr(make, "state_dict")):
            raise TypeError(
                "model: expected a function (n_features, n_outputs, rng) that returns a new "
                f"network, got {describe(make)}"
            )
        else:
            model = make(features, outputs, draw)
        if hasattr(model, "set_dtype"):
            model.set_dtype(X.dtype)
        if hasattr(model, "set_device"):
            model.set_device(self.device)
        return model

    def _make_optimizer(self, model: Any) -> Any:
        make = self.optimizer
        if make is None:
            make = require("nn_optim", _EXTRA, "the default optimizer").Adam
        if not callable(make):
            raise TypeError(
                "optimizer: expected a class or a function (parameters, lr=...) that returns a new "
                f"optimizer, got {describe(make)}"
            )
        return make(model.parameters, lr=self.lr)

    def _trainer(self, model: Any, optimizer: Any, **options: Any) -> Trainer:
        loss = self._default_loss() if self.loss is None else self.loss
        options |= {"clip_norm": self.clip_norm, "metrics": self.metrics}
        return Trainer(model, loss, optimizer, **options)

    @property
    def n_iter_(self) -> int:
        """The number of epochs that the network was trained."""
        return len(self.history_)

    # Prediction

    def _forward(self, X: Any) -> Any:
        """Return the outputs of the network as an array."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return self._trainer(self.model_, self.optimizer_).predict(X)


class NetClassifier(ClassifierMixin, _Net):  # type: ignore[misc]
    """A network as a classifier of scikit-learn.

    The network is made in `fit`, when the numbers of features and classes are known::

        def net(n_features, n_outputs, rng):
            return Sequential(
                Dense(n_features, 64, rng=rng), ReLU(), Dropout(0.2, rng=rng),
                Dense(64, n_outputs, rng=rng),
            )

        search = GridSearchCV(NetClassifier(net), {"lr": [0.001, 0.01]})

    Its outputs are the logits of the classes. It computes in the dtype of the inputs, float64 for
    most data frames; ``X.astype(np.float32)`` is faster.

    Weights of samples and classes multiply their losses, and the mean of a batch divides by their
    sum. Where a batch holds all samples, one of weight k is the same as k copies of it.

    Args:
        model: what makes the network, a function of the number of features, that of the outputs and
            a generator; by default a multilayer perceptron with ReLU.
        hidden_layer_sizes: the sizes of the hidden layers of that perceptron; ``()`` for none.
        loss: of logits and class indices; by default the cross-entropy.
        optimizer: what makes the optimizer, called as ``optimizer(parameters, lr=lr)``; by default
            Adam. For more options: ``functools.partial(AdamW, weight_decay=0.1)``.
        lr: the learning rate.
        epochs: the number of epochs of `fit`.
        batch_size: the number of samples of a batch.
        shuffle: whether the order of the samples is another one in each epoch.
        early_stopping: whether a part of the data is held out for validation; training stops when
            its loss no longer improves, and the best weights are restored.
        validation_fraction: how large that part is. Of each class the same part is held out.
        patience: how many epochs without an improvement are waited for.
        min_delta: by more than how much the loss has to be better.
        clip_norm: the largest norm of all gradients together.
        schedule: what makes a schedule of the learning rate, called as ``schedule(optimizer,
            steps)`` with the number of steps of `fit`, such as ``CosineSchedule``.
        metrics: what is recorded beside the loss, as for `Trainer`.
        callbacks: what is called at the hooks of `Callback`; each `fit` has copies of its own.
        class_weight: weights by class label, or ``'balanced'`` for weights inversely proportional
            to the frequencies of the classes.
        warm_start: whether `fit` goes on with the network that is there.
        device: where the network is.
        random_state: the seed of the initial weights, of the order and of the validation set.
        verbose: whether a line is printed for each epoch, and in a terminal a bar.

    Attributes:
        model_: the network.
        optimizer_: the optimizer.
        history_: a `History` with a row for each epoch.
        classes_: the class labels, sorted.
        n_features_in_: the number of features.

    >>> import numpy as np
    >>> from nn_train.sklearn import NetClassifier
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> y = np.where(X[:, 0] > 0, "positive", "negative")
    >>> NetClassifier(epochs=50, lr=0.01, random_state=0).fit(X, y).score(X, y)
    1.0
    """

    classes_: Any

    @keyword_only
    def __init__(
        self,
        model: Callable[[int, int, np.random.Generator], Any] | None = None,
        *,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        loss: Any = None,
        optimizer: Callable[..., Any] | None = None,
        lr: float = 0.001,
        epochs: int = 200,
        batch_size: int = 200,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        min_delta: float = 0.0,
        clip_norm: float | None = None,
        schedule: Callable[[Any, int], Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        callbacks: Iterable[Any] = (),
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        device: str = "cpu",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            hidden_layer_sizes=hidden_layer_sizes,
            loss=loss,
            optimizer=optimizer,
            lr=lr,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            min_delta=min_delta,
            clip_norm=clip_norm,
            schedule=schedule,
            metrics=metrics,
            callbacks=callbacks,
            warm_start=warm_start,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train the network for one epoch; the first call makes it.

        Args:
            X: inputs of shape ``(samples, features)``.
            y: the class label of each row.
            classes: all class labels, in the first call.
            sample_weight: a weight for each row.

        Raises:
            ValueError: if the classes are not given at first or differ later; with
                ``early_stopping=True`` or ``class_weight='balanced'``, which need all data.
        """
        new = not hasattr(self, "model_")
        _check_partial(self)
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight: 'balanced' needs all data; give partial_fit weights by class, such "
                "as those of sklearn.utils.class_weight.compute_class_weight"
            )
        if new and classes is None:
            raise ValueError("classes: the first call of partial_fit needs all class labels")
        if (
            not new
            and classes is not None
            and not np.array_equal(np.unique(classes), self.classes_)
        ):
            raise ValueError(f"classes: {np.unique(classes)} differ from before: {self.classes_}")
        return self._train(X, y, sample_weight, new=new, classes=classes, once=True)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, of shape ``(samples, classes)``."""
        logits = self._forward(X)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of the probability of each class."""
        logits = self._forward(X)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> Any:
        """Return the most probable class of each row."""
        logits = self._forward(X)
        return self.classes_[logits.argmax(axis=1)]

    def _default_loss(self) -> Any:
        return require("nn_losses", _EXTRA, "the default loss").SoftmaxCrossEntropyLoss()

    def _read(self, X: Any, y: Any, new: bool, classes: Any) -> tuple[Any, Any, Any]:
        X, y = validate_data(self, X, y, reset=new, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        y = column_or_1d(y, warn=True)
        known = np.unique(y if classes is None else classes) if new else self.classes_
        target = np.searchsorted(known, y).clip(max=len(known) - 1)
        unknown = known[target] != y
        if unknown.any():
            raise ValueError(f"y: the classes {np.unique(y[unknown])} are not among {known}")
        weight = None
        if self.class_weight is not None:
            weight = compute_sample_weight(self.class_weight, y)
            _check_weights(weight)
        self.classes_ = known
        return X, target, weight

    def _outputs(self, target: Any) -> int:
        return len(self.classes_)

    def _stratify(self, target: Any) -> Any:
        return target


class NetRegressor(RegressorMixin, _Net):  # type: ignore[misc]
    """A network as a regressor of scikit-learn.

    The arguments and attributes are those of `NetClassifier`, without ``class_weight`` and
    ``classes_``; the loss is the mean squared error by default. The targets have shape
    ``(samples,)`` or ``(samples, outputs)``, and so have the predictions. A network learns best
    what has mean 0 and variance 1: scikit-learn's ``StandardScaler`` scales the inputs, and its
    ``TransformedTargetRegressor`` the targets.

    >>> import numpy as np
    >>> from nn_train.sklearn import NetRegressor
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> net = NetRegressor(epochs=300, lr=0.01, random_state=0).fit(X, X.sum(axis=1))
    >>> bool(net.score(X, X.sum(axis=1)) > 0.99), net.n_iter_
    (True, 300)
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network for one epoch; the first call makes it.

        Raises:
            ValueError: with ``early_stopping=True``, which needs all data.
        """
        _check_partial(self)
        return self._train(X, y, sample_weight, new=not hasattr(self, "model_"), once=True)

    def predict(self, X: Any) -> Any:
        """Return the prediction for each row."""
        outputs = self._forward(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _default_loss(self) -> Any:
        return require("nn_losses", _EXTRA, "the default loss").MSELoss()

    def _read(self, X: Any, y: Any, new: bool, classes: Any) -> tuple[Any, Any, Any]:
        X, y = validate_data(
            self, X, y, reset=new, dtype=[np.float64, np.float32], multi_output=True, y_numeric=True
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.reshape(len(y), -1).astype(X.dtype, copy=False), None

    def _outputs(self, target: Any) -> int:
        return int(target.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _sizes(hidden_layer_sizes: Any) -> list[Any]:
    return list(np.atleast_1d(np.asarray(hidden_layer_sizes, object)))


def _perceptron(
    features: int, hidden: Sequence[int], outputs: int, draw: np.random.Generator
) -> Any:
    layers = require("nn_layers", _EXTRA, "the default network")
    parts: list[Any] = []
    for size in hidden:
        parts += [layers.Dense(features, size, rng=draw), layers.ReLU()]
        features = size
    return layers.Sequential([*parts, layers.Dense(features, outputs, rng=draw)])


def _check_weights(weights: Any) -> None:
    if (weights < 0).any():
        raise ValueError("sample_weight: Negative values in data; expected numbers >= 0")
    if not weights.any():
        raise ValueError("sample_weight: expected at least one that is not zero")


def _check_partial(estimator: _Net) -> None:
    if estimator.early_stopping:
        raise ValueError("early_stopping: needs all data; partial_fit trains for one epoch")
