"""Compile the libraries of the stand-in, once for each CuPy, and keep them in a cache."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from cuda_on_cpu.elf import read_functions

__all__ = ["COMPILER", "build", "cache_folder", "kernel_command"]

COMPILER = "g++"
_NATIVE = Path(__file__).resolve().parent / "native"
_INCLUDE = _NATIVE / "include"
_DRIVER = ("counters", "errors", "memory", "device", "streams", "fibers", "launch")
_LIBRARY_FLAGS = "-std=c++17 -O2 -fPIC -w -march=x86-64-v3"
# Multiplication and addition are contracted, as by NVRTC; -O1 alone would not do it.
_KERNEL_FLAGS = (
    "-std=c++17 -O1 -fPIC -w -march=x86-64-v3 -ffp-contract=fast -fexpensive-optimizations"
)
_NOT_SUPPORTED = {"cublas": 15, "cusolver": 9}  # a status of each library
_PRECOMPILED = ("device_code.h", "cupy_kernels.h")


def cache_folder():
    """Return where what was compiled is kept: CUDA_ON_CPU_CACHE, or a folder of the user."""
    given = os.environ.get("CUDA_ON_CPU_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given or Path(home) / "cuda-on-cpu")


def kernel_command(home, cupy):
    """Return the command by which nvrtc.cpp compiles a kernel."""
    includes = [f"-I{shlex.quote(str(path))}" for path in (home, _INCLUDE, cupy / "_core/include")]
    return f"{COMPILER} {_KERNEL_FLAGS} {' '.join(includes)}"


def build(cupy, backends):
    """Return the folder of the libraries for a CuPy, compiled if need be.

    Args:
        cupy: folder of the package cupy.
        backends: folder of the package cupy_backends.
    """
    sources = [path for path in sorted(_NATIVE.rglob("*")) if path.is_file()]
    compiler = subprocess.run([COMPILER, "--version"], capture_output=True, check=True).stdout
    parts = [Path(__file__).read_bytes(), *(path.read_bytes() for path in sources), compiler]
    mark = hashlib.sha256(b"".join([*parts, str(cupy).encode(), str(_INCLUDE).encode()]))
    home = cache_folder() / mark.hexdigest()[:16]
    if not home.exists():
        # processes may build at the same time: the first that is ready wins
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as folder:
            made = Path(folder) / "made"
            _compile_into(made, cupy, backends)
            try:
                made.rename(home)
            except OSError:
                if not home.exists():
                    raise
    return home


def _compile_into(folder, cupy, backends):
    for name in ("kernels", "cupy", "cuda/include"):
        (folder / name).mkdir(parents=True)
    try:
        objects = {path.stem: _object(path, folder) for path in _NATIVE.glob("*.cpp")}
        driver = [objects[name] for name in _DRIVER]
        libcuda = _link(folder, "libcuda.so.1", *driver, "-ldl", "-lpthread")
        _link(folder, "libnvrtc.so.13", objects["nvrtc"])
        missing = _refusals("cublas", objects["cublas"], [_module(backends, "cublas")], folder)
        _link(folder, "libcublas.so.13", objects["cublas"], missing, libcuda, "-ldl")
        _link(folder, "libcublasLt.so.13", missing, libcuda)
        users = [
            _module(backends, "cusolver"),
            next((cupy.parent / "cupyx").glob("_cusolver.*.so")),
        ]
        missing = _refusals("cusolver", objects["cusolver"], users, folder)
        _link(folder, "libcusolver.so.12", objects["cusolver"], missing, libcuda, "-ldl")
        command = [*shlex.split(kernel_command(folder, cupy)), "-x", "c++-header"]
        for name in _PRECOMPILED:
            _run([*command, _INCLUDE / name, "-o", folder / f"{name}.gch"])
    finally:
        shutil.rmtree(folder / "objects", ignore_errors=True)


def _run(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))}\n{done.stderr[:4000]}")


def _object(source, folder):
    target = folder / "objects" / f"{source.stem}.o"
    target.parent.mkdir(exist_ok=True)
    _run([COMPILER, *shlex.split(_LIBRARY_FLAGS), f"-I{_NATIVE}", "-c", source, "-o", target])
    return target


def _link(folder, name, *inputs):
    # CuPy asks for versioned symbols of cuBLAS and cuSOLVER
    versions = folder / "objects" / f"{name}.map"
    versions.write_text(f"{name} {{ global: *; }};\n", encoding="ascii")
    script = (
        [f"-Wl,--version-script={versions}"]
        if name.startswith(("libcublas.", "libcusolver."))
        else []
    )
    target = folder / name
    _run([COMPILER, "-shared", f"-Wl,-soname,{name}", *script, *inputs, "-o", target])
    return target


def _module(backends, name):
    """Return the module of CuPy that is linked with a library."""
    return next((backends / "cuda/libs").glob(f"{name}.*.so"))


def _refusals(name, given, users, folder):
    """Compile functions that refuse, by name, what CuPy needs of a library and is not given."""
    needed = {function for path in users for function in read_functions(path, undefined=True)}
    missing = set(filter(re.compile(name).match, needed)) - set(read_functions(given))
    source = folder / "objects" / f"missing_{name}.cpp"
    body = f'EXPORT int {{0}}() {{{{ return standin_refuse("{{0}}"), {_NOT_SUPPORTED[name]}; }}}}\n'
    lines = ['#include "driver.h"\n', *(body.format(name) for name in sorted(missing))]
    source.write_text("".join(lines), encoding="ascii")
    return _object(source, folder)
