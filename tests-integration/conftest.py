"""What the tests of the examples share."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"

sys.path.insert(0, str(Path(__file__).parent))  # for training_run.py

collect_ignore = ["downstream"]  # checked by the session of that name, as installed


@pytest.fixture
def load_example(monkeypatch):
    """Return the function that imports an example by name, as a module of its own."""

    def load(name):
        monkeypatch.syspath_prepend(EXAMPLES)
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
