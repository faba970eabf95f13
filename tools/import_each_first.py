"""Import each module of each package first, in a process of its own.

The packages that contain the module are empty: their `__init__` does not run, so that no import
order of theirs hides a cycle. What the packages require from elsewhere is imported once, before all
processes, where the system can fork. A module that needs an optional dependency which is not
installed is skipped; a package itself must import without any.

    python tools/import_each_first.py             # all packages
    python tools/import_each_first.py nn-tensor   # one, or nn_tensor.ops with what is below it
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import multiprocessing
import os
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor

IMPORTED, MISSING, FAILED = range(3)  # results of a process


def import_first(module, optional):
    """Import a module with empty packages in place of those that contain it.

    Returns the result, and the name of the missing module where one of `optional` is missing.
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
        return MISSING, missing
    return IMPORTED, ""


def report_import(connection, module, optional, sources, bytecode):
    """Send the result of `import_first` in this process, or the traceback of its error."""
    sys.path[:0] = sources
    sys.pycache_prefix, sys.dont_write_bytecode = bytecode, False
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            result = import_first(module, optional)
        except BaseException:
            result = FAILED, traceback.format_exc().strip()
    connection.send(result)


def run_first(context, *arguments):
    """Import a module first in a new process; return the result and what it says."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=report_import, args=(sender, *arguments))
    process.start()
    sender.close()
    with receiver:
        try:
            return receiver.recv()
        except EOFError:
            return FAILED, "the process ended without a result"
        finally:
            process.join()


def start_method(packages):
    """Return how processes start: forked from one that has what the packages require, or new."""
    from workspace import import_names

    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    ours = {package.name for package in packages}
    required = {name for package in packages for name in package.requirements(extras=False)} - ours
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([top for name in required for top in import_names(name)])
    return context


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
    from workspace import ROOT, find_packages

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="packages or modules, by default all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
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
    sources = [str(package.source.parent) for package in packages]
    context = start_method(packages)
    failed = skipped = 0
    with tempfile.TemporaryDirectory() as bytecode, ThreadPoolExecutor(options.jobs) as pool:

        def run(module):
            return run_first(context, module, optional, sources, bytecode)

        for module, (result, output) in zip(modules, pool.map(run, modules), strict=True):
            if result == MISSING and "." in module:
                skipped += 1
                print(f"skipped {module}: {output} is not installed")
            elif result != IMPORTED:
                failed += 1
                reason = output if options.traceback else output.rpartition("\n")[2]
                print(f"FAILED {module}: {reason}")
    print(f"{len(modules)} modules imported first: {failed} failed, {skipped} skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
