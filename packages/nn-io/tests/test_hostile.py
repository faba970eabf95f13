"""Every kind of hostile file: one clear error, nothing run, little memory, little time."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import io_hostile
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork()")


@functools.cache
def _results() -> dict[str, dict[str, Any]]:
    script = Path(io_hostile.__file__)
    # One thread, so that forking is safe.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    results = map(json.loads, done.stdout.splitlines())
    return {result["kind"]: result for result in results}


@pytest.mark.parametrize("suffix", io_hostile.FAMILIES)
def test_hostile_files_are_refused_and_inert(suffix: str) -> None:
    results = {kind: r for kind, r in _results().items() if kind.startswith(suffix)}
    assert len(results) > 60
    for kind, result in results.items():
        assert result["error"] == "FileFormatError", kind
        assert result["message"].startswith(result["path"] + ": "), kind
        assert len(result["message"]) < 1000, kind
        assert result["events"] == [], kind
        assert result["leftovers"] == [], kind
        assert result["grown_mb"] < 300, kind
        assert result["seconds"] < 15, kind


def test_no_kind_is_in_the_table_twice() -> None:
    assert len(_results()) > 300
