"""A pool of native threads that take the parts of a job without the global interpreter lock (GIL).

Handing work to a thread of Python costs 40 to 60 microseconds, as both threads compete for the GIL.
A worker here stays inside a compiled loop that polls words in memory, takes parts as long as
there are any, and goes to sleep when nothing came for a short while: a hand-over costs 2 to 3
microseconds, an idle process nothing.

Every thread has a range of consecutive parts, the same one in each job of as many parts: what it
has written in one kernel is in the cache of its processor in the next. Its word is the *ticket*:
the number of the job, and below it the number of parts of its range not taken yet. A part is taken
by exchanging the ticket for the next lower one, which succeeds for one thread only, and for none
once another job has begun. A thread that has done its own range goes on with those of the others.
The caller takes parts like the workers, and then waits for those that others took: if no worker
wakes up, it has computed all of them itself.

How a kernel is divided into parts depends on the shapes, never on the number of threads: so do the
results.
"""

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from ctypes import c_size_t
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from nn_kernels._atomics import add, call, compare_exchange, load, pause, store
from nn_kernels._compile import Job, jit, subroutine

__all__ = [
    "POOLED",
    "BoundJob",
    "Run",
    "Words",
    "address",
    "aligned",
    "get_num_threads",
    "new_words",
    "run",
    "runs_of",
    "set_num_threads",
]

_ADDRESS, _ARGUMENTS, _DONE, _TICKETS, _LINE = 0, 1, 8, 16, 8  # each group on its own cache line
_POLLS = 100_000  # about 250 microseconds: a step goes from one kernel to the next in less
_LAST_POLLS = 2_000
_SHORT = 50_000  # nanoseconds: a shorter job is done by its caller before a worker wakes up
_SHORT_FOR_AWAKE = 10_000  # the same where the workers are still polling after the job before


@subroutine(returns=types.int64)
def _take(state, thread, threads):  # type: ignore[no-untyped-def]
    for n in range(threads):
        place = _TICKETS + (thread + n) % threads * _LINE
        while True:
            ticket = load(state, place)
            left = ticket & 0xFFFFFFFF
            if left == 0:
                break
            end = state[place + 1]  # of this job, if the ticket is still the same
            if compare_exchange(state, place, ticket, ticket - 1):
                return end - left
    return -1


@jit()
def _serve(state, thread, threads, polls):  # type: ignore[no-untyped-def]
    """Compute parts until `polls` consecutive polls have found none."""
    idle = 0
    while idle < polls:
        part = _take(state, thread, threads)
        if part < 0:
            idle += 1
        else:
            call(state[_ADDRESS], state[_ARGUMENTS], part, thread)
            add(state, _DONE, 1)
            idle = 0


@jit()
def _run(state, threads, job, address, arguments, parts):  # type: ignore[no-untyped-def]
    """Offer a job to the workers, take part in it, and wait until all of it is done."""
    state[_ADDRESS] = address
    state[_ARGUMENTS] = arguments
    store(state, _DONE, 0)
    first = 0
    for thread in range(threads):
        place = _TICKETS + thread * _LINE
        end = parts * (thread + 1) // threads
        state[place + 1] = end
        store(state, place, (job << 32) | (end - first))
        first = end
    while True:
        part = _take(state, 0, threads)
        if part < 0:
            break
        call(address, arguments, part, 0)
        add(state, _DONE, 1)
    polls = 0
    while load(state, _DONE) != parts:
        polls += 1
        if polls > _POLLS:
            pause()


@jit()
def _run_alone(address, arguments, parts):  # type: ignore[no-untyped-def]
    for part in range(parts):
        call(address, arguments, part, 0)


class _Worker:
    def __init__(self, state: Any, number: int, threads: int) -> None:
        self.state, self.number, self.threads = state, number, threads
        self.asleep = self.stopped = False
        self.bell = threading.Lock()
        self.bell.acquire()
        threading.Thread(target=self._loop, name=f"nn-kernels-{number}", daemon=True).start()

    def _loop(self) -> None:
        while True:
            _serve(self.state, self.number, self.threads, _POLLS)
            self.asleep = True
            if self.stopped:  # perhaps before it was asleep, so that nobody rings the bell
                return
            # A caller may have seen it awake while it waited for the GIL, to say that it is not.
            _serve(self.state, self.number, self.threads, _LAST_POLLS)
            self.bell.acquire()

    def wake(self) -> None:
        if self.asleep:
            self.asleep = False
            self.bell.release()

    def stop(self) -> None:
        self.stopped = True
        self.wake()


