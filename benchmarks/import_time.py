"""The import time of nn_tensor beside NumPy's: python benchmarks/import_time.py

Each import runs in a process of its own, in turns, from compiled bytecode as an installed package
does; the figures are medians of whole processes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

STATEMENTS = ["pass", "import numpy", "import nn_tensor"]


def main(rounds: int = 21) -> None:
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(rounds + 1):  # the first round compiles and does not count
            for statement in STATEMENTS:
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
                times[statement].append((time.perf_counter() - start) * 1e3)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:<20} {median:7.1f} ms")
    added = statistics.median(
        ours - numpys
        for ours, numpys in zip(
            times["import nn_tensor"][1:], times["import numpy"][1:], strict=True
        )
    )
    print(f"nn_tensor adds       {added:7.1f} ms to NumPy")


if __name__ == "__main__":
    main()
