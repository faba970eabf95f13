"""The real NVRTC, where its wheel is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = str(Path(__file__).resolve().parents[2])
sys.path.append(TOOLS)

from cuda_on_cpu import nvrtc  # noqa: E402 - after its place is known

pytestmark = pytest.mark.cuda
OPTIONS = [f"-arch={nvrtc.ARCHITECTURE}"]


PROGRAM = """
import sys
from cuda_on_cpu import nvrtc  # noqa: E402 - after its place is known
print(nvrtc.RealCompiler(nvrtc.find_wheel()).compile(sys.stdin.read(), sys.argv[1:]))
"""


def compile_alone(source):
    """Return what the compiler says in a process of its own, as it and the stand-in do not mix."""
    if nvrtc.find_wheel() is None:
        pytest.skip("nvidia-cuda-nvrtc is not installed")
    path = os.pathsep.join([TOOLS, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *OPTIONS],
        input=source,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_a_kernel_is_compiled():
    source = '#include <cuda_fp16.h>\nextern "C" __global__ void f(__half *x) { *x = *x + *x; }'
    assert compile_alone(source) == "None"


def test_an_error_is_reported():
    source = 'extern "C" __global__ void f(long long *x) { atomicAdd(x, 1ll); }'
    assert "atomicAdd" in compile_alone(source)


def test_the_stand_ins_headers_are_not_used():
    given = ["-I/home/user/.cache/cuda-on-cpu/x/cuda/include", "-arch=sm_90", "-DX=1"]
    assert nvrtc.real_options(given) == ["-DX=1", *OPTIONS]
