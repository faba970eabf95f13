"""What a training step may ask of a device: launches, synchronizations and copies.

The figures are those of docs/performance.md, and exact: a step that needs less lowers them here.
Only copies to the device may be fewer: the table of addresses that an optimizer or clipping sends
is kept, and whether one is found depends on the addresses that the memory pool gives.
"""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "benchmarks"))
cuda_counts = pytest.importorskip("cuda_counts")

pytestmark = pytest.mark.cuda

# For each model: launches, synchronizations, copies to the device and copies to the host. One
# synchronization and one copy are the user's own read of the loss, another is that of clipping.
BUDGETS = {
    "MLP 784-128-64-10, batch 32, Adam": (27, 1, 1, 1),
    "ConvNet 1→32→64, batch 8, Adam": (56, 1, 1, 1),
    "language model, dropout 0.1, AdamW, clipping": (337, 2, 4, 2),
    "language model in float16, with a loss scaler": (501, 2, 4, 2),
    "Transformer of the specification, Adam": (1283, 1, 1, 1),
    "`generate`, a token": (126, 1, 2, 1),
}


def test_every_model_has_a_budget():
    assert BUDGETS.keys() == cuda_counts.MODELS.keys()


@pytest.mark.parametrize("name", BUDGETS)
def test_a_step_takes_its_budget(name, stand_in):
    budget = dict(zip(cuda_counts.KINDS, BUDGETS[name], strict=True))
    counts = cuda_counts.count(name)
    copies, allowed = counts.pop("host_to_device"), budget.pop("host_to_device")
    assert counts == budget  # one that needs less has its budget lowered
    assert copies <= allowed


def test_a_budget_that_is_passed_is_noticed(stand_in):
    import cupy

    def wait():
        cupy.add(x, 1, out=x)
        x.sum().item()

    x = cupy.zeros(3)
    counts = cuda_counts.record(wait).counts
    assert [counts[kind] for kind in cuda_counts.KINDS] == [2, 1, 0, 1]
