"""A pool of native threads that take the parts of a job without the global interpreter lock (GIL).

Handing work to a thread of Python costs 40 to 60 microseconds, as both threads compete for the GIL.
A worker here stays inside a compiled loop that polls words in memory, takes parts as long as
there are any, and goes to sleep when nothing came for a short while: a hand-over costs 2 to 3
microseconds, an idle process nothing.

Every thread has a range of consecutive parts, the same one in each job of as many parts: what it
has written in one kernel is in the cache of its processor in the next. Its word is the *ticket*:
the number of the job, and below it the number of parts of its range not taken yet. A part is taken
by exchanging the ticket for the next lower one, which succeeds for one thread only, and for none
once another job has begun. A thread that has done its own range goes on with those of the others,
after a microsecond: in short jobs they may be late, and would find their parts in no cache.
The caller takes parts like the workers, and then waits for those that others took: if no worker
wakes up, it has computed all of them itself. Where a kernel consists of several jobs, the caller
goes on to the next one in compiled code: that takes half a microsecond.

How a kernel is divided into parts depends on the shapes, never on the number of threads: so do the
results.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from ctypes import c_size_t
from typing import Any, NamedTuple

import numpy as np

from nn_kernels._atomics import add, call, compare_exchange, integers, load, pause, store
from nn_kernels._compile import Job, subroutine

__all__ = [
    "POOLED",
    "WAKES",
    "BoundJob",
    "Run",
    "Words",
    "address",
    "aligned",
    "get_num_threads",
    "new_words",
    "run",
    "run_here",
    "runs_of",
    "set_num_threads",
]

_ADDRESS, _ARGUMENTS, _THREADS, _JOBS = 0, 1, 2, 3
_DONE, _TICKETS, _LINE = 8, 16, 8  # each group on its own cache line
_POLLS = 100_000  # about 250 microseconds: a step goes from one kernel to the next in less
_LAST_POLLS = 2_000
_PATIENCE = 400  # polls, about a microsecond: a thread that is late may still take its own parts
WAKES = 50_000  # nanoseconds: a shorter job is done by its caller before a worker wakes up
_SHORT_FOR_AWAKE = 10_000  # the same where the workers are still polling after the job before


@subroutine(returns="int64")
def _take(state, thread, threads, most):  # type: ignore[no-untyped-def]
    """Return a part of the first of `most` threads that has one, from this one on; or -1."""
    for n in range(most):
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


def _serve_job(state, thread, polls):  # type: ignore[no-untyped-def]
    """Compute parts until `polls` consecutive polls have found none."""
    idle, threads = 0, state[_THREADS]
    while idle < polls:
        part = _take(state, thread, threads, 1)
        if part >= 0:
            idle = 0
        elif idle >= _PATIENCE:
            part = _take(state, thread, threads, threads)
        if part < 0:
            idle += 1
        else:
            call(state[_ADDRESS], state[_ARGUMENTS], part, thread)
            add(state, _DONE, 1)


@subroutine()
def _share(state, threads, job, address, arguments, parts):  # type: ignore[no-untyped-def]
    """Offer a job to the workers, take part in it, and wait until all of it is done."""
    state[_ADDRESS] = address
    state[_ARGUMENTS] = arguments
    store(state, _DONE, 0)
    sharing = min(threads, parts)  # the first threads, which have been woken up
    for n in range(threads):
        thread = threads - 1 - n  # the caller begins last
        place, first = _TICKETS + thread * _LINE, parts * min(thread, sharing) // sharing
        end = parts * min(thread + 1, sharing) // sharing
        state[place + 1] = end
        store(state, place, (job << 32) | (end - first))
    idle = 0
    while idle == 0 or load(state, _DONE) != parts:
        part = _take(state, 0, threads, 1 if idle < _PATIENCE else threads)
        if part < 0:
            idle += 1
            if idle > _POLLS:
                pause()
        else:
            call(address, arguments, part, 0)
            add(state, _DONE, 1)


def _run_job(state, table, arguments):  # type: ignore[no-untyped-def]
    """Share the jobs of a `_Table`, which get consecutive numbers."""
    jobs, threads = integers(table), state[_THREADS]
    for n in range(jobs[0]):
        address, parts = jobs[2 * n + 1], jobs[2 * n + 2]
        state[_JOBS] += 1
        if parts > 1:
            _share(state, threads, state[_JOBS] & 0x7FFFFFFF, address, arguments, parts)
        else:
            call(address, arguments, 0, 0)


def _run_alone_job(jobs, arguments, _):  # type: ignore[no-untyped-def]
    for n in range(jobs[0]):
        for part in range(jobs[2 * n + 2]):
            call(jobs[2 * n + 1], arguments, part, 0)


_SERVE, _RUN, _RUN_ALONE = Job(_serve_job), Job(_run_job), Job(_run_alone_job)
_NOTHING = c_size_t(0)


class _Table:
    """The jobs of a kernel in memory: their number, and address and number of parts of each."""

    def __init__(self, jobs: Sequence[Job], parts: Sequence[int]) -> None:
        pairs = zip(jobs, parts, strict=True)
        self._words = array("q", [len(jobs), *(x for job, n in pairs for x in (job.address, n))])
        self.place = c_size_t(self._words.buffer_info()[0])
        self.most = max(parts)


class _Worker:
    def __init__(self, state: Any, number: int) -> None:
        self.state, self.number = state, c_size_t(number)
        self._function = _SERVE.function  # compiled here: a process may end while a worker compiles
        self.asleep = self.stopped = False
        self.bell = threading.Lock()
        self.bell.acquire()
        threading.Thread(target=self._loop, name=f"nn-kernels-{number}", daemon=True).start()

    def _loop(self) -> None:
        while True:
            self._serve(_POLLS)
            self.asleep = True
            if self.stopped:  # perhaps before it was asleep, so that nobody rings the bell
                return
            # A caller may have seen it awake while it waited for the GIL, to say that it is not.
            self._serve(_LAST_POLLS)
            self.bell.acquire()

    def _serve(self, polls: int) -> None:
        self._function(c_size_t(address(self.state)), self.number, c_size_t(polls))

    def wake(self) -> None:
        if self.asleep:
            self.asleep = False
            try:  # noqa: SIM105 - Ctrl-C may come while `suppress` is called
                self.bell.release()
            except RuntimeError:  # another thread has just rung it
                pass

    def stop(self) -> None:
        self.stopped = True
        self.wake()


class _Pool:
    """The workers of a process: all threads but the caller's."""

    def __init__(self, threads: int) -> None:
        self.lock = threading.Lock()
        self.threads = threads
        self.state = np.zeros(_TICKETS + threads * _LINE, np.int64)
        self.state[_THREADS] = threads
        self._place, self._run = c_size_t(address(self.state)), _RUN.function
        self.workers = [_Worker(self.state, number) for number in range(1, threads)]

    def is_awake(self) -> bool:
        return True not in [worker.asleep for worker in self.workers]  # a generator takes longer

    def run(self, table: _Table, arguments: c_size_t) -> None:
        for worker in self.workers[: table.most - 1]:
            worker.wake()
        self._run(self._place, table.place, arguments)


