// libcublas.so.13 on the CPU: the calls of CuPy's dot, matmul, tensordot and norm. They are loops,
// or NumPy's OpenBLAS for large real matrices. What is missing is refused by name (build.py).
//
// Matrices are column-major. An operation is 0 (as it is), 1 (transposed) or 2 (conjugated, too).
#include <dlfcn.h>

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "driver.h"
#include "lapack.h"

namespace {
enum Status { BLAS_SUCCESS = 0, BLAS_EXECUTION_FAILED = 13, BLAS_NOT_SUPPORTED = 15 };
enum PointerMode { HOST, DEVICE };

using ComplexFloat = std::complex<float>;
using ComplexDouble = std::complex<double>;
using Half = _Float16;
struct BFloat16 {
  uint16_t bits;
  BFloat16() = default;
  BFloat16(float value) {
    uint32_t all;
    memcpy(&all, &value, 4);
    bits = value != value ? 0x7fff : (all + 0x7fff + (all >> 16 & 1)) >> 16;
  }
  operator float() const {
    uint32_t all = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &all, 4);
    return value;
  }
};

struct Handle {
  void* stream = nullptr;
  int pointer_mode = HOST, math_mode = 0;
};

template <class F>
int run(Handle* handle, const char* name, F function) {
  auto call = [](void* data) { (*(F*)data)(); };
  return standin_run_or_capture(handle->stream, name, call, new F(function)) ? BLAS_EXECUTION_FAILED
                                                                             : BLAS_SUCCESS;
}

template <class T>
constexpr bool is_half = std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>;
template <class T>
constexpr bool is_complex = std::is_same_v<T, ComplexFloat> || std::is_same_v<T, ComplexDouble>;
template <class T>
using Sum = std::conditional_t<is_half<T>, float, T>;

template <class T>
T conjugate(T value) {
  if constexpr (is_complex<T>) return std::conj(value);
  return value;
}

template <class T>
using CblasGemm = void (*)(int order, int a_operation, int b_operation, int64_t m, int64_t n,
                           int64_t k, T alpha, const T* a, int64_t lda, const T* b, int64_t ldb,
                           T beta, T* c, int64_t ldc);
template <class T>
CblasGemm<T> cblas_gemm() {
  const char* path = getenv("CUDA_ON_CPU_BLAS");
  void* library = path ? dlopen(path, RTLD_NOW) : nullptr;
  const char* name = sizeof(T) == 4 ? "scipy_cblas_sgemm64_" : "scipy_cblas_dgemm64_";
  return library ? (CblasGemm<T>)dlsym(library, name) : nullptr;
}

template <class Input, class Output, class Scale>
void gemm(int a_operation, int b_operation, int64_t m, int64_t n, int64_t k, Scale alpha,
          const Input* a, int64_t lda, const Input* b, int64_t ldb, Scale beta, Output* c,
          int64_t ldc) {
  constexpr bool real = std::is_same_v<Input, float> || std::is_same_v<Input, double>;
  if constexpr (real && std::is_same_v<Input, Output>) {
    constexpr int COLUMN_MAJOR = 102, AS_IT_IS = 111, TRANSPOSED = 112;
    static const auto of_openblas = cblas_gemm<Input>();
    if (of_openblas && m * n * k > 4096) {
      of_openblas(COLUMN_MAJOR, a_operation ? TRANSPOSED : AS_IT_IS,
                  b_operation ? TRANSPOSED : AS_IT_IS, m, n, k, alpha, a, lda, b, ldb, beta, c,
                  ldc);
      return;
    }
  }
  for (int64_t column = 0; column < n; ++column)
    for (int64_t row = 0; row < m; ++row) {
      Sum<Input> sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        Sum<Input> x = a_operation ? a[i + row * lda] : a[row + i * lda];
        Sum<Input> y = b_operation ? b[column + i * ldb] : b[i + column * ldb];
        sum += (a_operation == 2 ? conjugate(x) : x) * (b_operation == 2 ? conjugate(y) : y);
      }
      Output& out = c[row + column * ldc];
      Scale before = beta == Scale(0) ? Scale(0) : beta * Scale(Sum<Output>(out));
      out = Output(Sum<Output>(alpha * sum + before));
    }
}

