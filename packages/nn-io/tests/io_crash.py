"""A script that stops writers in all ways, and reports what they left behind as JSON."""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from nn_io import load_state_dict_from_file, save_model_parameters

SUFFIXES = (".safetensors", ".npz", ".pkl")
EVENTS = ("open", "fdopen", "stat", "access", "fchown", "fchmod", "fsync", "link", "replace")


def state(version: int) -> dict[str, Any]:
    arrays = {f"{i}.weights": np.full(5_000, version, np.float32) for i in range(3)}
    return {**arrays, "__metadata__": {"version": version}}


def version_of(path: str) -> int:
    """The version of a file, which must be one version as a whole."""
    loaded = load_state_dict_from_file(path)
    version = int(loaded["__metadata__"]["version"])
    assert list(loaded) == list(state(0))
    assert all(np.array_equal(loaded[key], value) for key, value in state(version).items()), path
    return version


def forked(action: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except OSError as error:
            os._exit(3 if error.filename == sys.argv[0] else 4)
        except BaseException:
            os._exit(5)
    return child


def leftovers(path: str) -> list[str]:
    return [name for name in os.listdir(os.path.dirname(path)) if name != os.path.basename(path)]


def save_forever(path: str, version: int) -> None:
    while True:
        version += 1
        save_model_parameters(state(version), path)


def kills_at_random(path: str, count: int) -> dict[str, int]:
    """Kill a busy writer at any moment."""
    chance = random.Random(0)
    version, left = 0, 0
    save_model_parameters(state(0), path)
    for _ in range(count):
        child = forked(lambda: save_forever(path, version))  # noqa: B023 - called at once
        time.sleep(chance.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        after = version_of(path)
        assert after >= version
        version = after
        left += len(leftovers(path))
    save_model_parameters(state(0), path)
    assert leftovers(path) == []
    return {"kills": count, "versions": version, "leftovers": left}


def kills_at_bytes(path: str, count: int) -> dict[str, int]:
    """Let the system kill the writer at one byte after the other, or let it refuse the byte."""
    save_model_parameters(state(0), path)
    size = os.path.getsize(path)
    killed = refused = 0

    def save(limit: int, reaction: Any) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, reaction)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.argv[0] = path
        save_model_parameters(state(1), path)

    for limit in sorted({*np.linspace(0, size - 1, count).astype(int).tolist(), size - 1}):
        for reaction in (signal.SIG_DFL, signal.SIG_IGN):
            child = forked(lambda: save(limit, reaction))  # noqa: B023 - called at once
            _, status = os.waitpid(child, 0)
            if reaction == signal.SIG_DFL:
                assert os.WIFSIGNALED(status), (limit, status)
                killed += 1
            else:
                assert os.waitstatus_to_exitcode(status) == 3, (limit, status)
                refused += 1
            assert version_of(path) == 0
            assert leftovers(path) == [], (limit, status)
    return {"killed": killed, "refused": refused}


def exits_at_events(path: str) -> dict[str, int]:
    """End the process at each call to the file system, before or after it."""
    stopped = left = 0

    def save(event: str, call: int, late: bool) -> None:
        real = getattr(os, event)
        calls = 0

        def stop(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call and not late:
                os._exit(9)
            result = real(*arguments, **options)
            if calls == call:
                os._exit(9)
            return result

        setattr(os, event, stop)
        save_model_parameters(state(1), path)

    for event in EVENTS:
        for late in (False, True):
            for call in range(1, 10):
                save_model_parameters(state(0), path)
                child = forked(lambda: save(event, call, late))  # noqa: B023 - called at once
                _, status = os.waitpid(child, 0)
                code = os.waitstatus_to_exitcode(status)
                assert code in (0, 9), (event, call, code)
                if code == 0:
                    assert version_of(path) == 1
                    break
                assert version_of(path) in (0, 1), (event, call)
                stopped += 1
                left += len(leftovers(path))
    save_model_parameters(state(0), path)
    assert leftovers(path) == []
    return {"stopped": stopped, "leftovers": left}


def concurrent_writers(path: str, rounds: int) -> dict[str, int]:
    """Run two writers and one reader at once."""
    save_model_parameters(state(0), path)

    def write(start: int) -> None:
        for version in range(start, start + rounds):
            save_model_parameters(state(version), path)

    children = [forked(lambda: write(1)), forked(lambda: write(1001))]
    reads = 0
    while children:
        version_of(path)
        reads += 1
        done, status = os.waitpid(-1, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            children.remove(done)
    assert leftovers(path) == []
    return {"reads": reads}


def main() -> None:
    kills = int(sys.argv[1])
    report: dict[str, Any] = {}
    for suffix in SUFFIXES:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model" + suffix)
            report[suffix] = {
                "random": kills_at_random(path, kills),
                "bytes": kills_at_bytes(path, kills),
                "events": exits_at_events(path),
                "concurrent": concurrent_writers(path, 2 * kills),
            }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
