"""The contracts of import-linter see a cycle wherever it is planted in the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import ROOT, find_packages, source_path


@pytest.fixture
def copy(tmp_path):
    """Return the folder of a copy of all sources and of the configuration."""
    pytest.importorskip("importlinter")
    for package in find_packages():
        shutil.copytree(package.source, tmp_path / package.source.relative_to(ROOT))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(root):
    """Run import-linter as the session `boundaries` does; return its status and output."""
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": source_path(find_packages(root))},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_a_cycle_in_any_package_is_seen(copy):
    packages = find_packages(copy)
    for package in packages:
        name = package.import_name
        (package.source / "_planted_x.py").write_text(f"from {name} import _planted_y\n")
        (package.source / "_planted_y.py").write_text(f"def f(): import {name}._planted_x\n")
    status, output = lint_imports(copy)
    assert status == 1
    for package in packages:
        assert f"No cycles are allowed in {package.import_name}." in output


def test_a_cycle_between_and_in_subpackages_is_seen(copy):
    folder = copy / "packages/nn-losses/src/nn_losses"
    for path, text in {
        "_planted_a/__init__.py": "",
        "_planted_a/_x.py": "import nn_losses._planted_a._y, nn_losses._planted_b._x\n",
        "_planted_a/_y.py": "from nn_losses._planted_a import _x\n",
        "_planted_b/__init__.py": "",
        "_planted_b/_x.py": "",
        "_planted_b/_y.py": "from nn_losses._planted_a import _y\n",
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    status, output = lint_imports(copy)
    assert status == 1
    assert "No cycles are allowed in nn_losses." in output
    assert "No cycles are allowed in nn_losses._planted_a." in output


def test_an_import_from_a_higher_layer_is_seen(copy):
    (copy / "packages/nn-tensor/src/nn_tensor/_planted.py").write_text("import nn_layers\n")
    status, output = lint_imports(copy)
    assert status == 1
    assert "nn_tensor is not allowed to import nn_layers" in output