template <class T>
void gemv(int operation, int m, int n, T alpha, const T* a, int64_t lda, const T* x, int64_t x_step,
          T beta, T* y, int64_t y_step) {
  int rows = operation ? n : m, columns = operation ? m : n;
  for (int i = 0; i < rows; ++i) {
    T sum = 0;
    for (int j = 0; j < columns; ++j) {
      T value = operation ? a[j + i * lda] : a[i + j * lda];
      sum += (operation == 2 ? conjugate(value) : value) * x[j * x_step];
    }
    T& out = y[i * y_step];
    out = alpha * sum + (beta == T(0) ? T(0) : beta * out);
  }
}

template <class T>
T scaled(int operation, T factor, const T* matrix, int64_t ld, int64_t row, int64_t column) {
  if (factor == T(0)) return 0;
  T value = operation ? matrix[column + row * ld] : matrix[row + column * ld];
  return factor * (operation == 2 ? conjugate(value) : value);
}

template <class T>
T dot(int n, const T* x, int64_t x_step, const T* y, int64_t y_step, bool conjugated) {
  T sum = 0;
  for (int i = 0; i < n; ++i)
    sum += (conjugated ? conjugate(x[i * x_step]) : x[i * x_step]) * y[i * y_step];
  return sum;
}

// Types: 0 float, 1 double, 2 half, 4 complex float, 5 complex double, 14 bfloat16.
template <class Input, class Output, class Scale>
int gemm_of_types(Handle* handle, const char* name, int a_operation, int b_operation, int m, int n,
                  int k, const void* alpha, const void* a, int lda, long long a_stride,
                  const void* b, int ldb, long long b_stride, const void* beta, void* c, int ldc,
                  long long c_stride, int count, bool half_scale) {
  auto scale = [&](const void* pointer) {
    return half_scale ? Scale(float(*(const Half*)pointer)) : *(const Scale*)pointer;
  };
  Scale alpha_value = scale(alpha), beta_value = scale(beta);
  return run(handle, name, [=] {
    for (int i = 0; i < count; ++i)
      gemm<Input, Output, Scale>(
          a_operation, b_operation, m, n, k, alpha_value, (const Input*)a + i * a_stride, lda,
          (const Input*)b + i * b_stride, ldb, beta_value, (Output*)c + i * c_stride, ldc);
  });
}
int gemm_ex(Handle* handle, const char* name, int a_operation, int b_operation, int m, int n, int k,
            const void* alpha, const void* a, int a_type, int lda, long long a_stride,
            const void* b, int b_type, int ldb, long long b_stride, const void* beta, void* c,
            int c_type, int ldc, long long c_stride, int count, int compute_type) {
  constexpr int COMPUTE_HALF = 64;
#define TYPES(INPUT_CODE, OUTPUT_CODE, INPUT, OUTPUT, SCALE)                              \
  if (a_type == INPUT_CODE && b_type == INPUT_CODE && c_type == OUTPUT_CODE)              \
    return gemm_of_types<INPUT, OUTPUT, SCALE>(                                           \
        handle, name, a_operation, b_operation, m, n, k, alpha, a, lda, a_stride, b, ldb, \
        b_stride, beta, c, ldc, c_stride, count, compute_type == COMPUTE_HALF);
  TYPES(0, 0, float, float, float)
  TYPES(1, 1, double, double, double)
  TYPES(2, 2, Half, Half, float)
  TYPES(2, 0, Half, float, float)
  TYPES(4, 4, ComplexFloat, ComplexFloat, ComplexFloat)
  TYPES(5, 5, ComplexDouble, ComplexDouble, ComplexDouble)
  TYPES(14, 14, BFloat16, BFloat16, float)
  TYPES(14, 0, BFloat16, float, float)
#undef TYPES
  fprintf(stderr, "CUDA stand-in: %s of types %d, %d and %d is missing\n", name, a_type, b_type,
          c_type);
  return BLAS_NOT_SUPPORTED;
}
}  // namespace

