"""Every module, operation and kernel has a row, and each row passes the checks of its kind."""

from __future__ import annotations

import nn_transformer
import pytest
from nn_tensor.testing import Check, each_check, kernels_of, missing_cases, ops_of

from .cases import ATTENTION, KERNELS, MODULES, OPS

CASES = [*MODULES, *ATTENTION, *OPS, *KERNELS]
NAMES = {*nn_transformer.__all__, *ops_of("nn_transformer"), *kernels_of("nn_transformer")}
EXEMPT = {
    **dict.fromkeys(("DecoderCache", "KVCache"), "is state, no layer: test_kv_cache.py"),
    **dict.fromkeys(("LayerOptions", "StackOptions"), "is a type: test_options.py"),
    **dict.fromkeys(("beam_search", "generate"), "returns tokens: test_decoding.py"),
    **dict.fromkeys(("causal_mask", "padding_mask"), "returns booleans: test_transformer.py"),
    **dict.fromkeys(
        (
            "bert_settings",
            "from_bert",
            "from_gpt2",
            "from_torch_attention",
            "from_torch_transformer",
            "gpt2_settings",
            "torch_transformer_settings",
        ),
        "converts weights: test_pretrained_weights.py",
    ),
    "renames_since_0_1": "is a map of names: test_version_0_1.py",
}


@pytest.mark.parametrize("check", each_check(CASES), ids=str)
def test_case(check: Check, device: str) -> None:
    check(device)


def test_everything_public_has_a_row() -> None:
    assert missing_cases(NAMES, CASES, EXEMPT) == []
    assert {case.name for case in CASES} <= NAMES
