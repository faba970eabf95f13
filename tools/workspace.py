"""What the tools know of the workspace: its packages, their manifests and their modules."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = [
    "IMPORT_NAMES",
    "ROOT",
    "Package",
    "find_packages",
    "import_names",
    "load_manifest",
    "source_path",
]

ROOT = Path(__file__).resolve().parent.parent

# What a distribution is imported as, where that is not its own name.
IMPORT_NAMES = {
    "pillow": {"PIL"},
    "scikit-learn": {"sklearn"},
    "cupy-cuda12x": {"cupy", "cupyx"},
    "cupy-cuda13x": {"cupy", "cupyx"},
    "nvidia-cudnn-frontend": {"cudnn"},
}


def load_manifest(folder):
    """Read the pyproject.toml of a folder."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def import_names(distribution):
    """Return the top-level names that a distribution installs."""
    return IMPORT_NAMES.get(distribution, {distribution.replace("-", "_")})


@dataclass(frozen=True)
class Package:
    """A package of the workspace: the distribution nn-x, imported as nn_x."""

    folder: Path

    @property
    def name(self):
        """Return the name of the distribution."""
        return self.folder.name

    @property
    def import_name(self):
        """Return the name that it is imported by."""
        return self.name.replace("-", "_")

    @property
    def source(self):
        """Return the folder of its sources."""
        return self.folder / "src" / self.import_name

    @cached_property
    def manifest(self):
        """Return its manifest."""
        return load_manifest(self.folder)

    @cached_property
    def modules(self):
        """Map the dotted name of each module to its file; a package's module is its `__init__`."""
        found = {}
        for path in sorted(self.source.rglob("*.py")):
            parts = path.relative_to(self.source.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def requirements(self, *, extras):
        """Map each distribution that is required, always or by an extra, to its requirement."""
        project = self.manifest["project"]
        optional = project.get("optional-dependencies", {}).values()
        texts = [t for group in optional for t in group] if extras else project["dependencies"]
        return {canonicalize_name(r.name): r for r in map(Requirement, texts)}


def find_packages(root=ROOT, names=()):
    """Return the packages under `root`, or those of the given names (nn-x or nn_x)."""
    wanted = {name.replace("_", "-") for name in names}
    found = [Package(p) for p in sorted((root / "packages").iterdir()) if (p / "src").is_dir()]
    if unknown := wanted - {package.name for package in found}:
        raise SystemExit(f"there is no package {', '.join(sorted(unknown))}")
    return [package for package in found if not wanted or package.name in wanted]


def source_path(packages):
    """Return a PYTHONPATH with the sources of packages."""
    return os.pathsep.join(str(package.source.parent) for package in packages)
