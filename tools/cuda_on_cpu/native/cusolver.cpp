// libcusolver.so.12 on the CPU: the calls of CuPy's solve, inv, det, cholesky, svd and eigh of real
// matrices, by the LAPACK of NumPy's OpenBLAS. What is missing is refused by name (build.py).
//
// Matrices are column-major. An operation is 0 (as it is) or 1 (transposed).
#include <cstring>

#include "driver.h"
#include "lapack.h"

namespace {
enum Status { SOLVER_SUCCESS = 0, SOLVER_EXECUTION_FAILED = 6 };
enum Fill { LOWER, UPPER };
constexpr int FLOAT = 0, DOUBLE = 1;  // types of cudaDataType

struct Handle {
  void* stream = nullptr;
};

template <class F>
int run(Handle* handle, const char* name, F function) {
  auto call = [](void* data) { (*(F*)data)(); };
  return standin_run_or_capture(handle->stream, name, call, new F(function))
             ? SOLVER_EXECUTION_FAILED
             : SOLVER_SUCCESS;
}

// All singular vectors: V of gesvdj is not transposed, and m×m and n×n unless it is economical.
template <class T>
int singular_values(bool vectors, bool economical, int64_t m, int64_t n, T* a, int64_t lda, T* s,
                    T* u, int64_t ldu, T* v, int64_t ldv) {
  int64_t small = m < n ? m : n, rows = economical ? small : n;
  char job = !vectors ? 'N' : economical ? 'S' : 'A';
  std::vector<T> vt(rows * n);
  int info = Lapack<T>::gesvd(job, job, m, n, a, lda, s, u, ldu, vt.data(), rows);
  for (int64_t j = 0; vectors && j < rows; ++j)
    for (int64_t i = 0; i < n; ++i) v[i + j * ldv] = vt[j + i * rows];
  return info;
}
}  // namespace

EXPORT int cusolverDnCreate(Handle** out) { return *out = new Handle, SOLVER_SUCCESS; }
EXPORT int cusolverDnDestroy(Handle* handle) {
  delete handle;
  return SOLVER_SUCCESS;
}
EXPORT int cusolverDnSetStream(Handle* handle, void* stream) {
  return handle->stream = stream, SOLVER_SUCCESS;
}
EXPORT int cusolverDnGetStream(Handle* handle, void** out) {
  return *out = handle->stream, SOLVER_SUCCESS;
}
EXPORT int cusolverGetProperty(int part, int* out) {
  return *out = part == 0 ? 12 : 0, SOLVER_SUCCESS;
}

// Options of algorithms: there is one algorithm.
EXPORT int cusolverDnCreateParams(void** out) { return *out = nullptr, SOLVER_SUCCESS; }
EXPORT int cusolverDnDestroyParams(void*) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnCreateGesvdjInfo(void** out) { return *out = nullptr, SOLVER_SUCCESS; }
EXPORT int cusolverDnDestroyGesvdjInfo(void*) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnXgesvdjSetTolerance(void*, double) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnXgesvdjSetMaxSweeps(void*, int) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnXgesvdjSetSortEig(void*, int) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnCreateSyevjInfo(void** out) { return *out = nullptr, SOLVER_SUCCESS; }
EXPORT int cusolverDnDestroySyevjInfo(void*) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnXsyevjSetTolerance(void*, double) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnXsyevjSetMaxSweeps(void*, int) { return SOLVER_SUCCESS; }
EXPORT int cusolverDnXsyevjSetSortEig(void*, int) { return SOLVER_SUCCESS; }

