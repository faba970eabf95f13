// bfloat16 as in CUDA, computed in float and rounded to nearest even.
#pragma once
#include "device_code.h"
struct __nv_bfloat16_raw {
  unsigned short x;
};
struct __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float f) {
    unsigned u = __float_as_uint(f);
    bits = f != f ? 0x7fff : (unsigned short)((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  __nv_bfloat16(double d) : __nv_bfloat16((float)d) {}
  __nv_bfloat16(int i) : __nv_bfloat16((float)i) {}
  __nv_bfloat16(unsigned i) : __nv_bfloat16((float)i) {}
  __nv_bfloat16(long long i) : __nv_bfloat16((float)i) {}
  __nv_bfloat16(unsigned long long i) : __nv_bfloat16((float)i) {}
  __nv_bfloat16(const __nv_bfloat16_raw& r) : bits(r.x) {}
  operator float() const { return __uint_as_float((unsigned)bits << 16); }
  operator __nv_bfloat16_raw() const { return {bits}; }
};
static inline __nv_bfloat16 __float2bfloat16(float f) { return __nv_bfloat16(f); }
static inline float __bfloat162float(__nv_bfloat16 b) { return b; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short x) {
  return __nv_bfloat16(__nv_bfloat16_raw{x});
}
static inline bool __hisnan(__nv_bfloat16 b) { return (b.bits & 0x7fff) > 0x7f80; }
static inline int __hisinf(__nv_bfloat16 b) {
  return (b.bits & 0x7fff) == 0x7f80 ? (b.bits >> 15 ? -1 : 1) : 0;
}
static inline bool operator==(__nv_bfloat16 a, __nv_bfloat16 b) { return (float)a == (float)b; }
