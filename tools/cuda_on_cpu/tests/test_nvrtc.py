"""The real NVRTC, where its wheel is installed."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from cuda_on_cpu import nvrtc

pytestmark = pytest.mark.cuda
OPTIONS = [f"-arch={nvrtc.ARCHITECTURE}"]


@pytest.fixture
def compiler():
    home = nvrtc.find_wheel()
    if home is None:
        pytest.skip("nvidia-cuda-nvrtc is not installed")
    return nvrtc.RealCompiler(home)


def test_a_kernel_is_compiled(compiler):
    source = '#include <cuda_fp16.h>\nextern "C" __global__ void f(__half *x) { *x = *x + *x; }'
    assert compiler.compile(source, OPTIONS) is None


def test_an_error_is_reported(compiler):
    log = compiler.compile(
        'extern "C" __global__ void f(long long *x) { atomicAdd(x, 1ll); }', OPTIONS
    )
    assert "atomicAdd" in log


def test_the_stand_ins_headers_are_not_used():
    given = ["-I/home/user/.cache/cuda-on-cpu/x/cuda/include", "-arch=sm_90", "-DX=1"]
    assert nvrtc.real_options(given) == ["-DX=1", *OPTIONS]