class _Pool:
    """The workers of a process: all threads but the caller's."""

    def __init__(self, threads: int) -> None:
        self.lock = threading.Lock()
        self.threads = threads
        self.state = np.zeros(_TICKETS + threads * _LINE, np.int64)
        self.jobs = 0
        self.workers = [_Worker(self.state, number, threads) for number in range(1, threads)]

    def is_awake(self) -> bool:
        return not any(worker.asleep for worker in self.workers)

    def run(self, address: int, arguments: int, parts: int) -> None:
        self.jobs += 1
        for worker in self.workers[: parts - 1]:
            worker.wake()
        _run(self.state, self.threads, self.jobs & 0x7FFFFFFF, address, arguments, parts)


_word_at = c_size_t.from_address
_DATA = object.__basicsize__  # the first field of an array in memory (`PyArrayObject`)

POOLED = sys.platform.startswith("linux")  # elsewhere the pool has not been tested

_lock = threading.Lock()
_pool: _Pool | None = None
_threads: int | None = None


class _Local(threading.local):
    memory: Any = None  # the workspace of a thread
    address = 0
    runs: list[Run] | None = None  # what is recorded inside `runs_of`


_local = _Local()


def _default_threads() -> int:
    if not POOLED:
        return 1
    limit = os.environ.get("NN_KERNELS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdecimal() and int(limit) else len(os.sched_getaffinity(0))


def get_num_threads() -> int:
    """Return the number of threads that a kernel is divided among.

    By default it is the number of processors that the process may run on, or what the environment
    says in ``NN_KERNELS_NUM_THREADS`` or ``OMP_NUM_THREADS``; 1 on systems other than Linux.

    >>> get_num_threads() >= 1
    True
    """
    global _threads
    if _threads is None:
        _threads = _default_threads()
    return _threads


def set_num_threads(number: int) -> None:
    """Set the number of threads that a kernel is divided among, in this process.

    Results do not depend on it. Kernels that are already running finish with the old number.

    Raises:
        TypeError: if `number` is not an integer.
        ValueError: if it is below 1.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _pool, _threads
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"number: expected an integer, got {number!r}")
    if number < 1:
        raise ValueError(f"number: expected at least 1, got {number}")
    with _lock:
        old, _pool, _threads = _pool, None, int(number)
    if old is not None:
        with old.lock:
            for worker in old.workers:
                worker.stop()


def _get_pool() -> _Pool:
    global _pool
    with _lock:
        if _pool is None:
            _pool = _Pool(get_num_threads())
        return _pool


def _after_fork() -> None:
    """Drop the pool: its threads stayed in the parent."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _workspace(size: int) -> Any:
    """Return memory of this thread, which the next call overwrites; `_local` has its address."""
    memory = _local.memory
    if memory is None or memory.size < size:
        memory = _local.memory = aligned(size)
        _local.address = address(memory)
    return memory


def aligned(size: int) -> Any:
    """Return memory for some floats, of which every sixteenth begins a line of the cache.

    A vector that lies across two lines takes twice as long to load: products are a third slower.
    """
    memory = np.empty(size + 16, np.float32)
    first = -address(memory) % 64 // 4
    return memory[first : first + size]


def address(x: Any) -> int:
    """Return where the elements of an array begin, several times as fast as by its interface."""
    return _word_at(id(x) + _DATA).value


def _address_by_interface(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def _numbers(values: Sequence[Any]) -> array[int]:
    """Return integers, and the addresses of arrays, without a call of `address` for each."""
    kind, word_at, data = np.ndarray, _word_at, _DATA
    return array("q", [word_at(id(x) + data).value if isinstance(x, kind) else x for x in values])


def _numbers_by_interface(values: Sequence[Any]) -> array[int]:
    return array("q", [address(x) if isinstance(x, np.ndarray) else x for x in values])


if address(_probe := np.zeros(1)) != _address_by_interface(_probe):
    address, _numbers = _address_by_interface, _numbers_by_interface


def _estimate(arguments: Sequence[Any]) -> int:
    """Return the nanoseconds of a job, by default about those of one pass over the arrays."""
    return sum(x.size for x in arguments if isinstance(x, np.ndarray)) // 3


def _run_numbers(job: Job, numbers: Callable[[int], array[int]], parts: int, work: int) -> None:
    """Run a job that reads the numbers, which are given for a number of threads."""
    if parts > 1 and get_num_threads() > 1 and _is_long(work):
        pool = _get_pool()
        if not pool.lock.locked():
            # Ctrl-C after a call of `acquire` would leave it locked; `with` cannot be interrupted
            # there. In the rare case that another caller has just locked it, this one waits.
            with pool.lock:
                given = numbers(pool.threads)  # kept while the job runs
                pool.run(job.address, given.buffer_info()[0], parts)
            return
    given = numbers(1)
    _run_alone(job.address, given.buffer_info()[0], parts)


def _is_long(work: int) -> bool:
    """Return whether the workers can take a share of a job before the caller has done it."""
    pool = _pool
    return work >= _SHORT or (work >= _SHORT_FOR_AWAKE and pool is not None and pool.is_awake())


def run(
    job: Job,
    arguments: Sequence[Any],
    parts: int,
    memory: int = 0,
    work: int | None = None,
    further: array[int] | None = None,
    alone: bool = False,
) -> None:
    """Run the parts of a job, on several threads if it is long and no other caller uses them.

    Args:
        job: the job. It reads the address of a workspace, the distance in elements between those of
            two threads, and the arguments.
        arguments: integers, and contiguous arrays, of which the job gets the addresses.
        parts: the number of parts.
        memory: the number of float32 elements of workspace per thread.
        work: the time that one thread needs, in nanoseconds, roughly; by default that of one pass
            over the arrays.
        further: arguments after these, integers that a caller has collected before.
        alone: whether the kernel does nothing beside this but make arrays, and the integers depend
            on shapes and strides alone, none an address: the job can be run for other arrays.
    """
    distance = _distance(memory)

    def numbers(threads: int) -> array[int]:
        _workspace(distance * threads)
        given = _numbers([_local.address, distance, *arguments])
        return given if further is None else given + further

    work = _estimate(arguments) if work is None else work
    if _local.runs is not None:
        _local.runs.append(Run(job, arguments, parts, memory, work, alone))
    _run_numbers(job, numbers, parts, work)


class Words(np.ndarray[Any, Any]):
    """Two integers among the arguments of a job that are 0 before it.

    It sets the first to 1 if it cannot compute, as where an index is out of range. With the second
    it may count the parts that are done, and sets it to 0 again.
    """


_WORDS = np.zeros(2, np.int64).view(Words)


def new_words() -> Any:
    """Return the words for one call."""
    return _WORDS.copy()


class Run(NamedTuple):
    """The arguments of a call of `run`."""

    job: Job
    arguments: Sequence[Any]
    parts: int
    memory: int
    work: int
    alone: bool


def runs_of(function: Callable[[], Any]) -> tuple[Any, list[Run]]:
    """Return what a function returns, and the jobs that this thread has run for it."""
    before, _local.runs = _local.runs, []
    try:
        return function(), _local.runs
    finally:
        _local.runs = before


class BoundJob:
    """A job with arguments whose addresses are looked up once.

    It is called with the number of parts, and with the nanoseconds that one thread needs.

    Args:
        job: the job.
        arguments: integers and arrays.
        memory: the number of float32 elements of workspace per thread.
    """

    def __init__(self, job: Job, arguments: Sequence[Any], memory: int = 0) -> None:
        self._job, self._arguments = job, list(arguments)  # kept as long as the addresses
        self._distance = _distance(memory)
        self._numbers = _numbers([0, self._distance, *arguments])

    def __call__(self, parts: int, work: int) -> None:
        _run_numbers(self._job, self._given, parts, work)

    def set(self, place: int, value: int) -> None:
        """Replace an argument by an integer."""
        self._numbers[2 + place] = value

    def _given(self, threads: int) -> array[int]:
        _workspace(self._distance * threads)
        self._numbers[0] = _local.address
        return self._numbers


def _distance(memory: int) -> int:
    """Return the distance in elements between the workspaces of two threads."""
    return memory + -memory % 16 + 16  # threads do not share a cache line
