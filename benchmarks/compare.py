"""Compare the speed of two trees of this repository, each a checkout:

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/compare.py OLD NEW

First both must give the same results. Then the old tree is timed against itself, which shows the
spread, and against the new one. Every round starts a process for each side, in which the sides take
turns, row by row; who begins changes from round to round. A row is slower if the median ratio of
its pairs exceeds 1 by more than 3 % and more than the spread: the median distance from 1 of the
ratios of the old tree to itself, or the distance of their median if that is larger.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import REST, Rounds, Watch

TURN = 0.15  # seconds
SAMPLE = 0.01  # seconds: of shorter calls several are timed at once
TOLERATED = 0.03
TOO_MANY = 0.2  # of the pairs
LARGEST_DIFFERENCE = 1e-4  # of results, relative to the largest of them
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
PROGRAMS = Path(__file__).with_name("compare_programs.py")


@dataclass
class Options:
    """How to compare: the rounds, by which clock, and where the processes have their caches."""

    rounds: int
    cpu_time: bool
    caches: Path


class Side:
    """A process that has a tree on its PYTHONPATH and runs its programs on request."""

    def __init__(self, tree: Path, options: Options) -> None:
        # Caches of their own: the first process fills them, and the trees are not written to.
        own = options.caches / str(tree).strip(os.sep).replace(os.sep, "-")
        environment = {
            **os.environ,
            **(ONE_THREAD if options.cpu_time else {}),
            "PYTHONPATH": os.pathsep.join(str(p) for p in sorted(tree.glob("packages/*/src"))),
            "PYTHONPYCACHEPREFIX": str(own / "bytecode"),
            "NUMBA_CACHE_DIR": str(own / "numba"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, PROGRAMS], env=environment, **pipes)

    def send(self, *request: object) -> None:
        """Send a request."""
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def receive(self):
        """Return the answer to the oldest request without one."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process of one side stopped, see above")
        return json.loads(line)

    def ask(self, *request: object):
        """Send a request and return the answer."""
        self.send(*request)
        return self.receive()

    def close(self) -> None:
        """End the process, which stops where its input does."""
        with self.process:
            pass


@contextlib.contextmanager
def start(trees: list[Path], options: Options):
    """Start a process for each tree, and end them."""
    started = [Side(tree, options) for tree in trees]
    try:
        yield started
    finally:
        for side in started:
            side.close()


def check_results(trees: list[Path], rows: list[str], options: Options) -> dict[str, int]:
    """Check that both trees compute the same; return how many calls of each row make a sample.

    Raises:
        SystemExit: if the results of a row differ, or the packages come from elsewhere.
    """
    found, plan = [], {}
    for tree in trees:
        with start([tree], options) as (side,):
            place, what = side.ask("describe")
            if tree not in Path(place).parents:
                raise SystemExit(f"the packages come from {place}, not from {tree}")
            print(f"{tree}: {what}")
            found.append({row: np.array(side.ask("results", row)) for row in rows})
            for row in rows:
                plan[row] = max(1, round(SAMPLE / side.ask("prepare", row)))
    for row in rows:
        first, second = (results[row] for results in found)
        if first.shape != second.shape:
            raise SystemExit(f"{row}: {first.size} numbers in one tree, {second.size} in the other")
        difference = float(abs(first - second).max() / (abs(first).max() or 1))
        if not difference <= LARGEST_DIFFERENCE:
            raise SystemExit(f"{row}: the results differ by {difference:.1e} of the largest")
        print(f"  {row}: {f'equal but for {difference:.0e}' if difference else 'equal'}")
    return plan


def time_pair(
    pair: list[Side], row: str, calls: int, reverse: bool, options: Options
) -> tuple[list[float], float]:
    """Time a row in the processes of both sides; return the seconds, and what others took."""

    def own() -> float:
        return time.process_time() + sum(side.ask("cpu") for side in pair)

    watch, times = Watch(own), {}
    clock = "process_time" if options.cpu_time else "perf_counter"
    for side in reversed(pair) if reverse else pair:
        time.sleep(0 if options.cpu_time else REST)  # one thread does not spin
        times[side] = side.ask("turn", row, TURN, calls, clock)
    share = 0.0 if options.cpu_time else watch.share_of_others()
    return [times[side] for side in pair], share


