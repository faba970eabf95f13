"""The extension API: custom optimizers and schedules.

An update rule is one elementwise statement. From it follow the NumPy implementation, a loop that
numba compiles and a CUDA kernel; `Optimizer` does the rest (groups, options, flat buffers, half
precision, devices, state dicts). The arguments of the rule are filled by name: after the parameter
and its gradient the state arrays, initially zero, then ``step`` and options::

    from nn_optim.extend import Optimizer, option, update_rule
    from nn_tensor.extend import check_number

    @update_rule
    def signum_step(parameter, gradient, mean, /, lr, beta):
        mean += (1 - beta) * (gradient - mean)
        parameter -= lr * np.sign(mean)

    class Signum(Optimizer):
        rule = signum_step
        beta: float = option(check_number, minimum=0, below=1, default=0.9)

`Optimizer.init_state` chooses other arrays or values to begin with. An optimizer whose step is not
elementwise overrides `Optimizer.update` in place of declaring a rule.

A schedule is a function of the base learning rate, the step and its options::

    class PolynomialSchedule(Schedule):
        total_steps: int = option(check_integer, minimum=1, kw_only=False)
        power: float = option(check_number, minimum=0, default=1.0)

        def rate(self, base, step):
            return base * max(0.0, 1.0 - step / self.total_steps) ** self.power

>>> import numpy as np
>>> from nn_optim.extend import Optimizer, option, update_rule
>>> from nn_tensor import Tensor
>>> from nn_tensor.extend import check_number
>>> @update_rule
... def signum_step(parameter, gradient, mean, /, lr, beta):
...     mean += (1 - beta) * (gradient - mean)
...     parameter -= lr * np.sign(mean)
>>> class Signum(Optimizer):
...     rule = signum_step
...     beta: float = option(check_number, minimum=0, below=1, default=0.9)
>>> x = Tensor([1.0, -2.0], requires_grad=True)
>>> optimizer = Signum([x], lr=0.5)
>>> (x * x).sum().backward()
>>> optimizer.step()
>>> x
Tensor([ 0.5, -1.5], requires_grad=True)
"""

from nn_optim._optimizer import Optimizer as Optimizer
from nn_optim._options import Options as Options
from nn_optim._options import option as option
from nn_optim._schedules import Schedule as Schedule
from nn_optim._update_rule import UpdateRule as UpdateRule
from nn_optim._update_rule import update_rule as update_rule

__all__ = ["Optimizer", "Options", "Schedule", "UpdateRule", "option", "update_rule"]
