"""Half precision: float16 gives what float64 gives, for long sequences and large batches."""

from __future__ import annotations

import pytest
from nn_tensor.testing import Check, half_precision_checks, kernels_of, missing_cases

from .cases_half import HALF
from .test_cases import EXEMPT, NAMES

# What an operation calls is compared through the operation.
KERNELS = dict.fromkeys(kernels_of("nn_recurrent"), "a kernel: its operation has rows")


@pytest.mark.parametrize("check", half_precision_checks(HALF), ids=str)
def test_half_precision(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, HALF, {**EXEMPT, **KERNELS}) == []
    assert {case.name for case in HALF} <= NAMES
