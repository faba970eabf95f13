"""Refuse, by name, the libraries that the stand-in lacks.

Their modules in CuPy would load what is compiled for GPUs, if it is there, and some of them do not
look whether their launches worked: they would return whatever the memory holds.
"""

import ctypes
import importlib.abc
import importlib.machinery
import sys
import types

__all__ = ["install_refusals"]

# Modules that are replaced: each of their names raises when it is called.
_LIBRARIES = {
    "cupy.cuda.cufft": "cuFFT",
    "cupy.cuda.jitify": "Jitify",
    "cupy.random._generator_api": "cuRAND",
    "cupy_backends.cuda.libs.curand": "cuRAND",
    "cupy_backends.cuda.libs.cusparse": "cuSPARSE",
    "cupy_backends.cuda.libs.cutensor": "cuTENSOR",
}
# A module that CuPy links to: its functions are replaced once it is imported.
_CUB = "cupy.cuda.cub"
# Modules whose users look whether they can be imported.
_ABSENT = {"cudnn": "cuDNN"}


def _refusal(name):
    """Return a class, as CuPy asks for some in `isinstance`, that cannot be called."""

    def refuse(cls, *arguments, **options):
        raise NotImplementedError(f"the CUDA stand-in has no {name}")

    return type("Refusal", (), {"__new__": refuse})


class _Library(types.ModuleType):
    """A module that has every name."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _refusal(f"{_LIBRARIES[self.__name__]} ({name})")


class _LibraryLoader(importlib.abc.Loader):
    """Loads what replaces a library."""

    def create_module(self, spec):
        return _Library(spec.name)

    def exec_module(self, module):
        pass


class _CubLoader(importlib.abc.Loader):
    """Loads CUB's module as another loader does, with refusals for its functions."""

    def __init__(self, loader):
        self._loader = loader

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        for name in dir(module):
            if name.startswith(("cub_", "device_")):
                setattr(module, name, _refusal(f"CUB ({name})"))


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in _ABSENT:
            raise ModuleNotFoundError(f"the CUDA stand-in has no {_ABSENT[name]}", name=name)
        if name in _LIBRARIES:
            return importlib.machinery.ModuleSpec(name, _LibraryLoader())
        if name == _CUB:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            spec.loader = _CubLoader(spec.loader)
            return spec
        return None


def install_refusals():
    """Put refusals in the place of the libraries."""
    sys.meta_path.insert(0, _Finder())
    # before it imports a module of a library, CuPy loads the library
    from cuda import pathfinder

    refused = {name.rpartition(".")[2] for name in _LIBRARIES}
    load = pathfinder.load_nvidia_dynamic_lib

    def load_or_refuse(name):
        if name == "cusolver":  # without the libraries that NVIDIA's needs
            return types.SimpleNamespace(_handle_uint=ctypes.CDLL("libcusolver.so.12")._handle)
        return None if name in refused else load(name)

    pathfinder.load_nvidia_dynamic_lib = load_or_refuse
