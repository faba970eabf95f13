import pytest
from import_each_first import main


@pytest.fixture
def report(workspace, capsys):
    """Return a function that runs the tool on the workspace and returns the lines it prints."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(arguments, workspace.root)
        lines = capsys.readouterr().out.splitlines()
        assert stopped.value.code == (", 0 failed" not in lines[-1].replace(": ", ", "))
        return lines

    return run


def test_modules_that_can_be_imported_first(report):
    assert report() == ["3 modules imported first: 0 failed, 0 skipped"]


def test_a_cycle_that_the_package_hides_is_found(workspace, report):
    workspace.module("nn-a", "_x.py", "from nn_a._y import g\nf = 1\n")
    workspace.module("nn-a", "_y.py", "g = 1\nfrom nn_a._x import f\n")
    workspace.module("nn-a", "__init__.py", "import nn_a._y\n")
    failed, summary = report("nn-a")
    assert failed.startswith("FAILED nn_a._x: ImportError: cannot import name 'f' from partially")
    assert summary == "4 modules imported first: 1 failed, 0 skipped"


def test_the_packages_that_contain_a_module_do_not_run(workspace, report):
    workspace.module("nn-a", "sub/__init__.py", "from nn_a import f\n")
    workspace.module("nn-a", "sub/_x.py", "import nn_a._lazy as x, nn_a.sub._y as y\n")
    workspace.module("nn-a", "sub/_y.py", "import nn_b\n")
    workspace.module("nn-a", "__init__.py", "f = 1\nprint(undefined)\n")
    workspace.module("nn-b", "__init__.py", "")
    assert report() == [
        "FAILED nn_a: NameError: name 'undefined' is not defined",
        "FAILED nn_a.sub: ImportError: cannot import name 'f' from 'nn_a' "
        f"({workspace.root}/packages/nn-a/src/nn_a/__init__.py)",
        "6 modules imported first: 2 failed, 0 skipped",
    ]
    assert report("nn_a.sub._x") == ["1 modules imported first: 0 failed, 0 skipped"]


def test_a_missing_optional_dependency_is_skipped_by_name(workspace, report):
    workspace.declare("nn-a", ["json5"], fast=["not-installed"])
    workspace.module("nn-a", "_fast.py", "import not_installed.part\n")
    workspace.module("nn-a", "_slow.py", "import required_not_installed\n")
    assert report("nn_a") == [
        "skipped nn_a._fast: not_installed is not installed",
        "FAILED nn_a._slow: ModuleNotFoundError: No module named 'required_not_installed'",
        "4 modules imported first: 1 failed, 1 skipped",
    ]


def test_a_package_that_needs_an_optional_dependency_fails(workspace, report):
    workspace.declare("nn-a", ["json5"], fast=["not-installed"])
    workspace.module("nn-a", "__init__.py", "import not_installed\n")
    assert report("nn_a")[0] == "FAILED nn_a: not_installed"


def test_a_module_that_ends_the_process_fails(workspace, report):
    workspace.module("nn-a", "_x.py", "import os\nos._exit(0)\n")
    assert report("nn_a._x")[0] == "FAILED nn_a._x: the process ended without a result"


def test_a_traceback_is_shown_on_demand(workspace, report):
    workspace.module("nn-a", "_x.py", "1 / 0\n")
    assert any("_x.py" in line for line in report("--traceback", "nn_a._x"))


def test_an_unknown_name_is_an_error(workspace):
    with pytest.raises(SystemExit, match="there is no module nn_c"):
        main(["nn_c"], workspace.root)
