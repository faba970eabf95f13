"""The base class of the estimators for scikit-learn; only `nn_train.sklearn` imports it."""

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
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from nn_train._history import History
from nn_train._optional import require
from nn_train._trainer import Trainer
from nn_train.callbacks import EarlyStopping

__all__ = ["DTYPES", "NetEstimator", "check_partial", "check_weights", "default_loss"]

_EXTRA = "sklearn"
DTYPES = [np.float64, np.float32]
_SEEDS = np.iinfo(np.int32).max


class NetEstimator(BaseEstimator):  # type: ignore[misc]
    """The base class of both estimators. It stores the arguments unchanged; `fit` checks them."""

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

    # Overridden by the subclasses

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
        """Return the classes whose frequencies the validation set keeps, or None."""
        return None

    # Training

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
        before = dict(self.__dict__)
        try:
            return self._train_checked(X, y, sample_weight, new, classes, once)
        except BaseException:
            self.__dict__ = before  # what was fitted before still predicts
            raise

    def _train_checked(
        self, X: Any, y: Any, sample_weight: Any, new: bool, classes: Any, once: bool
    ) -> Self:
        X, target, weight = self._read(X, y, new, classes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
            check_weights("sample_weight", sample_weight)
            weight = sample_weight if weight is None else weight * sample_weight
            check_weights("class_weight times sample_weight", weight)
        random = check_random_state(self.random_state) if new else self._random
        draw = np.random.default_rng(random.randint(_SEEDS))
        model = self._make_model(X, target, draw) if new else self.model_
        optimizer = self._make_optimizer(model) if new else self.optimizer_
        if not new:  # `lr` may have been set, or the rates changed by a schedule
            _copy_rates(self._make_optimizer(model), optimizer)
        data = [X, target] if weight is None else [X, target, weight]
        validation = None
        callbacks = [copy.deepcopy(callback) for callback in self.callbacks]
        if self.early_stopping and not once:
            fraction, seed = self.validation_fraction, random.randint(_SEEDS)
            parts = train_test_split(
                *data, test_size=fraction, random_state=seed, stratify=self._stratify(target)
            )
            data, validation = parts[::2], tuple(parts[1::2])
            if weight is not None:
                check_weights("sample_weight of the training samples", data[-1])
                check_weights("sample_weight of the validation samples", validation[-1])
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

    def _starts_anew(self) -> bool:
        return not (check_bool("warm_start", self.warm_start) and hasattr(self, "model_"))

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
        X = validate_data(self, X, reset=False, dtype=DTYPES)
        return self._trainer(self.model_, self.optimizer_).predict(X)


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


def _copy_rates(source: Any, target: Any) -> None:
    """Set the learning rates of an optimizer to those of another one of the same parameters."""
    if hasattr(target, "groups"):
        for group, other in zip(target.groups, source.groups, strict=True):
            group["lr"] = other["lr"]
    elif hasattr(target, "lr"):
        target.lr = source.lr


def check_weights(name: str, weights: Any) -> None:
    if (weights < 0).any():
        raise ValueError(f"{name}: Negative values in data; expected numbers >= 0")
    if not weights.any():
        raise ValueError(f"{name}: expected at least one sample whose weight is not zero")


def check_partial(estimator: NetEstimator) -> None:
    if estimator.early_stopping:
        raise ValueError("early_stopping: needs all data; partial_fit trains for one epoch")


def default_loss(name: str) -> Any:
    """Return a loss of nn-losses."""
    return getattr(require("nn_losses", _EXTRA, "the default loss"), name)()
