"""Depth, memory and imports: what only shows in long runs."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from nn_tensor import Tensor, _tensor, cumprod, exp, grad, no_grad, tanh
from nn_tensor._observe import observers
from nn_tensor._versions import versions
from nn_tensor.extend import Observer, observe


def chain(x: Tensor, length: int) -> Tensor:
    for _ in range(length):
        x = x * 1.0
    return x


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class TestDepth:
    def test_walk_and_release(self, without_collector: None) -> None:
        limit = sys.getrecursionlimit()
        x = Tensor([1.0], requires_grad=True)
        try:
            sys.setrecursionlimit(1000)
            chain(x, 100_000).backward()
            dropped = chain(x, 100_000)
            del dropped
        finally:
            sys.setrecursionlimit(limit)
        assert x.grad.tolist() == [1]

    def test_in_a_small_stack(self) -> None:
        done = []

        def work() -> None:
            x = Tensor([1.0], requires_grad=True)
            chain(x, 50_000).backward()
            dropped = chain(x, 50_000)
            del dropped
            done.append(x.grad.item())

        # CPython 3.13 goes 10,000 levels down before it frees without recursion, others go 50
        small = 2**20 if sys.version_info[:2] == (3, 13) else 2**19
        before = threading.stack_size(small)
        try:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        finally:
            threading.stack_size(before)
        assert done == [1]

    def test_of_a_differentiable_gradient(self) -> None:
        x = Tensor([1.0], requires_grad=True)
        first = grad(chain(x, 3_000) * x, x, create_graph=True)
        first.backward()
        assert x.grad.tolist() == [2]
        x.zero_grad()  # a gradient with a graph holds on to its leaf

    def test_wide_sum(self) -> None:
        x = Tensor(np.ones(3), requires_grad=True)
        total = x * 0
        for _ in range(20_000):
            total = total + x
        total.backward(np.ones(3))
        assert x.grad.tolist() == [20_000] * 3


class TestRelease:
    """With the collector off, only references that form no cycle go away."""

    @pytest.mark.parametrize("walk", [True, False])
    def test_dropped_graph(self, without_collector: None, walk: bool) -> None:
        x = Tensor(np.ones(1000), requires_grad=True)
        y = exp(x)
        z = (y * y + tanh(y)).sum()
        saved = weakref.ref(y.data)
        if walk:
            z.backward()
        del y
        if not walk:
            assert saved() is not None
            del z
        assert saved() is None

    def test_hooks_and_retained_gradients(self, without_collector: None) -> None:
        x = Tensor(np.ones(1000), requires_grad=True)
        y = exp(x)
        y.retain_grad()
        y.register_hook(lambda g: g * 2)
        z = (y * y).sum()
        saved = weakref.ref(y.data)
        z.backward()
        del y, z
        assert saved() is None

    def test_functional_gradients_of_both_orders(self, without_collector: None) -> None:
        x = Tensor(np.ones(1000), requires_grad=True)
        y = exp(x)
        saved = weakref.ref(y.data)
        first = grad((y * y).sum(), x, create_graph=True)
        second = grad(first.sum(), x)
        del y, first, second
        assert saved() is None

    def test_failed_operation(self, without_collector: None) -> None:
        x = Tensor(np.ones(1000), requires_grad=True)
        y = x * 2
        saved = weakref.ref(y.data)
        with pytest.raises(ValueError, match="add"):
            y + np.ones(7)
        del y
        assert saved() is None

    def test_in_place_under_recording(self, without_collector: None) -> None:
        x = Tensor(np.ones(1000), requires_grad=True)
        y = exp(x)
        saved = weakref.ref(y.data)
        y *= x
        y += 1
        y.sum().backward()
        del y
        assert saved() is None


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TestFlatMemory:
    @staticmethod
    def train(w: Tensor, x: Tensor, steps: int) -> None:
        for _ in range(steps):
            loss = (tanh(x @ w) ** 2).mean()
            loss.backward()
            with no_grad():
                w -= w.grad * 0.01
            w.zero_grad()

    @pytest.fixture
    def parts(self) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(0)
        w = Tensor(rng.normal(size=(64, 64)), dtype="float32", requires_grad=True)
        return w, Tensor(rng.normal(size=(64, 64)), dtype="float32")

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
    def test_resident(self, parts: Any, without_collector: None) -> None:
        self.train(*parts, 300)
        before = resident()
        self.train(*parts, 3000)
        assert resident() - before <= 5e6

    def test_traced(self, parts: Any, without_collector: None) -> None:
        self.train(*parts, 50)
        tracemalloc.start()
        try:
            self.train(*parts, 50)
            before = tracemalloc.get_traced_memory()[0]
            self.train(*parts, 200)
            assert tracemalloc.get_traced_memory()[0] - before <= 16_000
        finally:
            tracemalloc.stop()

    def test_peak_of_a_forward_pass_without_recording(self) -> None:
        x = Tensor(np.ones(200_000, np.float32), requires_grad=True)
        tracemalloc.start()
        try:
            with no_grad():
                y = x
                for _ in range(20):
                    y = y * 2
            assert tracemalloc.get_traced_memory()[1] < 4 * x.data.nbytes
        finally:
            tracemalloc.stop()


class TestImport:
    CODE = """
