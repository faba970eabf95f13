"""Estimators for scikit-learn: `NetClassifier` and `NetRegressor`.

They work in pipelines, searches and cross-validation like scikit-learn's own estimators. This
module needs the extra ``sklearn``, and nothing else imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from nn_tensor.extend import keyword_only

try:
    from sklearn.base import ClassifierMixin, RegressorMixin
    from sklearn.utils import column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import validate_data
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ModuleNotFoundError(
        "nn_train.sklearn needs scikit-learn: pip install 'nn-train[sklearn]'", name="sklearn"
    ) from None

from nn_train._estimator import (
    DTYPES,
    NetEstimator,
    check_partial,
    check_weights,
    default_loss,
)

__all__ = ["NetClassifier", "NetRegressor"]


class NetClassifier(ClassifierMixin, NetEstimator):  # type: ignore[misc]
    """A neural network as a scikit-learn classifier.

    `fit` builds the network, when the numbers of features and classes are known::

        def net(n_features, n_outputs, rng):
            return Sequential(
                Dense(n_features, 64, rng=rng), ReLU(), Dropout(0.2, rng=rng),
                Dense(64, n_outputs, rng=rng),
            )

        search = GridSearchCV(NetClassifier(net), {"lr": [0.001, 0.01]})

    Its outputs are the logits of the classes. It computes in the dtype of the inputs, float64 for
    most data frames; ``X.astype(np.float32)`` is faster.

    Sample weights and class weights multiply the losses, and the mean of a batch divides by their
    sum. If a batch holds all samples, a sample of weight k is equal to k copies of it.

    Args:
        model: a function of the number of features, the number of outputs and a generator, which
            returns a new network; by default a multilayer perceptron with ReLU.
        hidden_layer_sizes: the sizes of the hidden layers of that perceptron; ``()`` for none.
        loss: a loss of logits and class indices; by default the cross-entropy.
        optimizer: a class or function that is called as ``optimizer(parameters, lr=lr)``; by
            default Adam. For more options: ``functools.partial(AdamW, weight_decay=0.1)``.
        lr: the learning rate.
        epochs: the number of epochs of `fit`.
        batch_size: the number of samples per batch.
        shuffle: whether to shuffle the samples in each epoch.
        early_stopping: whether to hold out a part of the data for validation, to stop when its loss
            no longer improves, and to restore the best weights.
        validation_fraction: the size of that part, a fraction of the samples of each class.
        patience: the number of epochs without improvement after which training stops.
        min_delta: the smallest decrease of the loss that counts as an improvement.
        clip_norm: the largest norm of all gradients together.
        schedule: a class or function that is called as ``schedule(optimizer, steps)`` with the
            number of steps of `fit`, such as ``CosineSchedule``.
        metrics: a dict of metrics to record beside the loss, as for `Trainer`.
        callbacks: objects with methods of `Callback`; each `fit` uses copies of them.
        class_weight: a dict of weights by class label, or ``'balanced'`` for weights inversely
            proportional to the frequencies of the classes.
        warm_start: whether `fit` continues with the present network.
        device: the device of the network.
        random_state: the seed of the initial weights, of the order of the samples and of the
            validation set.
        verbose: whether to print a line for each epoch, and to show a progress bar in a terminal.

    Attributes:
        model_: the network.
        optimizer_: the optimizer.
        history_: a `History` with a row for each epoch.
        classes_: the class labels, sorted.
        n_features_in_: the number of features.
        n_iter_: the number of epochs that the network was trained.

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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, a new one unless ``warm_start=True``.

        Args:
            X: inputs of shape ``(samples, features)``, an array or a data frame.
            y: the class label of each row.
            sample_weight: a weight for each row.
        """
        return self._train(X, y, sample_weight, new=self._starts_anew())

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train the network for one epoch; the first call builds it.

        Args:
            X: inputs of shape ``(samples, features)``.
            y: the class label of each row.
            classes: all class labels, in the first call.
            sample_weight: a weight for each row.

        Raises:
            ValueError: if the first call has no classes, or a later one has others; with
                ``early_stopping=True`` or ``class_weight='balanced'``, which need all data.
        """
        new = not hasattr(self, "model_")
        check_partial(self)
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
        return default_loss("SoftmaxCrossEntropyLoss")

    def _read(self, X: Any, y: Any, new: bool, classes: Any) -> tuple[Any, Any, Any]:
        X, y = validate_data(self, X, y, reset=new, dtype=DTYPES)
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
            check_weights("class_weight", weight)
        self.classes_ = known
        return X, target, weight

    def _outputs(self, target: Any) -> int:
        return len(self.classes_)

    def _stratify(self, target: Any) -> Any:
        return target


class NetRegressor(RegressorMixin, NetEstimator):  # type: ignore[misc]
    """A neural network as a scikit-learn regressor.

    The arguments and attributes are those of `NetClassifier`, without ``class_weight`` and
    ``classes_``; the loss is the mean squared error by default. Targets and predictions have shape
    ``(samples,)`` or ``(samples, outputs)``. Scale inputs and targets to mean 0 and variance 1,
    with scikit-learn's ``StandardScaler`` and ``TransformedTargetRegressor``.

    >>> import numpy as np
    >>> from nn_train.sklearn import NetRegressor
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> net = NetRegressor(epochs=300, lr=0.01, random_state=0).fit(X, X.sum(axis=1))
    >>> bool(net.score(X, X.sum(axis=1)) > 0.99), net.n_iter_
    (True, 300)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network, a new one unless ``warm_start=True``.

        Args:
            X: inputs of shape ``(samples, features)``, an array or a data frame.
            y: targets of shape ``(samples,)`` or ``(samples, outputs)``.
            sample_weight: a weight for each row.
        """
        return self._train(X, y, sample_weight, new=self._starts_anew())

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network for one epoch; the first call builds it.

        Raises:
            ValueError: with ``early_stopping=True``, which needs all data.
        """
        check_partial(self)
        return self._train(X, y, sample_weight, new=not hasattr(self, "model_"), once=True)

    def predict(self, X: Any) -> Any:
        """Return the prediction for each row."""
        outputs = self._forward(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _default_loss(self) -> Any:
        return default_loss("MSELoss")

    def _read(self, X: Any, y: Any, new: bool, classes: Any) -> tuple[Any, Any, Any]:
        X, y = validate_data(self, X, y, reset=new, dtype=DTYPES, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y.reshape(len(y), -1).astype(X.dtype, copy=False), None

    def _outputs(self, target: Any) -> int:
        return int(target.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
