"""The addresses of jobs when several threads compile."""

import threading

from nn_kernels._compile import Job
from numba.core.compiler_lock import global_compiler_lock


def first(a, part, thread):
    a[0] = part


def second(a, part, thread):
    a[1] = part


def test_a_thread_that_compiles_may_ask_for_an_address_that_others_wait_for():
    jobs = Job(first), Job(second)
    asks, found = threading.Event(), []

    def ask():
        asks.set()
        found.append(jobs[0].address)

    def ask_while_compiling():
        with global_compiler_lock:
            other.start()
            asks.wait()
            other.join(0.2)  # it waits for this thread now
            found.append(jobs[1].address)

    other = threading.Thread(target=ask, daemon=True)
    compiling = threading.Thread(target=ask_while_compiling, daemon=True)
    compiling.start()
    compiling.join(60)
    assert not compiling.is_alive(), "the threads wait for each other"
    other.join(60)
    assert found == [jobs[1].address, jobs[0].address]


def test_threads_that_ask_at_once_compile_a_job_once():
    job, found = Job(first), []
    threads = [threading.Thread(target=lambda: found.append(job.address)) for _ in range(4)]
    with global_compiler_lock:
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {job.address}