_word_at = c_size_t.from_address
_DATA = object.__basicsize__  # the first field of an array in memory (`PyArrayObject`)

POOLED = sys.platform.startswith("linux")  # elsewhere the pool has not been tested

_lock = threading.RLock()  # a signal handler may run kernels while the pool starts
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
    for worker in old.workers if old is not None else ():
        worker.stop()


def _get_pool() -> _Pool:
    global _pool
    pool = _pool
    if pool is None:
        with _lock:
            pool = _pool = _pool or _Pool(get_num_threads())
    return pool


def _after_fork() -> None:
    """Drop the pool: its threads stayed in the parent."""
    global _pool, _lock
    _pool, _lock = None, threading.RLock()


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


def _numbers(values: Sequence[Any]) -> array[int]:
    """Return integers, and the addresses of arrays."""
    # calls of `address` and tests of integers, of which there are many, would take longer
    return array(
        "q",
        [
            x
            if type(x) is int
            else _word_at(id(x) + _DATA).value
            if isinstance(x, np.ndarray)
            else x
            for x in values
        ],
    )


def _address_by_interface(x: Any) -> int:
    return int(x.__array_interface__["data"][0])


def _numbers_by_interface(values: Sequence[Any]) -> array[int]:
    return array("q", [address(x) if isinstance(x, np.ndarray) else x for x in values])


if address(_probe := np.zeros(1)) != _address_by_interface(_probe):
    address, _numbers = _address_by_interface, _numbers_by_interface


def _estimate(arguments: Sequence[Any]) -> int:
    """Return the nanoseconds of a job, by default about those of one pass over the arrays."""
    size = 0
    for x in arguments:  # a generator takes twice the time
        if isinstance(x, np.ndarray):
            size += x.size
    return size // 3


