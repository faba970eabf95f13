"""Check the manifests against each other, and against what the sources import.

uv accepts a workspace member for a sibling whatever the declared range says, so a wheel that
nobody could install would pass every other check. This one reads only manifests and sources.

An import that is not declared, or a requirement that is not imported, is accepted with a reason in
the root's pyproject.toml::

    [tool.check-workspace.undeclared.nn-x]
    module = "the reason"

    [tool.check-workspace.unused.nn-x]
    distribution = "the reason"
"""

import ast
import re
import sys

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from workspace import ROOT, find_packages, import_names, load_manifest


def next_breaking(version):
    """Return the first version that may break its users: 0.1.4 gives 0.2, 1.3.0 gives 2."""
    return Version(f"0.{version.minor + 1}" if version.major == 0 else f"{version.major + 1}")


def allowed_range(specifier, version):
    """Return whether a range is `>=` a version of the present series, `<` the next breaking one."""
    bounds = {s.operator: Version(s.version) for s in specifier}
    if set(bounds) != {">=", "<"} or len(list(specifier)) != 2:
        return False
    return (
        bounds["<"] == next_breaking(version) == next_breaking(bounds[">="])
        and bounds[">="] <= version
    )


def imported(source):
    """Return the top-level names that the text of a module imports, wherever it does.

    `import_module` with a literal name, or an f-string that begins with one, is an import too.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
        elif isinstance(node, ast.Call) and node.args:
            function, name = ast.unparse(node.func).rpartition(".")[2], node.args[0]
            if isinstance(name, ast.JoinedStr):
                name = name.values[0]
            if function in ("import_module", "__import__") and isinstance(name, ast.Constant):
                names.add(str(name.value))
    return {name.partition(".")[0] for name in names} - {""}


def links(page):
    """Return the targets of the links and images of a page in Markdown or HTML, without its code.

    >>> links("[a](https://x.org/a) ![b](b.png) <img src='c.png'> `[d](d)`")
    ['https://x.org/a', 'b.png', 'c.png']
    """
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page, flags=re.DOTALL | re.MULTILINE)
    found = re.finditer(
        r"""\]\(<?([^)\s>]*)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=["']([^"']*)""", text, re.MULTILINE
    )
    return [next(filter(None, match.groups()), "") for match in found]


