// The threads of a block as fibers, for kernels whose threads meet at barriers.
//
// A fiber runs until it comes to a barrier or ends. When none is ready, the warps whose awaited
// lanes have all come go on, then the block. Where neither can, the kernel hangs, and the launch
// fails.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "driver.h"

extern "C" void standin_switch(void** from, void* to);
asm(R"(
.text
.globl standin_switch
.hidden standin_switch
standin_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  subq $8, %rsp; stmxcsr (%rsp); fnstcw 4(%rsp)
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  ldmxcsr (%rsp); fldcw 4(%rsp); addq $8, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

namespace {
constexpr size_t STACK_SIZE = 64 << 10, SAVED_REGISTERS = 7 * 8;
constexpr unsigned MAX_THREADS = 1024, WARP = 32;

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };
struct Fiber {
  void* stack_pointer;
  State state;
  unsigned mask;  // of the lanes that it waits for
};
std::vector<Fiber> fibers;
void* scheduler;   // the stack pointer of run_block_as_fibers
int running = -1;  // index of the fiber
Function* function;
void** arguments;
char exchange[MAX_THREADS / WARP][WARP][16];  // where lanes leave values for each other

void begin_fiber() {
  function->run_thread(arguments);
  fibers[running].state = DONE;
  standin_switch(&fibers[running].stack_pointer, scheduler);
  __builtin_trap();
}
void wait(State state, unsigned mask) {
  if (running < 0) leave_kernel(LAUNCH_FAILURE);
  Fiber& fiber = fibers[running];
  fiber.state = state, fiber.mask = mask;
  standin_switch(&fiber.stack_pointer, scheduler);
}

void* prepare_stack(char* end) {
  void** top = (void**)end - 2;
  *top =
      (void*)begin_fiber;  // where `ret` of the first switch goes, the stack aligned as by a call
  char* stack_pointer = (char*)top - SAVED_REGISTERS;
  memset(stack_pointer, 0, SAVED_REGISTERS);
  asm volatile("stmxcsr %0" : "=m"(*(unsigned*)stack_pointer));
  asm volatile("fnstcw %0" : "=m"(*(unsigned short*)(stack_pointer + 4)));
  return stack_pointer;
}

bool open_warp_barriers() {
  bool opened = false;
  for (size_t first = 0; first < fibers.size(); first += WARP) {
    size_t end = std::min(fibers.size(), first + WARP);
    unsigned waiting = 0, alive = 0, awaited = 0;
    for (size_t i = first; i < end; ++i) {
      unsigned lane = 1u << (i - first);
      if (fibers[i].state != DONE) alive |= lane;
      if (fibers[i].state == AT_WARP_BARRIER) waiting |= lane, awaited |= fibers[i].mask;
    }
    if (!waiting || (awaited & alive & ~waiting)) continue;
    for (size_t i = first; i < end; ++i)
      if (fibers[i].state == AT_WARP_BARRIER) fibers[i].state = READY, opened = true;
  }
  return opened;
}
bool open_block_barrier() {
  bool opened = false;
  for (const Fiber& fiber : fibers)
    if (fiber.state != DONE && fiber.state != AT_BLOCK_BARRIER) return false;
  for (Fiber& fiber : fibers)
    if (fiber.state == AT_BLOCK_BARRIER) fiber.state = READY, opened = true;
  return opened;
}
bool all_done() {
  for (const Fiber& fiber : fibers)
    if (fiber.state != DONE) return false;
  return true;
}
}  // namespace

// What device code calls (include/device_code.h).
EXPORT void standin_block_barrier() { wait(AT_BLOCK_BARRIER, 0); }
EXPORT void standin_warp_barrier(unsigned mask) { wait(AT_WARP_BARRIER, mask); }
EXPORT void* standin_warp_slot(int lane) { return exchange[running / WARP][lane % WARP]; }
EXPORT unsigned standin_active_mask() {
  unsigned mask = 0, first = running / WARP * WARP;
  for (unsigned lane = 0; lane < WARP && first + lane < fibers.size(); ++lane)
    if (fibers[first + lane].state != DONE) mask |= 1u << lane;
  return mask;
}

void forget_fibers() { running = -1; }

void run_block_as_fibers(Function* kernel, void** kernel_arguments) {
  static char* stacks = (char*)mmap(nullptr, STACK_SIZE * MAX_THREADS, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  Dim size = kernel->builtins->block_size;
  unsigned count = size.x * size.y * size.z;
  function = kernel, arguments = kernel_arguments;
  fibers.resize(count);
  std::vector<unsigned> order(count);
  for (unsigned i = 0; i < count; ++i) {
    fibers[i] = {prepare_stack(stacks + STACK_SIZE * (i + 1)), READY, 0};
    order[i] = thread_order() == Order::REVERSE ? count - 1 - i : i;
  }
  while (!all_done()) {
    if (thread_order() == Order::RANDOM) shuffle(order);
    bool ran = false;
    for (unsigned i : order) {
      if (fibers[i].state != READY) continue;
      ran = true, running = i;
      place_thread(kernel->builtins, i);
      standin_switch(&scheduler, fibers[i].stack_pointer);
    }
    running = -1;
    bool opened = open_warp_barriers() || open_block_barrier();
    if (!ran && !opened) {
      fprintf(stderr, "CUDA stand-in: %s: threads wait at barriers that never open\n",
              kernel->name.c_str());
      leave_kernel(LAUNCH_FAILURE);
    }
  }
}
