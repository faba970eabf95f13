"""What CUDA promises: true of the stand-in, and on a GPU of what the stand-in imitates."""

import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.cuda
cupy = pytest.importorskip("cupy")

LANES = np.arange(32, dtype=np.int32)
ALL_LANES = 0xFFFFFFFF


# Barriers


def test_threads_exchange_values_through_shared_memory(compile_kernel):
    kernel = compile_kernel("""(const int *x, int *y) {
        __shared__ int values[256];
        int i = threadIdx.x, first = blockIdx.x * blockDim.x;
        values[i] = x[first + i];
        __syncthreads();
        y[first + i] = values[blockDim.x - 1 - i];
    }""")
    x = cupy.arange(1024, dtype=cupy.int32)
    y = cupy.empty_like(x)
    kernel((4,), (256,), (x, y))
    np.testing.assert_array_equal(y.get(), np.arange(1024).reshape(4, 256)[:, ::-1].reshape(-1))


@pytest.mark.parametrize("block", [(1,), (33,), (128,), (16, 8), (4, 4, 4)])
def test_a_block_is_summed_in_dynamic_shared_memory(block, compile_kernel):
    kernel = compile_kernel("""(const double *x, double *total) {
        extern __shared__ double values[];
        int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        int count = blockDim.x * blockDim.y * blockDim.z;
        values[i] = x[i];
        for (int left = count; left > 1; left = (left + 1) / 2) {
            __syncthreads();
            int half = (left + 1) / 2;
            double sum = values[i] + (i + half < left ? values[i + half] : 0);
            __syncthreads();
            if (i < half) values[i] = sum;
        }
        if (i == 0) *total = values[0];
    }""")
    count = int(np.prod(block))
    x, total = cupy.arange(count, dtype=float), cupy.empty(())
    kernel((1,), block, (x, total), shared_mem=8 * count)
    assert total == count * (count - 1) / 2


def test_barriers_count_and_vote(compile_kernel):
    kernel = compile_kernel("""(int *y) {
        int odd = threadIdx.x % 2;
        int votes[] = {__syncthreads_count(odd), __syncthreads_or(odd), __syncthreads_and(odd)};
        for (int i = 0; i < 3; ++i) y[threadIdx.x * 3 + i] = votes[i];
    }""")
    y = cupy.empty((64, 3), cupy.int32)
    kernel((1,), (64,), (y,))
    np.testing.assert_array_equal(y.get(), np.tile([32, 1, 0], (64, 1)))


def test_threads_that_ended_are_not_waited_for(compile_kernel):
    kernel = compile_kernel("""(int *y) {
        if (threadIdx.x >= 40) return;
        __syncthreads();
        y[threadIdx.x] = 1;
    }""")
    y = cupy.zeros(64, cupy.int32)
    kernel((1,), (64,), (y,))
    assert y.sum() == 40


# Warps


def run_on_warp(compile_kernel, expression):
    kernel = compile_kernel(f"(int *y) {{ int x = threadIdx.x; y[x] = {expression}; }}")
    y = cupy.empty(32, cupy.int32)
    kernel((1,), (32,), (y,))
    return y.get()


@pytest.mark.parametrize("width", [32, 8])
def test_shuffles(width, compile_kernel):
    def shuffle(name, argument):
        text = f"__shfl_{name}sync(0xffffffffu, x * 10, {argument}, {width})"
        return run_on_warp(compile_kernel, text) // 10

    lane = LANES % width
    np.testing.assert_array_equal(shuffle("", "3"), LANES - lane + 3)
    np.testing.assert_array_equal(shuffle("down_", "2"), LANES + 2 * (lane + 2 < width))
    np.testing.assert_array_equal(shuffle("up_", "2"), LANES - 2 * (lane >= 2))
    np.testing.assert_array_equal(shuffle("xor_", "5"), LANES ^ 5)


def test_doubles_are_shuffled(compile_kernel):
    kernel = compile_kernel("""(const double *x, double *total) {
        double sum = x[threadIdx.x];
        for (int step = 16; step; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
        if (threadIdx.x == 0) *total = sum;
    }""")
    x, total = cupy.arange(32, dtype=float) / 4, cupy.empty(())
    kernel((1,), (32,), (x, total))
    assert total == 124


def test_votes_of_a_warp(compile_kernel):
    votes = run_on_warp(compile_kernel, "__ballot_sync(0xffffffffu, x % 3 == 0)")
    assert set(votes.view(np.uint32)) == {sum(1 << i for i in range(0, 32, 3))}
    assert run_on_warp(compile_kernel, "__any_sync(0xffffffffu, x == 31)").all()
    assert not run_on_warp(compile_kernel, "__all_sync(0xffffffffu, x < 31)").any()