def root_problems(root, packages):
    """Compare the root's manifest with the folders under packages/."""
    manifest = load_manifest(root)
    names = sorted(package.name for package in packages)
    uv = manifest["tool"]["uv"]
    if uv.get("package") is not False:
        yield "root: the root is virtual (package = false)"
    members = uv["workspace"]["members"]
    if sorted(members) != [f"packages/{name}" for name in names]:
        yield f"root: members {members} are not the folders of packages/: {names}"
    if sorted(manifest["project"]["dependencies"]) != names:
        yield "root: dependencies name every member, without a version"
    if uv["sources"] != {name: {"workspace": True} for name in uv["sources"]}:
        yield "root: every source is { workspace = true }"
    if sorted(uv["sources"]) != names:
        yield f"root: sources {sorted(uv['sources'])} are not the members {names}"
    command = (root / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    if command not in (root / "README.md").read_text(encoding="utf-8").splitlines():
        yield "root: .ci/run does not end in a command of README.md"
    modules = sorted(package.import_name for package in packages)
    linter = manifest["tool"]["importlinter"]
    acyclic = [c["ancestors"] for c in linter["contracts"] if c["type"] == "acyclic_siblings"]
    layers = [c["layers"] for c in linter["contracts"] if c["type"] == "layers"]
    in_layers = re.findall(r"\w+", " ".join(name for each in layers for name in each))
    for place, listed in (
        ("root_packages of import-linter", linter["root_packages"]),
        ("ancestors of its contract acyclic_siblings", [n for each in acyclic for n in each]),
        ("layers of its contract", in_layers),
    ):
        if sorted(listed) != modules:
            yield f"root: the {place} are {sorted(listed)}, expected {modules}"
    paths = sorted(f"{package.folder.relative_to(root).as_posix()}/src" for package in packages)
    if sorted(manifest["tool"]["mypy"]["mypy_path"]) != paths:
        yield f"root: mypy_path is not {paths}"


def package_problems(package, packages, root):
    """Check one package's manifest, and the files that stand beside it."""
    name, folder, project = package.name, package.folder, package.manifest["project"]
    if project["name"] != name or canonicalize_name(name) != name:
        yield f"{name}: the project is called {project['name']}"
    python = load_manifest(root)["project"]["requires-python"]
    if project["requires-python"] != python:
        yield f"{name}: requires-python {project['requires-python']} is not the root's"
    if "sources" in package.manifest.get("tool", {}).get("uv", {}):
        yield f"{name}: sources belong to the root manifest"
    if project["version"] not in (folder / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"{name}: CHANGELOG.md has no entry for {project['version']}"
    if (folder / "LICENSE").read_bytes() != (root / "LICENSE").read_bytes():
        yield f"{name}: LICENSE differs from the root's"
    readme = folder / "README.md"
    for link in links(readme.read_text(encoding="utf-8")) if readme.is_file() else []:
        if not link.startswith(("https://", "#")):
            yield f"{name}: README.md links to {link}, which an index does not have"
    for label, link in project.get("urls", {}).items():
        if not link.startswith("https://"):
            yield f"{name}: the address {label} is not https: {link}"
    for required in (folder / "README.md", package.source / "py.typed"):
        if not required.is_file():
            yield f"{name}: {required.relative_to(folder)} is missing"

    versions = {p.name: Version(p.manifest["project"]["version"]) for p in packages}
    requirements = package.requirements(extras=True) | package.requirements(extras=False)
    for sibling in sorted(requirements.keys() & versions.keys()):
        version, specifier = versions[sibling], requirements[sibling].specifier
        if not allowed_range(specifier, version):
            want = f">={version},<{next_breaking(version)}"
            yield f"{name}: {sibling}{specifier} does not match its version (expected {want})"
    if "numpy" in requirements and requirements["numpy"].specifier == SpecifierSet():
        yield f"{name}: numpy has no lower bound"


def import_problems(package, root):
    """Compare what a package requires, always or by an extra, with what its modules import."""
    name = package.name
    accepted = load_manifest(root)["tool"].get("check-workspace", {})
    undeclared = accepted.get("undeclared", {}).get(name, {})
    unused = accepted.get("unused", {}).get(name, {})
    found = {}
    for module, path in package.modules.items():
        for top in imported(path.read_text(encoding="utf-8")):
            found.setdefault(top, module)
    requirements = package.requirements(extras=True) | package.requirements(extras=False)
    declared = {top for distribution in requirements for top in import_names(distribution)}
    known = declared | sys.stdlib_module_names | {package.import_name}
    for top in sorted(found.keys() - known - undeclared.keys()):
        yield f"{name}: {found[top]} imports {top}, which its manifest does not declare"
    for distribution in sorted(requirements):
        if distribution not in unused and not import_names(distribution) & found.keys():
            yield f"{name}: its manifest declares {distribution}, which no module imports"
    for top in sorted(undeclared):
        if top not in found or top in known:
            yield f"{name}: a reason is given for the import of {top}, which needs none"
    for distribution in sorted(unused):
        if distribution not in requirements or import_names(distribution) & found.keys():
            yield f"{name}: a reason is given for the unused {distribution}, which needs none"


def find_problems(root=ROOT):
    """Yield every problem of the workspace."""
    packages = find_packages(root)
    yield from root_problems(root, packages)
    for package in packages:
        yield from package_problems(package, packages, root)
        yield from import_problems(package, root)


def main():
    """Print every problem and fail if there is one."""
    problems = list(find_problems())
    print("\n".join(problems) or f"{len(find_packages())} manifests agree")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
