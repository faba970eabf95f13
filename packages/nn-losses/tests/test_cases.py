"""Every loss, metric and operation has a row, and each row passes the checks of its kind."""

from __future__ import annotations

import nn_losses
import pytest
from nn_tensor.testing import Check, each_check, kernels_of, missing_cases, ops_of

from .cases import KERNELS, LOSSES, METRICS, OPS

CASES = [*LOSSES, *METRICS, *OPS, *KERNELS]
NAMES = {*nn_losses.__all__, *ops_of("nn_losses"), *kernels_of("nn_losses")}
EXEMPT = dict.fromkeys(("Loss", "RunningMetric"), "abstract: its subclasses have rows")


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, CASES, EXEMPT) == []
    assert {case.name for case in CASES} <= NAMES
