"""However a writer stops, there is one whole file: the old one or the new one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")

# Per format, and as many at single bytes, each once by a signal and once by an error.
KILLS = int(os.environ.get("NN_IO_KILLS", "24"))


def test_stopped_writers_leave_a_whole_file() -> None:
    script = Path(__file__).with_name("io_crash.py")
    done = subprocess.run(
        [sys.executable, str(script), str(KILLS)],
        # One thread, so that forking is safe.
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(report)
    for result in report.values():
        assert result["random"]["kills"] == KILLS
        assert result["random"]["versions"] > 0
        assert result["bytes"]["killed"] == result["bytes"]["refused"] >= min(KILLS, 20)
        assert result["events"]["stopped"] >= 10
        assert result["concurrent"]["reads"] > 0
        if Path("/proc/self/fd").is_dir():
            # Named only from link to rename; how many random kills fall into that is chance. That
            # the next save removes what they left is checked by the writers' script.
            assert result["events"]["leftovers"] <= 3
