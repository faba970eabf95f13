import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]

MANIFEST = """
[project]
name = "nn-workspace"
requires-python = ">=3.11"
dependencies = ["nn-a", "nn-b"]

[dependency-groups]
test = ["pytest>=8"]

[tool.uv]
package = false
sources = { nn-a = { workspace = true }, nn-b = { workspace = true } }

[tool.uv.workspace]
members = ["packages/nn-a", "packages/nn-b"]

[tool.mypy]
mypy_path = ["packages/nn-a/src", "packages/nn-b/src"]

[tool.importlinter]
root_packages = ["nn_a", "nn_b"]

[[tool.importlinter.contracts]]
name = "layers"
type = "layers"
layers = ["nn_b", "nn_a"]

[[tool.importlinter.contracts]]
name = "acyclic"
type = "acyclic_siblings"
ancestors = ["nn_a", "nn_b"]

[tool.lines-of-code]
limit = 3
"""

PACKAGE = """
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = {dependencies}

[project.optional-dependencies]
fast = {fast}
"""


class Workspace:
    """A workspace of two packages, of which nn-b requires nn-a, with nothing wrong."""

    def __init__(self, root):
        self.root = root
        self.write("pyproject.toml", MANIFEST)
        self.write("README.md", "run me\n")
        self.write(".ci/run", "run me\n")
        self.write("LICENSE", "free\n")
        self.write(
            "docs/development.md",
            "Before\n\n<!-- lines of code: begin -->\n<!-- lines of code: end -->\n\nAfter\n",
        )
        for name, dependencies in (("nn-a", ["json5"]), ("nn-b", ["nn-a>=0.1,<0.2"])):
            self.declare(name, dependencies)
            self.write(f"packages/{name}/LICENSE", "free\n")
            self.write(f"packages/{name}/README.md", "read me\n")
            self.write(f"packages/{name}/CHANGELOG.md", "0.1.0\n")
            self.module(name, "py.typed", "")
        self.module("nn-a", "__init__.py", "__all__ = []\n\ndef __dir__(): return []\n")
        self.module("nn-a", "_lazy.py", "__all__ = []\n\ndef f():\n    import json5\n")
        self.module(
            "nn-b", "__init__.py", "import nn_a as _a\n\n__all__ = []\n\ndef __dir__(): return []\n"
        )

    def write(self, path, text):
        """Write a file."""
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, path):
        """Read a file."""
        return (self.root / path).read_text(encoding="utf-8")

    def change(self, path, old, new):
        """Replace a text that a file has once."""
        text = self.read(path)
        assert text.count(old) == 1
        self.write(path, text.replace(old, new))

    def declare(self, name, dependencies, fast=()):
        """Write the manifest of a package."""
        manifest = PACKAGE.format(name=name, dependencies=dependencies, fast=list(fast))
        self.write(f"packages/{name}/pyproject.toml", manifest)

    def module(self, name, path, text):
        """Write a file into the sources of a package."""
        self.write(f"packages/{name}/src/{name.replace('-', '_')}/{path}", text)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)
