"""Check the names that packages show.

Every module has an `__all__`, and none imports from a package that contains it. `dir()` of a
package shows what is in its `__all__` and what its docstring names, as `nn_x.extend`; so is every
submodule named whose name has no leading underscore, and no other module is an attribute. All
modules are imported before, so that no order of imports hides a submodule that leaks.

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
        if not any("__all__" in assigned_names(node) for node in ast.walk(tree)):
            yield f"{module}: has no __all__"
        for name in sorted(set(imported_modules(tree, modules))):
            if module.startswith(f"{name}."):
                yield f"{module}: imports from {name}, which contains it"


def assigned_names(node):
    """Return the names that a statement assigns."""
    if isinstance(node, ast.Assign):
        return {name.id for name in node.targets if isinstance(name, ast.Name)}
    return {node.target.id} if isinstance(node, ast.AnnAssign) else set()


def imported_modules(node, modules):
    """Yield what is imported below a node of the syntax tree, but for type checkers only.

    A name that is imported from a package is a module if it is one of `modules`.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield name if name in modules else node.module
    for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in node.orelse if for_types else ast.iter_child_nodes(node):
        yield from imported_modules(child, modules)


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
        name: the name of the package.
        submodules: the names of its direct submodules.
    """
    package = sys.modules[name]
    exported = set(getattr(package, "__all__", ()))
    documented = set(re.findall(rf"\b{name}\.(\w+)", package.__doc__ or ""))
    for public in sorted(s for s in submodules - documented if not s.startswith("_")):
        yield f"{name}.{public}: is a public module that the docstring of {name} does not name"
    shown = {n for n in dir(package) if not (n.startswith("__") and n.endswith("__"))}
    private = {n for n in shown if n.startswith("_")} - exported
    if leaked := shown - private - exported - documented:
        yield f"{name}: dir() shows what is not in __all__: {', '.join(sorted(leaked))}"
    if private:
        yield f"{name}: dir() shows private names, define __dir__: {', '.join(sorted(private))}"
    for attribute, value in vars(package).items():
        public = not attribute.startswith("_") and attribute not in documented | submodules
        if isinstance(value, ModuleType) and public:
            yield f"{name}.{attribute}: is the module {value.__name__}"
    for missing in sorted(n for n in exported if not hasattr(package, n)):
        yield f"{name}: {missing} of __all__ does not exist"


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
