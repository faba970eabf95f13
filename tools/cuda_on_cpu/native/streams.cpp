// Streams, events, and the capture of a stream into a graph. Everything is done when it is asked
// for.
#include <time.h>

#include <cstring>
#include <set>

#include "driver.h"

namespace {
using Graph = std::vector<Node>;
struct Stream {
  unsigned flags;
  bool capturing = false, invalid = false;
  Graph* graph = nullptr;
};
std::mutex mutex;
std::set<Stream*> streams;

// 0, 1 and 2 are the default streams, which cannot be captured.
Stream* stream_at(void* handle) { return (uintptr_t)handle > 2 ? (Stream*)handle : nullptr; }

Result synchronize(const char* name) {
  standin_record(SYNCHRONIZE, name, 0);
  return any_capture() ? invalidate_captures() : fail(sticky_error());
}
}  // namespace

bool any_capture() {
  std::lock_guard<std::mutex> guard(mutex);
  for (Stream* stream : streams)
    if (stream->capturing) return true;
  return false;
}
Result invalidate_captures() {
  std::lock_guard<std::mutex> guard(mutex);
  for (Stream* stream : streams)
    if (stream->capturing) stream->invalid = true;
  return fail(CAPTURE_UNSUPPORTED);
}
bool is_capturing(void* handle) {
  Stream* stream = stream_at(handle);
  return stream && stream->capturing;
}
bool add_if_capturing(void* handle, Node node) {
  if (!is_capturing(handle)) return false;
  stream_at(handle)->graph->push_back(std::move(node));
  return true;
}

EXPORT Result standin_cudaDeviceSynchronize() { return synchronize("cudaDeviceSynchronize"); }
EXPORT Result standin_cudaStreamSynchronize(void*) { return synchronize("cudaStreamSynchronize"); }
EXPORT Result standin_cudaStreamCreateWithFlags(void** out, unsigned flags) {
  auto* stream = new Stream{flags};
  std::lock_guard<std::mutex> guard(mutex);
  streams.insert(stream);
  *out = stream;
  return SUCCESS;
}
EXPORT Result standin_cudaStreamCreate(void** out) {
  return standin_cudaStreamCreateWithFlags(out, 0);
}
EXPORT Result standin_cudaStreamCreateWithPriority(void** out, unsigned flags, int) {
  return standin_cudaStreamCreateWithFlags(out, flags);
}
EXPORT Result standin_cudaStreamDestroy(void* handle) {
  std::lock_guard<std::mutex> guard(mutex);
  streams.erase((Stream*)handle);
  delete (Stream*)handle;
  return SUCCESS;
}
EXPORT Result standin_cudaStreamGetFlags(void* handle, unsigned* out) {
  *out = stream_at(handle) ? stream_at(handle)->flags : 0;
  return SUCCESS;
}
EXPORT Result standin_cudaStreamGetPriority(void*, int* out) { return *out = 0, SUCCESS; }
EXPORT Result standin_cudaStreamQuery(void*) { return SUCCESS; }
EXPORT Result standin_cudaStreamWaitEvent(void*, void*, unsigned) { return SUCCESS; }
EXPORT Result standin_cudaLaunchHostFunc(void*, void (*function)(void*), void* data) {
  function(data);
  return SUCCESS;
}
EXPORT Result standin_cudaStreamAddCallback(void* stream, void (*function)(void*, int, void*),
                                            void* data, unsigned) {
  function(stream, SUCCESS, data);
  return SUCCESS;
}

// An event is the time in milliseconds at which it was recorded.
EXPORT Result standin_cudaEventCreateWithFlags(void** out, unsigned) {
  *out = new double(0);
  return SUCCESS;
}
EXPORT Result standin_cudaEventCreate(void** out) {
  return standin_cudaEventCreateWithFlags(out, 0);
}
EXPORT Result standin_cudaEventDestroy(void* event) {
  delete (double*)event;
  return SUCCESS;
}
EXPORT Result standin_cudaEventRecord(void* event, void*) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  *(double*)event = now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
  return SUCCESS;
}
EXPORT Result standin_cudaEventSynchronize(void*) { return synchronize("cudaEventSynchronize"); }
EXPORT Result standin_cudaEventQuery(void*) { return SUCCESS; }
EXPORT Result standin_cudaEventElapsedTime(float* out, void* start, void* end) {
  *out = *(double*)end - *(double*)start;
  return SUCCESS;
}

EXPORT Result standin_cudaStreamBeginCapture(void* handle, int) {
  Stream* stream = stream_at(handle);
  if (!stream) return fail(CAPTURE_UNSUPPORTED);
  std::lock_guard<std::mutex> guard(mutex);
  stream->capturing = true, stream->invalid = false, stream->graph = new Graph;
  return SUCCESS;
}
EXPORT Result standin_cudaStreamEndCapture(void* handle, void** out) {
  Stream* stream = stream_at(handle);
  std::lock_guard<std::mutex> guard(mutex);
  stream->capturing = false;
  *out = stream->graph;
  if (!stream->invalid) return SUCCESS;
  delete stream->graph;
  *out = nullptr;
  return fail(CAPTURE_INVALIDATED);
}
EXPORT Result standin_cudaStreamIsCapturing(void* handle, int* out) {
  enum { NONE, ACTIVE, INVALIDATED };
  Stream* stream = stream_at(handle);
  *out = !stream || !stream->capturing ? NONE : stream->invalid ? INVALIDATED : ACTIVE;
  return SUCCESS;
}
EXPORT Result standin_cudaGraphInstantiate(void** out, void* graph, unsigned long long) {
  *out = new Graph(*(Graph*)graph);
  return SUCCESS;
}
EXPORT Result standin_cudaGraphLaunch(void* graph, void*) {
  if (Result error = sticky_error()) return fail(error);
  standin_record(LAUNCH, "cudaGraphLaunch", 0);
  for (Node& node : *(Graph*)graph) {
    if (node.kind == Node::FILL_MEMORY) memset(node.target, node.value, node.size);
    if (node.kind == Node::COPY_MEMORY) memmove(node.target, node.source, node.size);
    if (node.kind == Node::CALL) node.call(node.target);
    if (node.kind == Node::KERNEL) {
      std::vector<void*> pointers;
      for (auto& argument : node.arguments) pointers.push_back(argument.data());
      if (Result error = execute(node.launch, pointers.data())) return error;
    }
  }
  return SUCCESS;
}
EXPORT Result standin_cudaGraphUpload(void*, void*) { return SUCCESS; }
EXPORT Result standin_cudaGraphDestroy(void* graph) {
  delete (Graph*)graph;
  return SUCCESS;
}
EXPORT Result standin_cudaGraphExecDestroy(void* graph) { return standin_cudaGraphDestroy(graph); }
EXPORT Result cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
  if (nodes) return fail(standin_refuse("cuGraphGetNodes: the nodes themselves"));
  *count = ((Graph*)graph)->size();
  return SUCCESS;
}

// For cuBLAS: runs a function now, or captures it. A graph may replay it, so its data is never
// freed.
EXPORT Result standin_run_or_capture(void* stream, const char* name, void (*function)(void*),
                                     void* data) {
  Node node{Node::CALL};
  node.call = function, node.target = data;
  if (add_if_capturing(stream, std::move(node))) return SUCCESS;
  if (Result error = sticky_error()) return fail(error);
  standin_record(LAUNCH, name, 0);
  function(data);
  return SUCCESS;
}
