"""Threads that read ahead: in order, with their errors, and gone when they are no longer needed."""

import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import numpy as np
import pytest
from nn_data import ItemSource, Loader, Source


def worker_threads():
    return [t for t in threading.enumerate() if t.name.startswith("nn_data-worker")]


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test():
    yield
    gc.collect()
    assert wait_until(lambda: not worker_threads())


def wait_until(condition, seconds=3.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


class Recorded(Source):
    """Batches that take a while, and a record of which were asked for."""

    def __init__(self, n=100, delay=0.0):
        self.n, self.delay, self.taken = n, delay, []
        self.threads = set()

    def __len__(self):
        return self.n

    def take(self, indices):
        self.taken.append(int(indices[0]))
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay)
        return indices


class Uneven(Recorded):
    """Batches of which the first of each ten takes longest."""

    def take(self, indices):
        self.taken.append(int(indices[0]))
        time.sleep(0.02 if indices[0] % 10 == 0 else 0.001)
        return indices


def test_the_order_is_kept_though_batches_are_ready_in_another():
    for workers in (1, 2, 4):
        batches = list(Loader(Uneven(40), 1, workers=workers))
        assert np.concatenate(batches).tolist() == list(range(40))


def test_threads_work_at_once():
    source = Recorded(16, delay=0.05)
    start = time.perf_counter()
    list(Loader(source, 2, workers=4))
    assert time.perf_counter() - start < 8 * 0.05 * 0.7
    assert len(source.threads) == 4


def test_without_workers_there_are_no_threads():
    source = Recorded(10)
    list(Loader(source, 2))
    assert source.threads == {threading.main_thread().name}


@pytest.mark.parametrize(("workers", "prefetch", "expected"), [(1, 1, 1), (2, 3, 3), (2, None, 4)])
def test_no_more_is_read_ahead_than_prefetch_says(workers, prefetch, expected):
    source = Recorded()
    batches = iter(Loader(source, 1, workers=workers, prefetch=prefetch))
    next(batches)
    assert wait_until(lambda: len(source.taken) == 1 + expected)
    time.sleep(0.03)
    assert len(source.taken) == 1 + expected
    next(batches)
    assert wait_until(lambda: len(source.taken) == 2 + expected)
    del batches


def test_convert_runs_in_the_loop():
    names = set()

    def convert(array):
        names.add(threading.current_thread().name)
        return array

    list(Loader(np.arange(10), 2, workers=2, convert=convert))
    assert names == {threading.main_thread().name}


class Broken(ItemSource):
    def __init__(self, at, error=OSError):
        super().__init__()
        self.at, self.error, self.read_indices = at, error, []

    def __len__(self):
        return 100

    def read(self, index):
        self.read_indices.append(index)
        if index in self.at:
            raise self.error(f"cannot read {index}")
        time.sleep(0.0005)
        return index


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_error_comes_where_its_batch_would_have_been(workers):
    # The later one is reached first, by another worker.
    source = Broken({27, 30})
    found = []
    loader = Loader(source, 5, workers=workers, convert=lambda x: found.extend(x.tolist()))
    with pytest.raises(OSError, match="cannot read 27") as caught:
        list(loader)
    assert found == list(range(25))
    assert caught.value.__notes__ == [
        "while reading sample 27",
        "while loading batch 5 of epoch 0: samples 25, 26, 27, 28, 29",
    ]
    assert any(entry.name == "read" for entry in caught.traceback)


def test_an_error_cancels_what_is_behind_it():
    source = Broken({0})
    with pytest.raises(OSError, match="cannot read 0"):
        list(Loader(source, 10, workers=2, prefetch=2))
    assert wait_until(lambda: not worker_threads())
    assert len(source.read_indices) < 30


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration, MemoryError])
def test_every_error_arrives(error):
    loader = Loader(Broken({3}, error), 5, workers=2)
    # A StopIteration within a generator would look like the end of the data.
    with pytest.raises(RuntimeError if error is StopIteration else error):
        list(loader)


def test_after_an_error_the_next_epoch_can_be_read():
    source = Broken({27})
    loader = Loader(source, 5, workers=2)
    with pytest.raises(OSError, match="27"):
        list(loader)
    source.at = set()
    assert loader.epoch == 0
    assert np.concatenate(list(loader)).tolist() == list(range(100))
    assert loader.epoch == 2


def test_workers_end_with_the_epoch():
    list(Loader(np.arange(10), 2, workers=3))
    assert not worker_threads()


