// Modules, kernels and their launches: block after block, at once.
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "driver.h"

namespace {
constexpr char IMAGE_PREFIX[] = "CUDA_ON_CPU:";  // nvrtc.cpp: the path of a shared object follows
constexpr int DEFAULT_SHARED = 49152, MAX_SHARED = 232448;

struct Module {
  void* library;
  std::map<std::string, Function*> functions;
};

std::mutex one_kernel_at_a_time;
sigjmp_buf outside;
volatile sig_atomic_t in_kernel = 0;
Result fault;

void on_signal(int number, siginfo_t*, void*) {
  if (in_kernel) leave_kernel(ILLEGAL_ADDRESS);
  signal(number, SIG_DFL);
  raise(number);
}
void catch_signals() {
  static char stack_of_handler[64 << 10];
  stack_t alternate{stack_of_handler, 0, sizeof stack_of_handler};
  sigaltstack(&alternate, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}

std::vector<unsigned> ordered(unsigned count) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (thread_order() == Order::REVERSE) std::reverse(order.begin(), order.end());
  if (thread_order() == Order::RANDOM) shuffle(order);
  return order;
}

void run_block(Function* function, void** arguments) {
  if (function->meets_at_barriers) return run_block_as_fibers(function, arguments);
  if (thread_order() == Order::FORWARD) return function->run_block(arguments);
  Dim size = function->builtins->block_size;
  for (unsigned thread : ordered(size.x * size.y * size.z)) {
    place_thread(function->builtins, thread);
    function->run_thread(arguments);
  }
}
void run_grid(Function* function, void** arguments) {
  Builtins* builtins = function->builtins;
  Dim size = builtins->grid_size;
  size_t count = size_t(size.x) * size.y * size.z;
  auto run = [&](size_t i) {
    builtins->block = {unsigned(i % size.x), unsigned(i / size.x % size.y),
                       unsigned(i / size.x / size.y)};
    run_block(function, arguments);
  };
  if (thread_order() == Order::FORWARD)
    for (size_t i = 0; i < count; ++i) run(i);
  else
    for (unsigned i : ordered(count)) run(i);
}

bool is_valid(const Launch& launch) {
  auto [grid, block] = std::pair(launch.grid, launch.block);
  return grid.x && grid.y && grid.z && block.x && block.y && block.z && grid.x <= 2147483647u &&
         grid.y <= 65535 && grid.z <= 65535 && block.x <= 1024 && block.y <= 1024 &&
         block.z <= 64 && block.x * block.y * block.z <= 1024 &&
         launch.shared <= (size_t)launch.function->shared_limit;
}

// An array's structure begins with its pointer.
bool is_on_another_device(const Function* function, void** arguments) {
  for (size_t i = 0; i < function->argument_sizes.size(); ++i) {
    if (function->argument_sizes[i] < sizeof(void*)) continue;
    void* pointer;
    memcpy(&pointer, arguments[i], sizeof pointer);
    int device = device_of(pointer);
    if (device < 0 || device == current_device()) continue;
    fprintf(stderr, "CUDA stand-in: %s: argument %zu is on device %d, launched on %d\n",
            function->name.c_str(), i, device, current_device());
    return true;
  }
  return false;
}
}  // namespace

Order thread_order() {
  static const Order order = [] {
    const char* text = getenv("CUDA_ON_CPU_ORDER");
    if (!text || !*text || !strcmp(text, "forward")) return Order::FORWARD;
    if (!strcmp(text, "reverse")) return Order::REVERSE;
    if (!strcmp(text, "random")) return Order::RANDOM;
    fprintf(stderr, "CUDA_ON_CPU_ORDER: expected forward, reverse or random, got %s\n", text);
    exit(2);
  }();
  return order;
}
void shuffle(std::vector<unsigned>& order) {
  static std::mt19937 generator(setting("CUDA_ON_CPU_SEED", 0));
  std::shuffle(order.begin(), order.end(), generator);
}
void place_thread(Builtins* builtins, unsigned index) {
  Dim size = builtins->block_size;
  builtins->thread = {index % size.x, index / size.x % size.y, index / size.x / size.y};
}
void leave_kernel(Result reason) {
  fault = reason;
  siglongjmp(outside, 1);
}
EXPORT void standin_trap() { leave_kernel(LAUNCH_FAILURE); }

