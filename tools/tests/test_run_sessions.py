"""Sessions that run at the same time: each is shown whole, and one that fails is not hidden."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_sessions

pytest.importorskip("nox", reason="nox, which runs sessions, is not installed")

NOXFILE = """
import nox

nox.options.default_venv_backend = "none"
PROGRAM = {program!r}

@nox.session
def first(session):
    session.run("python", "-c", "print('one of first'); print('two of first')", external=True)

@nox.session
def second(session):
    session.run("python", "-c", PROGRAM, external=True)

@nox.session(default=False)
def third(session):
    session.error("on demand")
"""
# Where this runs in the background of a shell, programs ignore interrupts unless they say so.
RUN = """
import signal, sys, run_sessions
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(run_sessions.run(sys.argv[1]))
"""
TOOLS = Path(run_sessions.__file__).parent


def start(folder, program):
    """Run the sessions, the second of which runs a program."""
    noxfile = folder / "noxfile.py"
    noxfile.write_text(NOXFILE.format(program=program), encoding="utf-8")
    command = [sys.executable, "-c", RUN, str(noxfile)]
    env = {**os.environ, "PYTHONPATH": str(TOOLS)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, **streams, text=True, env=env, cwd=folder)


@pytest.mark.parametrize("status", [0, 1])
def test_status_and_output(tmp_path, status):
    process = start(tmp_path, f"import sys; print('of second'); sys.exit({status})")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert "one of first\ntwo of first\n" in output
    assert "of second\n" in output
    assert f"second: {'failed' if status else 'done'}" in output
    assert "third" not in output


def test_an_interrupt_stops_the_sessions(tmp_path):
    started = tmp_path / "started"
    program = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(60)"
    process = start(tmp_path, program)
    stop = time.monotonic() + 60
    while not started.exists() and time.monotonic() < stop:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0


def test_a_gpu_serves_one_session_at_a_time():
    names = ["lint", "tests(a, cuda)", "docs", "tests(b, cuda)"]
    assert run_sessions.in_order(names) == [
        ["docs"],
        ["lint"],
        ["tests(a, cuda)", "tests(b, cuda)"],
    ]