// The functions of one type: L is its letter. None of them needs memory of the device.
#define FUNCTIONS(L, T)                                                                           \
  EXPORT int cusolverDn##L##getrf_bufferSize(Handle*, int, int, T*, int, int* out) {              \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##getrf(Handle* handle, int m, int n, T* a, int lda, T*, int* pivots,   \
                                  int* info) {                                                    \
    return run(handle, "cusolver" #L "getrf",                                                     \
               [=] { *info = Lapack<T>::getrf(m, n, a, lda, pivots); });                          \
  }                                                                                               \
  EXPORT int cusolverDn##L##getrs(Handle* handle, int operation, int n, int columns, const T* a,  \
                                  int lda, const int* pivots, T* b, int ldb, int* info) {         \
    return run(handle, "cusolver" #L "getrs", [=] {                                               \
      *info = Lapack<T>::getrs(operation, n, columns, a, lda, pivots, b, ldb);                    \
    });                                                                                           \
  }                                                                                               \
  EXPORT int cusolverDn##L##potrf_bufferSize(Handle*, int, int, T*, int, int* out) {              \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##potrf(Handle* handle, int fill, int n, T* a, int lda, T*, int,        \
                                  int* info) {                                                    \
    return run(handle, "cusolver" #L "potrf",                                                     \
               [=] { *info = Lapack<T>::potrf(fill == UPPER, n, a, lda); });                      \
  }                                                                                               \
  EXPORT int cusolverDn##L##potrfBatched(Handle* handle, int fill, int n, T** a, int lda,         \
                                         int* info, int count) {                                  \
    return run(handle, "cusolver" #L "potrfBatched", [=] {                                        \
      for (int i = 0; i < count; ++i) info[i] = Lapack<T>::potrf(fill == UPPER, n, a[i], lda);    \
    });                                                                                           \
  }                                                                                               \
  EXPORT int cusolverDn##L##gesvd_bufferSize(Handle*, int, int, int* out) {                       \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##gesvd(Handle* handle, signed char jobu, signed char jobvt, int m,     \
                                  int n, T* a, int lda, T* s, T* u, int ldu, T* vt, int ldvt, T*, \
                                  int, T*, int* info) {                                           \
    return run(handle, "cusolver" #L "gesvd", [=] {                                               \
      *info = Lapack<T>::gesvd(jobu, jobvt, m, n, a, lda, s, u, ldu, vt, ldvt);                   \
    });                                                                                           \
  }                                                                                               \
  EXPORT int cusolverDn##L##gesvdj_bufferSize(Handle*, int, int, int, int, const T*, int,         \
                                              const T*, const T*, int, const T*, int, int* out,   \
                                              void*) {                                            \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##gesvdj(Handle* handle, int vectors, int economical, int m, int n,     \
                                   T* a, int lda, T* s, T* u, int ldu, T* v, int ldv, T*, int,    \
                                   int* info, void*) {                                            \
    return run(handle, "cusolver" #L "gesvdj", [=] {                                              \
      *info = singular_values(vectors, economical, m, n, a, lda, s, u, ldu, v, ldv);              \
    });                                                                                           \
  }                                                                                               \
  EXPORT int cusolverDn##L##gesvdjBatched_bufferSize(Handle*, int, int, int, const T*, int,       \
                                                     const T*, const T*, int, const T*, int,      \
                                                     int* out, void*, int) {                      \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##gesvdjBatched(Handle* handle, int vectors, int m, int n, T* a,        \
                                          int lda, T* s, T* u, int ldu, T* v, int ldv, T*, int,   \
                                          int* info, void*, int count) {                          \
    int64_t small = m < n ? m : n;                                                                \
    return run(handle, "cusolver" #L "gesvdjBatched", [=] {                                       \
      for (int64_t i = 0; i < count; ++i)                                                         \
        info[i] = singular_values(vectors, false, m, n, a + i * lda * n, lda, s + i * small,      \
                                  u + i * ldu * m, ldu, v + i * ldv * n, ldv);                    \
    });                                                                                           \
  }                                                                                               \
  EXPORT int cusolverDn##L##syevj_bufferSize(Handle*, int, int, int, const T*, int, const T*,     \
                                             int* out, void*) {                                   \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##syevj(Handle* handle, int vectors, int fill, int n, T* a, int lda,    \
                                  T* w, T*, int, int* info, void*) {                              \
    return run(handle, "cusolver" #L "syevj",                                                     \
               [=] { *info = Lapack<T>::syevd(vectors, fill == UPPER, n, a, lda, w); });          \
  }                                                                                               \
  EXPORT int cusolverDn##L##syevjBatched_bufferSize(Handle*, int, int, int, const T*, int,        \
                                                    const T*, int* out, void*, int) {             \
    return *out = 1, SOLVER_SUCCESS;                                                              \
  }                                                                                               \
  EXPORT int cusolverDn##L##syevjBatched(Handle* handle, int vectors, int fill, int n, T* a,      \
                                         int lda, T* w, T*, int, int* info, void*, int count) {   \
    return run(handle, "cusolver" #L "syevjBatched", [=] {                                        \
      for (int64_t i = 0; i < count; ++i)                                                         \
        info[i] =                                                                                 \
            Lapack<T>::syevd(vectors, fill == UPPER, n, a + i * lda * n, lda, w + i * n);         \
    });                                                                                           \
  }
FUNCTIONS(S, float)
FUNCTIONS(D, double)

EXPORT int cusolverDnXsyevd_bufferSize(Handle*, void*, int, int, int64_t, int, const void*,
                                       int64_t, int, const void*, int, size_t* on_device,
                                       size_t* on_host) {
  return *on_device = *on_host = 1, SOLVER_SUCCESS;
}
EXPORT int cusolverDnXsyevd(Handle* handle, void*, int vectors, int fill, int64_t n, int type,
                            void* a, int64_t lda, int, void* w, int, void*, size_t, void*, size_t,
                            int* info) {
  if (type != FLOAT && type != DOUBLE) return standin_refuse("cusolverDnXsyevd of complex matrices");
  return run(handle, "cusolverXsyevd", [=] {
    *info = type == FLOAT
                ? Lapack<float>::syevd(vectors, fill == UPPER, n, (float*)a, lda, (float*)w)
                : Lapack<double>::syevd(vectors, fill == UPPER, n, (double*)a, lda, (double*)w);
  });
}
