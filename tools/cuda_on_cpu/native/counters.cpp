// Counts of what reaches the device, a hook that is told of each, and the settings.
#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "driver.h"

namespace {
using Hook = void (*)(int kind, const char* name, long long size);
Hook hook = nullptr;
std::atomic<long long> counts[REFUSE + 1];
thread_local const char* last_refused = "";
}  // namespace

EXPORT void standin_set_hook(Hook function) { hook = function; }
EXPORT long long standin_count(int kind) { return counts[kind]; }
EXPORT void standin_record(int kind, const char* name, long long size) {
  ++counts[kind];
  if (hook) hook(kind, name, size);
}
EXPORT Result standin_refuse(const char* name) {
  standin_record(REFUSE, name, 0);
  last_refused = name;
  fprintf(stderr, "CUDA stand-in: %s is missing\n", name);
  return NOT_SUPPORTED;
}
const char* refused() { return last_refused; }

int setting(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text && *text ? atoi(text) : otherwise;
}
