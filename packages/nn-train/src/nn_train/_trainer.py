"""`Trainer`: the training step, and runs of many epochs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from nn_tensor import Tensor, no_grad, zeros_like
from nn_tensor.extend import (
    check_bool,
    check_choice,
    check_integer,
    check_number,
    describe,
    device_scope,
    keyword_only,
)

from nn_train._batches import as_batches, input_batches
from nn_train._checks import check_methods, check_metrics, needs_value
from nn_train._diagnosis import NonFiniteError, first_nonfinite
from nn_train._fit import run
from nn_train._history import History
from nn_train._means import Values
from nn_train._optional import require
from nn_train._weights import ClassWeight, check_takes_weights, mean_and_weight
from nn_train.callbacks._callback import check_monitor

__all__ = ["Forward", "StepResult", "Trainer"]


_STATE = "state_dict load_state_dict"


class Forward(NamedTuple):
    """What `Trainer.forward_loss` returns.

    Attributes:
        loss: the mean of the batch, a scalar Tensor.
        weight: the number of items of that mean: examples, tokens that are not ignored, or the sum
            of their weights.
        prediction: the prediction for the metrics, or None.
        target: the target for the metrics, or None.
    """

    loss: Tensor
    weight: float
    prediction: Any = None
    target: Any = None


class StepResult(NamedTuple):
    """What `Trainer.step` returns.

    Attributes:
        loss: the mean loss of the batch, before the step.
        weight: the number of items of that mean.
        stepped: whether the optimizer stepped; False within a group of accumulated batches.
    """

    loss: float
    weight: float
    stepped: bool


class Trainer:
    """Trains a model: `fit` for whole runs, `step` for a custom loop.

    It requires methods, not base classes: any objects with those of the protocols `Model`,
    `Optimizer`, `Schedule` and `Metric` will do.

    A batch is a tuple of the inputs and, last, the target. For anything else, override
    `forward_loss`::

        class Autoencoder(Trainer):
            def forward_loss(self, batch):
                return Forward(self.loss(self.model(batch), batch), len(batch))

    Args:
        model: the model to train, which is called with the inputs.
        loss: a function of prediction and target. A loss of nn-losses says how many items its mean
            counts (``mean_and_weight``); of any other function the examples are counted.
        optimizer: the optimizer of its parameters.
        metrics: a dict from names to objects with ``update``, ``result`` and ``reset``, or to
            functions of prediction and target, whose mean is weighted by the number of examples of
            each batch.
        schedule: the learning rate schedule.
        schedule_every: whether the schedule steps after each ``'step'`` of the optimizer or after
            each ``'epoch'``.
        schedule_monitor: the name of the value that ``schedule.step`` gets after each epoch.
        clip_norm: the largest norm of all gradients together; needs nn-optim.
        accumulate: the number of batches per optimizer step. They count as one batch of all their
            items; the last group of an epoch may have fewer.
        sample_weight: whether the last part of each batch is the weights of its examples, as in
            ``(inputs, target, weights)``. An example of weight k counts as k copies of it. The
            loss has to take weights, as those of nn-losses do; metrics count each example once.
        class_weight: the weight of each class, a dict by class index, in which a missing class has
            weight 1, or a sequence. It multiplies `sample_weight`, in `evaluate` too.

    Attributes:
        history: a row of numbers for each epoch.
        steps: the number of optimizer steps.
        epoch: the number of completed epochs.
        batches_done: the number of completed batches of the current epoch.
        epoch_over: whether these are all batches of the epoch.
        stop_reason: why the last run ended.

    Raises:
        TypeError: for an argument that lacks a method that is needed.
        ValueError: for a number out of range, a reserved metric name, or a loss with
            ``reduction='none'``.
    """

    @keyword_only
    def __init__(
        self,
        model: Any,
        loss: Callable[[Any, Any], Any],
        optimizer: Any,
        *,
        metrics: Mapping[str, Any] | None = None,
        schedule: Any = None,
        schedule_every: str = "step",
        schedule_monitor: str | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        sample_weight: bool = False,
        class_weight: Mapping[int, float] | Sequence[float] | None = None,
    ) -> None:
        check_methods("model", model, f"__call__ training train eval zero_grad {_STATE}")
        check_methods("optimizer", optimizer, f"parameters step {_STATE}")
        if schedule is not None:
            check_methods("schedule", schedule, f"step {_STATE}")
        if not callable(loss):
            raise TypeError(f"loss: expected a function of prediction and target, got {loss!r}")
        reduction = getattr(loss, "reduction", "mean")
        if reduction == "none":
            raise ValueError("loss: reduction='none' gives no scalar; expected 'mean' or 'sum'")
        self.model: Any = model
        self.loss: Callable[[Any, Any], Any] = loss
        self.optimizer: Any = optimizer
        self.schedule: Any = schedule
        self.metrics: dict[str, Any] = check_metrics(metrics)
        self.schedule_every = check_choice("schedule_every", schedule_every, ("step", "epoch"))
        self.schedule_monitor = schedule_monitor
        if schedule_monitor is not None:
            self.schedule_every = "epoch"
        elif schedule is not None and needs_value(schedule.step):
            raise ValueError(
                f"schedule: {type(schedule).__name__}.step follows a number; name it with "
                "schedule_monitor, such as 'val_loss'"
            )
        self.clip_norm: float | None = None
        if clip_norm is not None:
            self.clip_norm = check_number("clip_norm", clip_norm, above=0)
            self._clip = require("nn_optim", "clip", "clip_norm").clip_gradients_by_norm
        self.accumulate: int = check_integer("accumulate", accumulate, minimum=1)
        self._is_sum = reduction == "sum"
        self._mean_and_weight = mean_and_weight(loss)
        self.sample_weight: bool = check_bool("sample_weight", sample_weight)
        self.class_weight: ClassWeight | None = None
        if class_weight is not None:
            self.class_weight = ClassWeight(class_weight)
        self._weighted = self.sample_weight or self.class_weight is not None
        if self._weighted:
            check_takes_weights(loss)
        self.history: History = History()
        self.running: Values = Values(self.metrics)
        self.steps: int = 0
        self.epoch: int = 0
        self.batches_done: int = 0
        self.epochs: int = 0
        self.epoch_over: bool = False
        self.stop_reason: str | None = None
        self.resumed: bool = False
        self.callbacks: tuple[Any, ...] = ()
        self.data: Any = None
        self.names: list[str] = []
        self.values: dict[str, float] = {}
        self._group = 0  # how many batches are accumulated
        self._group_weight = self._group_unit = 0.0

    # One step

    def forward_loss(self, batch: Any) -> Forward:
        """Return the mean loss of a batch, the number of items of that mean, and the prediction.

        Override it for batches or models of another form.
        """
        if not isinstance(batch, tuple | list) or len(batch) < 2 + self.sample_weight:
            form = "(inputs, target, weights)" if self.sample_weight else "(inputs, target)"
            raise TypeError(
                f"batch: expected a tuple {form}, got {describe(batch)}; for other batches "
                "override forward_loss"
            )
        if self._weighted:
            return self._weighted_loss(batch)
        *inputs, target = batch
        prediction = self.model(*inputs)
        loss, weight = self._mean_and_weight(prediction, target)
        return Forward(loss, weight, prediction, target)

    def _weighted_loss(self, batch: Any) -> Forward:
        weights = None
        if self.sample_weight:
            *batch, weights = batch
        *inputs, target = batch
        prediction = self.model(*inputs)
        if self.class_weight is not None:
            weights = self.class_weight.of(prediction, target, weights)
        loss, weight = self._mean_and_weight(prediction, target, sample_weight=weights)
        return Forward(loss, weight, prediction, target)

    def step(self, batch: Any) -> StepResult:
        """Train with one batch: forward, loss, backward; then clipping, optimizer and schedule.

        With ``accumulate=k`` the last three happen with every k-th batch; call `finish_group` after
        the last one of an epoch.

        Raises:
            NonFiniteError: if the loss is NaN or infinite, before the backward pass and the step;
                the forward pass has updated running statistics and random generators.
        """
        if not self.model.training:
            with self._mode(True):
                return self._step(batch)[0]
        return self._step(batch)[0]

    def _step(self, batch: Any) -> tuple[StepResult, Forward]:
        if self._group == 0:
            self.model.zero_grad()
        forward = self.forward_loss(batch)
        if type(forward) is not Forward:
            forward = Forward(*forward)
        loss, weight = forward.loss, forward.weight
        value = float(loss.data)
        if weight and not math.isfinite(value):
            raise self._nonfinite(batch, value)
        if self.accumulate == 1:
            loss.backward()
        elif weight:
            # In units of the first weight: float16 holds no loss of many thousand tokens.
            self._group_unit = self._group_unit or weight
            if not self._is_sum:
                loss = loss * (weight / self._group_unit)
                self._group_weight += weight
            loss.backward()
        elif not self._group_unit:
            loss.backward()  # gradients of 0: if nothing counts in the whole group, it is a step
        if not weight and not self._group_unit:
            self._zero_gradients()
        if self._is_sum and weight:
            value /= weight
        self._group += 1
        stepped = self._group == self.accumulate and self._apply()
        return StepResult(value, weight, stepped), forward

    def finish_group(self) -> bool:
        """Apply the gradients of an incomplete group of batches; return whether there was one."""
        return self._group > 0 and self._apply()

    def _apply(self) -> bool:
        self._group = 0
        unit, weight = self._group_unit, self._group_weight
        self._group_unit = self._group_weight = 0.0
        if weight:
            factor = unit / weight
            for parameter in self.optimizer.parameters:
                if parameter.has_grad:
                    with device_scope(parameter.data):
                        parameter.grad = Tensor(parameter.grad.data * factor)
        if self.clip_norm is not None:
            self._clip(self.optimizer.parameters, self.clip_norm)
        done = self.optimizer.step() is not False
        if done and self.schedule is not None and self.schedule_every == "step":
            self.schedule.step()
        self.steps += 1
        return True

    def _zero_gradients(self) -> None:
        """Replace the gradients by zeros: the loss of no items may have NaN."""
        for parameter in self.optimizer.parameters:
            if parameter.has_grad:
                parameter.grad = zeros_like(parameter)

    def _nonfinite(self, batch: Any, value: float) -> NonFiniteError:
        self._group, self._group_weight, self._group_unit = 0, 0.0, 0.0
        where = first_nonfinite(self.model, batch, self.forward_loss)
        step, indices, which = self.steps + 1, None, ""
        if self.data is not None:
            which = f" (batch {self.batches_done + 1} of epoch {self.epoch + 1})"
            if hasattr(self.data, "last_indices"):
                indices = np.asarray(self.data.last_indices())
                shown = np.array2string(indices, threshold=40, separator=", ")
                which = f"{which[:-1]}, samples {shown})"
        return NonFiniteError(
            f"the loss is {value} in step {step}{which}; not finite first: {where}",
            step,
            where,
            indices,
        )

    # Whole runs

    @keyword_only
    def fit(
        self,
        data: Any,
        *,
        epochs: int,
        validation: Any = None,
        callbacks: Iterable[Any] = (),
        resume: str | os.PathLike[str] | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        progress: bool | None = None,
    ) -> History:
        """Train for some epochs, and return what was recorded.

        A run starts with an empty history unless it is resumed; the model and the optimizer
        continue from their current state. The first Ctrl-C ends it after the step, the second at
        once. The training mode of the model is restored.

        Args:
            data: a loader, or any iterable of batches that can be iterated over again; or a tuple
                (or dict) of arrays, or a `Source`, which need nn-data.
            epochs: the total number of epochs of the run, those before it was resumed included.
            validation: data of the same form that is evaluated after each epoch.
            callbacks: the callbacks, objects with methods of `Callback`.
            resume: a folder of `Checkpoint`, or a file in it. The run continues from the newest
                checkpoint, bit for bit; if the folder has none, a new run starts.
            batch_size: the batch size, for arrays.
            shuffle: whether to shuffle the samples in each epoch, for arrays.
            seed: the seed of the order, for arrays.
            progress: False prints nothing; True a line for each epoch and, with tqdm, a bar; None
                a bar only in a terminal.

        Raises:
            NonFiniteError: if the loss is NaN or infinite.
            ValueError: if a monitored name is not recorded, or the checkpoint is of a run that
                differs.
        """
        epochs = check_integer("epochs", epochs, minimum=1)
        if progress is not None:
            check_bool("progress", progress)
        options = {"batch_size": batch_size, "seed": seed, "device": self._device()}
        batches = as_batches("data", data, shuffle=check_bool("shuffle", shuffle), **options)
        if validation is not None:
            validation = as_batches("validation", validation, shuffle=False, **options)
        numbers = ["loss", *self.metrics]
        self.names = numbers + [f"val_{n}" for n in numbers if validation is not None]
        self.names += ["lr"] if self._learning_rate() is not None else []
        if self.schedule_monitor is not None:
            check_monitor(self.schedule_monitor, self.names)
        self.data, self.epochs, self.callbacks = batches, epochs, tuple(callbacks)
        self.history, self.running = History(), Values(self.metrics)
        self.epoch = self.batches_done = self._group = 0
        self.epoch_over = False
        self._group_weight = self._group_unit = 0.0
        self.stop_reason = None
        with self._mode(True):
            return run(self, validation, resume, progress)

    @keyword_only
    def evaluate(self, data: Any, *, batch_size: int = 32) -> dict[str, float]:
        """Return loss and metrics over all batches, in eval mode and without recording.

        Args:
            data: the data, as for `fit`.
            batch_size: the batch size, for arrays.
        """
        options = {"batch_size": batch_size, "seed": 0, "device": self._device()}
        batches = as_batches("data", data, shuffle=False, **options)
        values = Values(self.metrics)
        with self._mode(False), no_grad():
            for batch in batches:
                forward = Forward(*self.forward_loss(batch))
                value = float(forward.loss.data)
                if self._is_sum and forward.weight:
                    value /= forward.weight
                values.loss.add(value, forward.weight)
                if self.metrics:
                    values.update(forward.prediction, forward.target)
        return values.result()

    @keyword_only
    def predict(self, data: Any, *, batch_size: int = 256) -> Any:
        """Return the predictions for all inputs as an array, in eval mode.

        Args:
            data: an array of inputs, or an iterable of inputs, in tuples where there are several.
            batch_size: the batch size, for an array.

        Raises:
            ValueError: if there are no inputs.
        """
        parts: list[Any] = []
        with self._mode(False), no_grad():
            for inputs in input_batches(data, batch_size, self._device()):
                parts.append(_to_host(self.model(*inputs)))
        if not parts:
            raise ValueError("data: has no inputs")
        if isinstance(parts[0], tuple):
            return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        return np.concatenate(parts)

    # What they share

    @contextmanager
    def _mode(self, training: bool) -> Iterator[None]:
        """Set the mode of the model, and restore that of each of its parts.

        A model that is in training mode already stays as it is: parts of it may be frozen.
        """
        model = self.model
        parts = (
            [m for _, m in model.named_modules()] if hasattr(model, "named_modules") else [model]
        )
        former = [(part, part.training) for part in parts]
        if not training:
            model.eval()
        elif not model.training:
            model.train()
        try:
            yield
        finally:
            for part, mode in former:
                part.training = mode

    def _device(self) -> Any:
        for parameter in self.optimizer.parameters:
            return parameter.device
        return None

    def _learning_rate(self) -> float | None:
        """Return the learning rate of the optimizer, or of the first of its groups."""
        groups = getattr(self.optimizer, "groups", None)
        lr = groups[0]["lr"] if groups else getattr(self.optimizer, "lr", None)
        return float(lr) if isinstance(lr, int | float) else None


def _to_host(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(map(_to_host, value))
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)
