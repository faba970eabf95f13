"""Timing side by side: candidates take turns, so that timing noise affects all of them.

The threads of a BLAS library are busy-waiting for a while after their work and would slow the next
candidate, so every turn begins with a pause, and then with calls that are not timed: threads wake
up, and what other candidates have put into the cache leaves it. A round that other processes
disturbed is repeated.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

REST = 0.2  # seconds after which the threads of the side before no longer spin
WARM = 0.05  # seconds
SHARE = 0.05  # of the time of all cores: what other processes may take of a round
RETAKES = 0.5  # of the number of rounds: how many may be taken again, so that the time is bounded


class Watch:
    """How much of the cores other processes take, from the moment when it is made.

    Args:
        own: returns the CPU seconds of the processes that are timed, by default of this one.
    """

    def __init__(self, own: Callable[[], float] = time.process_time) -> None:
        self.own = own
        self.start, self.others = time.perf_counter(), busy_seconds() - own()

    def share_of_others(self) -> float:
        """Return the part of the time of all cores, between 0 and 1; 0 where it is unknown."""
        capacity = (time.perf_counter() - self.start) * (os.cpu_count() or 1)
        return max(0.0, (busy_seconds() - self.own() - self.others) / capacity)


def busy_seconds() -> float:
    """Return the CPU seconds of all processes since the system started, 0 where it is unknown."""
    try:
        text = Path("/proc/stat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, *rest = map(int, text.splitlines()[0].split()[1:9])
    return float(user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


class Rounds:
    """Takes rounds, and those again that other processes disturbed, as far as `RETAKES` allows."""

    def __init__(self, count: int) -> None:
        self.left = int(count * RETAKES)
        self.retaken = self.disturbed = 0

    def take(self, function: Callable[[], tuple[T, float]]) -> T:
        """Return what an undisturbed round gives, or else the least disturbed one.

        Args:
            function: a function that takes a round, and returns its result and the fraction that
                other processes took.
        """
        result, share = function()
        while share > SHARE and self.left:
            self.left -= 1
            self.retaken += 1
            result, share = min((result, share), function(), key=lambda taken: taken[1])
        self.disturbed += share > SHARE
        return result

    def report(self) -> str:
        """Say how many rounds were taken again, and how many other processes disturbed."""
        return f"{self.retaken} taken again, {self.disturbed} disturbed by other processes"


def side_by_side(
    candidates: dict[str, Callable[[], object]], calls: int, rounds: int = 31
) -> dict[str, float]:
    """Return the median time of one call of each candidate, in microseconds."""
    times = times_side_by_side(candidates, calls, rounds)
    return {name: statistics.median(values) for name, values in times.items()}


def times_side_by_side(
    candidates: dict[str, Callable[[], object]], calls: int, rounds: int = 31
) -> dict[str, list[float]]:
    """Return the time of one call of each candidate in each round, in microseconds."""
    for function in candidates.values():
        for _ in range(3):
            function()

    def take() -> tuple[dict[str, float], float]:
        times, watch = {}, Watch()
        for name, function in candidates.items():
            time.sleep(REST)
            stop = time.perf_counter() + WARM
            while time.perf_counter() < stop:
                function()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name] = (time.perf_counter() - start) / calls * 1e6
        return times, watch.share_of_others()

    taken = Rounds(rounds)
    results = [taken.take(take) for _ in range(rounds)]
    if taken.disturbed:
        print(f"of {rounds} rounds {taken.report()}")
    return {name: [times[name] for times in results] for name in candidates}


def report(title: str, medians: dict[str, float], base: str) -> None:
    """Print the medians and their ratios to `base`."""
    print(title)
    for name, median in medians.items():
        print(f"  {name:<28} {median:10.1f} µs   {median / medians[base]:6.2f} × {base}")


def blas_kernel() -> str:
    """Return the name, the kernel and the threads of the BLAS library that NumPy has loaded."""
    try:
        from threadpoolctl import threadpool_info
    except ModuleNotFoundError:
        return "BLAS kernel unknown: threadpoolctl is not installed"
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(
        f"{pool['internal_api']} {pool['version']} with kernel {pool.get('architecture')}, "
        f"{pool['num_threads']} threads"
        for pool in found
    )
