"""Half precision: parameters take the steps of wider ones, and norms count all elements."""

from __future__ import annotations

import pytest
from nn_tensor.testing import Check, half_precision_checks, kernels_of, missing_cases

from .cases import SCHEDULES
from .cases_half import HALF
from .test_cases import EXEMPT, NAMES

EXEMPT_FROM_HALF = {
    **{name: reason for name, reason in EXEMPT.items() if not name.startswith("clip_")},
    **dict.fromkeys(kernels_of("nn_optim"), "a kernel: the optimizers have rows"),
    **dict.fromkeys((case.name for case in SCHEDULES), "computes with Python's numbers"),
}


@pytest.mark.parametrize("check", half_precision_checks(HALF), ids=str)
def test_half_precision(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, HALF, EXEMPT_FROM_HALF) == []
    assert {case.name for case in HALF} <= NAMES
