"""Every layer, operation and kernel has a row, and each row passes the checks of its kind."""

from __future__ import annotations

import nn_recurrent
import pytest
from nn_tensor.testing import Check, each_check, kernels_of, missing_cases, ops_of

from .cases import KERNELS, LAYERS, OPS

CASES = [*LAYERS, *OPS, *KERNELS]
NAMES = {*nn_recurrent.__all__, *ops_of("nn_recurrent"), *kernels_of("nn_recurrent")}
EXEMPT = {
    "GATE_ORDERS": "is a table: test_weights.py",
    **dict.fromkeys(
        (
            "from_keras_recurrent",
            "from_onnx_recurrent",
            "from_torch_recurrent",
            "reorder_gates",
            "to_keras_recurrent",
            "to_onnx_recurrent",
            "to_torch_recurrent",
            "torch_recurrent_settings",
        ),
        "converts weights: test_weights.py",
    ),
}


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, CASES, EXEMPT) == []
    assert {case.name for case in CASES} <= NAMES
