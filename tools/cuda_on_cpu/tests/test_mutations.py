"""The faults of cuda_on_cpu.mutations are found by the tests."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from cuda_on_cpu import mutations

pytestmark = [pytest.mark.cuda, pytest.mark.slow]


@pytest.mark.parametrize(
    "number", range(len(mutations.MUTATIONS)), ids=[str(m) for m in mutations.MUTATIONS]
)
def test_a_planted_fault_is_found(number, stand_in):
    assert mutations.try_mutation(number) == "caught"
