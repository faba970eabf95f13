// Memory of the devices, which is memory of the host with a book of what was allocated.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "driver.h"

namespace {
constexpr size_t DEVICE_MEMORY = size_t(8) << 30;
constexpr size_t PAGE = 4096;
constexpr size_t ALIGNMENT = 512;  // what cudaMalloc gives
constexpr int MAX_DEVICES = 16;

struct Allocation {
  size_t size;
  int device;
  void* mapping;  // with memory checking: the pages around it
  size_t mapping_size;
};
std::mutex mutex;
std::map<uintptr_t, Allocation> allocations;
size_t used[MAX_DEVICES];
thread_local int current = 0;

bool checks_memory() {
  static const bool on = setting("CUDA_ON_CPU_MEMCHECK", 0);
  return on;
}
size_t round_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

const Allocation* find(const void* pointer) {  // with the mutex held
  auto next = allocations.upper_bound((uintptr_t)pointer);
  if (next == allocations.begin()) return nullptr;
  auto& [start, allocation] = *--next;
  return (uintptr_t)pointer < start + allocation.size ? &allocation : nullptr;
}

// Memory whose last byte touches a page that nobody may read.
char* allocate_before_guard(Allocation& allocation) {
  size_t pages = round_up(allocation.size, PAGE);
  allocation.mapping_size = pages + 2 * PAGE;
  void* mapping = mmap(nullptr, allocation.mapping_size, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  allocation.mapping = mapping;
  char* first = (char*)mapping + PAGE;
  mprotect(first, pages, PROT_READ | PROT_WRITE);
  return first + pages - allocation.size;
}
}  // namespace

int current_device() { return current; }
void set_current_device(int device) { current = device; }
int device_of(const void* pointer) {
  std::lock_guard<std::mutex> guard(mutex);
  const Allocation* allocation = find(pointer);
  return allocation ? allocation->device : -1;
}

EXPORT Result standin_cudaMalloc(void** out, size_t size) {
  if (any_capture()) return invalidate_captures();
  *out = nullptr;
  if (size == 0) return SUCCESS;
  Allocation allocation{size, current, nullptr, 0};
  char* memory;
  {
    std::lock_guard<std::mutex> guard(mutex);
    if (used[current] + size > DEVICE_MEMORY) return fail(OUT_OF_MEMORY);
    memory = checks_memory() ? allocate_before_guard(allocation)
                             : (char*)aligned_alloc(ALIGNMENT, round_up(size, ALIGNMENT));
    if (!memory) return fail(OUT_OF_MEMORY);
    allocations[(uintptr_t)memory] = allocation;
    used[current] += size;
  }
  memset(memory, 0xff, size);  // NaN, so that what was never written shows
  standin_record(ALLOCATE, "cudaMalloc", size);
  *out = memory;
  return SUCCESS;
}
EXPORT Result standin_cudaMallocAsync(void** out, size_t size, void*) {
  return standin_cudaMalloc(out, size);
}
EXPORT Result standin_cudaMallocManaged(void** out, size_t size, unsigned) {
  return standin_cudaMalloc(out, size);
}
EXPORT Result standin_cudaFree(void* pointer) {
  if (!pointer) return SUCCESS;
  Allocation allocation;
  {
    std::lock_guard<std::mutex> guard(mutex);
    auto found = allocations.find((uintptr_t)pointer);
    if (found == allocations.end()) return fail(INVALID_VALUE);
    allocation = found->second;
    allocations.erase(found);
    used[allocation.device] -= allocation.size;
    if (allocation.mapping)
      munmap(allocation.mapping, allocation.mapping_size);
    else
      free(pointer);
  }
  standin_record(FREE, "cudaFree", allocation.size);
  return SUCCESS;
}
EXPORT Result standin_cudaFreeAsync(void* pointer, void*) { return standin_cudaFree(pointer); }
EXPORT Result standin_cudaHostAlloc(void** out, size_t size, unsigned) {
  *out = aligned_alloc(ALIGNMENT, round_up(std::max<size_t>(size, 1), ALIGNMENT));
  return *out ? SUCCESS : fail(OUT_OF_MEMORY);
}
EXPORT Result standin_cudaFreeHost(void* pointer) {
  free(pointer);
  return SUCCESS;
}
EXPORT Result standin_cudaMemGetInfo(size_t* available, size_t* total) {
  std::lock_guard<std::mutex> guard(mutex);
  *total = DEVICE_MEMORY;
  *available = DEVICE_MEMORY - used[current];
  return SUCCESS;
}

// Copies and fills are done at once, whatever their stream.
static Result copy(void* target, const void* source, size_t size, int direction, void* stream,
                   bool asynchronous) {
  enum { HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, BY_ADDRESS };
  if (Result error = sticky_error()) return fail(error);
  bool to_device = device_of(target) >= 0, from_device = device_of(source) >= 0;
  if (direction == BY_ADDRESS) direction = (to_device ? 1 : 0) + (from_device ? 2 : 0);
  if (size && (((direction & 1) && !to_device) || ((direction & 2) && !from_device)))
    return fail(INVALID_VALUE);
  if (any_capture()) {
    if (!is_capturing(stream) || !asynchronous || direction != DEVICE_TO_DEVICE)
      return invalidate_captures();
    Node node{Node::COPY_MEMORY};
    node.target = target, node.source = source, node.size = size;
    add_if_capturing(stream, std::move(node));
    return SUCCESS;
  }
  int kind = direction == HOST_TO_DEVICE   ? TO_DEVICE
             : direction == DEVICE_TO_HOST ? TO_HOST
                                           : ON_DEVICE;
  standin_record(kind, asynchronous ? "cudaMemcpyAsync" : "cudaMemcpy", size);
  memmove(target, source, size);
  return SUCCESS;
}
EXPORT Result standin_cudaMemcpy(void* target, const void* source, size_t size, int direction) {
  return copy(target, source, size, direction, nullptr, false);
}
EXPORT Result standin_cudaMemcpyAsync(void* target, const void* source, size_t size, int direction,
                                      void* stream) {
  return copy(target, source, size, direction, stream, true);
}
EXPORT Result standin_cudaMemcpyPeer(void* target, int, const void* source, int, size_t size) {
  return copy(target, source, size, 3, nullptr, false);
}
EXPORT Result standin_cudaMemcpyPeerAsync(void* target, int, const void* source, int, size_t size,
                                          void* stream) {
  return copy(target, source, size, 3, stream, true);
}

EXPORT Result standin_cudaMemsetAsync(void* target, int value, size_t size, void* stream) {
  if (Result error = sticky_error()) return fail(error);
  Node node{Node::FILL_MEMORY};
  node.target = target, node.value = value, node.size = size;
  if (add_if_capturing(stream, std::move(node))) return SUCCESS;
  standin_record(FILL, "cudaMemsetAsync", size);
  memset(target, value, size);
  return SUCCESS;
}
EXPORT Result standin_cudaMemset(void* target, int value, size_t size) {
  return standin_cudaMemsetAsync(target, value, size, nullptr);
}

struct PointerAttributes {
  int type, device;
  void *device_pointer, *host_pointer;
};
EXPORT Result standin_cudaPointerGetAttributes(PointerAttributes* out, const void* pointer) {
  enum { UNREGISTERED = 0, DEVICE = 2 };
  int device = device_of(pointer);
  void* address = const_cast<void*>(pointer);
  *out = device >= 0 ? PointerAttributes{DEVICE, device, address, nullptr}
                     : PointerAttributes{UNREGISTERED, -1, nullptr, address};
  return SUCCESS;
}
