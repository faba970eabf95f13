// What NVRTC gives device code, for g++: built-in variables, intrinsics, atomics. Overload sets are
// those of CUDA, so that what NVRTC refuses (atomicAdd on long, say) is refused here too.
#pragma once
#include <algorithm>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define CUDART_VERSION 13000
#define __CUDA_ARCH__ 900
#define CUDA_ON_CPU 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static
#define __managed__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __grid_constant__
#undef assert
#define assert(condition) ((condition) ? (void)0 : standin_trap())

struct standin_dim {
  unsigned int x, y, z;
};
typedef standin_dim uint3;
struct dim3 {
  unsigned int x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct standin_builtins_t {
  standin_dim threadIdx, blockIdx, blockDim, gridDim;
  void* dynamic_shared;
};
extern "C" {
void standin_block_barrier();  // in fibers.cpp
void standin_warp_barrier(unsigned mask);
void* standin_warp_slot(int lane);  // 16 bytes for each lane of the running thread's warp
unsigned standin_active_mask();
[[noreturn]] void standin_trap();
}
static standin_builtins_t standin_builtins;
#define threadIdx (standin_builtins.threadIdx)
#define blockIdx (standin_builtins.blockIdx)
#define blockDim (standin_builtins.blockDim)
#define gridDim (standin_builtins.gridDim)
static const int warpSize = 32;

#define STANDIN_VECTORS(T, N)                                                     \
  struct N##1 { T x; };                                                           \
  struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                 \
  struct N##3 { T x, y, z; };                                                     \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) N##4 { T x, y, z, w; }; \
  static inline N##2 make_##N##2(T x, T y) { return {x, y}; }                     \
  static inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
STANDIN_VECTORS(float, float)
STANDIN_VECTORS(double, double) STANDIN_VECTORS(int, int) STANDIN_VECTORS(short, short)
    STANDIN_VECTORS(unsigned short, ushort) STANDIN_VECTORS(long long, longlong)
        STANDIN_VECTORS(signed char, char) STANDIN_VECTORS(unsigned char, uchar) struct alignas(8)
            uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// Mathematics, which CUDA has in the global namespace, overloaded by type.
using std::abs;
using std::acos;
using std::acosh;
using std::asin;
using std::asinh;
using std::atan;
using std::atan2;
using std::atanh;
using std::cbrt;
using std::ceil;
using std::copysign;
using std::cos;
using std::cosh;
using std::erf;
using std::erfc;
using std::exp;
using std::exp2;
using std::expm1;
using std::fabs;
using std::fdim;
using std::floor;
using std::fma;
using std::fmax;
using std::fmin;
using std::fmod;
using std::frexp;
using std::hypot;
using std::ilogb;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::ldexp;
using std::lgamma;
using std::llrint;
using std::log;
using std::log10;
using std::log1p;
using std::log2;
using std::logb;
using std::lrint;
using std::modf;
using std::nearbyint;
using std::nextafter;
using std::pow;
using std::remainder;
using std::rint;
using std::round;
using std::scalbn;
using std::signbit;
using std::sin;
using std::sinh;
using std::sqrt;
using std::tan;
using std::tanh;
using std::tgamma;
using std::trunc;
template <class A, class B>
using standin_common =
    std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value,
                     std::common_type_t<A, B>>;
template <class A, class B>
static inline standin_common<A, B> max(A a, B b) {
  typedef standin_common<A, B> T;
  if constexpr (std::is_floating_point<T>::value)
    return std::fmax(T(a), T(b));  // as in CUDA, a number wins over NaN
  else
    return T(a) > T(b) ? T(a) : T(b);
}
template <class A, class B>
static inline standin_common<A, B> min(A a, B b) {
  typedef standin_common<A, B> T;
  if constexpr (std::is_floating_point<T>::value)
    return std::fmin(T(a), T(b));
  else
    return T(a) < T(b) ? T(a) : T(b);
}
static inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
static inline float rsqrt(float x) { return 1 / std::sqrt(x); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
static inline double exp10(float x) { return std::pow(10.0f, x); }
#define __expf(x) std::exp((float)(x))
#define __logf(x) std::log((float)(x))
#define __powf(x, y) std::pow((float)(x), (float)(y))
static inline float __fdividef(float x, float y) { return x / y; }
static inline float fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __fsqrt_rn(float x) { return std::sqrt(x); }
static inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
static inline float __saturatef(float x) { return x < 0 || x != x ? 0 : x > 1 ? 1 : x; }
static inline double norm3d(double a, double b, double c) {
  return std::sqrt(a * a + b * b + c * c);
}
template <class T, class U>
static inline T standin_bits(U x) {
  static_assert(sizeof(T) == sizeof(U));
  T t;
  std::memcpy(&t, &x, sizeof t);
  return t;
}
static inline float __int_as_float(int x) { return standin_bits<float>(x); }
static inline int __float_as_int(float x) { return standin_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return standin_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return standin_bits<unsigned>(x); }
static inline double __longlong_as_double(long long x) { return standin_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return standin_bits<long long>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned __int128)a * b >> 64;
}
template <class T>
static inline T __ldg(const T* p) {
  return *p;
}
template <class T>
static inline T __ldcs(const T* p) {
  return *p;
}
template <class T>
static inline void __stcs(T* p, T v) {
  *p = v;
}
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __trap() { standin_trap(); }
static inline long long clock64() { return 0; }

// Atomics: threads run one after another, so that plain arithmetic is atomic.
#define STANDIN_ATOMIC(NAME, T, NEW) \
  static inline T NAME(T* p, T v) {  \
    T o = *p;                        \
    *p = NEW;                        \
    return o;                        \
  }
STANDIN_ATOMIC(atomicAdd, int, o + v)
STANDIN_ATOMIC(atomicAdd, unsigned, o + v) STANDIN_ATOMIC(atomicAdd, unsigned long long, o + v)
    STANDIN_ATOMIC(atomicAdd, float, o + v) STANDIN_ATOMIC(atomicAdd, double, o + v)
        STANDIN_ATOMIC(atomicSub, int, o - v) STANDIN_ATOMIC(atomicSub, unsigned, o - v)
            STANDIN_ATOMIC(atomicExch, int, v) STANDIN_ATOMIC(atomicExch, unsigned, v)
                STANDIN_ATOMIC(atomicExch, unsigned long long, v)
                    STANDIN_ATOMIC(atomicExch, float, v)
#define STANDIN_ATOMIC_ALL(NAME, NEW) \
  STANDIN_ATOMIC(NAME, int, NEW)      \
  STANDIN_ATOMIC(NAME, unsigned, NEW) STANDIN_ATOMIC(NAME, unsigned long long, NEW)
                        STANDIN_ATOMIC_ALL(atomicMin, o < v ? o : v)
                            STANDIN_ATOMIC(atomicMin, long long, o < v ? o : v)
                                STANDIN_ATOMIC_ALL(atomicMax, o > v ? o : v)
                                    STANDIN_ATOMIC(atomicMax, long long, o > v ? o : v)
                                        STANDIN_ATOMIC_ALL(atomicAnd, o& v)
                                            STANDIN_ATOMIC_ALL(atomicOr, o | v)
                                                STANDIN_ATOMIC_ALL(atomicXor, o ^ v)
                                                    STANDIN_ATOMIC(atomicInc, unsigned,
                                                                   o >= v ? 0 : o + 1)
                                                        STANDIN_ATOMIC(atomicDec, unsigned,
                                                                       o == 0 || o > v ? v : o - 1)
#define STANDIN_CAS(T)                        \
  static inline T atomicCAS(T* p, T c, T v) { \
    T o = *p;                                 \
    if (o == c) *p = v;                       \
    return o;                                 \
  }
                                                            STANDIN_CAS(int) STANDIN_CAS(unsigned)
                                                                STANDIN_CAS(unsigned long long)
                                                                    STANDIN_CAS(unsigned short)

