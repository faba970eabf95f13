"""Run the default sessions of nox, two at a time on two processors.

Some sessions use one processor, and all of them wait: for a network, for a disk, for the last of
their tests. The output of a session is shown when it is done. Sessions for CUDA come one after the
other, as they would share the memory of a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable

__all__ = ["default_sessions", "in_order", "run"]

FIRST = "tests(nn-kernels, cpu)", "docs", "isolation(oldest)", "cuda-standin"  # take the longest
MOST = 4  # at a time


def default_sessions(noxfile: str) -> list[str]:
    """Return the names of the sessions that nox runs by default."""
    command = [sys.executable, "-m", "nox", "-f", noxfile, "--list", "--json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [session["session"] for session in json.loads(listed)]


def in_order(names: Iterable[str]) -> list[list[str]]:
    """Return groups of sessions in the order in which they begin; those of a group do not overlap.

    >>> in_order(["lint", "tests(a, cpu)", "tests(a, cuda)", "docs", "tests(b, cuda)"])
    [['docs'], ['lint'], ['tests(a, cpu)'], ['tests(a, cuda)', 'tests(b, cuda)']]
    """
    names = list(names)
    on_gpu = [name for name in names if name.endswith("cuda)")]
    alone = [name for name in names if name not in on_gpu]
    alone.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    return [*([name] for name in alone), *([on_gpu] if on_gpu else [])]


def run(noxfile: str) -> int:
    """Run the default sessions of a noxfile; return 1 if one of them failed, 0 otherwise."""
    groups, results = in_order(default_sessions(noxfile)), []
    lock, stopped = threading.Lock(), threading.Event()
    start = time.monotonic()

    def work() -> None:
        while not stopped.is_set():
            with lock:
                if not groups:
                    return
                names = groups.pop(0)
            began = time.monotonic()
            with tempfile.TemporaryFile() as output:
                command = [sys.executable, "-m", "nox", "-f", noxfile, "-s", *names]
                process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
                while process.poll() is None:
                    if stopped.wait(0.1):
                        process.terminate()
                        process.wait()
                        return
                output.seek(0)
                text = output.read()
            with lock:
                sys.stdout.buffer.write(text)
                sys.stdout.flush()
                status = "failed" if process.returncode else "done"
                results.append(f"{', '.join(names)}: {status}, {time.monotonic() - began:.0f} s")

    lanes = [threading.Thread(target=work) for _ in range(at_a_time(os.cpu_count() or 1))]
    for lane in lanes:
        lane.start()
    try:
        for lane in lanes:
            lane.join()
    finally:
        stopped.set()
    print(*sorted(results), f"all: {time.monotonic() - start:.0f} s", sep="\n", flush=True)
    return int(any(": failed" in result for result in results))


def at_a_time(processors: int) -> int:
    """Return how many sessions run at the same time.

    >>> [at_a_time(processors) for processors in (1, 2, 4, 16)]
    [1, 2, 3, 4]
    """
    return min(MOST, 1 + processors // 2)
