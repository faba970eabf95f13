// What the parts of the driver share: results, counts, memory, streams and kernels.
//
// Functions named standin_cuda* take the place of the CUDA runtime (redirect.py), cu* that of
// libcuda.
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

using Result = int;  // cudaError_t and CUresult, which agree in these values
enum : Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  PEER_ACCESS_UNSUPPORTED = 217,
  NOT_FOUND = 500,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_FAILURE = 719,
  NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
};

// counters.cpp. The order is that of KINDS in recorder.py.
enum Kind { LAUNCH, SYNCHRONIZE, TO_HOST, TO_DEVICE, ON_DEVICE, FILL, ALLOCATE, FREE, REFUSE };
EXPORT void standin_record(int kind, const char* name, long long size);
EXPORT Result standin_refuse(const char* name);
const char* refused();  // the name of the last function that was refused
int setting(const char* name, int otherwise);

// errors.cpp. A fault inside a kernel stays until the process ends, as on a GPU.
Result fail(Result error);
Result sticky_error();
void set_sticky_error(Result error);
EXPORT const char* standin_cudaGetErrorName(Result error);

// memory.cpp
int current_device();
void set_current_device(int device);
int device_of(const void* pointer);  // -1 for memory of the host

// streams.cpp
struct Function;
struct Dim {
  unsigned x, y, z;
};
struct Launch {
  Function* function;
  Dim grid, block;
  size_t shared;
};
struct Node {  // what a captured graph replays
  enum { KERNEL, FILL_MEMORY, COPY_MEMORY, CALL } kind;
  Launch launch{};
  std::vector<std::vector<char>> arguments{};
  void* target = nullptr;
  const void* source = nullptr;
  size_t size = 0;
  int value = 0;
  void (*call)(void*) = nullptr;
};
bool is_capturing(void* stream);
bool add_if_capturing(void* stream, Node node);  // true where a node was added
bool any_capture();
Result invalidate_captures();
EXPORT Result standin_run_or_capture(void* stream, const char* name, void (*function)(void*),
                                     void* data);

// launch.cpp and fibers.cpp
struct Builtins {  // laid out as standin_builtins_t of include/device_code.h
  Dim thread, block, block_size, grid_size;
  void* dynamic_shared;
};
struct Function {
  std::string name;
  void (*run_thread)(void**);
  void (*run_block)(void**);
  Builtins* builtins;
  bool meets_at_barriers;
  std::vector<size_t> argument_sizes;
  int shared_limit;
};
Result execute(const Launch& launch, void** arguments);
enum class Order { FORWARD, REVERSE, RANDOM };
Order thread_order();
void shuffle(std::vector<unsigned>& order);
void place_thread(Builtins* builtins, unsigned index);
void run_block_as_fibers(Function* function, void** arguments);
void forget_fibers();
[[noreturn]] void leave_kernel(Result fault);  // back to `execute`
