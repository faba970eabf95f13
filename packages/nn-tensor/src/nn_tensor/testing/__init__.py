"""Checks for code that computes with Tensors, and tables of test cases for all of a library.

`gradcheck` compares gradients with finite differences, `assert_close` values with values; both
raise an `AssertionError` that says what was expected and what came. A table has a row for each
op, layer, loss, metric, optimizer and kernel, which says what it is called with and which formula
gives the same; `each_check` lists what has to hold of the rows, `half_precision_checks` compares
rows of many elements in float16 with float64, and `missing_cases` lists what has no row. `ops_of`
and `kernels_of` find the ops and kernels of a package::

    from nn_tensor.testing import OpCase, each_check

    CASES = [OpCase(cube, lambda x: x**3, [("normal", (3, 4))], elementwise=True)]

    @pytest.mark.parametrize("check", each_check(CASES), ids=str)
    def test_case(check):
        check()

`pytest_plugin` gives tests the device to run on. Nothing else here needs pytest.
"""

from nn_tensor.testing.assertions import assert_close
from nn_tensor.testing.cases import DOMAINS, Case, Check, each_check, missing_cases
from nn_tensor.testing.discovery import kernels_of, ops_of
from nn_tensor.testing.gradcheck import GradientError, gradcheck
from nn_tensor.testing.half_precision import MANY, half_precision_checks
from nn_tensor.testing.kernels import KernelCase
from nn_tensor.testing.layers import LayerCase
from nn_tensor.testing.losses import LossCase, MetricCase
from nn_tensor.testing.ops import OpCase
from nn_tensor.testing.optimizers import OptimizerCase

__all__ = [
    "DOMAINS",
    "MANY",
    "Case",
    "Check",
    "GradientError",
    "KernelCase",
    "LayerCase",
    "LossCase",
    "MetricCase",
    "OpCase",
    "OptimizerCase",
    "assert_close",
    "each_check",
    "gradcheck",
    "half_precision_checks",
    "kernels_of",
    "missing_cases",
    "ops_of",
]