EXPORT int cublasCreate_v2(Handle** out) { return *out = new Handle, BLAS_SUCCESS; }
EXPORT int cublasDestroy_v2(Handle* handle) {
  delete handle;
  return BLAS_SUCCESS;
}
EXPORT int cublasGetVersion_v2(Handle*, int* out) { return *out = 130000, BLAS_SUCCESS; }
EXPORT int cublasSetStream_v2(Handle* handle, void* stream) {
  return handle->stream = stream, BLAS_SUCCESS;
}
EXPORT int cublasGetStream_v2(Handle* handle, void** out) {
  return *out = handle->stream, BLAS_SUCCESS;
}
EXPORT int cublasSetPointerMode_v2(Handle* handle, int mode) {
  return handle->pointer_mode = mode, BLAS_SUCCESS;
}
EXPORT int cublasGetPointerMode_v2(Handle* handle, int* out) {
  return *out = handle->pointer_mode, BLAS_SUCCESS;
}
EXPORT int cublasSetMathMode(Handle* handle, int mode) {
  return handle->math_mode = mode, BLAS_SUCCESS;
}
EXPORT int cublasGetMathMode(Handle* handle, int* out) {
  return *out = handle->math_mode, BLAS_SUCCESS;
}

// The functions of one type: L is the letter of BLAS.
#define FUNCTIONS(L, T)                                                                            \
  EXPORT int cublas##L##gemm_v2(Handle* handle, int ta, int tb, int m, int n, int k,               \
                                const T* alpha, const T* a, int lda, const T* b, int ldb,          \
                                const T* beta, T* c, int ldc) {                                    \
    T p = *alpha, q = *beta;                                                                       \
    return run(handle, "cublas" #L "gemm",                                                         \
               [=] { gemm<T, T, T>(ta, tb, m, n, k, p, a, lda, b, ldb, q, c, ldc); });             \
  }                                                                                                \
  EXPORT int cublas##L##gemmStridedBatched(Handle* handle, int ta, int tb, int m, int n, int k,    \
                                           const T* alpha, const T* a, int lda, long long sa,      \
                                           const T* b, int ldb, long long sb, const T* beta, T* c, \
                                           int ldc, long long sc, int count) {                     \
    T p = *alpha, q = *beta;                                                                       \
    return run(handle, "cublas" #L "gemmStridedBatched", [=] {                                     \
      for (int i = 0; i < count; ++i)                                                              \
        gemm<T, T, T>(ta, tb, m, n, k, p, a + i * sa, lda, b + i * sb, ldb, q, c + i * sc, ldc);   \
    });                                                                                            \
  }                                                                                                \
  EXPORT int cublas##L##gemmBatched(Handle* handle, int ta, int tb, int m, int n, int k,           \
                                    const T* alpha, const T** a, int lda, const T** b, int ldb,    \
                                    const T* beta, T** c, int ldc, int count) {                    \
    T p = *alpha, q = *beta;                                                                       \
    return run(handle, "cublas" #L "gemmBatched", [=] {                                            \
      for (int i = 0; i < count; ++i)                                                              \
        gemm<T, T, T>(ta, tb, m, n, k, p, a[i], lda, b[i], ldb, q, c[i], ldc);                     \
    });                                                                                            \
  }                                                                                                \
  EXPORT int cublas##L##gemv_v2(Handle* handle, int operation, int m, int n, const T* alpha,       \
                                const T* a, int lda, const T* x, int x_step, const T* beta, T* y,  \
                                int y_step) {                                                      \
    T p = *alpha, q = *beta;                                                                       \
    return run(handle, "cublas" #L "gemv",                                                         \
               [=] { gemv<T>(operation, m, n, p, a, lda, x, x_step, q, y, y_step); });             \
  }                                                                                                \
  EXPORT int cublas##L##axpy_v2(Handle* handle, int n, const T* alpha, const T* x, int x_step,     \
                                T* y, int y_step) {                                                \
    T p = *alpha;                                                                                  \
    return run(handle, "cublas" #L "axpy", [=] {                                                   \
      for (int64_t i = 0; i < n; ++i) y[i * y_step] += p * x[i * x_step];                          \
    });                                                                                            \
  }                                                                                                \
  EXPORT int cublas##L##scal_v2(Handle* handle, int n, const T* alpha, T* x, int step) {           \
    T p = *alpha;                                                                                  \
    return run(handle, "cublas" #L "scal", [=] {                                                   \
      for (int64_t i = 0; i < n; ++i) x[i * step] *= p;                                            \
    });                                                                                            \
  }                                                                                                \
  EXPORT int cublas##L##geam(Handle* handle, int ta, int tb, int m, int n, const T* alpha,         \
                             const T* a, int lda, const T* beta, const T* b, int ldb, T* c,        \
                             int ldc) {                                                            \
    T p = *alpha, q = *beta;                                                                       \
    return run(handle, "cublas" #L "geam", [=] {                                                   \
      for (int64_t j = 0; j < n; ++j)                                                              \
        for (int64_t i = 0; i < m; ++i)                                                            \
          c[i + j * ldc] = scaled(ta, p, a, lda, i, j) + scaled(tb, q, b, ldb, i, j);              \
    });                                                                                            \
  }
