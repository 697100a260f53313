// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime and our kernels.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "tests/unit/comm/nccl_shim/state.h"
#include "trainer/comm/gpu_sum.h"

namespace stint::comm::nccl_shim {
namespace {

thread_local int current_device = 0;

}  // namespace

Shim& shim() {
  static auto* const the = new Shim;  // threads that hang may outlive main
  return *the;
}

int this_device() {
  return current_device;
}

void broken(const char* rule, const std::string& culprit) {
  std::fputs(
      fmt::format("nccl_shim: rule {} is broken by {} of device {}\n", rule, culprit, current_device).c_str(),
      stderr);
  std::abort();
}

void reset() {
  const Lock lock(shim().mutex);
  shim().faults = {};
  shim().calls.clear();
  ++shim().generation;
  shim().changed.notify_all();
}

void stay_in_progress(int polls) {
  const Lock lock(shim().mutex);
  shim().faults.polls = polls;
}

void never_take(int device) {
  const Lock lock(shim().mutex);
  shim().faults.untaken.insert(device);
}

void take_time(int microseconds) {
  const Lock lock(shim().mutex);
  shim().faults.microseconds = microseconds;
}

void hang(int device, int n) {
  const Lock lock(shim().mutex);
  shim().faults.hangs[device] = n;
}

void report(int device, int n, gpu::NcclResult result, bool ends) {
  const Lock lock(shim().mutex);
  shim().faults.reports[device] = {n, result, ends};
}

void ignore_revoke(int device) {
  const Lock lock(shim().mutex);
  shim().faults.deaf.insert(device);
}

void hang_call(const std::string& name, int device) {
  const Lock lock(shim().mutex);
  shim().faults.hanging_calls.emplace(name, device);
}

void set_devices(int count) {
  const Lock lock(shim().mutex);
  shim().faults.devices = count;
}

void set_nccl_version(int version) {
  const Lock lock(shim().mutex);
  shim().faults.version = version;
}

int calls(const std::string& name) {
  const Lock lock(shim().mutex);
  return shim().calls[name];
}

int under_way(int device) {
  const Lock lock(shim().mutex);
  return shim().under_way[device];
}

void enqueue(gpu::CudaStream* stream, std::function<void()> work) {
  Lock lock(shim().mutex);
  const auto task = [work = std::move(work)](Lock& inside) {
    inside.unlock();
    work();
    inside.lock();
  };
  gpu::CudaStream::push(stream, "a kernel of the computation", task, lock);
}

void close_gate(gpu::CudaStream* stream) {
  const Lock lock(shim().mutex);
  stream->gate_open = false;
}

void open_gate(gpu::CudaStream* stream) {
  const Lock lock(shim().mutex);
  stream->gate_open = true;
  shim().changed.notify_all();
}

}  // namespace stint::comm::nccl_shim

