// Half precision as in CUDA, by _Float16: each operation rounds once, as __hadd does.
#pragma once
#include "device_code.h"
struct __half_raw {
  unsigned short x;
};
struct __half {
  _Float16 v;
  __half() = default;
  __half(float f) : v((_Float16)f) {}
  __half(double d) : v((_Float16)d) {}
  __half(int i) : v((_Float16)i) {}
  __half(unsigned i) : v((_Float16)i) {}
  __half(long long i) : v((_Float16)i) {}
  __half(unsigned long long i) : v((_Float16)i) {}
  __half(short i) : v((_Float16)i) {}
  __half(unsigned short i) : v((_Float16)i) {}
  __half(const __half_raw& r) : v(standin_bits<_Float16>(r.x)) {}
  static __half from(_Float16 f) {
    __half h;
    h.v = f;
    return h;
  }
  operator float() const { return (float)v; }
  operator __half_raw() const { return {standin_bits<unsigned short>(v)}; }
};
typedef __half half;
struct __half2 {
  __half x, y;
};
typedef __half2 half2;
static inline __half operator+(__half a, __half b) { return __half::from(a.v + b.v); }
static inline __half operator-(__half a, __half b) { return __half::from(a.v - b.v); }
static inline __half operator*(__half a, __half b) { return __half::from(a.v * b.v); }
static inline __half operator/(__half a, __half b) { return __half::from(a.v / b.v); }
static inline __half& operator+=(__half& a, __half b) {
  a.v += b.v;
  return a;
}
static inline __half __float2half(float f) { return __half(f); }
static inline __half __float2half_rn(float f) { return __half(f); }
static inline __half __double2half(double f) { return __half(f); }
static inline float __half2float(__half h) { return (float)h.v; }
static inline unsigned short __half_as_ushort(__half h) {
  return standin_bits<unsigned short>(h.v);
}
static inline __half __ushort_as_half(unsigned short x) {
  return __half::from(standin_bits<_Float16>(x));
}
static inline __half __hadd(__half a, __half b) { return a + b; }
static inline __half __hsub(__half a, __half b) { return a - b; }
static inline __half __hmul(__half a, __half b) { return a * b; }
static inline __half __hfma(__half a, __half b, __half c) {
  return __half((float)((double)(float)a * (double)(float)b + (double)(float)c));
}
static inline bool __hisnan(__half a) { return a.v != a.v; }
STANDIN_ATOMIC(atomicAdd, __half, o + v)
