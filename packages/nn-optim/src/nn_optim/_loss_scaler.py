"""`LossScaler`: training in float16 without losing small gradients."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from nn_tensor import Tensor, isfinite
from nn_tensor.extend import (
    FORMAT_VERSION,
    METADATA_KEY,
    StateDictReader,
    accumulation_dtype,
    array_module,
    check_bool,
    check_integer,
    check_number,
    current_observer,
    describe,
    device_scope,
    external,
    is_floating,
    kernel,
    keyword_only,
)

from nn_optim._clip import Found, by_device, find_gradients, scale_arrays, sum_of_squares
from nn_optim._multi_tensor import MultiTensorKernel
from nn_optim._optimizer import Optimizer

__all__ = ["LossScaler", "unscale_arrays"]

_MANY_SKIPS = 20  # in a row: then a smaller scale is no cure


class LossScaler:
    r"""Scales the loss, so that small gradients do not underflow in float16.

    The gradients of the scaled loss are scaled as well; `step` divides them by the scale before the
    optimizer uses them. If one is infinite or NaN the step is skipped and the scale decreased;
    after `growth_interval` consecutive steps without infinity or NaN it is increased:

    .. math:: s \leftarrow s \cdot \text{backoff\_factor} \quad\text{or}\quad
        s \leftarrow s \cdot \text{growth\_factor}

    (Micikevicius et al., "Mixed Precision Training", 2018, section 3.2; the defaults are those of
    PyTorch's ``GradScaler``.) Parameters are float32; `nn_tensor.autocast` computes in float16.

    Args:
        init_scale: the initial scale, > 0.
        growth_factor: the factor by which the scale is increased, > 1.
        backoff_factor: the factor by which the scale is decreased after a skipped step, between 0
            and 1.
        growth_interval: the number of consecutive steps without infinity or NaN after which the
            scale is increased.
        enabled: whether to scale the loss; if False, no step is skipped either.

    Attributes:
        loss_scale: the scale of the next loss.
        growth_tracker: the number of steps since the scale last changed.
        skipped_steps: the number of consecutive skipped steps, up to the last step.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if an argument has the wrong type.

    >>> from nn_optim import SGD, LossScaler
    >>> from nn_tensor import Tensor, autocast
    >>> x = Tensor([[1.0, 2.0]], requires_grad=True)
    >>> optimizer, scaler = SGD([x], lr=0.1), LossScaler(init_scale=1024.0)
    >>> with autocast("float16"):
    ...     loss = (x @ x.T).sum()
    >>> scaler.scale(loss).backward()
    >>> scaler.step(optimizer)
    True
    >>> x
    Tensor([[0.8, 1.6]], requires_grad=True)
    """

    @keyword_only
    def __init__(
        self,
        *,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self.loss_scale: float = _check_scale("init_scale", init_scale)
        self.growth_factor: float = check_number("growth_factor", growth_factor, above=1)
        self.backoff_factor: float = check_number(
            "backoff_factor", backoff_factor, above=0, below=1
        )
        self.growth_interval: int = check_integer("growth_interval", growth_interval, 1)
        self.enabled: bool = check_bool("enabled", enabled)
        self.growth_tracker: int = 0
        self.skipped_steps: int = 0

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss times the scale, for `backward`; a float16 loss becomes float32.

        Raises:
            TypeError: if `loss` is not a floating Tensor.
        """
        if not isinstance(loss, Tensor) or not is_floating(loss.dtype):
            raise TypeError(f"loss: expected a floating Tensor, got {describe(loss)}")
        if not self.enabled:
            return loss
        wide = loss.astype(accumulation_dtype(loss.dtype) or loss.dtype)
        observed = current_observer() is not None  # the scale is read anew at each replay
        return wide * (external(self._scale_as, wide) if observed else self.loss_scale)

    def _scale_as(self, loss: Any) -> Any:
        return array_module(loss).asarray(self.loss_scale, loss.dtype)

    @keyword_only
    def step(self, *optimizers: Optimizer, clip_norm: float | None = None) -> bool:
        """Unscale the gradients and step the optimizers, or skip the step and lower the scale.

        Either all optimizers step, or none does. If the step is skipped, parameters, gradients and
        optimizers stay as they are; clear the gradients as after any other step. One value is read
        from each device. After 20 consecutive skipped steps a warning of the logger ``nn_optim``
        names the parameters whose gradients are not finite.

        Args:
            optimizers: the optimizers whose parameters have gradients of the scaled losses.
            clip_norm: the largest norm of the unscaled gradients of all optimizers together, as
                for `clip_gradients_by_norm`; None for no limit.

        Returns:
            Whether the optimizers stepped. Step a schedule only then.

        Raises:
            TypeError: if there is no optimizer, if one is not an Optimizer, or for float16
                parameters, whose unscaled gradients would underflow.
            ValueError: if `clip_norm` is out of range.
        """
        bound = math.inf
        if clip_norm is not None:
            bound = check_number("clip_norm", clip_norm, minimum=0, allow_infinite=True)
        stepped: bool = external(self._step, optimizers, bound, snapshot=self._snapshot(optimizers))
        return stepped

    def _snapshot(self, optimizers: tuple[Optimizer, ...]) -> Callable[[], Callable[[], None]]:
        def snapshot() -> Callable[[], None]:
            before = {**vars(self)}
            restores = [optimizer._snapshot() for optimizer in optimizers]

            def restore() -> None:
                vars(self).update(before)
                for function in restores:
                    function()

            return restore

        return snapshot

    def _step(self, optimizers: tuple[Optimizer, ...], bound: float) -> bool:
        found = _find(optimizers)
        factor = 1.0 / self.loss_scale if self.enabled else 1.0
        squares, unscaled = 0.0, list[Any]()
        groups = by_device(found)
        for xp, group in groups:
            arrays = [gradient.data for _, _, gradient in group]
            with device_scope(arrays[0]), np.errstate(invalid="ignore", over="ignore"):
                total, *scaled = unscale_arrays(xp, factor, *arrays)
                squares += float(total)
            unscaled += scaled
        ordered = [entry for _, group in groups for entry in group]
        if self.enabled and not math.isfinite(squares) and not _all_finite(ordered):
            self._skip(ordered)
            return False
        self._take_over(ordered, unscaled, bound / (math.sqrt(squares) + 1e-6))
        for optimizer in optimizers:
            optimizer.step()
        if self.enabled:
            self._grow()
        return True

    def _take_over(self, found: Found, unscaled: list[Any], factor: float) -> None:
        """Replace the gradients, clipped by a factor if that is less than 1."""
        for (_, parameter, _), array in zip(found, unscaled, strict=True):
            parameter.grad = Tensor(array)
        if factor < 1.0:
            for xp, group in by_device([(n, p, p.grad) for n, p, _ in found]):
                arrays = [gradient.data for _, _, gradient in group]
                with device_scope(arrays[0]):
                    clipped = scale_arrays(xp, factor, *arrays)
                for (_, parameter, _), array in zip(group, clipped, strict=True):
                    parameter.grad = Tensor(array)

    def _grow(self) -> None:
        self.skipped_steps = 0
        self.growth_tracker += 1
        if self.growth_tracker == self.growth_interval:
            self.growth_tracker = 0
            larger = self.loss_scale * self.growth_factor
            self.loss_scale = larger if math.isfinite(larger) else self.loss_scale

    def _skip(self, found: Found) -> None:
        self.growth_tracker = 0
        self.skipped_steps += 1
        # never 0, by which gradients could not be divided
        smaller = self.loss_scale * self.backoff_factor
        self.loss_scale = smaller if 1.0 / smaller < math.inf else self.loss_scale
        if self.skipped_steps == _MANY_SKIPS:
            wrong = [f"parameters[{n}]" for n, _, g in found if not isfinite(g).all().item()]
            logging.getLogger("nn_optim").warning(
                "LossScaler.step: skipped %d steps in a row; the gradients of %s are not finite. "
                "Compute a step inside nn_tensor.detect_anomaly() to find the operation",
                _MANY_SKIPS,
                ", ".join(wrong[:10]),
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the scale, the options and the counts, as a flat mapping to host arrays.

        >>> from nn_optim import LossScaler
        >>> list(LossScaler().state_dict())[:3]
        ['loss_scale', 'growth_factor', 'backoff_factor']
        """
        names = ("loss_scale", "growth_factor", "backoff_factor", "growth_interval")
        counts = ("growth_tracker", "skipped_steps")
        found: dict[str, Any] = {n: np.array(getattr(self, n)) for n in (*names, *counts)}
        metadata = {"format_version": FORMAT_VERSION, "class": type(self).__name__}
        return {**found, METADATA_KEY: metadata}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            ValueError: listing every key that is missing, unexpected or out of range; then
                nothing was changed.
            TypeError: if `state` is not a mapping.
        """
        reader = StateDictReader(state, "LossScaler.load_state_dict")
        checks = {
            "loss_scale": lambda v: _check_scale("loss_scale", v),
            "growth_factor": lambda v: check_number("growth_factor", v, above=1),
            "backoff_factor": lambda v: check_number("backoff_factor", v, above=0, below=1),
            "growth_interval": lambda v: check_integer("growth_interval", v, 1),
            "growth_tracker": lambda v: check_integer("growth_tracker", v, 0),
            "skipped_steps": lambda v: check_integer("skipped_steps", v, 0),
        }
        loaded = {n: reader.value(n, check, getattr(self, n)) for n, check in checks.items()}
        saved = reader.metadata.get("class", "LossScaler")
        if saved != "LossScaler":
            reader.problems.append(f"{METADATA_KEY}: it belongs to {saved}, not to LossScaler")
        reader.finish()
        vars(self).update(loaded)

    def __repr__(self) -> str:
        parts = [f"loss_scale={self.loss_scale}", f"growth_factor={self.growth_factor}"]
        parts.append(f"backoff_factor={self.backoff_factor}")
        parts.append(f"growth_interval={self.growth_interval}")
        return f"LossScaler({', '.join(parts)}{'' if self.enabled else ', enabled=False'})"


def _check_scale(name: str, value: Any) -> float:
    return check_number(name, value, above=0)


def _find(optimizers: tuple[Any, ...]) -> Found:
    """Return the parameters of the optimizers that have a gradient, or raise."""
    if not optimizers:
        raise TypeError("step: expected at least one optimizer")
    parameters: list[Tensor] = []
    for optimizer in optimizers:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"step: expected an Optimizer, got {describe(optimizer)}")
        parameters += optimizer.parameters
    found = find_gradients(parameters)
    for position, _, gradient in found:
        if accumulation_dtype(gradient.dtype) is not None:
            raise TypeError(
                f"parameters[{position}]: is {gradient.dtype}, expected float32; keep parameters "
                "in float32 and compute inside nn_tensor.autocast"
            )
    return found


def _all_finite(found: Found) -> bool:
    """Return whether all elements are finite, where the sum of their squares is not.

    In float32 one follows from the other.
    """
    wide = all(gradient.dtype.itemsize > 4 for _, _, gradient in found)
    return wide and all(isfinite(gradient).all().item() for _, _, gradient in found)


@kernel
def unscale_arrays(xp: Any, factor: float, *arrays: Any) -> list[Any]:
    """Return arrays of one dtype times a number, after the sum of their squares in float64.

    Of float32 arrays it is finite if, and only if, all elements are.
    """
    scaled = [x * factor for x in arrays]
    flat = (xp.ascontiguousarray(x).reshape(-1) for x in scaled)
    return [sum(sum_of_squares(xp, x) for x in flat), *scaled]


_unscale_on_cuda = MultiTensorKernel(
    "nn_optim_unscale_arrays",
    ["x", "out"],
    ["factor", "double *partial"],
    """
    __shared__ double parts[8];
    double sum = 0;
    for (long long i = start + threadIdx.x; i < stop; i += blockDim.x) {
        const T value = load(x, i) * factor;
        store(out, i, value);
        sum += (double)value * value;
    }
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < blockDim.x / 32; ++warp) sum += parts[warp];
    partial[blockIdx.x] = sum;
    """,
)


@unscale_arrays.cuda
def _(cp: Any, factor: float, *arrays: Any) -> list[Any]:
    pairs = [(cp.ascontiguousarray(x), cp.empty(x.shape, x.dtype)) for x in arrays]
    partial = cp.zeros(_unscale_on_cuda.blocks([x.size for x in arrays]), np.float64)
    _unscale_on_cuda(cp, pairs, float(factor), partial)
    return [partial.sum(), *(out for _, out in pairs)]
