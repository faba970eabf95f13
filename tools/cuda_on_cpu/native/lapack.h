// LAPACK of NumPy's OpenBLAS, for real matrices: integers have 64 bits, arguments are pointers.
#pragma once
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

template <class T>
struct Lapack {
  static constexpr bool single = std::is_same_v<T, float>;

  // The function `name` of the type, as scipy_dgetrf_64_.
  template <class... Arguments>
  static void call(const char* name, Arguments... arguments) {
    static void* library = dlopen(getenv("CUDA_ON_CPU_BLAS"), RTLD_NOW);
    std::string full = std::string("scipy_") + (single ? "s" : "d") + name + "_64_";
    auto function = (void (*)(Arguments...))dlsym(library, full.c_str());
    function(arguments...);
  }

  static int getrf(int64_t m, int64_t n, T* a, int64_t lda, int* pivots) {
    std::vector<int64_t> wide(m < n ? m : n);
    int64_t info;
    call("getrf", &m, &n, a, &lda, wide.data(), &info);
    for (size_t i = 0; pivots && i < wide.size(); ++i) pivots[i] = (int)wide[i];
    return (int)info;
  }
  static int getrs(int operation, int64_t n, int64_t columns, const T* a, int64_t lda,
                   const int* pivots, T* b, int64_t ldb) {
    std::vector<int64_t> wide(pivots, pivots + n);
    char trans = operation ? 'T' : 'N';
    int64_t info;
    call("getrs", &trans, &n, &columns, a, &lda, wide.data(), b, &ldb, &info, (size_t)1);
    return (int)info;
  }
  static int potrf(bool upper, int64_t n, T* a, int64_t lda) {
    char uplo = upper ? 'U' : 'L';
    int64_t info;
    call("potrf", &uplo, &n, a, &lda, &info, (size_t)1);
    return (int)info;
  }
  static int syevd(bool vectors, bool upper, int64_t n, T* a, int64_t lda, T* w) {
    char jobz = vectors ? 'V' : 'N', uplo = upper ? 'U' : 'L';
    int64_t info, size = 1 + 6 * n + 2 * n * n, integers = 3 + 5 * n;
    std::vector<T> work(size);
    std::vector<int64_t> iwork(integers);
    call("syevd", &jobz, &uplo, &n, a, &lda, w, work.data(), &size, iwork.data(), &integers, &info,
         (size_t)1, (size_t)1);
    return (int)info;
  }
  static int gesvd(char jobu, char jobvt, int64_t m, int64_t n, T* a, int64_t lda, T* s, T* u,
                   int64_t ldu, T* vt, int64_t ldvt) {
    int64_t info, small = m < n ? m : n, large = m < n ? n : m, size = 8 * (small + large) + 64;
    std::vector<T> work(size);
    call("gesvd", &jobu, &jobvt, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, work.data(), &size, &info,
         (size_t)1, (size_t)1);
    return (int)info;
  }
};
