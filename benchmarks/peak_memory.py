"""Measure the peak memory of a step beside PyTorch's, for the rows of against_pytorch.py (Linux):

    python benchmarks/peak_memory.py [ROW ...]

Each candidate runs in a process of its own: two steps first, in which kernels are compiled and the
optimizer makes its state; then unused memory goes back to the system, and the peak of two more
steps is compared with what is held between steps. Memory is not kept (`nn_tensor.reuse_memory`).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import subprocess
import sys
from pathlib import Path

from against_pytorch_rows import ROWS

PEERS = "eager", "channels_last", "fused Adam", "channels_last, fused Adam"  # not the compiler's


def status(name: str) -> float:
    """Return a size of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def peak(row: str, candidate: str) -> float:
    """Return the peak of steps of a candidate above what is held between them, in MB."""
    candidates = ROWS[row]()
    step = candidates[candidate]
    for name in list(candidates):
        if name != candidate:
            del candidates[name]
    for _ in range(2):
        step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    held = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts anew
    for _ in range(2):
        step()
    return status("VmHWM") - held


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", default=[""], help="only those with one of these texts")
    parser.add_argument("--candidate", help="measure one in this process: of exactly one row")
    options = parser.parse_args()
    rows = [row for row in ROWS if any(text in row for text in options.rows or [""])]
    if options.candidate:
        print(peak(options.rows[0], options.candidate))
        return
    print("| row, MB | nn | nn, NumPy | PyTorch |\n|---|--:|--:|--:|")
    for row in rows:
        found = {}
        for name in ("nn", "nn, NumPy", *PEERS):
            command = [sys.executable, __file__, row, "--candidate", name]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                found[name] = float(done.stdout.splitlines()[-1])
            elif "KeyError" not in done.stderr:
                print(f"{row}: {name}: {done.stderr.splitlines()[-1]}", file=sys.stderr)
        ours = [f"{found[name]:.1f}" for name in ("nn", "nn, NumPy")]
        peers = {name: found[name] for name in PEERS if name in found}
        least = min(peers, key=peers.__getitem__, default=None)
        ours.append(f"{peers[least]:.1f} ({least})" if least else "–")
        print(f"| {row} | {' | '.join(ours)} |", flush=True)


if __name__ == "__main__":
    main()