def test_workers_end_when_the_loop_is_left():
    loader = Loader(Recorded(delay=0.01), 1, workers=3)
    for _ in loader:
        break
    gc.collect()
    assert not worker_threads()


def test_close_ends_workers_and_what_iterates_says_so():
    loader = Loader(Recorded(delay=0.01), 1, workers=3)
    batches = iter(loader)
    next(batches)
    assert worker_threads()
    loader.close()
    assert not worker_threads()
    with pytest.raises(RuntimeError, match="closed while it was iterated over"):
        next(batches)
    assert len(list(loader)) == 100
    loader.close()


def test_close_while_a_thread_waits_for_a_batch():
    loader = Loader(Recorded(delay=0.3), 1, workers=1)
    failed = []

    def consume():
        try:
            list(loader)
        except RuntimeError as error:
            failed.append(str(error))

    thread = threading.Thread(target=consume)
    thread.start()
    assert wait_until(worker_threads)
    loader.close()
    thread.join(1)
    assert len(failed) == 1


def test_with_closes():
    with Loader(Recorded(delay=0.01), 1, workers=2) as loader:
        batches = iter(loader)
        next(batches)
    assert not worker_threads()
    del batches


def test_garbage_collection_ends_workers():
    loader = Loader(Recorded(delay=0.01), 1, workers=3)
    batches = iter(loader)
    next(batches)
    del loader
    assert worker_threads()
    del batches
    gc.collect()
    assert not worker_threads()


def test_garbage_collection_of_a_cycle_ends_workers():
    class Holder:
        pass

    holder = Holder()
    holder.me = holder
    holder.batches = iter(Loader(Recorded(delay=0.01), 1, workers=2))
    next(holder.batches)
    del holder
    gc.collect()
    assert not worker_threads()


def test_reading_stops_between_two_samples():
    class Samples(Broken):
        def read(self, index):
            self.read_indices.append(index)
            time.sleep(0.02)
            return index

    source = Samples(set())
    loader = Loader(source, 50, workers=1)

    def consume():
        with contextlib.suppress(RuntimeError):
            list(loader)

    thread = threading.Thread(target=consume)
    thread.start()
    assert wait_until(lambda: source.read_indices)
    start = time.perf_counter()
    loader.close()
    assert time.perf_counter() - start < 0.2
    assert len(source.read_indices) < 50
    thread.join()


SCRIPT = """
import os, signal, sys, threading, time
import numpy as np
from nn_data import Loader, Source

# A process that was started in the background ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(Source):
    def __len__(self): return 1000
    def take(self, indices):
        time.sleep(DELAY)
        return indices

BODY
"""


def run(body, delay=0.01):
    script = SCRIPT.replace("DELAY", str(delay)).replace("BODY", textwrap.dedent(body))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done, time.perf_counter() - start


def test_the_end_of_the_program_ends_workers():
    done, _ = run("batches = iter(Loader(Slow(), 1, workers=4)); print(next(batches)[0])")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_an_error_in_the_loop_ends_the_program():
    done, _ = run("for batch in Loader(Slow(), 1, workers=4): 1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "nn_data-worker" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals cannot be sent to oneself on Windows")
@pytest.mark.parametrize("delay", [0.001, 5.0])
def test_ctrl_c_is_seen_within_a_tenth_of_a_second(delay):
    """Also where a worker is inside of a call that takes seconds, up to the end of the program."""
    body = """
    sent = []
    def interrupt():
        time.sleep(0.3)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        for batch in Loader(Slow(), 1, workers=3):
            pass
        while True: pass
    except KeyboardInterrupt:
        print(time.perf_counter() - sent[0])
    import atexit
    """
    done, seconds = run(body, delay)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1
    assert seconds < 4.5  # less than a call of a worker takes


def test_a_thousand_epochs_leave_nothing_behind():
    folder = "/proc/self/fd"
    handles = (lambda: len(os.listdir(folder))) if os.path.isdir(folder) else (lambda: 0)
    x, y = np.zeros((64, 100)), np.arange(64)
    loaders = [Loader((x, y), 8, shuffle=True, workers=workers) for workers in (0, 2)]

    def epochs(count):
        for loader in loaders:
            for number in range(count):
                for _ in loader:
                    if number % 3 == 0:
                        break

    epochs(20)
    gc.collect()
    before = threading.active_count(), handles()
    tracemalloc.start()
    try:
        epochs(10)
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0]
        epochs(490)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - memory
    finally:
        tracemalloc.stop()
    assert (threading.active_count(), handles()) == before
    assert grown < 16_000
