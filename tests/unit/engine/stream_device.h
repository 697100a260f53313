// SPDX-License-Identifier: Apache-2.0
// A device that does what it is asked for some time later, as a GPU does: on a stream of the stand-in for
// CUDA, with the loops of cpu(), so that its bits are those. Who reads what another stream has not written
// yet, or overwrites what it still reads, gets other bits.
#pragma once

#include <future>
#include <mutex>
#include <vector>

#include "tests/unit/comm/nccl_shim/nccl_shim.h"
#include "trainer/comm/gpu_handles.h"
#include "trainer/model/device.h"

namespace stint::engine {

class StreamDevice final : public model::Device {
 public:
  // This thread's, which computes, and no other's. `number` is that of its GPU.
  StreamDevice(const comm::gpu::CudaFunctions& cuda, int number);
  ~StreamDevice() override;

  model::Operand bf16() const override { return model::cpu().bf16(); }
  const model::Kernels& kernels(model::Operand operand) const override;
  void multiply(model::Operand type, const model::Matrix& a, const model::Matrix& b, const model::Matrix& out,
                bool adds) override;
  void* allocate(std::size_t bytes) override { return model::cpu().allocate(bytes); }
  void release(void* memory, std::size_t bytes) override;
  void clear(void* memory, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void put(void* to, const void* from_host, std::size_t bytes) override;
  void get(void* to_host, const void* from, std::size_t bytes) override;
  std::int64_t peak_memory() const override { return 1; }

  void* stream() override { return stream_.get(); }
  void go_aside() override;
  Mark mark() override;
  void wait_for(const Mark& moment) override;

  // Of this thread.
  void enqueue(std::function<void()> work);

 private:
  comm::gpu::CudaStream* own_stream();
  void drain(comm::gpu::CudaStream* stream);

  const comm::gpu::CudaFunctions& cuda_;
  int number_;
  comm::gpu::Stream stream_;
  std::mutex mutex_;
  std::vector<comm::gpu::Stream> aside_;
  unsigned asked_ = 0;
};

}  // namespace stint::engine