def test_lanes_of_a_mask_meet_without_the_others(compile_kernel):
    y = run_on_warp(compile_kernel, "x < 8 ? __shfl_sync(0xffu, x, 7) : -1")
    np.testing.assert_array_equal(y, np.where(LANES < 8, 7, -1))


# Atomics


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("int32", "int"),
        ("uint32", "unsigned"),
        ("uint64", "unsigned long long"),
        ("float32", "float"),
        ("float64", "double"),
    ],
)
def test_additions_are_atomic(dtype, name, compile_kernel):
    kernel = compile_kernel(f"""({name} *x, {name} *seen) {{
        seen[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(x, ({name})2);
    }}""")
    x, seen = cupy.zeros((), dtype), cupy.zeros(512, dtype)
    kernel((4,), (128,), (x, seen))
    assert x == 1024
    np.testing.assert_array_equal(np.sort(seen.get()), np.arange(0, 1024, 2))


@pytest.mark.parametrize(
    ("call", "start", "expected"),
    [
        ("atomicMax(x, (int)threadIdx.x)", 5, 63),
        ("atomicMin(x, (int)threadIdx.x - 9)", 5, -9),
        ("atomicSub(x, 1)", 64, 0),
        ("atomicOr(x, 1 << threadIdx.x % 8)", 256, 511),
        ("atomicAnd(x, ~(1 << threadIdx.x % 8))", 511, 256),
        ("atomicXor(x, 3)", 7, 7),
        ("atomicInc((unsigned *)x, 9)", 0, 64 % 10),
        ("atomicDec((unsigned *)x, 9)", 0, -64 % 10),
        ("atomicCAS(x, (int)threadIdx.x, (int)threadIdx.x)", 3, 3),
        ("atomicExch(x, 8)", 0, 8),
    ],
)
def test_atomics(call, start, expected, compile_kernel):
    x = cupy.array(start, cupy.int32)
    compile_kernel(f"(int *x) {{ {call}; }}")((1,), (64,), (x,))
    assert x == expected


def test_a_loop_with_compare_and_swap_adds(compile_kernel):
    kernel = compile_kernel("""(unsigned long long *x) {
        unsigned long long seen = *x, old;
        do { old = seen; seen = atomicCAS(x, old, old + 3); } while (seen != old);
    }""")
    x = cupy.zeros((), cupy.uint64)
    kernel((2,), (100,), (x,))
    assert x == 600


def test_signed_words_of_64_bits_have_no_atomic_addition(compile_kernel):
    with pytest.raises(cupy.cuda.compiler.CompileException, match="atomicAdd"):
        compile_kernel("(long long *x) { atomicAdd(x, 1ll); }").compile()


# Arithmetic

HALVES = [0.1, 1 / 3, 2049, 2051, 65504, 65519.99, 65520, 1e6, 6e-8, 2.9e-8, 3e-8, -0.0, np.nan]


def test_floats_are_rounded_to_half(compile_kernel):
    x = cupy.array(HALVES, cupy.float32)
    y = cupy.empty(len(HALVES), cupy.float16)
    source = "(const float *x, __half *y) { y[threadIdx.x] = __float2half(x[threadIdx.x]); }"
    cupy.RawKernel(f'#include <cuda_fp16.h>\nextern "C" __global__ void f{source}', "f")(
        (1,), (len(HALVES),), (x, y)
    )
    with np.errstate(over="ignore"):
        expected = np.array(HALVES, np.float32).astype(np.float16)
    np.testing.assert_array_equal(y.get(), expected)
    np.testing.assert_array_equal(np.signbit(y.get()[:-1]), np.signbit(expected[:-1]))


@pytest.mark.parametrize(
    ("function", "reference"),
    [("__hadd", np.add), ("__hsub", np.subtract), ("__hmul", np.multiply)],
)
def test_half_operations_round_once(function, reference):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(1000).astype(np.float16) for _ in range(2))
    y = cupy.empty(1000, cupy.float16)
    source = f"y[threadIdx.x] = {function}(a[threadIdx.x], b[threadIdx.x]);"
    arguments = "(const __half *a, const __half *b, __half *y)"
    text = f'#include <cuda_fp16.h>\nextern "C" __global__ void f{arguments} {{ {source} }}'
    cupy.RawKernel(text, "f")((1,), (1000,), (cupy.array(a), cupy.array(b), y))
    np.testing.assert_array_equal(y.get(), reference(a, b))


def test_half_fused_multiply_add_rounds_once():
    a = b = np.float16(1 + 2**-10)
    c = np.float16(-1 - 2**-9)
    y = cupy.empty((), cupy.float16)
    source = "(__half a, __half b, __half c, __half *y) { *y = __hfma(a, b, c); }"
    text = f'#include <cuda_fp16.h>\nextern "C" __global__ void f{source}'
    cupy.RawKernel(text, "f")((1,), (1,), (a, b, c, y))
    assert y == 2**-20  # the product, rounded first, would give 0


