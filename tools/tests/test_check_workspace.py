import pytest
from check_workspace import allowed_range, find_problems, imported
from packaging.specifiers import SpecifierSet
from packaging.version import Version


def problems(workspace):
    return list(find_problems(workspace.root))


def test_a_workspace_with_nothing_wrong_has_no_problem(workspace):
    assert problems(workspace) == []


@pytest.mark.parametrize(
    "code",
    [
        "import a.b",
        "import a.b as c",
        "from a.b import c",
        "def f():\n    import a",
        "try:\n    import a\nexcept ImportError:\n    a = None",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a",
        "import importlib\nimportlib.import_module('a.b')",
        "from importlib import import_module\nimport_module(f'a.{name}')",
        "__import__('a')",
    ],
)
def test_imports_are_found_wherever_they_stand(code):
    assert "a" in imported(code)


def test_relative_imports_and_computed_names_are_not_imports_of_others():
    assert imported("from . import a\nfrom .b import c\nimport_module(name)\nf('a')") == set()
    assert imported("import_module('.a', __package__)\nimport_module(f'{name}.a')") == set()


@pytest.mark.parametrize(
    ("specifier", "version", "expected"),
    [
        (">=0.1,<0.2", "0.1.3", True),
        (">=0.1.2,<0.2", "0.1.3", True),
        (">=0.1.4,<0.2", "0.1.3", False),
        (">=0.1", "0.1.3", False),
        (">=0.1,<0.3", "0.1.3", False),
        (">=0.1,<0.2", "0.2.0", False),
        (">=1.2,<2", "1.3.0", True),
        (">=1.2,!=1.2.5,<2", "1.3.0", False),
    ],
)
def test_ranges_of_siblings_are_those_that_siblings_need(specifier, version, expected):
    assert allowed_range(SpecifierSet(specifier), Version(version)) is expected


def test_an_import_that_is_not_declared_is_found_with_its_module(workspace):
    workspace.module("nn-b", "_other.py", "def f():\n    import scipy.special, os\n")
    assert problems(workspace) == [
        "nn-b: nn_b._other imports scipy, which its manifest does not declare"
    ]
    workspace.declare("nn-b", ["nn-a>=0.1,<0.2"], fast=["scipy>=1"])
    assert problems(workspace) == []


def test_a_sibling_that_is_not_declared_is_found(workspace):
    workspace.module("nn-a", "_other.py", "import nn_b\n")
    assert problems(workspace) == [
        "nn-a: nn_a._other imports nn_b, which its manifest does not declare"
    ]


def test_a_requirement_that_is_not_imported_is_found(workspace):
    workspace.declare("nn-a", ["json5", "scipy"], fast=["cupy-cuda12x>=14"])
    assert problems(workspace) == [
        "nn-a: its manifest declares cupy-cuda12x, which no module imports",
        "nn-a: its manifest declares scipy, which no module imports",
    ]
    workspace.module("nn-a", "_other.py", "import scipy\nfrom cupyx.scipy import special\n")
    assert problems(workspace) == []


def test_reasons_accept_what_is_undeclared_or_unused_and_may_not_be_stale(workspace):
    workspace.module("nn-a", "_plugin.py", "import pytest\n")
    workspace.declare("nn-a", ["json5", "scipy"])
    manifest = workspace.read("pyproject.toml") + (
        '[tool.check-workspace.undeclared.nn-a]\npytest = "loaded by pytest"\n'
        '[tool.check-workspace.unused.nn-a]\nscipy = "planned"\n'
    )
    workspace.write("pyproject.toml", manifest)
    assert problems(workspace) == []
    workspace.module("nn-a", "_plugin.py", "import scipy\n")
    assert problems(workspace) == [
        "nn-a: a reason is given for the import of pytest, which needs none",
        "nn-a: a reason is given for the unused scipy, which needs none",
    ]


def test_a_loose_range_of_a_sibling_is_found_in_an_extra_too(workspace):
    workspace.declare("nn-b", [], fast=["nn-a>=0.1"])
    assert problems(workspace) == [
        "nn-b: nn-a>=0.1 does not match its version (expected >=0.1.0,<0.2)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('root_packages = ["nn_a", "nn_b"]', 'root_packages = ["nn_a"]', "root_packages"),
        ('ancestors = ["nn_a", "nn_b"]', 'ancestors = ["nn_b"]', "acyclic_siblings"),
        ('layers = ["nn_b", "nn_a"]', 'layers = ["nn_b"]', "the layers"),
        ('["packages/nn-a/src", "packages/nn-b/src"]', "[]", "mypy_path"),
        ('dependencies = ["nn-a", "nn-b"]', "dependencies = []", "dependencies name every member"),
        ('members = ["packages/nn-a", "packages/nn-b"]', "members = []", "members"),
        ("package = false", "package = true", "the root is virtual"),
    ],
)
def test_a_package_that_a_list_of_the_root_lacks_is_found(workspace, old, new, problem):
    workspace.change("pyproject.toml", old, new)
    (found,) = problems(workspace)
    assert found.startswith("root: ")
    assert problem in found


def test_links_that_an_index_does_not_have_are_found(workspace):
    page = "[a](../nn-b) ![b](b.png) [c](https://x.org) [d](#part) `[e](e)`\n\n```\n[f](f)\n```\n"
    workspace.write("packages/nn-a/README.md", page)
    assert problems(workspace) == [
        "nn-a: README.md links to ../nn-b, which an index does not have",
        "nn-a: README.md links to b.png, which an index does not have",
    ]


def test_files_beside_the_manifest_are_checked(workspace):
    workspace.write("packages/nn-a/LICENSE", "other\n")
    workspace.write("packages/nn-b/CHANGELOG.md", "0.0.9\n")
    (workspace.root / "packages/nn-b/README.md").unlink()
    workspace.write(".ci/run", "run another\n")
    assert problems(workspace) == [
        "root: .ci/run does not end in a command of README.md",
        "nn-a: LICENSE differs from the root's",
        "nn-b: CHANGELOG.md has no entry for 0.1.0",
        "nn-b: README.md is missing",
    ]