    // Barriers and warps, in kernels whose threads run as fibers (fibers.cpp).
    static inline void __syncthreads() {
  standin_block_barrier();
}
static inline void __syncwarp(unsigned mask = 0xffffffffu) { standin_warp_barrier(mask); }
static inline unsigned __activemask() { return standin_active_mask(); }
static inline int standin_lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31;
}
template <class T>
static inline T standin_shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 16);
  std::memcpy(standin_warp_slot(standin_lane()), &value, sizeof(T));
  standin_warp_barrier(mask);
  T result;
  std::memcpy(&result, standin_warp_slot(source), sizeof(T));
  standin_warp_barrier(mask);
  return result;
}
template <class T>
static inline T __shfl_sync(unsigned m, T v, int s, int w = 32) {
  return standin_shuffle(m, v, (standin_lane() & ~(w - 1)) | (s & (w - 1)));
}
template <class T>
static inline T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32) {
  int l = standin_lane();
  return standin_shuffle(m, v, (l & (w - 1)) + (int)d < w ? l + d : l);
}
template <class T>
static inline T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32) {
  int l = standin_lane();
  return standin_shuffle(m, v, (l & (w - 1)) >= (int)d ? l - d : l);
}
template <class T>
static inline T __shfl_xor_sync(unsigned m, T v, int x, int w = 32) {
  int l = standin_lane(), s = l ^ x;
  return standin_shuffle(m, v, (s & ~(w - 1)) <= (l | (w - 1)) ? s : l);
}
static inline unsigned __ballot_sync(unsigned m, int p) {
  unsigned result = 0, mine = p ? 1u : 0u;
  std::memcpy(standin_warp_slot(standin_lane()), &mine, 4);
  standin_warp_barrier(m);
  for (int i = 0; i < 32; ++i)
    if (m >> i & 1) {
      unsigned v;
      std::memcpy(&v, standin_warp_slot(i), 4);
      result |= (v & 1u) << i;
    }
  result &= standin_active_mask();
  standin_warp_barrier(m);
  return result;
}
static inline int __any_sync(unsigned m, int p) { return __ballot_sync(m, p) != 0; }
static inline int __all_sync(unsigned m, int p) { return __ballot_sync(m, !p) == 0; }
static inline int __syncthreads_count(int p) {
  static int sum;
  sum = 0;
  __syncthreads();
  sum += p != 0;
  __syncthreads();
  int r = sum;
  __syncthreads();
  return r;
}
static inline int __syncthreads_or(int p) { return __syncthreads_count(p) > 0; }
static inline int __syncthreads_and(int p) { return __syncthreads_count(!p) == 0; }