@functools.lru_cache(1024)
def _table(job: Job | tuple[Job, ...], parts: int | tuple[int, ...]) -> _Table:
    jobs = (job,) if isinstance(job, Job) else job
    return _Table(jobs, (parts,) if isinstance(parts, int) else parts)


def _place_of(numbers: array[int]) -> c_size_t:
    """Return their address as functions of C are given it, whose calls convert no integers."""
    return c_size_t(numbers.buffer_info()[0])


def _run_numbers(table: _Table, numbers: array[int], place: c_size_t, work: int) -> None:
    """Run jobs that read the numbers: the address of a workspace, which is set here, and so on."""
    if table.most > 1 and get_num_threads() > 1 and _is_long(work):
        pool = _get_pool()
        if not pool.lock.locked():
            # Ctrl-C after a call of `acquire` would leave it locked; `with` cannot be interrupted
            # there. In the rare case that another caller has just locked it, this one waits.
            with pool.lock:
                _set_workspace(numbers, pool.threads)
                pool.run(table, place)
            return
    _set_workspace(numbers, 1)
    _RUN_ALONE.function(table.place, place, _NOTHING)


def _set_workspace(numbers: array[int], threads: int) -> None:
    _workspace(numbers[1] * threads)
    numbers[0] = _local.address


def _is_long(work: int) -> bool:
    """Return whether the workers can take a share of a job before the caller has done it."""
    pool = _pool
    return work >= WAKES or (work >= _SHORT_FOR_AWAKE and pool is not None and pool.is_awake())


def run(
    job: Job | tuple[Job, ...],
    arguments: Sequence[Any],
    parts: int | tuple[int, ...],
    memory: int = 0,
    work: int | None = None,
    further: array[int] | None = None,
    alone: bool = False,
) -> None:
    """Run the parts of a job, on several threads if it is long and no other caller uses them.

    Args:
        job: the job. It reads the address of a workspace, the distance in elements between those of
            two threads, and the arguments. Of several jobs each begins once the one before is done;
            all read the same arguments.
        arguments: integers, and contiguous arrays, of which the job gets the addresses.
        parts: the number of parts, of several jobs those of each.
        memory: the number of float32 elements of workspace per thread.
        work: the time that one thread needs, in nanoseconds, roughly; by default that of one pass
            over the arrays.
        further: arguments after these, integers that a caller has collected before.
        alone: whether the kernel does nothing beside this but make arrays, and the integers depend
            on shapes, strides and the number of threads alone, none an address: the job can be run
            for other arrays.
    """
    numbers = _numbers([0, _distance(memory), *arguments])
    if further is not None:
        numbers += further
    work = _estimate(arguments) if work is None else work
    if _local.runs is not None:
        given = arguments if further is None else [*arguments, *further]
        _local.runs.append(Run(job, given, parts, memory, work, alone))
    _run_numbers(_table(job, parts), numbers, _place_of(numbers), work)


def run_here(job: Job, arguments: Sequence[int], parts: int) -> None:
    """Run a short job without a workspace in this thread, with a third of the Python of `run`.

    Args:
        job: the job.
        arguments: two zeros, integers, and addresses of arrays.
        parts: the number of parts.
    """
    numbers, table = array("q", arguments), _table(job, parts)
    _RUN_ALONE.function(table.place, _place_of(numbers), _NOTHING)


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

    job: Job | tuple[Job, ...]
    arguments: Sequence[Any]
    parts: int | tuple[int, ...]
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
        job: the job, or several as for `run`.
        arguments: integers and arrays.
        memory: the number of float32 elements of workspace per thread.
    """

    def __init__(
        self, job: Job | tuple[Job, ...], arguments: Sequence[Any], memory: int = 0
    ) -> None:
        self._job, self._arguments = job, list(arguments)  # kept as long as the addresses
        self._numbers = _numbers([0, _distance(memory), *arguments])
        self._place = _place_of(self._numbers)

    def __call__(self, parts: int | tuple[int, ...], work: int) -> None:
        _run_numbers(_table(self._job, parts), self._numbers, self._place, work)

    def set(self, place: int, value: int) -> None:
        """Replace an argument by an integer."""
        self._numbers[2 + place] = value


def _distance(memory: int) -> int:
    """Return the distance in elements between the workspaces of two threads."""
    return memory + -memory % 16 + 16  # threads do not share a cache line
