"""Compare the speed with PyTorch, row by row:

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/against_pytorch.py [ROW ...]

Each row has candidates that compute the same: the packages with compiled kernels (nn) and with
NumPy alone, and variants of PyTorch. Their results are compared first, then they take turns in one
process (see measure.py). The ratio is PyTorch's time over that of nn, for the fastest variant of
PyTorch: above 1, nn is faster. Training steps are recorded by nn-jit too, as some of PyTorch are
compiled. Memory is kept by both sides (`nn_tensor.reuse_memory`). `--cpu`
gives the CPU time of one thread instead of the wall-clock time of all: it depends less on what
else runs on the machine, and says nothing about how well threads share the work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time

if "--cpu" in sys.argv:  # before a library starts its threads
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NN_KERNELS_NUM_THREADS"):
        os.environ[variable] = "1"

import numpy as np
from against_pytorch_rows import ROWS
from measure import blas_kernel, times_side_by_side
from nn_tensor import reuse_memory

OURS = "nn", "nn, jit", "nn, NumPy"
SAMPLE = 0.02  # seconds: of shorter calls several are timed at once
TOLERANCE = 1e-4  # of results, relative to the largest element; steps change their parameters


def check_results(row, candidates):
    """Check that the candidates compute the same; leave out those that cannot run.

    Raises:
        SystemExit: if the results differ.
    """
    expected, left = None, {}
    for name, function in candidates.items():
        try:
            results = [np.asarray(array) for array in function()]
        except Exception as error:
            if name == "nn":
                raise
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            print(f"{row}: {name} does not run here ({reason[:100]})", file=sys.stderr)
            continue
        expected = expected or results
        for i, (x, y) in enumerate(zip(results, expected, strict=True)):
            if x.shape != y.shape:
                raise SystemExit(f"{row}: result {i} has shape {x.shape} in {name}, not {y.shape}")
            error = float(abs(x - y).max() / (abs(y).max() or 1))
            if not error <= TOLERANCE:
                raise SystemExit(f"{row}: result {i} of {name} differs by {error:.1e}")
        left[name] = function
    return left


def cpu_times(candidates, calls, rounds):
    """Return the CPU time of one call of each candidate in each round, in microseconds."""
    times = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, function in candidates.items():
            function()  # the memory of the other candidates leaves the cache
            start = time.thread_time()
            for _ in range(calls):
                function()
            times[name].append((time.thread_time() - start) / calls * 1e6)
    return times


def measure(row, rounds, cpu=False):
    """Return for each candidate the median and the quartiles of its time, in microseconds."""
    candidates = check_results(row, ROWS[row]())
    for function in candidates.values():
        for _ in range(3):  # recorded, and compared with the plain run
            function()
    start = time.perf_counter()
    for function in candidates.values():
        function()
    calls = max(1, round(SAMPLE * len(candidates) / (time.perf_counter() - start)))
    times = (cpu_times if cpu else times_side_by_side)(candidates, calls, rounds)
    return {name: statistics.quantiles(values, n=4) for name, values in times.items()}


def show(row, quartiles):
    """Return a row of the table."""
    medians = {name: middle for name, (_, middle, _) in quartiles.items()}
    ours = [medians.get(name) for name in OURS]
    peers = {name: t for name, t in medians.items() if name not in OURS}
    spread = max((high - low) / middle for low, middle, high in quartiles.values())
    best = min(peers, key=peers.__getitem__, default=None)
    cells = [row, *(f"{t:.0f}" if t else "–" for t in ours)]
    cells.append(f"{peers[best]:.0f} ({best})" if best else "–")
    cells += [f"{peers[best] / t:.2f}" if best and t else "–" for t in ours]
    cells.append(f"{spread:.0%}")
    return f"| {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", default=[""], help="only those with one of these texts")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--cpu", action="store_true", help="CPU time of one thread")
    parser.add_argument("--json", help="write medians and quartiles, in microseconds, to a file")
    arguments = parser.parse_args(arguments)
    rows = [row for row in ROWS if any(text in row for text in arguments.rows or [""])]
    if arguments.list:
        print(*rows, sep="\n")
        return
    if not rows:
        parser.error(f"there is no row with {' or '.join(arguments.rows)}")
    if variables := [v for v in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if v in os.environ]:
        print(f"warning: {', '.join(variables)} set: OpenBLAS does not choose its kernel itself")
    reuse_memory()
    conditions = f"Python {platform.python_version()}, NumPy {np.__version__}, {blas_kernel()}"
    what = "CPU time of one thread" if arguments.cpu else f"{os.cpu_count()} processors"
    print(f"{conditions}, {what}, {arguments.rounds} rounds\n")
    ratios = [name.replace("nn", "ratio", 1) for name in OURS]
    print(f"| row, times in µs | {' | '.join([*OURS, 'PyTorch', *ratios])} | spread |")
    print(f"|---{'|--:' * (2 * len(OURS) + 2)}|")
    found = {}
    for row in rows:
        found[row] = measure(row, arguments.rounds, arguments.cpu)
        print(show(row, found[row]), flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"conditions": conditions, "quartiles": found}, file, indent=1)


if __name__ == "__main__":
    main()
