"""Import every module of a package and prove that all of ours came from this environment."""

import importlib
import pkgutil
import sys
from pathlib import Path

# Modules that need what no package requires; the tests import them where it is installed.
NEEDS_MORE = {"nn_tensor.testing.pytest_plugin", "nn_train._estimator", "nn_train.sklearn"}


def main(name):
    """Import the package and each module below it."""
    package = importlib.import_module(name)
    found = [m.name for m in pkgutil.walk_packages(package.__path__, name + ".", onerror=_fail)]
    for module in found:
        if module not in NEEDS_MORE:
            importlib.import_module(module)
    prefix = Path(sys.prefix).resolve()
    ours = {n: m for n, m in sys.modules.items() if n.startswith("nn_") and m.__spec__}
    for module, loaded in ours.items():
        origin = Path(loaded.__spec__.origin).resolve()
        if prefix not in origin.parents:
            sys.exit(f"{module} was imported from {origin}, not from {prefix}")
    print(f"{name}: {len(ours)} modules of ours imported, all from {prefix}")


def _fail(module):
    raise


if __name__ == "__main__":
    main(sys.argv[1])