import sys, warnings
warnings.simplefilter("error")
import {module}
loaded = {{"cupy", "cupyx", "numba", "cudnn", "torch", "pytest"}} & set(sys.modules)
assert not loaded, loaded
"""

    @pytest.mark.parametrize("module", ["nn_tensor", "nn_tensor.extend", "nn_tensor.testing"])
    def test_nothing_optional_is_loaded(self, module: str) -> None:
        code = self.CODE.format(module=module)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_work_on_the_cpu_loads_nothing_either(self) -> None:
        code = self.CODE.format(module="nn_tensor") + (
            "x = nn_tensor.ones(2, requires_grad=True)\n"
            "nn_tensor.erf(x[[0, 1]]).sum().backward()\n"
            "loaded = {'cupy', 'cupyx'} & set(sys.modules)\n"
            "assert not loaded, loaded\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_threads_that_share_a_leaf() -> None:
    """No gradient is lost where several threads add theirs to one leaf."""
    x = Tensor(np.zeros(200_000), requires_grad=True)

    def work() -> None:
        for _ in range(50):
            (x * 1.0).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (x.grad.data == 200).all()


def test_memory_of_a_cumulative_product() -> None:
    x = Tensor(np.ones(500), requires_grad=True)
    y = cumprod(x).sum()
    tracemalloc.start()
    try:
        y.backward()
        assert tracemalloc.get_traced_memory()[1] < 100 * x.data.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork while there are threads
def test_a_child_has_no_locks_and_observers_of_threads_that_stayed_in_the_parent() -> None:
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with _tensor._accumulating, versions._lock, observe(Observer()):
            held.set()
            forked.wait()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    child = os.fork()
    forked.set()
    if not child:
        signal.alarm(60)
        try:
            x = Tensor([1.0], requires_grad=True)
            for _ in range(2):
                (x * x).sum().backward()
            with no_grad():
                x += 1
            assert x.grad is not None
            assert x.grad.item() == 4
            assert not observers
            os._exit(0)
        finally:
            os._exit(1)
    other.join()
    assert os.waitpid(child, 0)[1] == 0


def test_an_array_is_changed_while_the_same_thread_counts_a_change() -> None:
    with versions._lock:  # as when a signal handler runs there
        x = Tensor([1.0])
        x += 1
    assert x.item() == 2


def test_threads_with_models_of_their_own() -> None:
    """Four threads give what each gives alone."""

    def run(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        w = Tensor(rng.normal(size=(8, 8)), requires_grad=True)
        x = Tensor(rng.normal(size=(8, 8)))
        losses = []
        for _ in range(30):
            loss = (tanh(x @ w) ** 2).mean()
            loss.backward()
            with no_grad():
                w -= w.grad * 0.1
            w.zero_grad()
            losses.append(loss.item())
        return losses

    alone = [run(seed) for seed in range(4)]
    together: dict[int, list[float]] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: together.update({seed: run(seed)}))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        np.testing.assert_allclose(together[seed], alone[seed], rtol=1e-6)
