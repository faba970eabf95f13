"""Put the stand-in below CuPy, in this process."""

import ctypes
import importlib.abc
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from cuda_on_cpu import build, redirect, refusals, thrust

__all__ = ["driver", "find_problem", "install", "install_on_import", "is_installed"]

WHEEL, VERSION = "cupy-cuda13x", "14.2."
_NAMES = (
    "libcuda.so.1",
    "libnvrtc.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcusolver.so.12",
)
_libraries = []  # libcuda first; loaded for as long as the process lives


def find_problem():
    """Say what keeps the stand-in from running here, or return None."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return f"it is for Linux on x86-64, not {platform.system()} on {platform.machine()}"
    for program, package in ((build.COMPILER, "g++"), ("as", "binutils"), ("ld", "binutils")):
        if shutil.which(program) is None:
            return f"{program} is not installed ({package})"
    try:
        version = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        return f"{WHEEL} is not installed: pip install '{WHEEL}=={VERSION}*'"
    if not version.startswith(VERSION):
        return f"it is made for {WHEEL} {VERSION}*, {version} is installed"
    return None


def is_installed():
    """Return whether CuPy uses the stand-in in this process."""
    return bool(_libraries)


def driver():
    """Return the library that takes the place of the driver."""
    install()
    return _libraries[0]


def install():
    """Let ``import cupy`` find a device that is the stand-in; compiles it if need be.

    Raises:
        RuntimeError: if it cannot run here, if CuPy is imported already, or under
            NN_REQUIRE_CUDA=1, which asks for a GPU.
    """
    if is_installed():
        return
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    problem = find_problem()
    if os.environ.get("NN_REQUIRE_CUDA") == "1":
        problem = "NN_REQUIRE_CUDA=1 asks for a GPU, which the stand-in is not"
    elif {"cupy", "cupy_backends"} & sys.modules.keys():
        problem = "CuPy is imported already"
    if problem:
        raise RuntimeError(f"the CUDA stand-in cannot run: {problem}")
    cupy, backends = _folder("cupy"), _folder("cupy_backends")
    home = build.build(cupy, backends)
    _set_environment(home, cupy)
    for name in _NAMES:
        _libraries.append(ctypes.CDLL(str(home / name), mode=ctypes.RTLD_GLOBAL))
    _libraries[0].standin_count.restype = ctypes.c_longlong
    refusals.install_refusals()
    sys.modules["cupy.cuda.thrust"] = thrust.make_module(_libraries[0])
    import cupy_backends.cuda.api.runtime as runtime

    redirect.redirect_runtime(runtime, _libraries[0])


def _folder(package):
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0])


def _set_environment(home, cupy):
    """Tell the libraries and CuPy where things are."""
    os.environ["CUDA_ON_CPU_KERNELS"] = str(home / "kernels")
    os.environ["CUDA_ON_CPU_COMPILE"] = build.kernel_command(home, cupy)
    numpy = _folder("numpy")
    for library in sorted(numpy.parent.glob("numpy.libs/libscipy_openblas64_*")):
        os.environ["CUDA_ON_CPU_BLAS"] = str(library)
    os.environ["CUPY_CACHE_DIR"] = str(home / "cupy")
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB comes compiled for GPUs
    # the headers of CUDA are replaced, wherever CuPy looks for them
    os.environ["CUDA_PATH"] = str(home / "cuda")
    from cuda import pathfinder

    pathfinder.find_nvidia_header_directory = lambda name: str(home / "cuda/include")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing, but installs the stand-in when CuPy is asked for."""

    def find_spec(self, name, path=None, target=None):
        if name in ("cupy", "cupy_backends"):
            install()


def install_on_import():
    """Let the first ``import cupy`` do what `install` does."""
    sys.meta_path.insert(0, _Finder())