FUNCTIONS(S, float)
FUNCTIONS(D, double)
FUNCTIONS(C, ComplexFloat)
FUNCTIONS(Z, ComplexDouble)

// Matrices that are decomposed by LAPACK; `info` of getrs is on the host.
#define DECOMPOSITIONS(L, T)                                                                       \
  EXPORT int cublas##L##getrfBatched(Handle* handle, int n, T* const* a, int lda, int* pivots,     \
                                     int* info, int count) {                                       \
    return run(handle, "cublas" #L "getrfBatched", [=] {                                           \
      for (int64_t i = 0; i < count; ++i)                                                          \
        info[i] = Lapack<T>::getrf(n, n, a[i], lda, pivots ? pivots + i * n : nullptr);            \
    });                                                                                            \
  }                                                                                                \
  EXPORT int cublas##L##getrsBatched(Handle* handle, int operation, int n, int columns,            \
                                     const T* const* a, int lda, const int* pivots, T* const* b,   \
                                     int ldb, int* info, int count) {                              \
    *info = 0;                                                                                     \
    return run(handle, "cublas" #L "getrsBatched", [=] {                                           \
      for (int64_t i = 0; i < count; ++i)                                                          \
        Lapack<T>::getrs(operation, n, columns, a[i], lda, pivots + i * n, b[i], ldb);             \
    });                                                                                            \
  }                                                                                                \
  EXPORT int cublas##L##getriBatched(Handle* handle, int n, const T* const* a, int lda,            \
                                     const int* pivots, T* const* c, int ldc, int* info,           \
                                     int count) {                                                  \
    return run(handle, "cublas" #L "getriBatched", [=] {                                           \
      for (int64_t i = 0; i < count; ++i) {                                                        \
        for (int64_t j = 0; j < n; ++j)                                                            \
          for (int64_t k = 0; k < n; ++k) c[i][k + j * ldc] = T(j == k);                           \
        info[i] = 0;                                                                               \
        for (int64_t j = n - 1; j >= 0; --j)                                                       \
          if (a[i][j + j * lda] == 0) info[i] = j + 1;                                             \
        Lapack<T>::getrs(0, n, n, a[i], lda, pivots + i * n, c[i], ldc);                           \
      }                                                                                            \
    });                                                                                            \
  }
DECOMPOSITIONS(S, float)
DECOMPOSITIONS(D, double)

