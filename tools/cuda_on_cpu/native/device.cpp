// The devices and what they say of themselves: the properties of an H100.
#include <cstdio>
#include <cstring>

#include "driver.h"

namespace {
constexpr int DRIVER_VERSION = 13000, RUNTIME_VERSION = 13020;
constexpr int MULTIPROCESSORS = 132, MAX_SHARED = 232448;
int device_count() {
  static const int count = setting("CUDA_ON_CPU_DEVICES", 1);
  return count;
}
void* context_of(int device) { return (void*)(uintptr_t)(0x1000 + device * 16); }
int device_of_context(void* context) { return ((uintptr_t)context - 0x1000) / 16; }
}  // namespace

EXPORT Result cuInit(unsigned) { return SUCCESS; }
EXPORT Result cuDriverGetVersion(int* out) { return *out = DRIVER_VERSION, SUCCESS; }
EXPORT Result standin_cudaDriverGetVersion(int* out) { return *out = DRIVER_VERSION, SUCCESS; }
EXPORT Result standin_cudaRuntimeGetVersion(int* out) { return *out = RUNTIME_VERSION, SUCCESS; }
EXPORT Result standin_cudaGetDeviceCount(int* out) { return *out = device_count(), SUCCESS; }
EXPORT Result standin_cudaGetDevice(int* out) { return *out = current_device(), SUCCESS; }
EXPORT Result standin_cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return fail(INVALID_DEVICE);
  set_current_device(device);
  return SUCCESS;
}
EXPORT Result standin_cudaDeviceCanAccessPeer(int* out, int, int) { return *out = 0, SUCCESS; }
EXPORT Result standin_cudaDeviceEnablePeerAccess(int, unsigned) {
  return fail(PEER_ACCESS_UNSUPPORTED);
}
EXPORT Result standin_cudaDeviceGetLimit(size_t* out, int) { return *out = 0, SUCCESS; }
EXPORT Result standin_cudaDeviceSetLimit(int, size_t) { return SUCCESS; }
EXPORT Result standin_cudaDeviceGetPCIBusId(char* out, int size, int device) {
  snprintf(out, size, "0000:%02x:00.0", device + 1);
  return SUCCESS;
}
EXPORT Result standin_cudaProfilerStart() { return SUCCESS; }
EXPORT Result standin_cudaProfilerStop() { return SUCCESS; }

EXPORT Result standin_cudaDeviceGetAttribute(int* out, int attribute, int) {
  switch (attribute) {
    case 1:
    case 2:
    case 3:
      *out = 1024;
      break;  // threads of a block, and along x and y
    case 4:
      *out = 64;
      break;  // along z
    case 5:
      *out = 2147483647;
      break;  // blocks along x
    case 6:
    case 7:
      *out = 65535;
      break;  // along y and z
    case 8:
      *out = 49152;
      break;  // shared memory of a block
    case 9:
      *out = 65536;
      break;  // constant memory
    case 10:
      *out = 32;
      break;  // threads of a warp
    case 12:
      *out = 65536;
      break;  // registers of a block
    case 13:
      *out = 1980000;
      break;  // clock rate
    case 16:
      *out = MULTIPROCESSORS;
      break;
    case 39:
      *out = 2048;
      break;  // threads of a multiprocessor
    case 75:
      *out = 9;
      break;  // compute capability
    case 76:
      *out = 0;
      break;
    case 81:
      *out = MAX_SHARED + 1024;
      break;  // shared memory of a multiprocessor
    case 97:
      *out = MAX_SHARED;
      break;  // of a block that asks for more
    default:
      *out = 0;
  }
  return SUCCESS;
}

struct Properties {  // the beginning of cudaDeviceProp of CUDA 13
  char name[256], uuid[16], luid[8];
  unsigned luid_mask;
  size_t global_memory, shared_per_block;
  int registers_per_block, warp_size;
  size_t max_pitch;
  int max_threads, max_block[3], max_grid[3];
  size_t constant_memory;
  int major, minor;
  size_t texture_alignment, texture_pitch_alignment;
  int multiprocessors;
};
EXPORT Result standin_cudaGetDeviceProperties(Properties* out, int) {
  *out = {"CPU stand-in for an H100",
          {},
          {},
          0,
          size_t(8) << 30,
          49152,
          65536,
          32,
          0,
          1024,
          {1024, 1024, 64},
          {2147483647, 65535, 65535},
          65536,
          9,
          0,
          512,
          32,
          MULTIPROCESSORS};
  return SUCCESS;
}

EXPORT Result cuCtxGetCurrent(void** out) { return *out = context_of(current_device()), SUCCESS; }
EXPORT Result cuCtxSetCurrent(void* context) {
  set_current_device(device_of_context(context));
  return SUCCESS;
}
EXPORT Result cuCtxCreate_v2(void** out, unsigned, int device) {
  return *out = context_of(device), SUCCESS;
}
EXPORT Result cuCtxDestroy_v2(void*) { return SUCCESS; }
EXPORT Result cuCtxGetDevice(int* out) { return *out = current_device(), SUCCESS; }
EXPORT Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
EXPORT Result cuStreamGetCtx(void*, void** out) { return cuCtxGetCurrent(out); }