def test_products_and_sums_are_contracted(compile_kernel):
    a = np.float32(1 + 2**-12)
    y = cupy.empty((), cupy.float32)
    compile_kernel("(float a, float b, float *y) { *y = a * a + b; }")(
        (1,), (1,), (a, -np.float32(a * a), y)
    )
    assert y == 2**-24


def test_a_number_wins_over_nan(compile_kernel):
    y = cupy.empty(4, cupy.float32)
    compile_kernel("""(float *y, float nan) {
        y[0] = max(nan, 1.0f); y[1] = fmaxf(1.0f, nan);
        y[2] = min(nan, 1.0f); y[3] = fminf(1.0f, nan);
    }""")((1,), (1,), (y, np.float32(np.nan)))
    np.testing.assert_array_equal(y.get(), 1)


# Launches and memory


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [((1,), (1025,), 0), ((1, 65536), (1,), 0), ((1,), (1, 1, 65), 0), ((1,), (1,), 240_000)],
)
def test_launches_that_are_too_large_are_refused(grid, block, shared, compile_kernel):
    kernel = compile_kernel("() {}")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match=r"INVALID_VALUE|InvalidValue"):
        kernel(grid, block, (), shared_mem=shared)


ILLEGAL = """
import cupy
kernel = cupy.RawKernel('extern "C" __global__ void f(int *x) { *x = 1; }', "f")
kernel((1,), (1,), (cupy.uint64(8),))
try:
    cupy.cuda.Device().synchronize()
except cupy.cuda.runtime.CUDARuntimeError as error:
    print(error)
"""


def test_an_illegal_address_is_an_error():
    done = subprocess.run([sys.executable, "-c", ILLEGAL], capture_output=True, text=True)
    assert "IllegalAddress" in done.stdout + done.stderr or "ILLEGAL" in done.stdout + done.stderr


def test_device_memory_is_not_the_hosts():
    x = cupy.ones(4)
    attributes = cupy.cuda.runtime.pointerGetAttributes(x.data.ptr)
    assert attributes.device == x.device.id
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InvalidValue"):
        cupy.cuda.runtime.memcpy(x.data.ptr, np.ones(4).ctypes.data, 32, 2)


def test_events_measure_time():
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    cupy.ones(100).sum()
    end.record()
    end.synchronize()
    assert cupy.cuda.get_elapsed_time(begin, end) >= 0


# Streams: what is captured, and what cannot be


def test_a_graph_replays_launches_copies_and_fills(capture):
    x, y, z = cupy.arange(4.0), cupy.zeros(4), cupy.empty(4)
    double = cupy.ElementwiseKernel("float64 x", "float64 y", "y = 2 * x", "double_it")

    def step():
        double(x, y)
        z.data.copy_from_device_async(y.data, y.nbytes)
        x.data.memset_async(0, x.nbytes)

    graph = capture(step)
    x[...], y[...], z[...] = cupy.arange(4.0), 1, 1
    graph.launch()
    cupy.cuda.Device().synchronize()
    np.testing.assert_array_equal(z.get(), [0, 2, 4, 6])
    assert not x.any()
    graph.launch()
    cupy.cuda.Device().synchronize()
    assert not z.any()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: float(x[0]),
        lambda x: x.get(),
        lambda x: bool((x > 0).any()),
        lambda x: cupy.nonzero(x),
        lambda x: cupy.array([1.0, 2.0]),
        lambda x: cupy.cuda.Device().synchronize(),
        lambda x: x.__setitem__(x > 2, 0),
    ],
    ids=["float", "get", "any", "nonzero", "from the host", "synchronize", "mask assignment"],
)
def test_what_waits_cannot_be_captured(function, capture):
    x = cupy.arange(4.0)
    with pytest.raises(RuntimeError, match=r"StreamCapture|is capturing"):
        capture(lambda: function(x))


def test_cublas_cannot_be_captured(capture):
    x = cupy.ones((8, 8))
    with pytest.raises((NotImplementedError, cupy.cuda.runtime.CUDARuntimeError), match="apture"):
        capture(lambda: x @ x)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: cupy.add(x, 1, out=y), 1),
        (lambda x, y: cupy.multiply(cupy.add(x, 1, out=y), 2, out=y), 2),
        (lambda x, y: cupy.copyto(y, 0, where=x > 1), 2),
        (lambda x, y: cupy.sum(x, axis=0, out=y[0]), 1),
        (lambda x, y: y.fill(0), 1),
        (lambda x, y: cupy.exp(x.T, out=y.T), 1),
    ],
    ids=["add", "add and multiply", "copyto", "sum", "fill", "transposed"],
)
def test_counts_of_launches(function, expected, count_nodes):
    x, y = cupy.arange(12.0).reshape(3, 4), cupy.zeros((3, 4))
    assert count_nodes(lambda: function(x, y)) == expected
