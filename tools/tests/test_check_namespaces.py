import subprocess
import sys

import pytest
from workspace import ROOT

CODE = """
import sys
from pathlib import Path
from check_namespaces import main
main(sys.argv[2:], Path(sys.argv[1]))
"""

SHORT_DIR = "def __dir__(): return __all__\n"


@pytest.fixture
def problems(workspace):
    """Return a function that checks the workspace in a process of its own."""

    def run(*packages):
        command = [sys.executable, "-c", CODE, str(workspace.root), *packages]
        result = subprocess.run(
            command, cwd=ROOT / "tools", capture_output=True, text=True, check=False
        )
        assert not result.stderr
        lines = result.stdout.splitlines()
        return lines if result.returncode else lines[:-1]

    return run


def test_a_workspace_with_nothing_wrong_has_no_problem(problems):
    assert problems() == []


def test_a_module_without_all_is_found(workspace, problems):
    workspace.module("nn-a", "_other.py", "x = 1\n")
    workspace.module("nn-b", "_other.py", "__all__: list[str] = []\n")
    assert problems() == ["nn_a._other: has no __all__"]
    assert problems("nn-b") == []


def test_an_import_from_the_package_that_contains_the_module_is_found(workspace, problems):
    workspace.module("nn-a", "__init__.py", "from nn_a import _x\n__all__ = ['f']\nf = 1\n")
    workspace.module("nn-a", "_x.py", "__all__ = []\ndef g():\n    from nn_a import f\n")
    workspace.module("nn-a", "_s/__init__.py", "import nn_a._x\n__all__ = []\n")
    workspace.module("nn-a", "_s/_y.py", "from nn_a import _x\n__all__ = []\n")
    workspace.module("nn-a", "_s/_z.py", "from nn_a._s import _y, t\n__all__ = []\n")
    text = "import typing\nif typing.TYPE_CHECKING:\n    from nn_a import f\n__all__ = []\n"
    workspace.module("nn-a", "_types.py", text)
    found = problems()
    assert "nn_a._x: imports from nn_a, which contains it" in found
    assert "nn_a._s._z: imports from nn_a._s, which contains it" in found
    assert len([line for line in found if "contains it" in line]) == 2


def test_names_that_dir_shows_are_in_all_or_in_the_docstring(workspace, problems):
    text = "from math import e, pi as _pi\n__all__ = ['f']\nf = lazy = 1\n"
    workspace.module("nn-a", "__init__.py", text)
    assert problems() == [
        "nn_a: dir() shows what is not in __all__: e, lazy",
        "nn_a: dir() shows private names, define __dir__: _lazy, _pi",
    ]
    text = f'"""On demand: `nn_a.lazy`."""\n{text}def __dir__(): return ["f", "lazy"]\n'
    workspace.module("nn-a", "__init__.py", text)
    assert problems() == []


def test_a_submodule_that_a_star_import_leaks_is_found(workspace, problems):
    workspace.module("nn-a", "ops/__init__.py", "from nn_a.ops.shape import *\n")
    workspace.module("nn-a", "ops/shape.py", "__all__ = ['ravel']\nravel = 1\n")
    text = '"""See nn_a.ops."""\nfrom nn_a.ops import *\n__all__ = ["ravel"]\n'
    workspace.module("nn-a", "__init__.py", text + SHORT_DIR)
    assert problems() == ["nn_a.ops: has no __all__", "nn_a.shape: is the module nn_a.ops.shape"]
    text = "from nn_a.ops.shape import *\n__all__ = ['ravel']\n"
    workspace.module("nn-a", "ops/__init__.py", text)
    assert problems() == []


def test_a_public_submodule_is_named_in_the_docstring(workspace, problems):
    workspace.module("nn-a", "extend.py", "__all__ = []\n")
    assert problems() == [
        "nn_a.extend: is a public module that the docstring of nn_a does not name"
    ]
    text = '"""To extend it: `nn_a.extend`."""\n__all__ = []\n'
    workspace.module("nn-a", "__init__.py", text + SHORT_DIR)
    assert problems() == []


def test_a_module_in_all_and_a_name_that_does_not_exist_are_found(workspace, problems):
    text = "import os as shape\n__all__ = ['shape', 'lost']\n"
    workspace.module("nn-a", "__init__.py", text + SHORT_DIR)
    assert problems() == ["nn_a.shape: is the module os", "nn_a: lost of __all__ does not exist"]


def test_an_optional_dependency_may_be_missing_and_another_not(workspace, problems):
    workspace.declare("nn-a", ["json5"], fast=["not-installed"])
    workspace.module("nn-a", "_fast.py", "import not_installed\n__all__ = []\n")
    assert problems() == []
    workspace.module("nn-a", "_slow.py", "import json5_not_installed\n__all__ = []\n")
    assert problems() == [
        "nn_a: cannot be imported: No module named 'json5_not_installed'",
    ]
