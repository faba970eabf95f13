"""Every optimizer, kernel and schedule has a row, and each row passes the checks of its kind."""

from __future__ import annotations

import nn_optim
import pytest
from nn_tensor.testing import Check, each_check, kernels_of, missing_cases, ops_of

from .cases import KERNELS, OPTIMIZERS, SCHEDULES

CASES = [*OPTIMIZERS, *SCHEDULES, *KERNELS]
NAMES = {*nn_optim.__all__, *ops_of("nn_optim"), *kernels_of("nn_optim")}
EXEMPT = {
    "Group": "holds options: test_groups.py",
    "LossScaler": "changes gradients and a scale: test_loss_scaler.py",
    "Optimizer": "abstract: its subclasses have rows",
    "ReduceOnPlateau": "is not a function of the step: test_schedules.py",
    "Schedule": "abstract: its subclasses have rows",
    "clip_gradients_by_norm": "changes gradients only: test_clip.py",
    "clip_gradients_by_value": "changes gradients only: test_clip.py",
}


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, CASES, EXEMPT) == []
    assert {case.name for case in CASES} <= NAMES