// With the pointer mode HOST the call waits for its result.
#define DOT(NAME, T, CONJUGATED)                                                                  \
  EXPORT int cublas##NAME(Handle* handle, int n, const T* x, int x_step, const T* y, int y_step,  \
                          T* out) {                                                               \
    if (handle->pointer_mode == HOST) standin_record(SYNCHRONIZE, "cublas" #NAME, 0);             \
    return run(handle, "cublas" #NAME, [=] { *out = dot(n, x, x_step, y, y_step, CONJUGATED); }); \
  }
DOT(Sdot_v2, float, false)
DOT(Ddot_v2, double, false)
DOT(Cdotu_v2, ComplexFloat, false)
DOT(Zdotu_v2, ComplexDouble, false)
DOT(Cdotc_v2, ComplexFloat, true)
DOT(Zdotc_v2, ComplexDouble, true)

#define GER(NAME, T, CONJUGATED)                                                                \
  EXPORT int cublas##NAME(Handle* handle, int m, int n, const T* alpha, const T* x, int x_step, \
                          const T* y, int y_step, T* a, int lda) {                              \
    T p = *alpha;                                                                               \
    return run(handle, "cublas" #NAME, [=] {                                                    \
      for (int64_t j = 0; j < n; ++j)                                                           \
        for (int64_t i = 0; i < m; ++i)                                                         \
          a[i + j * lda] +=                                                                     \
              p * x[i * x_step] * (CONJUGATED ? conjugate(y[j * y_step]) : y[j * y_step]);      \
    });                                                                                         \
  }
GER(Sger_v2, float, false)
GER(Dger_v2, double, false)
GER(Cgeru_v2, ComplexFloat, false)
GER(Zgeru_v2, ComplexDouble, false)
GER(Cgerc_v2, ComplexFloat, true)
GER(Zgerc_v2, ComplexDouble, true)

#define NORM(NAME, T, REAL)                                                         \
  EXPORT int cublas##NAME(Handle* handle, int n, const T* x, int step, REAL* out) { \
    return run(handle, "cublas" #NAME, [=] {                                        \
      REAL sum = 0;                                                                 \
      for (int64_t i = 0; i < n; ++i) sum += std::norm(x[i * step]);                \
      *out = std::sqrt(sum);                                                        \
    });                                                                             \
  }
NORM(Snrm2_v2, float, float)
NORM(Dnrm2_v2, double, double)
NORM(Scnrm2_v2, ComplexFloat, float)
NORM(Dznrm2_v2, ComplexDouble, double)

EXPORT int cublasGemmEx(Handle* handle, int ta, int tb, int m, int n, int k, const void* alpha,
                        const void* a, int a_type, int lda, const void* b, int b_type, int ldb,
                        const void* beta, void* c, int c_type, int ldc, int compute_type, int) {
  return gemm_ex(handle, "cublasGemmEx", ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb,
                 0, beta, c, c_type, ldc, 0, 1, compute_type);
}
EXPORT int cublasSgemmEx(Handle* handle, int ta, int tb, int m, int n, int k, const float* alpha,
                         const void* a, int a_type, int lda, const void* b, int b_type, int ldb,
                         const float* beta, void* c, int c_type, int ldc) {
  constexpr int COMPUTE_FLOAT = 68;
  return gemm_ex(handle, "cublasSgemmEx", ta, tb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb,
                 0, beta, c, c_type, ldc, 0, 1, COMPUTE_FLOAT);
}
EXPORT int cublasGemmStridedBatchedEx(Handle* handle, int ta, int tb, int m, int n, int k,
                                      const void* alpha, const void* a, int a_type, int lda,
                                      long long a_stride, const void* b, int b_type, int ldb,
                                      long long b_stride, const void* beta, void* c, int c_type,
                                      int ldc, long long c_stride, int count, int compute_type,
                                      int) {
  return gemm_ex(handle, "cublasGemmStridedBatchedEx", ta, tb, m, n, k, alpha, a, a_type, lda,
                 a_stride, b, b_type, ldb, b_stride, beta, c, c_type, ldc, c_stride, count,
                 compute_type);
}
