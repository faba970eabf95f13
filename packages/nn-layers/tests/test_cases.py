"""Every layer, operation and kernel has a row, and each row passes the checks of its kind."""

from __future__ import annotations

import nn_layers
import pytest
from nn_tensor.testing import Check, each_check, kernels_of, missing_cases, ops_of

from .cases_layers import LAYERS
from .cases_ops import KERNELS, OPS

CASES = [*LAYERS, *OPS, *KERNELS]
NAMES = {*nn_layers.__all__, *ops_of("nn_layers"), *kernels_of("nn_layers")}
EXEMPT = {
    "Activation": "abstract: its subclasses have rows",
    "BaseModel": "computes nothing: test_module.py",
    "Base_Layer": "computes nothing: test_module.py",
    "initialize": "random: test_conv2d.py, test_dense.py",
    "parse_dtype": "of nn_tensor",
}


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, CASES, EXEMPT) == []
    assert {case.name for case in CASES} <= NAMES