// How a kernel is called with the pointers to its arguments that cuLaunchKernel receives.
namespace standin {
template <class... A, std::size_t... I>
static inline void call(void (*f)(A...), void** p, std::index_sequence<I...>) {
  f(*static_cast<std::remove_reference_t<A>*>(p[I])...);
}
template <class... A>
static inline void call(void (*f)(A...), void** p) {
  call(f, p, std::index_sequence_for<A...>{});
}
template <class... A>
static inline int sizes(void (*)(A...), std::size_t* out) {
  std::size_t s[] = {sizeof(A)..., 0};
  for (std::size_t i = 0; i < sizeof...(A); ++i) out[i] = s[i];
  return sizeof...(A);
}
}  // namespace standin
#define STANDIN_EXPORT extern "C" __attribute__((visibility("default")))
#define STANDIN_KERNEL(SYMBOL, ...)                                                         \
  STANDIN_EXPORT void SYMBOL##__standin_thread(void** p) { standin::call(__VA_ARGS__, p); } \
  STANDIN_EXPORT int SYMBOL##__standin_sizes(std::size_t* out) {                            \
    return standin::sizes(__VA_ARGS__, out);                                                \
  }                                                                                         \
  STANDIN_EXPORT void SYMBOL##__standin_block(void** p) {                                   \
    standin_dim b = blockDim;                                                               \
    for (unsigned z = 0; z < b.z; ++z)                                                      \
      for (unsigned y = 0; y < b.y; ++y)                                                    \
        for (unsigned x = 0; x < b.x; ++x) {                                                \
          threadIdx = {x, y, z};                                                            \
          standin::call(__VA_ARGS__, p);                                                    \
        }                                                                                   \
  }                                                                                         \
  STANDIN_EXPORT standin_builtins_t* SYMBOL##__standin_builtins() { return &standin_builtins; }
