// The last error of a thread, and the error that stays.
#include <atomic>

#include "driver.h"

namespace {
thread_local Result last = SUCCESS;
std::atomic<Result> sticky{SUCCESS};
}  // namespace

Result fail(Result error) {
  if (error) last = error;
  return error;
}
Result sticky_error() { return sticky; }
void set_sticky_error(Result error) { sticky = error; }

// For tests of faults: on a GPU only a new process helps.
EXPORT void standin_forget_error() { sticky = last = SUCCESS; }

EXPORT const char* standin_cudaGetErrorName(Result error) {
  switch (error) {
    case SUCCESS:
      return "cudaSuccess";
    case INVALID_VALUE:
      return "cudaErrorInvalidValue";
    case OUT_OF_MEMORY:
      return "cudaErrorMemoryAllocation";
    case INVALID_DEVICE:
      return "cudaErrorInvalidDevice";
    case PEER_ACCESS_UNSUPPORTED:
      return "cudaErrorPeerAccessUnsupported";
    case NOT_FOUND:
      return "cudaErrorSymbolNotFound";
    case ILLEGAL_ADDRESS:
      return "cudaErrorIllegalAddress";
    case LAUNCH_FAILURE:
      return "cudaErrorLaunchFailure";
    case NOT_SUPPORTED:
      return "cudaErrorNotSupported";
    case CAPTURE_UNSUPPORTED:
      return "cudaErrorStreamCaptureUnsupported";
    case CAPTURE_INVALIDATED:
      return "cudaErrorStreamCaptureInvalidated";
    default:
      return "cudaErrorUnknown";
  }
}
EXPORT const char* standin_cudaGetErrorString(Result error) {
  if (error != NOT_SUPPORTED) return standin_cudaGetErrorName(error);
  static thread_local std::string text;
  text = std::string("not supported by the CPU stand-in: ") + refused();
  return text.c_str();
}
EXPORT Result standin_cudaGetLastError() {
  Result error = last;
  last = SUCCESS;
  return error;
}
EXPORT Result standin_cudaPeekAtLastError() { return last; }
EXPORT Result cuGetErrorName(Result error, const char** out) {
  *out = error == NOT_FOUND ? "CUDA_ERROR_NOT_FOUND" : standin_cudaGetErrorName(error);
  return SUCCESS;
}
EXPORT Result cuGetErrorString(Result error, const char** out) {
  *out = standin_cudaGetErrorString(error);
  return SUCCESS;
}