namespace stint::comm::gpu {
namespace {

using nccl_shim::Lock;
using nccl_shim::shim;

void run(const std::shared_ptr<CudaStream>& stream) {
  Lock lock(shim().mutex);
  for (;;) {
    shim().changed.wait(lock,
                        [&] { return stream->gate_open && (stream->closing || !stream->tasks.empty()); });
    if (stream->tasks.empty()) return;
    const auto task = std::move(stream->tasks.front());
    stream->tasks.pop_front();
    task(lock);
    shim().changed.notify_all();
  }
}

std::map<CudaStream*, std::shared_ptr<CudaStream>>& streams() {
  static auto* const all = new std::map<CudaStream*, std::shared_ptr<CudaStream>>;
  return *all;
}

template <typename T>
CudaError sum(void* own, const void* others, std::size_t stride, int ranks, int rank, std::size_t count,
              CudaStream* stream) {
  Lock lock(shim().mutex);
  CudaStream::push(
      stream, "a kernel",
      [=](Lock&) {
        for (std::size_t i = 0; i < count; ++i)
          sum_element(static_cast<T*>(own), static_cast<const T*>(others), stride, ranks, rank, i);
      },
      lock);
  return CudaError::kSuccess;
}

}  // namespace

struct CudaEvent {
  std::shared_ptr<bool> done = std::make_shared<bool>(true);
};

void CudaStream::queue(Task task) {
  tasks.push_back(std::move(task));
  shim().changed.notify_all();
}

void CudaStream::push(CudaStream* stream, const std::string& culprit, Task task, Lock& lock) {
  if (stream == nullptr) return task(lock);
  if (stream->device != nccl_shim::this_device()) nccl_shim::broken("wrong_device", culprit);
  if (stream->not_taken > 0) nccl_shim::broken("queued_before_taken", culprit);
  stream->queue(std::move(task));
}

#define STINT_STUB extern "C" STINT_SHIM

STINT_STUB CudaError cudaRuntimeGetVersion(int* version) {
  *version = kCudaOldest;
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaGetDeviceCount(int* count) {
  const Lock lock(shim().mutex);
  *count = shim().faults.devices;
  return *count > 0 ? CudaError::kSuccess : static_cast<CudaError>(100);
}

STINT_STUB CudaError cudaSetDevice(int device) {
  nccl_shim::current_device = device;
  return CudaError::kSuccess;
}

STINT_STUB const char* cudaGetErrorName(CudaError error) {
  return error == static_cast<CudaError>(100) ? "cudaErrorNoDevice" : "cudaErrorUnknown";
}

STINT_STUB const char* cudaGetErrorString(CudaError error) {
  return error == static_cast<CudaError>(100) ? "no CUDA-capable device is detected" : "unknown error";
}

STINT_STUB CudaError cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaStreamCreateWithPriority(CudaStream** made, unsigned /*flags*/, int /*priority*/) {
  auto stream = std::make_shared<CudaStream>();
  stream->device = nccl_shim::this_device();
  const Lock lock(shim().mutex);
  streams()[stream.get()] = stream;
  std::thread([stream] { run(stream); }).detach();
  *made = stream.get();
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaStreamDestroy(CudaStream* stream) {
  const Lock lock(shim().mutex);
  stream->closing = true;
  streams().erase(stream);
  shim().changed.notify_all();
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaStreamWaitEvent(CudaStream* stream, CudaEvent* event, unsigned /*flags*/) {
  Lock lock(shim().mutex);
  const auto wait = [done = event->done, generation = shim().generation](Lock& inside) {
    shim().changed.wait(inside, [&] { return *done || shim().generation != generation; });
  };
  CudaStream::push(stream, "cudaStreamWaitEvent", wait, lock);
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaEventCreateWithFlags(CudaEvent** event, unsigned /*flags*/) {
  *event = new CudaEvent;
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaEventRecord(CudaEvent* event, CudaStream* stream) {
  Lock lock(shim().mutex);
  event->done = std::make_shared<bool>(false);
  CudaStream::push(
      stream, "cudaEventRecord", [done = event->done](Lock&) { *done = true; }, lock);
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaEventQuery(CudaEvent* event) {
  const Lock lock(shim().mutex);
  return *event->done ? CudaError::kSuccess : CudaError::kNotReady;
}

STINT_STUB CudaError cudaEventDestroy(CudaEvent* event) {
  const Lock lock(shim().mutex);
  delete event;
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaMalloc(void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return CudaError::kSuccess;
}

STINT_STUB CudaError cudaFree(void* memory) {
  const Lock lock(shim().mutex);
  if (shim().under_way[nccl_shim::this_device()] > 0) nccl_shim::broken("free_under_way", "cudaFree");
  std::free(memory);
  return CudaError::kSuccess;
}

STINT_STUB CudaError stint_gpu_sum_fp32(void* own, const void* others, std::size_t stride, int ranks,
                                        int rank, std::size_t count, CudaStream* stream) {
  return sum<float>(own, others, stride, ranks, rank, count, stream);
}

STINT_STUB CudaError stint_gpu_sum_bf16(void* own, const void* others, std::size_t stride, int ranks,
                                        int rank, std::size_t count, CudaStream* stream) {
  return sum<std::uint16_t>(own, others, stride, ranks, rank, count, stream);
}

// Each has the type by which the back end calls it.
#define STINT_SAME(result, name, symbol, parameters) \
  static_assert(std::is_same_v<decltype(CudaFunctions::name), decltype(&symbol)>);
STINT_CUDA_FUNCTIONS(STINT_SAME)
#undef STINT_SAME
#define STINT_SAME(result, name, symbol, parameters) \
  static_assert(std::is_same_v<decltype(KernelFunctions::name), decltype(&symbol)>);
STINT_KERNEL_FUNCTIONS(STINT_SAME)

}  // namespace stint::comm::gpu
