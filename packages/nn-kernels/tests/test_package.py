"""The package by itself: its names, its documentation, and what importing it does."""

import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys

import nn_kernels
import pytest

MODULES = [module.name for module in pkgutil.walk_packages(nn_kernels.__path__, "nn_kernels.")]


@pytest.mark.parametrize("name", ["nn_kernels", *MODULES])
def test_examples_in_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_public_names():
    assert dir(nn_kernels) == sorted(nn_kernels.__all__)
    for name in nn_kernels.__all__:
        assert inspect.getdoc(getattr(nn_kernels, name))


def test_unknown_name():
    with pytest.raises(LookupError, match=r"name: expected one of .*'conv2d'.*, got 'conv9d'"):
        nn_kernels.find("conv9d")


def test_import_compiles_nothing_and_starts_no_thread():
    code = (
        "import threading, nn_kernels, nn_kernels.convolution;"
        "from nn_kernels import _winograd as w;"
        "print(threading.active_count(), 'address' in vars(w._convolve))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "1 False\n", done.stderr
