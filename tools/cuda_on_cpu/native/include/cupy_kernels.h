// What the kernels that CuPy generates include, to be precompiled.
#include "device_code.h"
#include "cuda_fp16.h"
#include "cuda_bf16.h"
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>
#include <cupy/float16.cuh>
