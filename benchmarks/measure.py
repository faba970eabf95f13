"""Timing side by side: candidates take turns, so that the machine's moods hit all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def side_by_side(
    candidates: dict[str, Callable[[], object]], calls: int, rounds: int = 31
) -> dict[str, float]:
    """Return the median time of one call of each candidate, in microseconds."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for function in candidates.values():
        for _ in range(3):
            function()
    for _ in range(rounds):
        for name, function in candidates.items():
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, medians: dict[str, float], base: str) -> None:
    """Print the medians and their ratios to `base`."""
    print(title)
    for name, median in medians.items():
        print(f"  {name:<28} {median:10.1f} µs   {median / medians[base]:6.2f} × {base}")
