import ctypes
import sys

import pytest


@pytest.fixture
def stand_in():
    """The stand-in, for what only it can show."""
    module = sys.modules.get("cuda_on_cpu")
    if module is None or not module.is_installed():
        pytest.skip("only the stand-in shows this")
    return module


@pytest.fixture
def compile_kernel():
    """Compile the kernel `f` from its source in CUDA C++."""
    cupy = pytest.importorskip("cupy")

    def compile_kernel(source, **options):
        return cupy.RawKernel(f'extern "C" __global__ void f{source}', "f", **options)

    return compile_kernel


@pytest.fixture
def capture():
    """Capture what a function asks of the device, as a graph; it is called once before."""
    cupy = pytest.importorskip("cupy")

    def capture(function):
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            function()  # compiles the kernels, and leaves memory in the pool of the stream
            stream.synchronize()
            stream.begin_capture()
            try:
                function()
            finally:
                graph = stream.end_capture()
        return graph

    return capture


@pytest.fixture
def count_nodes(capture):
    """Count what a function asks the device to do, as nodes of a graph."""

    def count_nodes(function):
        graph = capture(function)
        count = ctypes.c_size_t()
        driver = ctypes.CDLL("libcuda.so.1")
        assert driver.cuGraphGetNodes(ctypes.c_void_p(graph.graph), None, ctypes.byref(count)) == 0
        return count.value

    return count_nodes
