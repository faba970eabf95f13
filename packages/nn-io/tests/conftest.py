"""The helpers beside the tests are importable under pytest's importlib mode too."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(params=[".safetensors", ".npz", ".pkl"])
def suffix(request: pytest.FixtureRequest) -> str:
    """Return the suffix of each format."""
    return str(request.param)
