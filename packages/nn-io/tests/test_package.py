"""The documentation runs, and importing the package costs nothing that is not needed."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import nn_io
import nn_tensor.extend
import pytest

MODULES = [module.name for module in pkgutil.walk_packages(nn_io.__path__, "nn_io.")]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0


def test_public_names() -> None:
    for name in nn_io.__all__:
        documentation = getattr(nn_io, name).__doc__
        assert documentation
    assert nn_io.METADATA_KEY == nn_tensor.extend.METADATA_KEY == "__metadata__"
    assert {name for name in dir(nn_io) if not name.startswith("_")} == set(nn_io.__all__)


def test_import_needs_nothing_optional() -> None:
    code = (
        "import sys; before = set(sys.modules); import nn_io;"
        "assert not {'cupy', 'torch', 'safetensors', 'numba'} & (set(sys.modules) - before)"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
