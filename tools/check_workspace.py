"""Check the manifests against each other.

uv accepts a workspace member for a sibling whatever the declared range says, so a wheel that
nobody could install would pass every other check. This one reads only the manifests.
"""

import ast
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


def load(folder):
    """Read a manifest."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def next_breaking(version):
    """Return the first version that may break its users: 0.1.4 gives 0.2, 1.3.0 gives 2."""
    return Version(f"0.{version.minor + 1}" if version.major == 0 else f"{version.major + 1}")


def honest(specifier, version):
    """Tell whether a range is `>=` a version of the present series, `<` the next breaking one."""
    bounds = {s.operator: Version(s.version) for s in specifier}
    if set(bounds) != {">=", "<"} or len(list(specifier)) != 2:
        return False
    return (
        bounds["<"] == next_breaking(version) == next_breaking(bounds[">="])
        and bounds[">="] <= version
    )


def imported(folder):
    """Return the top-level names that the sources of a package import, wherever they do."""
    names = set()
    for path in sorted((folder / "src").rglob("*.py")):
        if path.name == "pytest_plugin.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    return names


def root_problems(root, names):
    """Compare the root manifest with the folders under packages/."""
    uv = root["tool"]["uv"]
    if uv.get("package") is not False:
        yield "root: the root is virtual (package = false)"
    members = uv["workspace"]["members"]
    if sorted(members) != sorted(f"packages/{name}" for name in names):
        yield f"root: members {members} are not the folders of packages/: {sorted(names)}"
    if sorted(root["project"]["dependencies"]) != sorted(names):
        yield "root: dependencies name every member, without a version"
    if uv["sources"] != {name: {"workspace": True} for name in uv["sources"]}:
        yield "root: every source is { workspace = true }"
    command = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    if command not in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        yield "root: .ci/run does not end in a command of README.md"
    if set(uv["sources"]) != set(names):
        yield f"root: sources {sorted(uv['sources'])} are not the members {sorted(names)}"


def package_problems(name, folder, manifests, root):
    """Check one package's manifest, and what its sources import against it."""
    project = manifests[name]["project"]
    if project["name"] != name or canonicalize_name(name) != name:
        yield f"{name}: the project is called {project['name']}"
    if project["requires-python"] != root["project"]["requires-python"]:
        yield f"{name}: requires-python {project['requires-python']} is not the root's"
    if "sources" in manifests[name].get("tool", {}).get("uv", {}):
        yield f"{name}: sources belong to the root manifest"
    if project["version"] not in (folder / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"{name}: CHANGELOG.md has no entry for {project['version']}"
    if (folder / "LICENSE").read_bytes() != (ROOT / "LICENSE").read_bytes():
        yield f"{name}: LICENSE differs from the root's"
    for required in ("README.md", f"src/{name.replace('-', '_')}/py.typed"):
        if not (folder / required).is_file():
            yield f"{name}: {required} is missing"

    requirements = {}
    for text in project.get("dependencies", []):
        requirement = Requirement(text)
        requirements[canonicalize_name(requirement.name)] = requirement.specifier
    for sibling in requirements.keys() & manifests.keys():
        version = Version(manifests[sibling]["project"]["version"])
        if not honest(requirements[sibling], version):
            want = f">={version},<{next_breaking(version)}"
            yield f"{name}: {sibling}{requirements[sibling]} is not honest and tight ({want})"
    if "numpy" in requirements and requirements["numpy"] == SpecifierSet():
        yield f"{name}: numpy has no lower bound"

    declared = {requirement.replace("-", "_") for requirement in requirements}
    ours = {"numpy"} | {sibling.replace("-", "_") for sibling in manifests.keys() - {name}}
    for missing in sorted(imported(folder) & ours - declared):
        yield f"{name}: imports {missing}, which its manifest does not declare"


def main():
    """Print every problem and fail if there is one."""
    root = load(ROOT)
    folders = {path.name: path for path in (ROOT / "packages").iterdir() if path.is_dir()}
    manifests = {name: load(folder) for name, folder in folders.items()}
    problems = list(root_problems(root, folders))
    for name, folder in sorted(folders.items()):
        problems.extend(package_problems(name, folder, manifests, root))
    print("\n".join(problems) or f"{len(manifests)} manifests agree")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