def time_rounds(
    title: str, trees: list[Path], plan: dict[str, int], options: Options
) -> dict[str, np.ndarray]:
    """Return the seconds of each row, an array of shape (rounds, 2)."""
    begin, taken = time.perf_counter(), {row: Rounds(options.rounds) for row in plan}
    times: dict[str, list[list[float]]] = {row: [] for row in plan}
    for number in range(options.rounds):
        with start(trees, options) as pair:
            for row, calls in plan.items():
                for side in pair:
                    side.send("prepare", row)
                for side in pair:
                    side.receive()
                reverse = bool(number % 2)
                take = functools.partial(time_pair, pair, row, calls, reverse, options)
                times[row].append(taken[row].take(take))
        minutes = (time.perf_counter() - begin) / 60
        print(f"{title}: round {number + 1}, {minutes:.1f} minutes", file=sys.stderr)
    pairs = options.rounds * len(plan)
    retaken = sum(each.retaken for each in taken.values())
    disturbed = sum(each.disturbed for each in taken.values())
    print(f"{title}: {pairs} pairs, {retaken} taken again, {disturbed} disturbed")
    if disturbed > pairs * TOO_MANY:
        print("warning: other processes disturbed many pairs; repeat this on a quiet machine")
    return {row: np.array(seconds) for row, seconds in times.items()}


def spread_of(ratios: np.ndarray) -> float:
    """Return how far from 1 a median of such ratios may be by chance; see above."""
    return float(max(np.median(abs(ratios - 1)), abs(np.median(ratios) - 1)))


def show(seconds: float) -> str:
    """Return a time with its unit."""
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def report(same: dict[str, np.ndarray], changed: dict[str, np.ndarray]) -> list[str]:
    """Print the table and the ratios of the pairs; return the rows that are slower."""
    slower, lines = [], []
    print("\n| row | old | new | new / old | old / old | spread | |\n|---|--:|--:|--:|--:|--:|---|")
    for row, pairs in changed.items():
        ratios, ratios_same = (p[:, 1] / p[:, 0] for p in (pairs, same[row]))
        ratio, spread = float(np.median(ratios)), spread_of(ratios_same)
        note = ""
        if ratio > 1 + max(TOLERATED, spread):
            slower.append(row)
            note = "**slower**"
        old, new = (show(float(t)) for t in np.median(pairs, axis=0))
        print(
            f"| {row} | {old} | {new} | {ratio:.3f} | {np.median(ratios_same):.3f} "
            f"| {spread:.1%} | {note} |"
        )
        lines.append(f"  {row}")
        for name, each in (("new / old", ratios), ("old / old", ratios_same)):
            lines.append(f"    {name}: {' '.join(f'{r:.3f}' for r in each)}")
    print("\nThe pairs:", *lines, sep="\n")
    print(f"\nslower: {', '.join(slower) or 'no row'}")
    return slower


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="the old checkout")
    parser.add_argument("new", type=Path, help="the new checkout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--rows", nargs="+", default=[""], help="only those with one of these texts"
    )
    parser.add_argument("--cpu-time", action="store_true", help="for a machine with other work")
    arguments = parser.parse_args(arguments)
    if variables := [v for v in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if v in os.environ]:
        print(f"warning: {', '.join(variables)} set: OpenBLAS does not choose its kernel itself")
    old, new = arguments.old.resolve(), arguments.new.resolve()
    with tempfile.TemporaryDirectory() as folder:
        options = Options(arguments.rounds, arguments.cpu_time, Path(folder))
        with start([old], options) as (side,):
            rows = [r for r in side.ask("rows") if any(text in r for text in arguments.rows)]
        if not rows:
            parser.error(f"there is no row with {' or '.join(arguments.rows)}")
        plan = check_results([old, new], rows, options)
        same = time_rounds("old, old", [old, old], plan, options)
        changed = time_rounds("old, new", [old, new], plan, options)
    sys.exit(bool(report(same, changed)))


if __name__ == "__main__":
    main()
