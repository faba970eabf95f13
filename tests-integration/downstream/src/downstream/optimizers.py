"""An optimizer and a schedule of this library."""

from typing import Any

import numpy as np
from nn_optim.extend import Optimizer, Schedule, option, update_rule
from nn_tensor.extend import check_integer, check_number

__all__ = ["PolynomialSchedule", "Signum"]


@update_rule
def signum_step(parameter: Any, gradient: Any, mean: Any, /, lr: float, beta: float) -> None:
    """Step by the sign of the running mean of the gradient."""
    mean += (1 - beta) * (gradient - mean)
    parameter -= lr * np.sign(mean)


class Signum(Optimizer):
    """Stochastic gradient descent by the sign of the momentum."""

    rule = signum_step
    beta: float = option(check_number, minimum=0, below=1, default=0.9)


class PolynomialSchedule(Schedule):
    """Lowers the learning rate to 0 in `total_steps` steps."""

    total_steps: int = option(check_integer, minimum=1, kw_only=False)

    def rate(self, base: float, step: int) -> float:
        """Return the learning rate after `step` steps."""
        return base * max(0.0, 1.0 - step / self.total_steps)
