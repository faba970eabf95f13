"""The processor that machine code is made for: this one, or the one that numba is told to use."""

from __future__ import annotations

import os

import llvmlite.binding as llvm

__all__ = ["DESCRIPTION", "FUSED", "MACHINE", "WIDE"]

_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @probe(<16 x float> %x) {
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  ret <16 x float> %y
}
"""


def _name_and_features() -> tuple[str, str]:
    # variables of numba; with the features of this processor the name of another means nothing
    name, features = (os.environ.get(f"NUMBA_CPU_{word}") for word in ("NAME", "FEATURES"))
    if features is None:
        try:
            features = "" if name else llvm.get_host_cpu_features().flatten()
        except RuntimeError:  # LLVM cannot find out
            features = ""
    if llvm.get_process_triple().startswith("x86_64"):
        features = f"+64bit,{features}"  # a name that LLVM does not know would end the process
    return name or llvm.get_host_cpu_name(), features


llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
_name, _features = _name_and_features()
_target = llvm.Target.from_default_triple()
MACHINE = _target.create_target_machine(
    cpu=_name,
    features=_features,
    opt=3,
    reloc="static" if _target.name.startswith("x86") else "default",
    codemodel="jitdefault",  # the parts of an object may lie anywhere in memory
    jit=True,
)
DESCRIPTION = f"{MACHINE.triple} {_name} {_features}"

_assembly = MACHINE.emit_assembly(llvm.parse_assembly(_PROBE))
WIDE = "zmm" in _assembly  # 32 registers of 16 floats (AVX-512)
FUSED = "vfmadd" in _assembly  # a multiply-add is one instruction of x86
