// SPDX-License-Identifier: Apache-2.0
// Owners of what the CUDA runtime hands out: streams, events, device memory. Made on the current device; made
// and freed on any thread. The libraries outlive them.
#pragma once

#include <memory>

#include "trainer/comm/gpu_libraries.h"

namespace stint::comm::gpu {

struct StreamDeleter {
  const CudaFunctions* cuda;
  void operator()(CudaStream* stream) const { static_cast<void>(cuda->stream_destroy(stream)); }
};
struct EventDeleter {
  const CudaFunctions* cuda;
  void operator()(CudaEvent* event) const { static_cast<void>(cuda->event_destroy(event)); }
};
// Freeing waits for what runs on the device: never while something may hang there.
struct MemoryDeleter {
  const CudaFunctions* cuda;
  void operator()(void* memory) const { static_cast<void>(cuda->release(memory)); }
};
using Stream = std::unique_ptr<CudaStream, StreamDeleter>;
using Event = std::unique_ptr<CudaEvent, EventDeleter>;
using Memory = std::unique_ptr<void, MemoryDeleter>;

// All throw Error. A stream is of the highest priority, so that a transfer never waits behind the computation
// that hides it, and does not wait for the default stream.
Stream make_stream(const CudaFunctions& cuda);
Event make_event(const CudaFunctions& cuda);
Memory allocate(const CudaFunctions& cuda, std::size_t bytes);

}  // namespace stint::comm::gpu
