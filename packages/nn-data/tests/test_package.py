"""The package by itself: its names, its documentation, and what importing it costs."""

import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import nn_data
import pytest

MODULES = [module.name for module in pkgutil.walk_packages(nn_data.__path__, prefix="nn_data.")]
PUBLIC = [nn_data, nn_data.tabular, nn_data.text, nn_data.transforms]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("package", PUBLIC, ids=lambda package: package.__name__)
def test_public_names(package):
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        thing = getattr(package, name)
        assert inspect.getdoc(thing)
        for part, member in vars(thing).items() if inspect.isclass(thing) else ():
            if not part.startswith("_") and inspect.isfunction(member):
                assert inspect.getdoc(getattr(thing, part)), f"{name}.{part}"


def test_import_needs_numpy_alone():
    code = (
        "import sys; import numpy; before = set(sys.modules); import nn_data;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - {'numpy'} - set(sys.stdlib_module_names)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "['nn_data']\n", done.stderr
