"""A stand-in for CUDA: the real CuPy, without a GPU, over a driver that computes on the CPU.

CuPy's own Python and Cython code runs, and decides on dtypes, refusals, broadcasting, launches and
copies. What it calls is replaced by the libraries that `build` compiles from ``native/``:

- libcuda.so.1: memory, streams, graphs and launches;
- libnvrtc.so.13: kernels are compiled by g++;
- libcublas.so.13: matrix products;
- the CUDA runtime, which is linked into CuPy: its functions are redirected in memory (`redirect`);
- Thrust, whose kernels come compiled for GPUs: NumPy sorts (`thrust`).

``python tools/cuda_on_cpu -m pytest packages --device=cuda`` runs Python with it; see
docs/cuda_on_cpu.md, which also says what a run on it shows nothing about.
"""

from cuda_on_cpu.installation import find_problem, install, install_on_import, is_installed
from cuda_on_cpu.recorder import Recorder

__all__ = ["Recorder", "find_problem", "install", "install_on_import", "is_installed"]
