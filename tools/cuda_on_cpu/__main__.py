"""Run Python with the stand-in: ``python tools/cuda_on_cpu [arguments of python]``."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main():
    """Replace this process by a Python whose `import cupy` finds the stand-in."""
    sys.path[:1] = [str(HERE.parent)]
    from cuda_on_cpu import find_problem

    problem = find_problem()
    if problem:
        sys.exit(f"the CUDA stand-in cannot run: {problem}")
    added = [str(HERE / "startup"), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, added))
    options = os.environ.get("PYTEST_ADDOPTS", "")
    os.environ["PYTEST_ADDOPTS"] = f"{options} -p cuda_on_cpu.pytest_plugin".strip()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