Result execute(const Launch& launch, void** arguments) {
  std::lock_guard<std::mutex> guard(one_kernel_at_a_time);
  static std::vector<char> dynamic_shared;
  dynamic_shared.assign(launch.shared + 64, (char)0xff);
  Function* function = launch.function;
  function->builtins->block_size = launch.block;
  function->builtins->grid_size = launch.grid;
  function->builtins->dynamic_shared = (void*)(((uintptr_t)dynamic_shared.data() + 15) / 16 * 16);
  catch_signals();
  fault = SUCCESS;
  if (!sigsetjmp(outside, 1)) {
    in_kernel = 1;
    run_grid(function, arguments);
  }
  in_kernel = 0;
  forget_fibers();
  if (!fault) return SUCCESS;
  set_sticky_error(fault);
  fprintf(stderr, "CUDA stand-in: %s: %s\n", function->name.c_str(),
          standin_cudaGetErrorName(fault));
  return fail(fault);
}

EXPORT Result cuModuleLoadData(void** out, const void* image) {
  const char* text = (const char*)image;
  size_t prefix = sizeof IMAGE_PREFIX - 1;
  if (strncmp(text, IMAGE_PREFIX, prefix))
    return fail(standin_refuse("cuModuleLoadData (of an image compiled for a GPU)"));
  void* library = dlopen(text + prefix, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "CUDA stand-in: %s\n", dlerror());
    return fail(NOT_FOUND);
  }
  *out = new Module{library, {}};
  return SUCCESS;
}
EXPORT Result cuModuleUnload(void*) { return SUCCESS; }
EXPORT Result cuModuleGetFunction(void** out, void* handle, const char* name) {
  Module* module = (Module*)handle;
  auto symbol = [&](const char* suffix) {
    return dlsym(module->library, (std::string(name) + suffix).c_str());
  };
  auto found = module->functions.find(name);
  if (found == module->functions.end()) {
    if (!symbol("__standin_thread")) return fail(NOT_FOUND);
    size_t sizes[4096];
    int count = ((int (*)(size_t*))symbol("__standin_sizes"))(sizes);
    auto* function = new Function{name,
                                  (void (*)(void**))symbol("__standin_thread"),
                                  (void (*)(void**))symbol("__standin_block"),
                                  ((Builtins * (*)()) symbol("__standin_builtins"))(),
                                  dlsym(module->library, "standin_meets_at_barriers") != nullptr,
                                  {sizes, sizes + count},
                                  DEFAULT_SHARED};
    found = module->functions.emplace(name, function).first;
  }
  *out = found->second;
  return SUCCESS;
}
EXPORT Result cuModuleGetGlobal_v2(void** out, size_t* size, void* module, const char* name) {
  *out = dlsym(((Module*)module)->library, name);
  if (size) *size = 0;
  return *out ? SUCCESS : fail(NOT_FOUND);
}

EXPORT Result cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                             unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                             void* stream, void** arguments, void**) {
  if (Result error = sticky_error()) return fail(error);
  Function* function = (Function*)handle;
  Launch launch{function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared};
  if (!is_valid(launch)) return fail(INVALID_VALUE);
  if (is_on_another_device(function, arguments)) {
    set_sticky_error(ILLEGAL_ADDRESS);
    return fail(ILLEGAL_ADDRESS);
  }
  if (is_capturing(stream)) {
    Node node{Node::KERNEL};
    node.launch = launch;
    for (size_t i = 0; i < function->argument_sizes.size(); ++i) {
      char* argument = (char*)arguments[i];
      node.arguments.emplace_back(argument, argument + function->argument_sizes[i]);
    }
    add_if_capturing(stream, std::move(node));
    return SUCCESS;
  }
  standin_record(LAUNCH, function->name.c_str(), (long long)grid_x * grid_y * grid_z);
  return execute(launch, arguments);
}
EXPORT Result cuLaunchCooperativeKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned,
                                        unsigned, unsigned, void*, void**) {
  return fail(standin_refuse("cuLaunchCooperativeKernel"));
}

enum FunctionAttribute { MAX_THREADS = 0, REGISTERS = 4, MAX_DYNAMIC_SHARED = 8 };
EXPORT Result cuFuncGetAttribute(int* out, int attribute, void* function) {
  *out = attribute == MAX_THREADS          ? 1024
         : attribute == REGISTERS          ? 32
         : attribute == MAX_DYNAMIC_SHARED ? ((Function*)function)->shared_limit
                                           : 0;
  return SUCCESS;
}
EXPORT Result cuFuncSetAttribute(void* function, int attribute, int value) {
  if (attribute != MAX_DYNAMIC_SHARED) return SUCCESS;
  if (value > MAX_SHARED) return fail(INVALID_VALUE);
  ((Function*)function)->shared_limit = std::max(DEFAULT_SHARED, value);
  return SUCCESS;
}
EXPORT Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, void*, int block, size_t) {
  *out = std::max(1, 2048 / std::max(block, 1));
  return SUCCESS;
}
EXPORT Result cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void*, void*, size_t,
                                               int limit) {
  *block = limit ? std::min(limit, 1024) : 1024;
  *grid = 264;
  return SUCCESS;
}
