"""Compile the kernels of the packages by the real NVRTC, which needs no GPU.

``python tools/cuda_on_cpu/nvrtc.py`` runs the rows of all kernels on the stand-in, keeps what CuPy
gives to the compiler, and compiles the kernels of the packages with the NVRTC of NVIDIA's wheels::

    pip install 'nvidia-cuda-nvrtc==13.*' 'nvidia-cuda-runtime==13.*'

What follows goes to pytest; by default it is the rows of kernels, and the tests that reach others.
It prints the names of the kernels by package, and fails if NVRTC refuses one.
"""

import collections
import ctypes
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["RealCompiler", "find_wheel", "pytest_configure"]

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = "sm_90"
_FOLDER = "CUDA_ON_CPU_NVRTC_SOURCES"
# how the names of the kernels of the packages begin, with the package
_OURS = re.compile(r"__global__ void (nn_[a-z]+)_(\w+)")
# the rows of kernels; the tests of steps of several parameters, and of ranges of values
_SELECTED = "implementations or AddAt or together or range or outside or unscaled"


def pytest_configure():
    """Keep what is compiled in the folder that the environment names."""
    from cupy.cuda import compiler

    folder, compile_source = Path(os.environ[_FOLDER]), compiler._NVRTCProgram.compile

    def compile_and_keep(program, options=(), log_stream=None):
        text = json.dumps({"source": program.src, "options": list(options)})
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        return compile_source(program, options, log_stream)

    compiler._NVRTCProgram.compile = compile_and_keep


def find_wheel():
    """Return the folder of NVRTC and of CUDA's headers, or None."""
    spec = importlib.util.find_spec("nvidia")
    for path in spec.submodule_search_locations if spec else ():
        if any((Path(path) / "cu13/lib").glob("libnvrtc.so.13")):
            return Path(path) / "cu13"
    return None


class RealCompiler:
    """NVRTC from NVIDIA's wheel, in the folder `home`; for a process without the stand-in."""

    def __init__(self, home):
        self._home = home
        self._library = ctypes.CDLL(str(home / "lib/libnvrtc.so.13"))

    def compile(self, source, options):
        """Return None, or what NVRTC says against a source."""
        program = ctypes.c_void_p()
        made = self._library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None
        )
        if made:
            return f"nvrtcCreateProgram: error {made}"
        given = [option.encode() for option in [*options, f"-I{self._home / 'include'}"]]
        array = (ctypes.c_char_p * len(given))(*given)
        failed = self._library.nvrtcCompileProgram(program, len(given), array)
        size = ctypes.c_size_t()
        self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self._library.nvrtcGetProgramLog(program, log)
        self._library.nvrtcDestroyProgram(ctypes.byref(program))
        return log.value.decode() or f"error {failed}" if failed else None


def real_options(options):
    """Return CuPy's options for NVRTC without the places of the stand-in's headers."""
    kept = [o for o in options if "cuda-on-cpu" not in o and not o.startswith(("-arch", "--gpu"))]
    return [*kept, f"-arch={ARCHITECTURE}"]


def main():
    home = find_wheel()
    if home is None:
        sys.exit("NVRTC is not installed; see the head of this file")
    with tempfile.TemporaryDirectory() as folder:
        python_path = [str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]
        settings = {_FOLDER: folder, "CUPY_CACHE_IN_MEMORY": "1"}
        settings["PYTHONPATH"] = os.pathsep.join(filter(None, python_path))
        command = [sys.executable, "tools/cuda_on_cpu", "-m", "pytest", "-q", "--device=cuda"]
        chosen = sys.argv[1:] or ["packages", "-k", _SELECTED]
        command += ["-p", "cuda_on_cpu.nvrtc", *chosen]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **settings}, check=True)
        compiler, refused = RealCompiler(home), 0
        found = collections.defaultdict(list)
        for path in sorted(Path(folder).glob("*.json")):
            kept = json.loads(path.read_text(encoding="utf-8"))
            name = _OURS.search(kept["source"])
            if name is None:
                continue
            found[name[1]].append(name[2])
            log = compiler.compile(kept["source"], real_options(kept["options"]))
            if log:
                refused += 1
                print(f"{kept['source']}\n{kept['options']}\n{log}")
    for package, names in sorted(found.items()):
        print(f"{package}: {len(names)} sources of {', '.join(sorted(set(names)))}")
    count = sum(map(len, found.values()))
    print(f"NVRTC compiled {count - refused} of {count} sources for {ARCHITECTURE}")
    return refused > 0 or count == 0


if __name__ == "__main__":
    sys.exit(main())
