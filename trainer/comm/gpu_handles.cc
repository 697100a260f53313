// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/gpu_handles.h"

#include <fmt/format.h>

namespace stint::comm::gpu {

Stream make_stream(const CudaFunctions& cuda) {
  int lowest = 0, highest = 0;
  check(cuda, cuda.priorities(&lowest, &highest), "ask for stream priorities");
  CudaStream* stream = nullptr;
  check(cuda, cuda.stream_create(&stream, kCudaStreamNonBlocking, highest), "make a stream");
  return Stream(stream, {&cuda});
}

Event make_event(const CudaFunctions& cuda) {
  CudaEvent* event = nullptr;
  check(cuda, cuda.event_create(&event, kCudaEventDisableTiming), "make an event");
  return Event(event, {&cuda});
}

Memory allocate(const CudaFunctions& cuda, std::size_t bytes) {
  void* memory = nullptr;
  check(cuda, cuda.allocate(&memory, bytes), fmt::format("allocate {} MiB on the GPU", bytes >> 20).c_str());
  return Memory(memory, {&cuda});
}

}  // namespace stint::comm::gpu
