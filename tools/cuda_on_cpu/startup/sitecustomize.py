"""With this folder on PYTHONPATH, the first ``import cupy`` of a process finds the stand-in."""

import cuda_on_cpu

cuda_on_cpu.install_on_import()
