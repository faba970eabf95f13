"""Check the names that packages show.

Every module has an `__all__`, and none imports from a package that contains it. What `dir()` of a
package shows is in its `__all__`, or is a public submodule that its docstring names (as
`nn_x.extend`), or begins with an underscore: with all modules imported, so that no order of
imports hides a submodule that leaks.

    python tools/check_namespaces.py             # all packages
    python tools/check_namespaces.py nn-tensor   # one
"""

import argparse
import ast
import importlib
import re
import sys
from types import ModuleType

from import_each_first import optional_names
from workspace import ROOT, find_packages


def source_problems(package):
    """Check the sources of a package without importing them."""
    modules = package.modules
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if not any("__all__" in assigned_names(node) for node in tree.body):
            yield f"{module}: has no __all__"
        for name in sorted(set(imported_modules(tree, modules))):
            if module.startswith(f"{name}."):
                yield f"{module}: imports from {name}, which contains it"


def assigned_names(node):
    """Return the names that a statement assigns."""
    if isinstance(node, ast.Assign):
        return {name.id for name in node.targets if isinstance(name, ast.Name)}
    return {node.target.id} if isinstance(node, ast.AnnAssign) else set()


def imported_modules(tree, modules):
    """Yield the modules that are imported, each as the longest of the names in `modules`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else node.module


def import_all(package, optional):
    """Import all modules of a package, but for those that need what is not installed."""
    for module in package.modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in optional:
                raise


def name_problems(name, submodules):
    """Compare what an imported package shows with its `__all__` and its docstring.

    Args:
        name: of the package.
        submodules: the names of its direct submodules.
    """
    package = sys.modules[name]
    exported = set(getattr(package, "__all__", ()))
    documented = set(re.findall(rf"\b{name}\.(\w+)", package.__doc__ or ""))
    for public in sorted(s for s in submodules if not s.startswith("_")):
        if public not in documented:
            yield f"{name}.{public}: is a public module that the docstring of {name} does not name"
    allowed = exported | (documented & submodules)
    shown = {n for n in set(vars(package)) | set(dir(package)) if not n.startswith("_")}
    if leaked := sorted(shown - allowed):
        yield f"{name}: dir() shows names that are not in __all__: {', '.join(leaked)}"
    for public in sorted(exported - documented):
        if isinstance(getattr(package, public, None), ModuleType):
            yield f"{name}: {public} of __all__ is a module that the docstring does not name"


def find_problems(packages, optional):
    """Yield the problems of packages."""
    for package in packages:
        yield from source_problems(package)
        try:
            import_all(package, optional)
        except ImportError as error:
            yield f"{package.import_name}: cannot be imported: {error}"
        else:
            below = {m.split(".")[1] for m in package.modules if "." in m}
            yield from name_problems(package.import_name, below)


def main(arguments=None, root=ROOT):
    """Print every problem and fail if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("packages", nargs="*", help="by default all")
    options = parser.parse_args(arguments)
    every = find_packages(root)
    sys.path[:0] = [str(package.source.parent) for package in every]
    packages = find_packages(root, options.packages)
    problems = list(find_problems(packages, optional_names(every, root)))
    print("\n".join(problems) or f"the names of {len(packages)} packages are in order")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
