"""Import each module of each package first, in an interpreter of its own.

The packages that contain the module are empty: their `__init__` does not run, so that no import
order of theirs hides a cycle. A module that needs an optional dependency which is not installed is
skipped; a package itself must import without any.

    python tools/import_each_first.py             # all packages
    python tools/import_each_first.py nn-tensor   # one, or nn_tensor.ops with what is below it
"""

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

MISSING = 3  # the exit status of a process that lacks an optional dependency


def import_first(module, optional):
    """Import a module with empty packages in place of those that contain it.

    Exits with the status `MISSING`, and prints the name, where a module of `optional` is missing.
    """
    parents = module.split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        name = ".".join(parents[:depth])
        # A module made from its specification and not executed has a __path__ and nothing else.
        sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name))
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in optional:
            raise
        print(missing)
        sys.exit(MISSING)


def run_first(module, optional, environment):
    """Import a module first in a new process; return its exit status and what it printed."""
    command = [sys.executable, __file__, "--first", module, *optional]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result.returncode, (result.stdout + result.stderr).strip()


def optional_names(packages, root):
    """Return the top-level modules of the extras, and of what only tests need."""
    from packaging.requirements import Requirement
    from workspace import import_names, load_manifest

    extras = {name for package in packages for name in package.requirements(extras=True)}
    always = {name for package in packages for name in package.requirements(extras=False)}
    tests = load_manifest(root).get("dependency-groups", {}).get("test", [])
    names = (extras | {Requirement(text).name for text in tests}) - always
    return sorted({top for name in names for top in import_names(name)})


def main(arguments=None, root=None):
    """Report every module that cannot be imported first."""
    from workspace import ROOT, find_packages, source_path

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="packages or modules, by default all")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("--traceback", action="store_true", help="show whole tracebacks")
    options = parser.parse_args(arguments)
    root = root or ROOT
    packages = find_packages(root)
    modules = [module for package in packages for module in package.modules]
    if prefixes := [name.replace("-", "_") for name in options.names]:
        modules = [m for m in modules if any(f"{m}.".startswith(f"{p}.") for p in prefixes)]
    if not modules:
        sys.exit(f"there is no module {', '.join(options.names)}")
    optional = optional_names(packages, root)
    failed = skipped = 0
    with tempfile.TemporaryDirectory() as bytecode, ThreadPoolExecutor(options.jobs) as pool:
        environment = {
            **os.environ,
            "PYTHONPATH": source_path(packages),
            "PYTHONPYCACHEPREFIX": bytecode,
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        results = pool.map(lambda module: run_first(module, optional, environment), modules)
        for module, (status, output) in zip(modules, results, strict=True):
            if status == MISSING and "." in module:
                skipped += 1
                print(f"skipped {module}: {output} is not installed")
            elif status:
                failed += 1
                reason = output if options.traceback else output.rpartition("\n")[2]
                print(f"FAILED {module}: {reason}")
    print(f"{len(modules)} modules imported first: {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first"]:
        import_first(sys.argv[2], sys.argv[3:])
    else:
        main()
