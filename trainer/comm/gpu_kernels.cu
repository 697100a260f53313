// SPDX-License-Identifier: Apache-2.0
// What NCCL does not do: additions in the order of communicator.h. A library of its own, which is loaded only
// where there is a GPU.
#include <cuda_runtime.h>

#include <algorithm>

#include "trainer/comm/gpu_sum.h"

namespace stint::comm::gpu {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kBlocks = 1024;  // enough for any GPU, and few enough to leave room for the computation

template <typename T>
__global__ void sum_kernel(T* own, const T* others, std::size_t stride, int ranks, int rank,
                           std::size_t count) {
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x;
  for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    sum_element(own, others, stride, ranks, rank, i);
}

template <typename T>
cudaError_t sum(void* own, const void* others, std::size_t stride, int ranks, int rank, std::size_t count,
                cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(std::min(kBlocks, (count + kThreads - 1) / kThreads));
  sum_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<T*>(own), static_cast<const T*>(others), stride,
                                              ranks, rank, count);
  return cudaGetLastError();
}

}  // namespace
}  // namespace stint::comm::gpu

#define STINT_EXPORT extern "C" __attribute__((visibility("default")))

STINT_EXPORT cudaError_t stint_gpu_sum_fp32(void* own, const void* others, std::size_t stride, int ranks,
                                            int rank, std::size_t count, cudaStream_t stream) {
  return stint::comm::gpu::sum<float>(own, others, stride, ranks, rank, count, stream);
}

STINT_EXPORT cudaError_t stint_gpu_sum_bf16(void* own, const void* others, std::size_t stride, int ranks,
                                            int rank, std::size_t count, cudaStream_t stream) {
  return stint::comm::gpu::sum<std::uint16_t>(own, others, stride, ranks, rank, count, stream);
}
