"""Redirect the CUDA runtime, which is linked into a module of CuPy, into the stand-in's driver.

The file of the module stays as it is: in memory, each function of the runtime begins with a jump.
"""

import ctypes
import mmap
import re
import struct
from pathlib import Path

from cuda_on_cpu.elf import read_functions

__all__ = ["redirect_runtime"]

_names = []  # C strings that code points to
_READ, _WRITE, _EXECUTE = 1, 2, 4


def redirect_runtime(module, driver):
    """Let each CUDA runtime function in `module` call its namesake in `driver`, or refuse by name.

    Args:
        module: the extension module that the runtime is linked into.
        driver: the library with the functions ``standin_cuda*``.
    """
    path = Path(module.__file__).resolve()
    base = _address_of(path)
    for name, offset in read_functions(path).items():
        if re.fullmatch(r"cuda[A-Z]\w+", name):
            plain = re.sub(r"_(ptsz|ptds)$", "", name)  # variants of the default stream
            _write_code(base + offset, _jump(driver, plain))


def _jump(driver, name):
    def address(function):
        return struct.pack("<Q", ctypes.cast(function, ctypes.c_void_p).value)

    def jump_to(function):
        return b"\x48\xb8" + address(function) + b"\xff\xe0"  # mov rax, function; jmp rax

    if hasattr(driver, f"standin_{name}"):
        return jump_to(getattr(driver, f"standin_{name}"))
    text = ctypes.create_string_buffer(name.encode())
    _names.append(text)
    load_name = b"\x48\xbf" + struct.pack("<Q", ctypes.addressof(text))  # mov rdi, text
    return load_name + jump_to(driver.standin_refuse)


def _address_of(path):
    """Return where a loaded file begins in memory."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, _, offset, _, _, *name = line.split(maxsplit=5)
        if name == [str(path)] and int(offset, 16) == 0:
            return int(addresses.split("-")[0], 16)
    raise RuntimeError(f"{path} is not loaded")


def _write_code(address, code):
    page = address & ~(mmap.PAGESIZE - 1)
    span = ctypes.c_void_p(page), ctypes.c_size_t(address + len(code) - page)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(*span, _READ | _WRITE | _EXECUTE):
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.memmove(address, code, len(code))
    libc.mprotect(*span, _READ | _EXECUTE)
